"""The stages by hand, with a real teacher: from files to files, and twice changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write

import mlffdb
from mlffdb.store.database import Database
from tests.cli.running import done, done_json, value
from tests.cli.running import mlffdb as command

pytest.importorskip("tblite", reason="needs the extra xtb")

TEACHER = "gfn2-xtb"
HARTREE, BOHR = 27.211386245988, 0.529177210903  # eV, Å
#: Isolated molecules of the extxyz file, each with a displaced copy.
NAMES = ("H2O", "CH4", "NH3", "CH3OH", "C2H6", "HCN", "H2CO", "CO2")


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """An extxyz file with 16 molecules and 2 crystals, and an SDF with implicit hydrogens."""
    from rdkit import Chem
    from rdkit.Chem import AllChem

    rng = np.random.default_rng(5)
    frames: list[Atoms] = []
    for name in NAMES:
        atoms = molecule(name)
        moved = atoms.copy()
        moved.positions += rng.normal(0, 0.03, moved.positions.shape)
        frames += [atoms, moved]
    frames += [bulk("Si"), bulk("NaCl", "rocksalt", a=5.64)]
    write(tmp_path / "mixed.extxyz", frames)
    ethanol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    AllChem.EmbedMolecule(ethanol, randomSeed=1)
    with Chem.SDWriter(str(tmp_path / "ethanol.sdf")) as writer:
        writer.write(ethanol)
    return [str(tmp_path / "mixed.extxyz"), str(tmp_path / "ethanol.sdf")]


def counts(db: Database) -> dict[str, int]:
    tables = ("structure", "origin", "label", "label_task", "finding", "verdict", "snapshot",
              "snapshot_member", "teacher")  # fmt: skip
    return {table: value(db, f"SELECT count(*) FROM {table}") for table in tables}


def test_from_files_to_a_snapshot_and_back(
    empty: Database, files: list[str], tmp_path: Path
) -> None:
    out = str(tmp_path / "out")

    def stages() -> tuple[dict[str, object], dict[str, object]]:
        done("init")
        imported = done_json("import", *files)
        # the two crystals are refused by the teacher, with the reason
        first = command("label", "--teacher", TEACHER, "--workers", "2")
        assert first.exit_code == (2 if imported["inserted"] else 0), first.output
        done("validate")
        exported = done_json("export", "set", "--teacher", TEACHER, "--out", out)
        return imported, exported

    imported, exported = stages()
    assert (imported["inserted"], imported["existing"], imported["rejected"]) == (19, 0, {})
    assert sum(exported["counts"].values()) == 17
    before = counts(empty)
    assert (before["structure"], before["label"], before["label_task"]) == (19, 17, 19)
    assert before["snapshot_member"] == 17
    assert_files_hold_the_teachers_numbers(Path(exported["path"]))
    assert_the_database_says_so(empty)

    again, unchanged = stages()
    assert (again["inserted"], again["existing"]) == (0, 19)
    assert (unchanged["version"], unchanged["created"]) == (1, False)
    assert counts(empty) == before


def assert_files_hold_the_teachers_numbers(folder: Path) -> None:
    """Compare every entry with a calculation of its own."""
    from tblite.interface import Calculator

    formulas = []
    for split in ("train", "val", "test"):
        found = mlffdb.load(folder / f"{split}.h5")
        for index in range(len(found)):
            atoms = found[index]
            formulas.append(atoms.get_chemical_formula())
            direct = Calculator("GFN2-xTB", atoms.numbers, atoms.positions / BOHR)
            direct.set("verbosity", 0)
            result = direct.singlepoint()
            energy = result.get("energy") * HARTREE
            assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-6 * len(atoms))
            np.testing.assert_allclose(
                atoms.get_forces(), -result.get("gradient") * HARTREE / BOHR, atol=1e-5
            )
    assert sorted(formulas) == sorted(
        [molecule(name).get_chemical_formula() for name in NAMES] * 2 + ["C2H6O"]
    )


def assert_the_database_says_so(db: Database) -> None:
    status = done_json("status")
    assert (status["structures"], status["labels"]) == (19, 17)
    (progress,) = status["labelling"]
    assert (progress["teacher"], progress["done"], progress["failed"]) == (TEACHER, 17, 2)
    (failure,) = status["failures"]
    assert (failure["error_code"], failure["tasks"]) == ("periodicity", 2)
    verdicts = {(row["teacher"], row["verdict"]): row["rows"] for row in status["quality"]}
    assert verdicts[None, "valid"] == 19
    assert verdicts[TEACHER, "valid"] == 17
    stats = done_json("stats")
    assert stats["periodic_share"] == pytest.approx(2 / 19)
    assert stats["elements"] == len({"H", "C", "N", "O", "Si", "Na", "Cl"})
    (row,) = done_json(
        "sql",
        "SELECT count(*) AS n, sum(n_atoms) AS atoms FROM dataset WHERE label_verdict = 'valid'",
    )
    assert row == {"n": 17, "atoms": value(db, "SELECT sum(n_atoms) FROM label")}
    origins = done_json(
        "sql",
        "SELECT source_file, count(*) AS n FROM origins GROUP BY source_file ORDER BY n",
    )
    assert [origin["n"] for origin in origins] == [1, 18]
    assert origins[0]["source_file"].endswith("ethanol.sdf")


def test_what_a_person_reads_on_the_way(db: Database, files: list[str], tmp_path: Path) -> None:
    """Each stage says what came of it and what comes next."""
    text = done("import", *files)
    assert text.splitlines()[0] == "19 inserted, 0 already there, 0 rejected."
    assert text.splitlines()[-1].startswith("Next: mlffdb label")
    text = done("label", "--teacher", TEACHER, "--where", "NOT periodic", "--dry-run")
    assert "17 structures without a label" in text
    text = done("label", "--teacher", TEACHER, "--where", "NOT periodic")
    assert "17 labelled now; 17 labelled in all, 0 open, 0 failed" in text
    assert text.splitlines()[-1] == "Next: mlffdb validate"
    assert done("validate").splitlines()[-1].startswith("Next: mlffdb export")
    assert "everything has a verdict" in done("validate")
    text = done("export", "set", "--teacher", TEACHER, "--out", str(tmp_path / "out"))
    assert text.startswith("Froze set v1: 17 structures (")
    opening = text.splitlines()[-1]
    assert opening.startswith("Open it: python -c ")
    assert done("export", "set", "--teacher", TEACHER, "--out", str(tmp_path / "out")).startswith(
        "Unchanged: set v1: 17 structures ("
    )
    assert done("label", "--teacher", TEACHER, "--where", "n_atoms > 99").startswith(
        "gfn2-xtb: 0 labelled now; 17 labelled in all"
    )
