"""The whole way with real structures and real weights, compared with the teachers themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

import mlffdb
from mlffdb.pipeline import exporting, importing, validating
from mlffdb.store.database import Database
from mlffdb_workers import campaign

MODEL = "ani1x_model0"
ONE_EACH = (
    "structure_id IN (SELECT structure_id FROM origins WHERE parameters->>'conformation' = '7')"
)


@pytest.fixture
def monomers(db: Database, shared_folder: Path) -> Database:
    """All of des-monomers: 378 molecules, 50 conformations each."""
    report = importing.import_files(db, [shared_folder / "structures" / "des-monomers.hdf5"])
    assert (report.inserted, report.rejected.total()) == (18_900, 0)
    return db


def exported_rows(db: Database, teacher: str, out: Path, n: int) -> list[dict[str, object]]:
    """Validate, export, and return *n* random entries of the files."""
    validating.validate(db)
    report = exporting.export(db, "real", teacher=teacher, out=out)
    loaded = [
        atoms
        for split in ("train", "val", "test")
        for atoms in mlffdb.load(report.path / f"{split}.h5")
    ]
    chosen = np.random.default_rng(0).choice(len(loaded), size=n, replace=False)
    return [
        {
            "numbers": loaded[i].numbers.tolist(),
            "positions": loaded[i].positions.tolist(),
            "charge": loaded[i].info["charge"],
            "energy": loaded[i].get_potential_energy(),
            "forces": loaded[i].get_forces().tolist(),
        }
        for i in chosen
    ]


def test_gfn2_xtb_from_file_to_file(monomers: Database, tmp_path: Path) -> None:
    pytest.importorskip("tblite", reason="needs the extra xtb")
    from tblite.interface import Calculator

    report = campaign.label(monomers, "gfn2-xtb", workers=2, where=ONE_EACH)
    assert (report.progress.done, report.progress.failed) == (378, 0)
    hartree, bohr = 27.211386245988, 0.529177210903
    for row in exported_rows(monomers, "gfn2-xtb", tmp_path, 50):
        positions = np.array(row["positions"])
        direct = Calculator("GFN2-xTB", np.array(row["numbers"]), positions / bohr, row["charge"])
        direct.set("verbosity", 0)
        result = direct.singlepoint()
        assert row["energy"] == pytest.approx(
            result.get("energy") * hartree, abs=1e-6 * len(positions)
        )
        np.testing.assert_allclose(
            row["forces"], -np.array(result.get("gradient")) * hartree / bohr, atol=1e-5
        )


DIRECT = """
import json, sys
import jax, numpy as np
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_enable_x64", True)
from fennol import FENNIX

model = FENNIX.load(sys.argv[1])
out = []
for row in json.load(sys.stdin):
    n = len(row["numbers"])
    inputs = dict(species=np.array(row["numbers"], np.int32),
                  coordinates=np.array(row["positions"]),
                  natoms=np.array([n], np.int32), batch_index=np.zeros(n, np.int32))
    energy, forces, _ = model.energy_and_forces(unit="eV", **inputs)
    out.append([float(energy[0]), np.asarray(forces).tolist()])
json.dump(out, sys.stdout)
"""


def test_ani_from_file_to_file_and_ions_are_refused(
    monomers: Database, tmp_path: Path, shared_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fennol", reason="needs the extra fennol")
    weights = shared_folder / "weights"
    monkeypatch.setenv("MLFFDB_WEIGHTS_DIR", str(weights))
    hcno = f"{ONE_EACH} AND elements <@ ARRAY['H','C','N','O']"
    report = campaign.label(monomers, f"fennol:{MODEL}", where=hcno)
    assert (report.progress.done, report.progress.failed) == (217, 15)
    assert [(code, n) for code, n, _ in report.failures] == [("charge", 15)]
    rows = exported_rows(monomers, f"fennol:{MODEL}", tmp_path, 50)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DIRECT, weights / f"{MODEL}.fnx"],
        input=json.dumps(rows), capture_output=True, text=True, check=True,
    )  # fmt: skip
    for row, (energy, forces) in zip(rows, json.loads(done.stdout), strict=True):
        assert row["energy"] == pytest.approx(energy, abs=1e-3)
        np.testing.assert_allclose(row["forces"], forces, atol=1e-5)
    with monomers.begin() as connection:
        ions = connection.scalar(
            text("SELECT count(*) FROM label JOIN structure s USING (structure_id)"
                 " WHERE s.charge <> 0")
        )  # fmt: skip
    assert ions == 0
