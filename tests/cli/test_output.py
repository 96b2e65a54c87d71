"""Help with an example for every command; --json is JSON and nothing else; --csv."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from mlffdb.store import migrate
from mlffdb.store.database import Database
from mlffdb_cli.main import COMMANDS, main
from tests.cli.running import done, done_json, in_terminal, mlffdb
from tests.helpers import add_molecules
from tests.snapshots.filling import candidates, fill

PLAN = "name: p\nblocks: [{name: b, source: {type: smiles, smiles: [C, O]}}]\n"


def commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with its path, those of groups too."""
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from (((name, sub), found) for sub, found in command.commands.items())
        else:
            yield (name,), command


ALL = list(commands())


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _ in ALL])
def test_every_command_has_help_with_a_worked_example(
    path: tuple[str, ...], command: click.Command
) -> None:
    text = done(*path, "--help")
    assert text == done(*path, "-h")
    assert f"Usage: mlffdb {' '.join(path)} " in text
    assert max(map(len, text.splitlines())) <= 80
    example = text.partition("Example:\n")[2].partition("\n\n")[0]
    lines = [line.strip() for line in example.splitlines()]
    assert lines
    for line in lines:
        assert line.startswith(f"mlffdb {' '.join(path)}") or line.startswith("mlffdb sql"), line
    assert all(option.help for option in command.params if isinstance(option, click.Option)), text


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _ in ALL])
def test_every_example_parses(path: tuple[str, ...], command: click.Command) -> None:
    """The options that examples use are there, whatever else they need."""
    text = done(*path, "--help").partition("Example:\n")[2].partition("\n\n")[0]
    context = click.Context(main)
    for line in text.splitlines():
        words = shlex.split(line.partition(" > ")[0])[1:]
        found: click.Command | None = main
        while isinstance(found, click.Group):
            found = found.get_command(context, words.pop(0))
        assert found is not None
        found.make_context(path[-1], words, resilient_parsing=False)


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _ in ALL])
def test_every_command_but_psql_takes_json(path: tuple[str, ...], command: click.Command) -> None:
    options = [name for parameter in command.params for name in parameter.opts]
    assert ("--json" in options) == (path != ("db", "psql"))


def test_the_first_screen_says_where_to_start() -> None:
    text = done("--help")
    assert "mlffdb run quickstart" in text
    assert "..." not in text.partition("Commands:")[2]  # no line is cut off
    assert [name for name in COMMANDS if f"\n  {name} " not in text] == []
    assert done("--version").startswith("mlffdb, version 0.")


def test_json_of_what_needs_no_database(tmp_path: Path) -> None:
    (plan := tmp_path / "p.yaml").write_text(PLAN)
    assert {"plan", "blocks"} < set(done_json("sample", str(plan), "--dry-run"))
    assert done_json("run", str(plan), "--dry-run")["blocks"][0]["expected"] == 2
    assert {row["name"] for row in done_json("sample")} >= {"quickstart", "crystals"}
    views = done_json("sql", "--views")
    assert {"structures", "dataset"} <= {view["view"] for view in views}
    checks = done_json("validate", "--checks")
    assert "force_max" in {row["check"] for row in checks}


def test_json_of_an_empty_database_is_json_too(db: Database) -> None:
    head = migrate.head()
    assert done_json("init") | {"database": ""} == {
        "database": "", "before": head, "after": head, "reader_problem": None,
        "limits_problem": None,
    }  # fmt: skip
    assert done_json("db", "upgrade")["after"] == head
    assert done_json("status")["structures"] == 0
    assert done_json("stats")["mean_atoms"] is None
    assert done_json("sql", "SELECT * FROM structures") == []
    assert done_json("validate")["structures"]["verdicts"] == {}
    (row,) = done_json("label", "--dry-run")["teachers"]
    assert (row["new"], row["open"]) == (0, 0)
    assert "url" in done_json("db", "url")


def test_json_of_a_full_database(db: Database, tmp_path: Path) -> None:
    labels = fill(db, candidates(2))
    query = "SELECT formula, n_atoms, elements, energy_per_atom, stress FROM dataset LIMIT 3"
    found = done_json("sql", query)
    assert isinstance(found, list)
    assert len(found) == 3
    assert isinstance(found[0]["n_atoms"], int)
    assert isinstance(found[0]["elements"], list)
    assert isinstance(found[0]["energy_per_atom"], float)
    assert done_json("status")["labels"] == len(labels)
    stats = done_json("stats")
    assert stats["structures"] == len(labels)
    assert all(isinstance(row, dict) for row in stats["composition_by_element"])
    export = done_json("export", "x", "--teacher", "emt", "--out", str(tmp_path / "out"))
    assert sum(export["counts"].values()) == len(labels)
    assert done_json("validate")["labels"]["emt"]["verdicts"]


