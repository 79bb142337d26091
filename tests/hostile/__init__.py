"""Hostile notebooks, scripts and folders, and the means to see what opening them has done.

``folders``
    what may lie beside a source, each kind with a builder
``sources``
    notebooks and scripts, each with a name, a builder, and the error that reading it must give
``traps``
    links, pipes and folders in the place of what is ours
``pictures``
    what stands in folders, compared before and after
``ears``
    every process that any Python of a test starts, and all code that is run from a folder
``opening``
    what front ends do by themselves when they open a notebook
"""

import pytest

pytest.register_assert_rewrite(
    "tests.hostile.ears", "tests.hostile.opening", "tests.hostile.pictures"
)
