"""The verbs are loaded late, each from the module that has it."""

from __future__ import annotations

import pytest

from ipy_scriptenv import environments


def test_every_name_that_is_promised_is_there() -> None:
    assert set(environments._MODULES) == set(environments.__all__)
    assert [name for name in environments.__all__ if not hasattr(environments, name)] == []


def test_any_other_name_is_not() -> None:
    with pytest.raises(AttributeError, match="no_such_verb"):
        _ = environments.no_such_verb
