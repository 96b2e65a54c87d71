"""Checks of labels, one by one; energies are judged against the whole set in `energy`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mlffdb.validation.batch import LabelBatch, finding, value_of
from mlffdb.validation.finding import Finding
from mlffdb.validation.registry import label_check

GPA_PER_EV_A3 = 160.2176634  # 1 eV/Å³ in GPa, from the exact elementary charge of SI 2019


@label_check("not_finite", "NaN or infinity in the energy, the forces or the stress")
def not_finite(batch: LabelBatch) -> Iterator[Finding]:
    """Find labels with numbers that are none. A stress of six NaN is one that was not computed."""
    limit = batch.thresholds.active("not_finite")
    if limit is None:
        return
    bad_energy = ~np.isfinite(batch.labels.energies)
    stress = (~np.isfinite(batch.labels.stresses)).sum(axis=1) * batch.has_stress
    broken = bad_energy | (batch.broken_forces > 0) | (stress > 0)
    bad_forces = ~np.isfinite(batch.labels.forces)
    for index in np.flatnonzero(broken & batch.judged(limit)).tolist():
        start, stop = batch.structures.offsets[index : index + 2]
        in_forces = bad_forces[start:stop]
        parts = [
            f"{count} of {of} {name}"
            for count, of, name in (
                (int(bad_energy[index]), 1, "energies"),
                (int(in_forces.sum()), in_forces.size, "force components"),
                (int(stress[index]), 6, "stress components"),
            )
            if count
        ]
        count = float(bad_energy[index] + in_forces.sum() + stress[index])
        message = f"{', '.join(parts)} are NaN or infinite"
        atoms = batch.local(index, start + np.flatnonzero(in_forces.any(axis=1)))
        yield finding("not_finite", limit, index, count, message, atoms)


@label_check("force_max", "The largest force on an atom, by its norm")
def force_max(batch: LabelBatch) -> Iterator[Finding]:
    """Find labels with a force whose norm is beyond the limit."""
    limit = batch.thresholds.active("force_max")
    if limit is None:
        return
    squares = np.einsum("nk,nk->n", batch.forces, batch.forces)
    strong = np.flatnonzero(squares > value_of(limit) ** 2)  # NaN is never larger
    judged = batch.judged(limit) & batch.summable
    for index in np.unique(batch.owner[strong]).tolist():
        if not judged[index]:
            continue
        start, stop = batch.structures.offsets[index : index + 2]
        atom = start + int(squares[start:stop].argmax())
        force = float(np.sqrt(squares[atom]))
        message = f"the force on {batch.atom_name(atom)} is {force:.5g} eV/Å"
        yield finding("force_max", limit, index, force, message, (int(atom - start),))


@label_check(
    "net_force",
    "The forces of a conservative teacher do not add up to zero",
    "net_force",
    "net_force_per_atom",
)
def net_force(batch: LabelBatch) -> Iterator[Finding]:
    """Find labels of conservative teachers whose forces move the whole structure.

    Teachers that predict forces directly often take the mean off, so a zero would prove nothing
    there and the check is left out.
    """
    if not batch.labels.conservative:
        return
    totals = np.linalg.norm(batch.sum_per_structure(batch.forces), axis=1)
    for index, name in _worst_limit(
        batch,
        {"net_force": totals, "net_force_per_atom": totals / batch.structures.n_atoms},
        batch.summable,
    ):
        limit = batch.thresholds[name]
        value = float(totals[index])
        if name == "net_force_per_atom":
            value /= int(batch.structures.n_atoms[index])
        message = (
            f"the forces add up to {totals[index]:.4g} eV/Å, "
            f"{1000 * totals[index] / batch.structures.n_atoms[index]:.3g} meV/Å per atom"
        )
        yield finding("net_force", limit, index, value, message)


@label_check(
    "net_torque",
    "The forces of a conservative teacher turn an isolated structure",
    "net_torque_per_atom",
)
def net_torque(batch: LabelBatch) -> Iterator[Finding]:
    """Find isolated structures that the forces of a conservative teacher turn as a whole."""
    if not batch.labels.conservative:
        return
    judged = batch.summable & batch.finite & (batch.n_periodic == 0)
    starts = batch.structures.positions[batch.structures.offsets[batch.owner]]
    torques = np.cross(batch.structures.positions - starts, batch.forces)
    totals = np.linalg.norm(batch.sum_per_structure(torques), axis=1)
    per_atom = totals / batch.structures.n_atoms
    for index, name in _worst_limit(batch, {"net_torque_per_atom": per_atom}, judged):
        message = f"the forces make a torque of {1000 * per_atom[index]:.3g} meV per atom"
        limit = batch.thresholds[name]
        yield finding("net_torque", limit, index, float(per_atom[index]), message)


@label_check("stress_max", "The largest component of the stress")
def stress_max(batch: LabelBatch) -> Iterator[Finding]:
    """Find stresses with a component beyond the limit, which is in GPa."""
    limit = batch.thresholds.active("stress_max")
    if limit is None:
        return
    largest = np.abs(batch.labels.stresses).max(axis=1) * GPA_PER_EV_A3
    for index in np.flatnonzero((largest > value_of(limit)) & batch.judged(limit)).tolist():
        if np.isfinite(largest[index]):
            message = f"a component of the stress is {largest[index]:.4g} GPa"
            yield finding("stress_max", limit, index, float(largest[index]), message)


def _worst_limit(
    batch: LabelBatch, values: dict[str, np.ndarray], judged: np.ndarray
) -> Iterator[tuple[int, str]]:
    """Yield each structure beyond a limit with the first limit, in the order given, it crosses."""
    done = ~judged
    for name, value in values.items():
        limit = batch.thresholds.active(name)
        if limit is None:
            continue
        crossed = ~done & batch.judged(limit) & (value > value_of(limit))
        done = done | crossed
        for index in np.flatnonzero(crossed).tolist():
            yield int(index), name
