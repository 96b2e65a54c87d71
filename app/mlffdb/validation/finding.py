"""What a check says about one structure or label, and the verdict that follows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Verdict = Literal["valid", "suspect", "rejected"]


class Severity(StrEnum):
    """How bad it is."""

    #: Worth knowing; changes no verdict.
    INFO = "info"
    #: Unusual; a person should look, and the user decides whether it is exported.
    SUSPECT = "suspect"
    #: Wrong; never labelled, never exported.
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark of one check.

    index: position in the batch that was checked
    check: name of the check, a key of `mlffdb.validation.CHECKS`
    value, threshold: what was measured and the limit that it crossed, both in ``unit``; None where
        the check has no number
    message: one line for people
    atoms: the atoms concerned, as indices into the structure (at most `MAX_ATOMS_NAMED`)
    """

    index: int
    check: str
    severity: Severity
    value: float | None
    threshold: float | None
    unit: str
    message: str
    atoms: tuple[int, ...] = ()


#: A finding names no more atoms than this.
MAX_ATOMS_NAMED = 20


def verdict(findings: Iterable[Finding]) -> Verdict:
    """Return the verdict over *findings* of one structure or label: the worst of them wins."""
    severities = {finding.severity for finding in findings}
    if Severity.REJECT in severities:
        return "rejected"
    return "suspect" if Severity.SUSPECT in severities else "valid"
