"""`mlffdb run`: from nothing to files, once; again; and interrupted on the way."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

import mlffdb
from mlffdb.store import migrate
from mlffdb.store.database import Database
from tests.cli.running import column, done, done_json, refused, started, value, wait_until

pytest.importorskip("tblite", reason="needs the extra xtb")

#: 3 molecules, 3 structures each.
SMALL = """\
name: small
seed: 3
blocks:
  - name: molecules
    domain: organic
    source: {type: smiles, smiles: [C, O, CO]}
    methods:
      - {type: etkdg, count: 1}
      - {type: rattle, std: 0.05, count: 2}
label: {teachers: [gfn2-xtb]}
export: {split: [0.4, 0.3, 0.3]}
"""
#: Long enough to be interrupted while it samples and while it labels.
LONGER = """\
name: longer
seed: 3
blocks:
  - name: molecules
    domain: organic
    source:
      type: smiles
      smiles: [c1ccc2ccccc2c1, c1ccccc1-c1ccccc1, CCCCCCCC, CCCCCCCO, C1CCC2CCCCC2C1, CCCCCCCN,
               OC(=O)c1ccccc1, COc1ccccc1, CC(C)CC(C)C, CCCCOCC, CC(C)Cc1ccccc1, CCCCc1ccccc1]
    methods:
      - {type: etkdg, count: 2}
      - {type: rattle, std: 0.03, count: 10, parents: 2}
      - {type: md, engine: mmff, temperature: 300, frames: 2, spacing_fs: 60, timestep_fs: 0.5}
label: {teachers: [gfn2-xtb]}
"""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    return str(path)


def test_from_nothing_to_files_and_again_nothing_new(
    empty: Database, tmp_path: Path, out: Path
) -> None:
    plan = written(tmp_path, SMALL)
    text = done("run", plan, "--out", str(out), "--workers", "2")
    for line in (
        f"init: schema {migrate.head()} in ",
        "9 structures, 0 found twice, 0 rejected; 3 of 3 tasks done.",
        "gfn2-xtb: 9 labelled now; 9 labelled in all, 0 open, 0 failed, 0 cancelled.",
        "Froze small v1: 9 structures (3 train, 3 val, 3 test)",
        f"Files: {out / 'small' / 'v1'}",
    ):
        assert line in text, text
    assert "Next: mlffdb label" not in text  # it did that itself
    queries = [line.split('"')[1] for line in text.splitlines() if 'mlffdb sql "' in line]
    assert len(queries) == 3
    for query in queries:
        assert done_json("sql", query)
    for split in ("train", "val", "test"):
        assert len(mlffdb.load(out / "small" / "v1" / f"{split}.h5")) == 3
    names = {path.name for path in (out / "small" / "v1").iterdir()}
    assert {"manifest.json", "statistics.json", "card.md"} < names

    files = {path: path.read_bytes() for path in (out / "small" / "v1").iterdir()}
    labels = column(empty, "SELECT created_at FROM label ORDER BY 1")
    began = time.monotonic()
    report = done_json("run", plan, "--out", str(out))
    assert time.monotonic() - began < 30
    assert report["sample"]["enqueued"] == report["sample"]["totals"]["done"] == 0
    assert report["label"][0]["totals"]["done"] == 0
    assert (report["export"]["version"], report["export"]["created"]) == (1, False)
    assert column(empty, "SELECT created_at FROM label ORDER BY 1") == labels
    assert value(empty, "SELECT count(*) FROM snapshot") == 1
    assert {path: path.read_bytes() for path in (out / "small" / "v1").iterdir()} == files
    assert set(report["seconds"]) == {"init", "sample", "label", "validate", "export"}


def test_a_plan_that_grew_adds_and_repeats_nothing(
    empty: Database, tmp_path: Path, out: Path
) -> None:
    done("run", written(tmp_path, SMALL), "--out", str(out))
    before = splits(empty, 1)
    grown = written(tmp_path, SMALL.replace("[C, O, CO]", "[C, N, O, CC, CO]"))
    report = done_json("run", grown, "--out", str(out))
    progress = report["sample"]["progress"]
    assert (progress["inserted"], progress["existing"]) == (6, 9)
    assert report["label"][0]["totals"]["done"] == 6
    assert (report["export"]["version"], report["export"]["created"]) == (2, True)
    after = splits(empty, 2)
    assert len(after) == 15
    assert before.items() <= after.items()  # nobody moves from train to test


def splits(db: Database, version: int) -> dict[str, str]:
    rows = done_json(
        "sql", f"SELECT structure_id, split FROM snapshot_entries WHERE version = {version}"
    )
    return {row["structure_id"]: row["split"] for row in rows}


@pytest.mark.parametrize("stage", ["sample", "label"])
def test_an_interrupt_in_a_stage_continues_on_the_next_call(
    empty: Database, tmp_path: Path, out: Path, stage: str
) -> None:
    plan = written(tmp_path, LONGER)
    done("init")
    table = "sample_task" if stage == "sample" else "label_task"
    finished = f"SELECT count(*) FROM {table} WHERE status = 'done'"
    at_work = f"SELECT count(*) FROM {table} WHERE status = 'running'"
    arguments = ("run", plan, "--out", str(out), "--workers", "1")
    with started(*arguments) as running:
        wait_until(lambda: value(empty, at_work) > 0)
        running.send_signal(signal.SIGINT)
        text, err = running.communicate(timeout=60)
    assert running.returncode == 130, text + err
    assert err.strip().splitlines()[-1] == (
        "error: interrupted; run the same command again to continue"
    )
    assert "Traceback" not in err
    assert ("Froze" in text, "\nexport" in text) == (False, False)
    before = value(empty, finished)
    assert value(empty, f"SELECT count(*) FROM {table} WHERE status = 'pending'") > 0
    assert value(empty, f"SELECT count(*) FROM {table} WHERE status = 'running'") == 0
    assert not list(out.rglob("*.h5"))

    report = done_json("run", plan, "--out", str(out), "--workers", "2")
    total = report["sample"]["progress"]["inserted"]
    assert total == 12 * (2 + 20 + 2)
    redone = report[stage] if stage == "sample" else report["label"][0]
    assert redone["totals"]["done"] + before == (12 if stage == "sample" else total)
    assert value(empty, "SELECT count(*) FROM label") == total
    assert report["export"]["version"] == 1


def test_a_teacher_without_packages_or_weights_stops_before_it_labels(
    empty: Database, tmp_path: Path
) -> None:
    """What was sampled stays."""
    text = SMALL.replace("[gfn2-xtb]", f"['fennol:{tmp_path}/none.fnx']")
    assert "none.fnx" in refused("run", written(tmp_path, text))
    assert value(empty, "SELECT count(*) FROM structure") == 9
    assert value(empty, "SELECT status FROM run WHERE action = 'label'") == "failed"
