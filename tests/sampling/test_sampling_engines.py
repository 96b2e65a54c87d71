"""Engines and plugins."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from mlffdb.errors import PlanError
from mlffdb.sampling.engine_spec import EngineSpec
from mlffdb.sampling.engines import EngineCache, EngineFailedError
from mlffdb.sampling.items import Item
from mlffdb.structures.molecules import embed, from_smiles, structure_from_mol
from tests.sampling.sampling_helpers import make_plan, sample


def mmff(text: str):
    molecule = from_smiles(text)
    embed(molecule, 1, 1)
    atoms = structure_from_mol(molecule).to_atoms()
    item = Item("smiles", text, "organic", molecule=molecule)
    atoms.calc = EngineCache().engine(EngineSpec(name="mmff"), item)
    return atoms


@pytest.mark.parametrize("text", ["CC(=O)NC", "CC(=O)[O-]", "OCCO"])
def test_mmff_forces_are_the_gradient_wherever_the_molecule_went(text):
    atoms = mmff(text)
    rng = np.random.default_rng(0)
    atoms.get_forces()
    for _ in range(2):  # RDKit's own gradient is stale after a move
        atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
        forces, start = atoms.get_forces(), atoms.positions.copy()
        direction = rng.normal(size=start.shape)
        energies = []
        for sign in (1, -1):
            atoms.positions = start + sign * 1e-4 * direction
            energies.append(atoms.get_potential_energy())
        atoms.positions = start
        slope = (energies[0] - energies[1]) / 2e-4
        assert -(forces * direction).sum() == pytest.approx(slope, rel=1e-5, abs=1e-5)


def test_mmff_energy_is_rdkits():
    from rdkit.Chem import rdForceFieldHelpers as Mmff

    molecule = from_smiles("CCO")
    embed(molecule, 1, 1)
    field = Mmff.MMFFGetMoleculeForceField(molecule, Mmff.MMFFGetMoleculeProperties(molecule))
    assert mmff("CCO").get_potential_energy() * 23.0605 == pytest.approx(
        field.CalcEnergy(), rel=1e-3
    )


def test_mmff_without_bonds_or_types():
    with pytest.raises(EngineFailedError, match="needs bonds"):
        EngineCache().engine(EngineSpec(name="mmff"), Item("g2", "H2O", "organic"))
    with pytest.raises(EngineFailedError, match="no MMFF94 type"):
        mmff("[Ar]")


def test_calls_and_time_are_counted(smiles):
    engines = EngineCache()
    atoms = mmff("CO")
    cache = atoms.calc._cache
    before = cache.calls
    atoms.get_forces()
    atoms.get_potential_energy()  # same geometry: no second call
    assert cache.calls == before + 1
    assert cache.seconds > 0
    assert engines.calls == 0


def test_settings_reach_an_ase_calculator():
    item = Item("g2", "Ar", "x")
    spec = EngineSpec(name="lj", settings={"sigma": 3.4, "epsilon": 0.01, "rc": 50.0})
    from ase import Atoms

    atoms = Atoms("Ar2", [[0, 0, 0], [0, 0, 3.4 * 2 ** (1 / 6)]])
    atoms.calc = EngineCache().engine(spec, item)
    assert atoms.get_potential_energy() == pytest.approx(-0.01, rel=1e-3)
    assert np.abs(atoms.get_forces()).max() < 1e-6
    assert spec.label == 'lj {"epsilon": 0.01, "rc": 50.0, "sigma": 3.4}'


def test_settings_that_the_calculator_does_not_take():
    spec = EngineSpec(name="tests.sampling.sampling_engines:Springs", settings={"kk": 3})
    with pytest.raises(PlanError, match="kk"):
        EngineCache().engine(spec, Item("g2", "Ar", "x"))


def test_emt_relaxes_a_rattled_crystal():
    source = {"type": "prototypes", "crystals": [{"prototype": "fcc", "A": ["Cu"]}]}
    relax = {"type": "relax", "engine": "emt", "fmax": 0.001}
    made, rejected = sample(make_plan(source, [relax, {"type": "rattle", "std": 0.05}]))
    assert not rejected
    # forces of a perfect crystal vanish, so it is its own minimum, found twice
    assert [c.origin.method for c in made] == ["as_is", "relax", "rattle"]
    assert made[1].structure.positions == pytest.approx(made[0].structure.positions, abs=1e-3)


PLUGIN = """
from typing import Literal
from mlffdb.sampling.source import Source, Work
from mlffdb.sampling.method import Method
from mlffdb.sampling.items import Item
from mlffdb.structures import Structure
import numpy as np

class Lattice(Source):
    type: Literal["helium"] = "helium"
    count: int = 2
    default_domain = "noble"
    def work(self):
        for i in range(self.count):
            yield Work({"i": i})
    def build(self, payload, domain, seed):
        item = Item(self.type, payload["i"], domain, (f"helium:{payload['i']}",))
        item.give(Structure(np.array([2]), np.array([[0.0, 0.0, payload["i"]]])), {})
        yield item

class Shift(Method):
    type: Literal["shift"] = "shift"
    by: float
    def expected(self, pool):
        return len(pool), pool
    def run(self, item, context):
        for parent in item.parents:
            moved = parent.structure.moved(parent.structure.positions + self.by)
            yield item.candidate(moved, self.type, parameters={"by": self.by}, parent=parent)
"""

SCRIPT = """
from mlffdb.errors import PlanError
from mlffdb.sampling import load_plan, tasks, run_task, describe
from mlffdb.sampling.engines import EngineCache
plan = load_plan("plugin.yaml")
out = [c for t in tasks(plan) for c in run_task(plan, t, engines=EngineCache())]
print(len(out), sum(t.expected for t in tasks(plan)), out[1].domain, out[1].origin.method)
try:
    load_plan("broken.yaml")
except PlanError as error:
    print(error)
"""


def test_plugins_are_found_by_entry_point_and_a_broken_one_is_named(tmp_path):
    (tmp_path / "helium_plugin.py").write_text(PLUGIN)
    info = tmp_path / "helium_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: helium-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        textwrap.dedent(
            """\
            [mlffdb.sources]
            helium = helium_plugin:Lattice
            broken = helium_plugin:Absent

            [mlffdb.methods]
            shift = helium_plugin:Shift
            """
        )
    )
    for plan, source in (("plugin", "helium"), ("broken", "broken")):
        (tmp_path / f"{plan}.yaml").write_text(
            f"name: p\nblocks:\n  - name: b\n    source: {{type: {source}}}\n"
            "    methods: [{type: shift, by: 1}]\n"
        )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "4 4 noble shift"
    assert second.startswith("broken.yaml, line 4: ")
    assert "a plugin that does not load: AttributeError" in second
