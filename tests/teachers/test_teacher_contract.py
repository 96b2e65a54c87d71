"""The contract suite on every teacher, and on teachers that break it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mlffdb.teachers.checks import precheck
from mlffdb.teachers.contract import CHECKS, ContractError, built_in_structures, run_suite
from tests.teachers.analytic import PairTeacher

TEACHERS = ("pair", "gfn2-xtb", "gfn1-xtb", "tiny", "ani1x", "orb")


@pytest.fixture(scope="module")
def loaded():
    """Teachers by name, each loaded once."""
    return {}


@pytest.fixture(params=TEACHERS)
def teacher(request, loaded, settings):
    name = request.param
    if name not in loaded:
        loaded[name] = build(name, request, settings)
    return loaded[name]


def build(name, request, settings):
    if name == "pair":
        return PairTeacher(budget=20)
    if name.endswith("xtb"):
        pytest.importorskip("tblite", reason="the extra xtb is not installed")
        from mlffdb.teachers.xtb import load_xtb

        return load_xtb(name, "cpu")
    if name == "orb":
        from mlffdb.teachers.orb import load_orb

        return load_orb("orb-v2", request.getfixturevalue("orb_checkpoint"), "0", device="cpu")
    from mlffdb.teachers.fennol import load_fennol

    path = request.getfixturevalue("tiny_fnx" if name == "tiny" else "ani_path")
    return load_fennol(
        f"fennol:{name}", path, "0", "MIT", device="cpu", cache_dir=settings.cache_dir
    )


def skip_slow(teacher, check):
    """Batches of one compile for seconds, whatever the weights are."""
    if teacher.name == "fennol:ani1x" and check == "batch":
        pytest.skip("runs on the small model of the same kind")


@pytest.mark.parametrize("check", CHECKS)
def test_molecules(teacher, check, molecules):
    skip_slow(teacher, check)
    CHECKS[check](teacher, molecules)


@pytest.mark.parametrize("check", CHECKS)
def test_crystals(teacher, check, crystals):
    if 3 not in teacher.capabilities.periodicity:
        pytest.skip("the teacher refuses crystals, which test_molecules proves")
    skip_slow(teacher, check)
    CHECKS[check](teacher, crystals)


class Reversed(PairTeacher):
    def compute(self, batch):
        return super().compute(batch)[::-1]


class Uphill(PairTeacher):
    def one(self, structure):
        result = super().one(structure)
        return dataclasses.replace(result, forces=-result.forces)


class Drifting(PairTeacher):
    def one(self, structure):
        result = super().one(structure)
        return dataclasses.replace(result, energy=result.energy + 0.001 * len(self.calls))


class Grounded(PairTeacher):
    """Energy depends on where the structure is, and forces say so."""

    def one(self, structure):
        result = super().one(structure)
        lift = 0.01 * float(structure.positions[:, 2].sum())
        pull = np.array([0, 0, 0.01])
        return dataclasses.replace(result, energy=result.energy + lift, forces=result.forces - pull)


class Indexed(PairTeacher):
    def one(self, structure):
        result = super().one(structure)
        return dataclasses.replace(result, energy=result.energy + 0.1 * structure.numbers[0])


class Crowded(PairTeacher):
    def compute(self, batch):
        return [
            dataclasses.replace(r, energy=r.energy + 0.01 * len(batch))
            for r in super().compute(batch)
        ]


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (Reversed, "order"),
        (Uphill, "forces"),
        (Drifting, "repeatable"),
        (Grounded, "translation"),
        (Grounded, "rotation"),
        (Indexed, "permutation"),
        (Crowded, "batch"),
    ],
)
def test_a_broken_teacher_is_caught(broken, check, molecules):
    with pytest.raises(ContractError):
        CHECKS[check](broken(), molecules)


def test_the_structures_fit_what_any_teacher_may_compute():
    """Of one element only, hydrogen among them: neither touching nor squeezed."""
    for number in range(1, 95):
        teacher = PairTeacher()
        teacher.capabilities = dataclasses.replace(
            teacher.capabilities,
            elements=frozenset({number, 2}),
            periodicity=frozenset({0, 3}),
        )
        found = built_in_structures(teacher.capabilities)
        assert [precheck(teacher, structure) for structure in found] == [None] * len(found)


@pytest.mark.parametrize("name", ["gfn2-xtb-spin", "gfn1-xtb-spin"])
def test_the_suite_on_charged_and_open_shell_structures(name):
    pytest.importorskip("tblite", reason="the extra xtb is not installed")
    from mlffdb.teachers.xtb import load_xtb

    spin = load_xtb(name, "cpu")
    structures = built_in_structures(spin.capabilities)
    assert {(s.charge, s.multiplicity) for s in structures} == {
        (0, 1),
        (1, 1),
        (-1, 1),
        (0, 2),
        (0, 3),
    }
    outcomes = run_suite(spin, structures)
    assert [one.why for one in outcomes if one.status == "broken"] == []
    assert next(one for one in outcomes if one.check == "forces").force < 1e-3


def test_what_is_not_declared_is_measured(molecules):
    class Leaning(Uphill):
        """Neither conservative nor equivariant, and it says so."""

        def __init__(self):
            super().__init__()
            self.capabilities = dataclasses.replace(
                self.capabilities, conservative=False, equivariant=False
            )

        def one(self, structure):
            result = super().one(structure)
            lean = 0.01 * float(np.ptp(structure.positions[:, 2]))
            return dataclasses.replace(result, energy=result.energy + lean)

    found = {one.check: one for one in run_suite(Leaning(), molecules)}
    assert found["rotation"].status == found["forces"].status == "measured"
    assert found["rotation"].energy > 1e-4
    assert found["forces"].force > 0.01
    assert {one.status for name, one in found.items() if name not in ("rotation", "forces")} <= {
        "passed",
        "not applicable",
    }


def test_the_suite_names_what_is_broken(molecules):
    outcomes = run_suite(Uphill(), molecules)
    [broken] = [one for one in outcomes if one.status == "broken"]
    assert broken.check == "forces"
    assert "no gradient" in broken.why


def test_failures_are_no_agreement(molecules):
    class Failing(PairTeacher):
        def compute(self, batch):
            raise ValueError("never works")

    with pytest.raises(ContractError, match="never works"):
        CHECKS["order"](Failing(), molecules)


def test_stress_where_none_belongs_is_caught(molecules):
    class Stressed(PairTeacher):
        def one(self, structure):
            return dataclasses.replace(super().one(structure), stress=np.zeros(6))

    with pytest.raises(ContractError):
        CHECKS["stress"](Stressed(), molecules)
