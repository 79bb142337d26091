# Sets up everything in .venv, from nothing but make and Python 3.11 or newer; touches no other
# environment. Choose the Python with `make PYTHON=/path/to/python3 …`.

.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin
NOTEBOOK := notebooks/quickstart.ipynb

# Whatever environment is active outside has no say in here.
unexport CONDA_PREFIX CONDA_DEFAULT_ENV VIRTUAL_ENV
unexport PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH PYTHONSTARTUP
unexport PIP_PREFIX PIP_TARGET PIP_USER
unexport UV_PROJECT_ENVIRONMENT UV_PYTHON UV_SYSTEM_PYTHON UV_TARGET UV_PREFIX
export PATH := $(CURDIR)/$(BIN):$(PATH)

# The first that starts, is new enough and can make virtual environments: a pyenv shim may not
# start, and Debian ships venv in a package of its own.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import ensurepip, sys; sys.version_info >= (3, 11) or sys.exit(1); print(sys.executable)' \
		2>/dev/null && break; done)

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: front-end ## run the quickstart notebook in its own environment, show what came out
	@echo "--- What the notebook prints:"
	@$(BIN)/jupyter scriptenv execute $(NOTEBOOK)
	@echo "--- Its environment:"
	@$(BIN)/jupyter scriptenv status $(NOTEBOOK)
	@echo "--- Its kernelspec, among Jupyter's:"
	@$(BIN)/jupyter kernelspec list 2>/dev/null | grep scriptenv

.PHONY: lab
lab: front-end ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab notebooks

.PHONY: test
test: .venv/.installed ## lint, and run all tests
	@$(MAKE) --no-print-directory --jobs 2 --output-sync lint front-end
	@! command -v npm >/dev/null || test ! -d labextension/lib/test || npm --prefix labextension test --silent
	$(BIN)/pytest --numprocesses 6 --dist loadfile --no-loadscope-reorder

.PHONY: lint
lint: .venv/.installed ## style, formatting, types and who may import whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: labextension
labextension: .venv/.installed labextension/built/package.json ## build the front end; needs Node 20
	@mkdir -p .venv/share/jupyter/labextensions
	@ln -sfn "$(CURDIR)/labextension/built" .venv/share/jupyter/labextensions/ipy-scriptenv

# As `labextension`, where that can be; all else works without it.
.PHONY: front-end
front-end: .venv/.installed
	@if ! command -v npm >/dev/null; then \
		echo "The front end is not built: Node (npm) is not here. All else works without it." >&2; \
	elif ! $(MAKE) --no-print-directory labextension; then \
		echo "The front end could not be built. All else works without it." >&2; fi

.PHONY: bench
bench: .venv/.bench ## measure all figures, ours and the rivals'; renew docs/benchmarks.md
	$(BIN)/python -m benchmarks --write

.PHONY: bench-quick
bench-quick: .venv/.installed ## the ratios to a plain ipykernel, ours alone; two minutes
	$(BIN)/python -m benchmarks --quick

.PHONY: bench-hub
bench-hub: .venv/.installed ## files, bytes and times of 500 users with 20 notebooks each
	$(BIN)/python benchmarks/hub.py

.PHONY: crash
crash: .venv/.installed ## kill operations at 500 random moments, look at what is left
	$(BIN)/python -m tests.crash -n 500

.PHONY: layer
layer: .venv/.installed ## renew the list of packages of the kernel layer, for a release
	echo ipykernel | $(BIN)/uv pip compile - --quiet --upgrade --universal --python-version 3.9 \
		--fork-strategy requires-python --generate-hashes --only-binary :all: --no-header \
		--no-annotate --no-emit-index-url -o ipy_scriptenv/kernels/layer.txt

.PHONY: clean
clean: ## remove what the other targets have made in this folder
	rm -rf labextension/built labextension/lib labextension/node_modules
	rm -rf .venv dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find ipy_scriptenv tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

labextension/built/package.json: labextension/node_modules/.package-lock.json labextension/tsconfig.json \
		$(shell find labextension/src labextension/style labextension/schema -type f)
	npm --prefix labextension run build --silent
	@touch $@

# Exactly what the lock names, and nothing of theirs is run.
labextension/node_modules/.package-lock.json: labextension/package-lock.json labextension/package.json
	npm --prefix labextension ci --ignore-scripts --silent
	@touch $@

.venv/.bench: .venv/.installed
	$(BIN)/uv pip install --quiet --python $(BIN)/python --group bench
	@touch $@

# The kernelspec is copied into .venv at installation, the package is not.
.venv/.installed: pyproject.toml $(wildcard kernelspecs/scriptenv/* jupyter_server_config.d/*)
	@test -n "$(PYTHON)" || { \
		echo "No Python 3.11 or newer with venv was found: install one, or name it with make PYTHON=…" >&2; exit 1; }
	$(BIN)/python -c '' 2>/dev/null || "$(PYTHON)" -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --reinstall-package ipy-scriptenv --editable . --group dev
	@touch $@
