# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python (scriptenv)
#     language: python
#     name: scriptenv
# ---

# %% [markdown]
# # Title

# %%
# /// script
# dependencies = ["alpha"]
# ///
import alpha

# %% tags=["x"]
alpha.__version__
