"""`mlffdb audit` and `mlffdb teachers check`, with a real teacher."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
import pytest
from sqlalchemy import text

from mlffdb.config import load_settings
from mlffdb.pipeline import auditing
from mlffdb.pipeline.teachers import load_teacher, teacher_row
from mlffdb.store import labels, structures
from mlffdb.store.database import Database
from mlffdb.store.records import encode_forces
from mlffdb.teachers.base import Prediction
from mlffdb.teachers.label import label
from tests.cli.running import done, done_json, mlffdb, refused
from tests.helpers import add_molecules

pytest.importorskip("tblite", reason="the extra xtb is not installed")
COUNT = 24


@pytest.fixture
def labelled(db: Database) -> list[UUID]:
    """Molecules with labels by gfn2-xtb, written as workers write them."""
    ids = add_molecules(db, COUNT)
    teacher = load_teacher("gfn2-xtb", device="cpu", settings=load_settings())
    with db.begin() as connection:
        teacher_id = labels.register_teacher(connection, teacher_row(teacher))
        found = structures.fetch(connection, ids)
    results = label(teacher, [found[identity] for identity in ids])
    for identity, result in zip(ids, results, strict=True):
        assert isinstance(result, Prediction)
        insert_label(db, teacher_id, identity, result.energy, result.forces)
    return ids


def insert_label(db: Database, teacher_id: int, identity: UUID, energy: float, forces) -> None:
    with db.begin() as connection:
        connection.execute(
            text("""
INSERT INTO label (structure_id, teacher_id, n_atoms, energy, forces, charge, batch_size,
    wall_seconds, worker_id, device)
