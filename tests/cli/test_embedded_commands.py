"""`mlffdb db …` and the other commands on a data folder of their own, with nothing set up."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mlffdb.store import migrate
from mlffdb.store.embedded import EmbeddedServer
from tests.cli.running import done, done_json, process, refused


def test_the_life_of_a_data_folder(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = open_folder / "my data"
    option = ("--data-dir", str(folder))
    assert not EmbeddedServer(folder).is_alive()
    assert refused("status", *option).endswith("has no mlffdb schema; run `mlffdb init`")
    text = done("init", *option)
    assert text.startswith(f"Created schema {migrate.head()} in embedded PostgreSQL in ")
    assert "Next: " in text
    assert done("init", *option).startswith("Nothing to do: ")
    assert done("db", "upgrade", *option).startswith("Nothing to do: ")
    assert EmbeddedServer(folder).is_alive()

    assert done_json("db", "stop", *option)["was_running"] is True
    assert done("db", "stop", *option) == "It was not running.\n"
    assert not EmbeddedServer(folder).is_alive()
    assert done_json("status", *option)["structures"] == 0  # starts it again
    assert EmbeddedServer(folder).is_alive()
    assert done("db", "start", *option) == f"Running on {folder}.\n"

    url = done("db", "url", *option).strip()
    assert url.startswith("postgresql://")
    psql = process("db", "psql", *option, "--", "-Atc", "SELECT count(*) FROM structures")
    assert (psql.returncode, psql.stdout) == (0, "0\n"), psql.stderr
    failing = process("db", "psql", *option, "--", "-v", "ON_ERROR_STOP=1", "-c", "SELEC 1")
    assert failing.returncode != 0
    program = EmbeddedServer(folder).program("psql")
    direct = subprocess.run(
        [program, url, "-Atc", "SELECT 1"], capture_output=True, text=True, check=False
    )
    assert direct.stdout == "1\n" or "requirepeer" in url, direct.stderr

    monkeypatch.setenv("MLFFDB_DATA_DIR", str(folder))
    assert done_json("status")["structures"] == 0
    assert done("db", "stop") == "Stopped.\n"


def test_commands_for_the_embedded_server_are_refused_beside_a_url(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFFDB_DATABASE_URL", database_url)
    for command in ("start", "stop"):
        assert "a database URL is set" in refused("db", command)
    psql = process("db", "psql", "--", "-Atc", "SELECT current_database()")
    assert psql.stdout.strip() in database_url


def test_an_address_to_listen_on_that_is_none(open_folder: Path) -> None:
    line = refused("db", "start", "--data-dir", str(open_folder / "d"), "--listen", "h:port")
    assert "write HOST:PORT" in line


def test_a_project_with_a_settings_file_keeps_its_database_beside_it(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mlffdb.toml` alone decides, from any folder below it."""
    monkeypatch.delenv("MLFFDB_DATA_DIR")
    monkeypatch.delenv("MLFFDB_EXPORTS_DIR")
    (open_folder / "mlffdb.toml").write_text('teacher = "gfn1-xtb"\n')
    (open_folder / "sub").mkdir()
    monkeypatch.chdir(open_folder / "sub")
    done("init")
    assert EmbeddedServer(open_folder / ".mlffdb").is_alive()
    (row,) = done_json("label", "--dry-run")["teachers"]
    assert row["teacher"] == "gfn1-xtb"
