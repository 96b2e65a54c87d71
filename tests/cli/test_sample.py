"""`mlffdb sample`: which plan, what it would make, and going on after a kill."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from mlffdb.config import Settings
from mlffdb.sampling import load_plan, restore_plan
from mlffdb.store.database import Database
from mlffdb_workers import campaign
from tests.cli.running import column, done, done_json, mlffdb, process, started, value, wait_until
from tests.conftest import fresh_database

#: 16 molecules, 6 structures each, by methods that need no teacher.
PLAN = """\
name: kill
seed: 11
blocks:
  - name: molecules
    domain: organic
    source:
      type: smiles
      smiles: [CO, CN, CC, CCO, CCN, COC, CC=O, CCl, c1ccccc1, c1ccncc1, C1CC1, CCC, CCCC,
               CC(C)C, CCCCO, CCCCN]
    methods:
      - {type: etkdg, count: 2}
      - {type: rattle, std: 0.05, count: 1, parents: 2}
      - {type: md, engine: mmff, temperature: 300, frames: 2, spacing_fs: 60, timestep_fs: 0.5}
"""


@pytest.fixture
def plan(tmp_path: Path) -> str:
    path = tmp_path / "kill.yaml"
    path.write_text(PLAN)
    return str(path)


def ids(db: Database) -> set[object]:
    return set(column(db, "SELECT structure_id FROM structure"))


@contextmanager
def another_database(server: object, template: str) -> Iterator[Database]:
    with (
        fresh_database(server, template) as url,  # type: ignore[arg-type]
        Database(Settings(database_url=SecretStr(url))) as database,
    ):
        yield database


# ---- which plan ----


def test_without_a_plan_the_packaged_ones_are_listed() -> None:
    text = done("sample")
    assert "quickstart" in text
    assert "crystals" in text
    assert "mlffdb sample NAME" in text
    assert 'plan = "my-plan.yaml"' in text
    by_name = {row["name"]: row for row in done_json("sample")}
    assert by_name["quickstart"]["expected"] == 1000
    assert not Path(os.environ["MLFFDB_DATA_DIR"]).exists()


def test_the_plan_of_the_settings_is_taken(db: Database, plan: str, tmp_path: Path) -> None:
    (tmp_path / "mlffdb.toml").write_text(f'plan = "{plan}"\n')
    assert done_json("sample", "--dry-run")["plan"] == "kill"
    (tmp_path / "mlffdb.toml").write_text('plan = "quickstart"\n')
    assert done_json("sample", "--dry-run")["plan"] == "quickstart"
    assert done_json("sample", plan, "--dry-run")["plan"] == "kill"


def test_a_dry_run_writes_nothing(db: Database, plan: str) -> None:
    text = done("sample", plan, "--dry-run")
    assert "structures if nothing is rejected." in text
    (block,) = done_json("sample", plan, "--dry-run")["blocks"]
    assert (block["items"], block["source"]) == (16, "smiles")
    done("run", plan, "--dry-run")
    for table in ("run", "sample_task", "structure"):
        assert value(db, f"SELECT count(*) FROM {table}") == 0


# ---- the same structures, whatever happens on the way ----


@pytest.fixture(scope="module")
def expected(server: object, template: str) -> tuple[set[object], int]:
    """What three workers make of the plan undisturbed: structures, and number of origins."""
    with another_database(server, template) as database:
        report = campaign.sample(database, restore_plan(yaml.safe_load(PLAN)), workers=3)
        assert report.progress.done == 16
        return ids(database), value(database, "SELECT count(*) FROM origin")


def test_the_number_of_workers_changes_nothing(
    db: Database, plan: str, expected: tuple[set[object], int]
) -> None:
    first = done_json("sample", plan, "--workers", "1")
    assert first["progress"]["inserted"] == len(expected[0]) > 90
    assert (ids(db), value(db, "SELECT count(*) FROM origin")) == expected
    again = done_json("sample", plan, "--workers", "2")
    assert (again["enqueued"], again["totals"]["done"]) == (0, 0)
    assert (ids(db), value(db, "SELECT count(*) FROM origin")) == expected


def test_killed_workers_and_a_killed_command_lose_nothing(
    db: Database, plan: str, expected: tuple[set[object], int]
) -> None:
    """Workers are killed while they sample; then the command itself; then it is run again."""
    killed: list[int] = []

    def kill_some() -> bool:
        for pid in column(db, "SELECT pid FROM worker WHERE stopped_at IS NULL"):
            if pid not in killed and len(killed) < 2:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
        return len(killed) >= 2

    with started("sample", plan, "--workers", "1") as running:
        wait_until(lambda: value(db, "SELECT count(*) FROM sample_task WHERE status = 'done'") > 2)
        wait_until(lambda: kill_some() or running.poll() is not None)
        wait_until(lambda: value(db, "SELECT count(*) FROM sample_task WHERE status = 'done'") > 5
                   or running.poll() is not None)  # fmt: skip
        running.kill()
        running.communicate()
    assert killed
    open_tasks = value(db, "SELECT count(*) FROM sample_task WHERE status <> 'done'")
    # its worker sees that it is alone and stops
    wait_until(lambda: not value(db, "SELECT count(*) FROM worker WHERE stopped_at IS NULL"
                                 f" AND pid NOT IN ({', '.join(map(str, killed))})"))  # fmt: skip
    report = done_json("sample", plan, "--workers", "2")
    assert report["progress"]["done"] == 16
    assert report["totals"]["done"] <= open_tasks
    assert (ids(db), value(db, "SELECT count(*) FROM origin")) == expected


def test_an_interrupt_ends_cleanly_and_the_next_call_continues(db: Database, plan: str) -> None:
    with started("sample", plan, "--workers", "1") as running:
        wait_until(lambda: value(db, "SELECT count(*) FROM sample_task WHERE status = 'done'") > 1)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
        assert running.returncode == 0, err
    assert "run the same command again to continue" in err
    assert "Traceback" not in err
    assert value(db, "SELECT count(*) FROM sample_task WHERE status = 'running'") == 0
    assert value(db, "SELECT count(*) FROM sample_task WHERE status = 'pending'") > 0
    assert done_json("sample", plan, "--workers", "2")["progress"]["done"] == 16


def test_options_reach_the_workers(db: Database, plan: str, server: object, template: str) -> None:
    """A database that only the command line names is the workers' too."""
    with another_database(server, template) as other:
        url = other.url.render_as_string(hide_password=False)
        report = done_json("sample", plan, "--workers", "1", "--database-url", url)
        assert report["progress"]["inserted"] == value(other, "SELECT count(*) FROM structure")
        assert value(other, "SELECT count(*) FROM worker") == 1
    assert value(db, "SELECT count(*) FROM run") == 0


