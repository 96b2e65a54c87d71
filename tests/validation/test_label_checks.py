"""Label checks: each finds its defect, and leaves sound labels alone."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mlffdb.structures import StructureArrays
from mlffdb.validation import Finding, LabelArrays, Severity, check_labels
from tests.validation.making import THRESHOLDS, batch, g2, labels


def pair_forces(structures: StructureArrays, strength: float = 1.0) -> np.ndarray:
    """Forces of springs between all atoms of each structure: no net force, no net torque."""
    forces = np.zeros((len(structures.numbers), 3))
    for start, stop in zip(structures.offsets[:-1], structures.offsets[1:], strict=True):
        positions = structures.positions[start:stop]
        forces[start:stop] = strength * (positions.mean(axis=0) - positions)
    return forces


def said(structures: StructureArrays, given_labels: LabelArrays) -> list[Finding]:
    return check_labels(structures, given_labels, THRESHOLDS)


def three() -> StructureArrays:
    return batch(g2("CH3CH2OH"), g2("H2O"), bulk("Si", cubic=True))


def test_sound_labels_pass_every_check() -> None:
    structures = three()
    stresses = np.full((3, 6), np.nan)
    stresses[2] = 0.1
    assert said(structures, labels(structures, forces=pair_forces(structures))) == []
    assert said(structures, labels(structures, stresses=stresses)) == []
    assert said(batch(), labels(batch())) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["energy", "forces", "stress"])
def test_numbers_that_are_none_are_rejected(where: str, bad: float) -> None:
    structures = three()
    energies, forces, stresses = np.zeros(3), pair_forces(structures), np.full((3, 6), np.nan)
    stresses[2] = 0.0
    if where == "energy":
        energies[1] = bad
    elif where == "forces":
        forces[9 + 1, 2] = bad
    else:
        stresses[1] = 0.0
        stresses[1, 3] = bad
    (finding,) = said(
        structures, labels(structures, energies=energies, forces=forces, stresses=stresses)
    )
    assert (finding.index, finding.check, finding.value) == (1, "not_finite", 1.0)
    assert finding.severity is Severity.REJECT
    assert finding.atoms == ((1,) if where == "forces" else ())


def test_the_largest_force_is_that_of_an_atom_by_its_norm() -> None:
    structures = three()
    forces = np.zeros((len(structures.numbers), 3))
    forces[9 + 2] = 30.0, 30.0, 30.0  # 51.96 by norm, 30 by component
    forces[9] = -forces[9 + 2]
    (finding,) = [
        f
        for f in said(structures, labels(structures, forces=forces, conservative=False))
        if f.check == "force_max"
    ]
    assert finding.index == 1 and finding.value == pytest.approx(51.96, abs=0.01)
    assert finding.atoms[0] in (0, 2)
    assert said(structures, labels(structures, forces=forces * 0.95, conservative=False)) == []


def test_huge_forces_do_not_overflow() -> None:
    structures = batch(g2("H2O"))
    forces = np.full((3, 3), 1e200)
    findings = said(structures, labels(structures, forces=forces))
    assert {"force_max", "net_force"} <= {f.check for f in findings}
    assert all(f.value is not None and np.isfinite(f.value) for f in findings)


def test_a_net_force_tells_on_conservative_teachers_only() -> None:
    structures = batch(*[g2("CH3CH2OH")] * 3)
    forces = pair_forces(structures)
    forces[0, 0] += 0.2  # 0.2 eV/Å in all: reject
    forces[9, 0] += 0.02  # 2.2 meV/Å per atom: suspect
    forces[18, 0] += 0.002  # noise
    direct = labels(structures, forces=forces, conservative=False)
    assert said(structures, direct) == []
    findings = [
        f for f in said(structures, labels(structures, forces=forces)) if f.check == "net_force"
    ]
    assert [(f.index, f.severity) for f in findings] == [
        (0, Severity.REJECT),
        (1, Severity.SUSPECT),
    ]
    assert findings[0].value == pytest.approx(0.2)
    assert findings[1].value == pytest.approx(0.02 / 9)


def test_a_torque_tells_on_isolated_structures_only() -> None:
    isolated, crystal = batch(g2("H2O")), batch(bulk("Si", cubic=True))
    forces = np.zeros((3, 3))
    forces[1, 0], forces[2, 0] = 0.05, -0.05
    (finding,) = said(isolated, labels(isolated, forces=forces))
    assert (finding.check, finding.severity) == ("net_torque", Severity.SUSPECT)
    turning = np.zeros((8, 3))
    turning[1, 0], turning[2, 0] = 0.05, -0.05
    assert said(crystal, labels(crystal, forces=turning)) == []


def test_stress_is_held_against_gigapascal() -> None:
    structures = batch(bulk("Si"), bulk("Si"))
    stresses = np.zeros((2, 6))
    stresses[0, 4] = -81.0 / 160.2176634
    stresses[1, 0] = 79.0 / 160.2176634
    (finding,) = said(structures, labels(structures, stresses=stresses))
    assert (finding.index, finding.check) == (0, "stress_max")
    assert finding.value == pytest.approx(81.0) and finding.unit == "GPa"


def test_labels_of_another_shape_are_refused() -> None:
    structures = batch(g2("H2O"))
    with pytest.raises(ValueError, match="labels of shapes"):
        said(structures, labels(batch(g2("CH4"))))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_findings_do_not_depend_on_orientation_place_or_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    molecules = [g2("CH3CH2OH"), g2("C6H6"), g2("H2O")]
    plain = batch(*molecules)
    forces = rng.normal(0, 25, (len(plain.numbers), 3))
    forces[9:21] = pair_forces(plain)[9:21]
    before = said(plain, labels(plain, forces=forces))
    turn, order = Rotation.random(rng=rng).as_matrix(), rng.permutation(3)
    parts = np.split(forces @ turn, plain.offsets[1:-1])
    turned = batch(
        *(molecules[i].moved(molecules[i].positions @ turn + rng.normal(0, 9, 3)) for i in order)
    )
    after = said(turned, labels(turned, forces=np.concatenate([parts[i] for i in order])))
    assert sorted(
        (int(order[f.index]), f.check, f.severity) for f in after if f.check != "net_torque"
    ) == sorted((f.index, f.check, f.severity) for f in before if f.check != "net_torque")
