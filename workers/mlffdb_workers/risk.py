"""Tasks that may kill the process: computed alone, so that no other pays for them."""

from __future__ import annotations

from mlffdb.store.queue import Claim

#: Tasks that are tried more often than this are computed alone, with nothing else in flight: each
#: death of a worker counts as an attempt for all that it holds.
RISKY_ATTEMPT = 2


def is_risky(claims: list[Claim]) -> bool:
    """Whether a batch is a task that has been tried so often that it may take the process along."""
    return bool(claims) and claims[0].attempt > RISKY_ATTEMPT


def without_risk(claims: list[Claim]) -> list[Claim]:
    """Return the claims before the first risky one, or that one alone."""
    found = (index for index, claim in enumerate(claims) if claim.attempt > RISKY_ATTEMPT)
    first = next(found, len(claims))
    return claims[: max(1, first)]
