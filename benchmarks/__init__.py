"""How fast notebooks start in environments of their own: this project beside its rivals.

``python -m benchmarks`` measures; ``docs/benchmarks.md`` explains each figure.
"""
