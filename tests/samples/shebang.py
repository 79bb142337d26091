#!/usr/bin/env -S uv run --script
# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "alpha>=2.0",
# ]
# ///
"""Print the version of alpha."""

import alpha

print(alpha.__version__)