VALUES (:structure, :teacher, :n, :energy, :forces, 0, 1, 0, :worker, 'cpu')"""),
            {"structure": identity, "teacher": teacher_id, "n": len(forces), "energy": energy,
             "forces": encode_forces(forces), "worker": uuid4()},
        )  # fmt: skip


def tamper(db: Database, identity: UUID, *, energy: float = 0.0, force: float = 0.0) -> None:
    """Put a label that is wrong by so much in the place of a right one."""
    with db.begin() as connection:
        teacher_id, right, forces, n_atoms = connection.execute(
            text("DELETE FROM label WHERE structure_id = :id RETURNING teacher_id, energy, forces,"
                 " n_atoms"),
            {"id": identity},
        ).one()  # fmt: skip
    wrong = np.frombuffer(bytes(forces), dtype="<f8").reshape(n_atoms, 3).copy()
    wrong[0, 1] += force
    insert_label(db, teacher_id, identity, right + energy, wrong)


def test_sound_labels_come_out_again(db: Database, labelled: list[UUID]) -> None:
    said = done("audit", "--fraction", "0.5", "--seed", "7")
    assert f"{COUNT // 2} of {COUNT} labels by gfn2-xtb computed again on cpu (seed 7)" in said
    with db.begin() as connection:
        rows = connection.execute(text("SELECT * FROM audit")).all()
        worker = connection.execute(text("SELECT kind, done, stopped_at FROM worker")).one()
    assert len(rows) == COUNT // 2
    assert all(row.within_tolerance and abs(row.energy_difference) < 1e-6 for row in rows)
    assert (worker.kind, worker.done) == ("audit", COUNT // 2)
    assert worker.stopped_at is not None


@pytest.mark.parametrize(
    ("wrong", "said"), [({"energy": 0.01}, "energy by"), ({"force": 0.02}, "forces by")]
)
def test_a_label_that_was_tampered_with_is_found(
    db: Database, labelled: list[UUID], wrong: dict[str, float], said: str
) -> None:
    tamper(db, labelled[5], **wrong)
    result = mlffdb("audit", "--fraction", "1")
    assert result.exit_code == 1
    assert str(labelled[5]) in result.stdout
    assert said in " ".join(result.stdout.split())
    assert "1 of 24 labels do not come out again" in result.stderr
    with db.begin() as connection:
        bad = connection.execute(text("SELECT * FROM audit WHERE NOT within_tolerance")).one()
        run = connection.execute(text("SELECT action, counts FROM run WHERE action='audit'")).one()
    assert bad.structure_id == labelled[5]
    assert bad.energy_difference * bad.n_atoms == pytest.approx(-wrong.get("energy", 0), abs=1e-6)
    assert bad.force_difference == pytest.approx(wrong.get("force", 0), abs=1e-6)
    assert run.counts == {"audited": COUNT, "disagreeing": 1}


def test_the_seed_draws_the_sample(db: Database, labelled: list[UUID]) -> None:
    runs = [done_json("audit", "--fraction", "0.3", "--seed", seed) for seed in ("1", "1", "2")]
    with db.begin() as connection:
        drawn = [
            set(
                connection.scalars(
                    text("SELECT structure_id FROM audit WHERE run_id = :run"),
                    {"run": run["run_id"]},
                )
            )
            for run in runs
        ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert done_json("audit", "--fraction", "1", "--limit", "3")["audited"] == 3


def test_another_version_is_refused_or_compared(db: Database, labelled: list[UUID]) -> None:
    settings = load_settings()
    teacher = load_teacher("gfn2-xtb", device="cpu", settings=settings)
    old = dataclasses.replace(teacher.identity, versions={"tblite": "0.0.1"})
    with db.begin() as connection:
        connection.execute(
            text("UPDATE teacher SET fingerprint = :f, versions = :v"),
            {"f": old.fingerprint, "v": '{"tblite": "0.0.1"}'},
        )
    said = refused("audit")
    assert "tblite: 0.0.1 there" in said
    assert "--across" in said
    report = auditing.audit(db, settings, fraction=0.2, across=True)
    assert (report.fingerprint, report.disagreeing) == (old.fingerprint, 0)
    assert report.fingerprint_here == teacher.identity.fingerprint


def test_a_name_may_itself_end_in_a_precision(db: Database, labelled: list[UUID]) -> None:
    """Found among the labels, and only then refused as what could compute them again."""
    with db.begin() as connection:
        connection.execute(text("UPDATE teacher SET name = 'gfn2-xtb@float64'"))
        fingerprint = connection.execute(text("SELECT fingerprint FROM teacher")).scalar_one()
    for name in ("gfn2-xtb@float64", f"gfn2-xtb@float64@{fingerprint[:9].upper()}"):
        assert "no @float64" in refused("audit", "--teacher", name)
    assert refused("audit", "--teacher", "gfn2-xtb").startswith("no labels by teacher gfn2-xtb;")


def test_labels_by_a_file_of_the_users_own(db: Database, tmp_path: Path) -> None:
    """Such a teacher is stored by its file's name, and asked for by its path."""
    pytest.importorskip("fennol", reason="the extra fennol is not installed")
    from tests.teachers import fennol_models

    path = tmp_path / "mine.fnx"
    fennol_models.ani_like(seed=3).save(path)
    [identity] = add_molecules(db, 1)
    teacher = load_teacher(f"fennol:{path}", device="cpu", settings=load_settings())
    with db.begin() as connection:
        teacher_id = labels.register_teacher(connection, teacher_row(teacher))
        [water] = structures.fetch(connection, [identity]).values()
    [result] = label(teacher, [water])
    insert_label(db, teacher_id, identity, result.energy, result.forces)
    assert "name it: --teacher fennol:PATH/mine.fnx" in refused("audit")
    assert "1 of 1 labels by fennol:mine" in done("audit", "--teacher", f"fennol:{path}")


def test_without_labels_there_is_nothing_to_audit(db: Database) -> None:
    assert "no labels to audit" in refused("audit")


def test_the_contract_is_kept_and_shown(db: Database) -> None:
    report = done_json("teachers", "check", "gfn2-xtb")
    assert {one["status"] for one in report["checks"]} == {"passed", "not applicable"}
    assert report["not_stored"] is None
    with db.begin() as connection:
        row = connection.execute(text("SELECT fingerprint, contract FROM teacher")).one()
    assert row.fingerprint == report["fingerprint"]
    assert row.contract["checks"]["forces"]["status"] == "passed"
    assert 0 < row.contract["checks"]["forces"]["force"] < 1e-3
    [shown] = [one for one in done_json("teachers") if one["name"] == "gfn2-xtb"]
    assert shown["contract"] == row.contract
    assert "checked" in done("teachers")
