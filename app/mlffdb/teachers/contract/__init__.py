"""What every teacher must hold, ours or a plug-in's: the contract as checks that can be run.

Each check takes a loaded teacher and structures that it supports (more than one, of different
size, with distinct atoms), returns the largest deviation that it saw, or None where it does not
apply, and raises ContractError where the contract is broken. `run_suite` runs all of them.
"""

from mlffdb.teachers.contract.comparing import Check, ContractError, Deviation, predictions
from mlffdb.teachers.contract.structures import built_in_structures
from mlffdb.teachers.contract.suite import CHECKS, Outcome, run_suite

__all__ = [
    "CHECKS",
    "Check",
    "ContractError",
    "Deviation",
    "Outcome",
    "built_in_structures",
    "predictions",
    "run_suite",
]
