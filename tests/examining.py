"""What tests of ``doctor`` share: what it finds, and whether it can be mended."""

from __future__ import annotations

from ipy_scriptenv.environments import Context, Finding, examine, mend

__all__ = ["codes", "examined", "mended", "why_not"]


def examined() -> list[Finding]:
    return examine(Context())


def codes() -> list[str]:
    return [finding.code for finding in examined()]


def why_not(finding: Finding) -> str | None:
    """Mend one finding; give why it could not be."""
    (reason,) = mend([finding], Context())
    return reason


def mended() -> None:
    """Mend everything, and check that nothing is wrong then."""
    found = examined()
    assert mend(found, Context()) == [None] * len(found), [each.message for each in found]
    assert [each.message for each in examined()] == []
