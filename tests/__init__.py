"""Tests; a failing assertion tells as much in what they share as in themselves."""

import pytest

pytest.register_assert_rewrite("tests.examining", "tests.kernels", "tests.stage")
