"""The contract suite on every teacher, and on teachers that break it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mlffdb.teachers.contract import CHECKS, ContractError
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


#: Of the real network, what its weights can change; the small one runs everything.
ANI_CHECKS = {"order", "forces", "stress"}


@pytest.mark.parametrize("check", CHECKS)
def test_molecules(teacher, check, molecules):
    if teacher.name == "fennol:ani1x" and check not in ANI_CHECKS:
        pytest.skip("runs on the small model of the same kind")
    CHECKS[check](teacher, molecules)


@pytest.mark.parametrize("check", CHECKS)
def test_crystals(teacher, check, crystals):
    if 3 not in teacher.capabilities.periodicity:
        pytest.skip("the teacher refuses crystals, which test_molecules proves")
    if teacher.name == "fennol:ani1x" and check not in ANI_CHECKS:
        pytest.skip("runs on the small model of the same kind")
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
