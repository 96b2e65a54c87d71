"""The contract between mlffdb and a teacher.

A teacher turns structures into predictions, in order, one result each: a Prediction, or a
Failure with a reason. One bad structure never fails its neighbours; what a teacher does not
support is refused before it is computed. Adapters implement `compute` for one homogeneous batch;
checks, batching and bisection around it are shared (`mlffdb.teachers.label`).

Units: eV, Å, eV/Å, eV/Å³ (tensile positive, Voigt xx yy zz yz xz xy), e.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mlffdb.structures import Structure


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a teacher can do; everything else is refused with a reason."""

    #: Atomic numbers that it knows.
    elements: frozenset[int]
    #: Allowed numbers of periodic directions: {0} isolated only, {0, 3} crystals too.
    periodicity: frozenset[int]
    #: Whether a charge other than 0 changes the result as it should.
    charged: bool
    #: Whether a multiplicity other than 1 changes the result as it should.
    open_shell: bool
    #: Whether stress is computed (for structures periodic in three dimensions only).
    stress: bool
    #: Whether forces are the negative gradient of the energy.
    conservative: bool
    #: Whether energy and forces follow a rotation of the structure exactly.
    equivariant: bool
    #: Whether a spread (uncertainty) comes with each label.
    spread: bool
    #: Largest structure, atoms; None for no limit.
    max_atoms: int | None
    #: What a batch is measured in: ``atoms``, ``edges`` or ``structures``.
    cost_unit: str
    #: Agreement to expect when a label is computed again: eV/atom and eV/Å.
    energy_tolerance: float
    force_tolerance: float
    #: Licence of the weights or the method, as its publisher names it.
    licence: str
    #: Agreement of stress to expect when a label is computed again, eV/Å³ (16 MPa).
    stress_tolerance: float = 1e-4


@dataclass(frozen=True, slots=True)
class Identity:
    """Everything that decides the numbers of a label; two that differ are two teachers."""

    name: str
    #: Package → version, the backend's included.
    versions: Mapping[str, str]
    #: SHA-256 of the weights, or None for a method without any.
    weights_sha256: str | None
    precision: str
    #: All that changes results: cutoff, edge method, accuracy, spin polarisation …
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: Whether the weights are random; such labels are never exported.
    untrained: bool = False

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over all fields."""
        content = json.dumps(asdict(self), sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True, eq=False, slots=True)
class Prediction:
    """One label.

    energy: total energy, eV
    forces: (n_atoms, 3) float32 or float64 as the teacher computes, eV/Å
    stress: (6,) float64, eV/Å³, or None
    energy_spread: standard deviation over an ensemble, eV, or None
    forces_spread: largest standard deviation of a force component, eV/Å, or None
    charge, multiplicity: what was used in the computation; multiplicity None where it has none
    details: small facts worth keeping with the label (SCF cycles, edge method)
    """

    energy: float
    forces: NDArray[np.float32] | NDArray[np.float64]
    stress: NDArray[np.float64] | None = None
    energy_spread: float | None = None
    forces_spread: float | None = None
    charge: int = 0
    multiplicity: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    #: Filled by the shared code: structures computed together, and this one's share of the time.
    batch_size: int = 1
    wall_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no label."""

    #: Short reason to group by: ``unsupported_element``, ``charge``, ``not_converged`` …
    code: str
    message: str
    #: Whether trying again can help (out of memory elsewhere, a device fault).
    retry: bool = False


Result = Prediction | Failure


class RefusedError(Exception):
    """Raised by an adapter for one structure that it cannot compute, with a Failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Teacher(ABC):
    """A loaded model on one device."""

    name: str
    device: str
    capabilities: Capabilities
    identity: Identity
    #: Largest cost of a batch, in ``capabilities.cost_unit``; lowered when memory runs out.
    budget: float
    #: What the budget may grow to again after memory ran out; None where it never did.
    ceiling: float | None = None
    #: Full batches that fitted since the budget last changed.
    fitted: int = 0
    #: Structures that a worker claims first; how many later follows from the time they take.
    first_batch: int = 1
    #: Failure code → why the teacher refuses it, added to the message where one is given.
    reasons: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def compute(self, batch: Sequence[Structure]) -> list[Result]:
        """Return one result per structure of a batch that passed the checks.

        The batch is homogeneous in periodicity and within the budget. May raise anything: the
        caller halves the batch down to the one structure at fault.
        """

    def cost(self, structure: Structure) -> float:
        """Return the cost of *structure* in ``capabilities.cost_unit``."""
        return float(structure.n_atoms)

    def recall(self, learned: float) -> None:
        """Begin with the budget that an earlier process ended with; it may grow from there."""
        if learned < self.budget:
            self.ceiling, self.budget = self.budget, learned

    def reset(self) -> None:  # noqa: B027 - optional
        """Throw away state that an exception may have spoilt, and free cached memory."""

    def close(self) -> None:  # noqa: B027 - optional
        """Free processes and device memory."""
