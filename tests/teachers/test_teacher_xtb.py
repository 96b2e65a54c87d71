"""GFN-xTB against tblite called directly."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from ase.build import molecule

from mlffdb.errors import TeacherError
from mlffdb.structures import Structure
from mlffdb.teachers import xtb
from mlffdb.teachers.base import Failure
from mlffdb.teachers.label import label
from mlffdb.teachers.units import BOHR, HARTREE

pytest.importorskip("tblite", reason="the extra xtb is not installed")


@pytest.fixture(scope="module")
def gfn2():
    return xtb.load_xtb("gfn2-xtb", "cpu")


def direct(structure, method="GFN2-xTB"):
    """Energy in eV and forces in eV/Å by tblite itself."""
    from tblite.interface import Calculator

    calculator = Calculator(
        method, structure.numbers, structure.positions / BOHR, float(structure.charge), 0
    )
    calculator.set("verbosity", 0)
    outcome = calculator.singlepoint()
    return outcome.get("energy") * HARTREE, -outcome.get("gradient") * HARTREE / BOHR


@pytest.mark.parametrize("name", xtb.METHODS)
def test_labels_are_those_of_tblite(name, molecules):
    teacher = xtb.load_xtb(name, "cpu")
    for structure, result in zip(molecules, label(teacher, molecules), strict=True):
        energy, forces = direct(structure, xtb.METHODS[name])
        assert abs(result.energy - energy) / structure.n_atoms < 1e-9
        assert np.abs(result.forces - forces).max() < 1e-8
        assert result.forces.dtype == np.float64
        assert result.stress is None


def test_a_published_energy(gfn2):
    """The example of tblite's documentation: units and constants, to the SCF's accuracy."""
    numbers = [1, 1, 6, 5, 1, 15, 8, 17, 13, 15, 5, 1, 9, 15, 1, 15]
    positions = np.array(
        [
            [+2.79274810283778, +3.82998228828316, -2.79287054959216],
            [-1.43447454186833, +0.43418729987882, +5.53854345129809],
            [-3.26268343665218, -2.50644032426151, -1.56631149351046],
            [+2.14548759959147, -0.88798018953965, -2.24592534506187],
            [-4.30233097423181, -3.93631518670031, -0.48930754109119],
            [+0.06107643564880, -3.82467931731366, -2.22333344469482],
            [+0.41168550401858, +0.58105573172764, +5.56854609916143],
            [+4.41363836635653, +3.92515871809283, +2.57961724984000],
            [+1.33707758998700, +1.40194471661647, +1.97530004949523],
            [+3.08342709834868, +1.72520024666801, -4.42666116106828],
            [-3.02346932078505, +0.04438199934191, -0.27636197425010],
            [+1.11508390868455, -0.97617412809198, +6.25462847718180],
            [+0.61938955433011, +2.17903547389232, -6.21279842416963],
            [-2.67491681346835, +3.00175899761859, +1.05038813614845],
            [-4.13181080289514, -2.34226739863660, -3.44356159392859],
            [+2.85007173009739, -2.64884892757600, +0.71010806424206],
        ]
    )
    structure = Structure(np.array(numbers), positions * BOHR, multiplicity=1)
    [result] = label(gfn2, [structure])
    assert result.energy == pytest.approx(-31.716159156026254 * HARTREE, abs=2e-5)


def test_the_charge_is_used_and_noted(gfn2):
    atoms = molecule("NH3")
    hydrogen = [[0.0, 0.0, 1.2]]
    ammonium = Structure(
        np.append(atoms.numbers, 1), np.vstack([atoms.positions, hydrogen]), charge=1
    )
    [result] = label(gfn2, [ammonium])
    assert (result.charge, result.multiplicity) == (1, 1)
    assert result.energy == pytest.approx(direct(ammonium)[0], abs=1e-8)


def test_no_state_is_carried_from_one_structure_to_the_next(gfn2, molecules):
    alone = label(gfn2, [molecules[2]])[0]
    after = label(gfn2, [molecules[4], molecules[2]])[1]
    assert alone.energy == after.energy
    assert np.array_equal(alone.forces, after.forces)


@pytest.mark.parametrize(
    ("structure", "code", "reason"),
    [
        (Structure.from_atoms(molecule("O2"), multiplicity=3), "multiplicity", "use gfn2-xtb-spin"),
        (
            Structure([6] * 2, [[0, 0, 0], [1.4, 0, 0]], np.diag([2.5, 4.3, 20]), (1, 1, 0)),
            "periodicity",
            "slabs",
        ),
        (Structure([94], [[0, 0, 0]]), "unsupported_element", "Pu"),
    ],
)
def test_refused_with_the_reason(gfn2, structure, code, reason):
    [failure] = label(gfn2, [structure])
    assert failure.code == code
    assert reason in failure.message


def test_an_scf_that_does_not_converge_is_final(gfn2, monkeypatch, molecules):
    monkeypatch.setattr(xtb, "MAX_ITERATIONS", 2)
    [failure] = label(gfn2, [molecules[4]])
    assert isinstance(failure, Failure)
    assert (failure.code, failure.retry) == ("not_converged", False)


def test_there_is_no_gpu_for_it():
    with pytest.raises(TeacherError, match="CPU only"):
        xtb.load_xtb("gfn2-xtb", "cuda:0")


def test_the_fingerprint_tells_the_methods_apart():
    found = {xtb.load_xtb(name, "cpu").identity.fingerprint for name in xtb.METHODS}
    assert len(found) == len(xtb.METHODS) == 4


def test_one_thread_computes():
    """In a fresh process that asked for nothing, a long calculation uses one core's time."""
    code = (
        "import time, numpy as np\n"
        "from mlffdb.structures import Structure\n"
        "from mlffdb.teachers.label import label\n"
        "from mlffdb.teachers.xtb import load_xtb\n"
        "teacher = load_xtb('gfn2-xtb', 'cpu')\n"
        "n = 60\n"
        "x = np.zeros((n, 3)); x[:, 0] = np.arange(n) * 3.0\n"
        "label(teacher, [Structure(np.full(n, 10), x)])\n"
        "wall, cpu = time.perf_counter(), time.process_time()\n"
        "label(teacher, [Structure(np.full(n, 10), x)] * 4)\n"
        "print((time.process_time() - cpu) / (time.perf_counter() - wall))\n"
        "print(teacher._openmp is None or teacher._openmp.omp_get_max_threads())\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    share, threads = done.stdout.split()
    assert float(share) < 1.3
    assert threads in ("1", "True")
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["gfn2-xtb-spin", "gfn1-xtb-spin"])
def test_triplet_oxygen_lies_below_singlet(name):
    """By experiment 0.98 eV; plain GFN-xTB has it the other way round."""
    spin = xtb.load_xtb(name, "cpu")
    triplet, singlet = label(
        spin, [Structure.from_atoms(molecule("O2"), multiplicity=m) for m in (3, 1)]
    )
    assert 0.3 < singlet.energy - triplet.energy < 1.5
    assert triplet.multiplicity == 3


def test_spin_polarised_singlets_are_those_of_the_plain_method(gfn2, molecules):
    spin = xtb.load_xtb("gfn2-xtb-spin", "cpu")
    for one, other in zip(label(gfn2, molecules), label(spin, molecules), strict=True):
        assert abs(one.energy - other.energy) < 1e-8
        assert np.abs(one.forces - other.forces).max() < 1e-6


def test_no_order_changes_a_bit(molecules):
    """No wavefunction is carried over: open shells among singlets, in any order."""
    spin = xtb.load_xtb("gfn2-xtb-spin", "cpu")
    radical = Structure.from_atoms(molecule("CH3"), multiplicity=2)
    mixed = [*molecules, Structure.from_atoms(molecule("O2"), multiplicity=3), radical]
    rng = np.random.default_rng(5)
    first = [label(spin, [structure])[0] for structure in mixed]
    for _ in range(3):
        order = rng.permutation(len(mixed))
        for place, result in zip(order, label(spin, [mixed[i] for i in order]), strict=True):
            assert result.energy == first[place].energy
            assert np.array_equal(result.forces, first[place].forces)
