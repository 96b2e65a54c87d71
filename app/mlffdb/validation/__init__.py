"""Checks of structures and labels, their limits, and the verdicts that follow.

Nothing here touches the database: findings come from arrays and go back as values.
"""

from mlffdb.validation import hydrogens, label_checks, structure_checks  # noqa: F401 - register
from mlffdb.validation.batch import LabelArrays, LabelBatch, StructureBatch
from mlffdb.validation.duplicates import check_duplicates, find_duplicates
from mlffdb.validation.energy import EnergyFit, EnergyReference, check_energies, element_counts
from mlffdb.validation.finding import Finding, Severity, Verdict, verdict
from mlffdb.validation.registry import (
    CHECKS,
    Check,
    Scope,
    catalogue,
    label_check,
    structure_check,
)
from mlffdb.validation.run import check_labels, check_structures
from mlffdb.validation.thresholds import RULE_VERSION, Threshold, Thresholds, load_thresholds

__all__ = [
    "CHECKS",
    "RULE_VERSION",
    "Check",
    "EnergyFit",
    "EnergyReference",
    "Finding",
    "LabelArrays",
    "LabelBatch",
    "Scope",
    "Severity",
    "StructureBatch",
    "Threshold",
    "Thresholds",
    "Verdict",
    "catalogue",
    "check_duplicates",
    "check_energies",
    "check_labels",
    "check_structures",
    "element_counts",
    "find_duplicates",
    "label_check",
    "load_thresholds",
    "structure_check",
    "verdict",
]