def test_doctor_says_what_is_there(db: Database) -> None:
    checks = done_json("doctor")
    topics = {check["topic"]: check for check in checks}
    assert topics["mlffdb"]["state"] == topics["schema"]["state"] == "ok"
    assert all(check["state"] in ("ok", "note", "problem") for check in checks)
    assert all(check["remedy"] for check in checks if check["state"] == "problem")
    assert "PostgreSQL" in topics["database"]["message"]


def test_doctor_ends_with_1_where_something_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFFDB_DATABASE_URL", "postgresql://me:s3cretpw@127.0.0.1:1/x")
    result = mlffdb("doctor", "--json")
    assert result.exit_code == 1
    (problem,) = [check for check in json.loads(result.stdout) if check["state"] == "problem"]
    assert problem["topic"] == "database"
    assert problem["remedy"]
    assert "s3cretpw" not in mlffdb("doctor").output


def test_teachers_say_what_they_can_and_whether_they_are_ready() -> None:
    found = {row["name"]: row for row in done_json("teachers")}
    assert {"gfn2-xtb", "orb-v2", "fennol:ani1x_model0", "fennol:ani1ccx_model7"} <= set(found)
    xtb = found["gfn2-xtb"]
    assert xtb["ready"] == (find_spec("tblite") is not None)
    assert xtb["capabilities"]["elements"] == list(range(1, 87))
    assert xtb["capabilities"]["periodicity"] == [0]
    assert all(row["ready"] or (row["reason"] and row["remedy"]) for row in found.values())


def test_csv_can_be_read_back(db: Database) -> None:
    add_molecules(db, 12)
    query = (
        "SELECT formula, elements, domain, verdict FROM structures ORDER BY formula, structure_id"
    )
    rows = list(csv.DictReader(io.StringIO(done("sql", "--csv", query))))
    assert len(rows) == 12
    assert json.loads(rows[0]["elements"])
    assert rows[0]["verdict"] == ""  # NULL
    assert done("sql", "--csv", "SELECT 'a,\"b\"' AS x").splitlines() == ["x", '"a,""b"""']


def test_a_query_may_come_from_standard_input(db: Database) -> None:
    assert json.loads(done("sql", "--json", stdin="SELECT 2 AS two")) == [{"two": 2}]
    assert done("sql", "SELECT NULL AS a, true AS b, 1.5 AS c, now() - now() AS d").split() == [
        "a", "b", "c", "d", "–", "yes", "1.5", "0:00:00",
    ]  # fmt: skip


# ---- on a terminal of 80 columns ----


def assert_fits(lines: list[str]) -> None:
    """Addresses may be longer than a line."""
    short = [line for line in lines if "://" not in line]
    assert max(map(len, short)) <= 80, max(short, key=len)


def test_the_screens_of_a_new_project_fit_a_terminal(db: Database) -> None:
    for command in (("--help",), ("teachers",), ("doctor",), ("sample",), ("status",)):
        lines = in_terminal(*command)
        assert_fits(lines)
        text = "\n".join(lines)
        assert "…" not in text, text
        if command == ("teachers",):
            assert text.count("fennol:ani1x_model") == 1
            assert "fennol:ani1x_model0 to 7" in text
            assert "gfn2-xtb" in text
        if command == ("status",):
            assert lines[-2] == "Next: mlffdb sample, or mlffdb import FILE"


def test_a_bar_goes_away_when_its_work_is_done(db: Database) -> None:
    add_molecules(db, 3)
    lines = in_terminal("validate")
    assert lines[0].split() == ["checked", "rows", "valid", "suspect", "rejected", "findings"]
    assert lines[1].split() == ["structures", "3", "3", "0", "0", "none"]


def test_tables_keep_words_whole_or_become_records() -> None:
    lines = in_terminal("sample", "quickstart", "--dry-run")
    assert_fits(lines)
    assert sum(line.startswith(("small-molecules ", "molecule-dimers ")) for line in lines) == 2
    lines = in_terminal("validate", "--checks")
    assert_fits(lines)
    assert sum(line.startswith("check ") for line in lines) > 10


def test_the_screens_of_a_full_database_fit(db: Database, tmp_path: Path) -> None:
    fill(db, candidates(2))
    done("export", "x", "--teacher", "emt", "--out", str(tmp_path / "out"))
    for command in (("status",), ("stats",), ("sql", "SELECT * FROM structures LIMIT 2")):
        assert_fits(in_terminal(*command))
    lines = in_terminal("status")
    assert lines[-2].startswith("Next: ")
    assert any(line.startswith("(structures)  valid ") for line in lines)