def test_an_engine_that_cannot_be_had_fails_no_task(db: Database, tmp_path: Path) -> None:
    """The plan is open all the same when its weights or packages are there."""
    text = PLAN.replace("engine: mmff", f"engine: 'fennol:{tmp_path}/none.fnx'")
    (tmp_path / "p.yaml").write_text(text)
    result = process("sample", str(tmp_path / "p.yaml"), "--workers", "1")
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert "none.fnx" in result.stderr
    assert value(db, "SELECT count(*) FROM sample_task WHERE status = 'failed'") == 0
    assert value(db, "SELECT count(*) FROM sample_task WHERE status = 'pending'") == 16


def test_a_task_that_fails_is_told_and_the_others_go_through(db: Database, plan: str) -> None:
    """A task of an older plan whose block is gone."""
    with db.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO run (action, name, config, config_hash, versions, host)"
            " VALUES ('sample', 'kill', '{}', repeat('0', 64), '{}', 'here')"
        )
        connection.exec_driver_sql(
            "INSERT INTO sample_task (plan_digest, task_index, run_id, payload, cost)"
            f" SELECT '{load_plan(plan).sampling_digest}', 99, run_id,"
            """ '{"block": "gone", "payload": {}}', 1 FROM run"""
        )
    result = mlffdb("sample", plan, "--workers", "1")
    assert result.exit_code == 2
    last = result.stderr.strip().splitlines()[-1]
    assert last == "error: 1 tasks failed; the structures of the others are there"
    assert "16 of 17 tasks done, 1 failed." in result.stdout
    assert "1 tasks failed by task_error: " in result.stdout
    (failure,) = done_json("status")["sampling_failures"]
    assert (failure["name"], failure["tasks"]) == ("kill", 1)
    assert value(db, "SELECT count(*) FROM structure") > 90
