"""Databases that cannot be used, settings and options that are wrong: one line, exit status 2."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command as alembic
from sqlalchemy import make_url

from mlffdb.store import migrate
from mlffdb.store.database import Database
from tests.cli.running import done, mlffdb, refused, value
from tests.conftest import execute

PASSWORD = "s3cretpw"


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# ---- the database ----


@pytest.mark.parametrize(
    "command",
    [("status",), ("init",), ("label",), ("validate",), ("import", "a.xyz"), ("sql", "SELECT 1"),
     ("export", "x", "--teacher", "gfn2-xtb"), ("sample", "quickstart"), ("run", "quickstart"),
     ("stats",), ("db", "url")],
)  # fmt: skip
def test_a_server_that_does_not_answer(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = closed_port()
    url = f"postgresql://me:{PASSWORD}@127.0.0.1:{port}/x"
    monkeypatch.setenv("MLFFDB_DATABASE_URL", url)
    if command == ("db", "url"):  # says where, and does not need it to be there
        assert done(*command) == f"postgresql://me:***@127.0.0.1:{port}/x\n"
        return
    line = refused(*command)
    assert line.startswith(f"postgresql://me:***@127.0.0.1:{port}/x cannot be reached: ")
    assert "MLFFDB_DATABASE_URL" in line
    assert PASSWORD not in line


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "write postgresql://user@host:5432/database"),
        (f"postgresql://me:{PASSWORD}@h:notaport/x", "write postgresql://"),
        (f"postgresql://me:{PASSWORD}@[::1/x", "write postgresql://"),
        (f"mysql://me:{PASSWORD}@h/x", "names mysql; mlffdb needs PostgreSQL"),
        (f"postgresql://me:{PASSWORD}@h/x?nonsense=1", 'invalid connection option "nonsense"'),
        (f"postgresql://127.0.0.1:1/x?user=a&password={PASSWORD}", "cannot be reached"),
    ],
)
def test_a_url_that_is_none(url: str, said: str) -> None:
    for line in (
        refused("status", "--database-url", url),
        refused("label", "--teacher", "gfn2-xtb", "--database-url", url),
    ):
        assert said in line
        assert PASSWORD not in line


def test_a_wrong_password_is_not_shown(database_url: str) -> None:
    """By TCP where the test's server listens there; the socket's own check else."""
    url = make_url(database_url).set(username="nobody_of_this_name", password=PASSWORD)
    line = refused("status", "--database-url", url.render_as_string(hide_password=False))
    assert "cannot be reached" in line
    assert "nobody_of_this_name" in line
    assert PASSWORD not in line


def test_a_database_without_schema(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFFDB_DATABASE_URL", database_url)
    for command in (("status",), ("label",), ("sql", "SELECT 1"), ("sample", "quickstart")):
        assert refused(*command).endswith("has no mlffdb schema; run `mlffdb init`")


def test_a_schema_of_a_newer_version_is_left_alone(db: Database) -> None:
    with db.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for command in (("status",), ("init",), ("db", "upgrade"), ("run", "quickstart"), ("label",)):
        line = refused(*command)
        assert "9999, which is newer than this mlffdb knows" in line
        assert line.endswith("upgrade mlffdb")
    assert value(db, "SELECT version_num FROM alembic_version") == "9999"


def test_a_schema_of_an_older_version_asks_for_init(db: Database) -> None:
    with db.begin() as connection:
        alembic.downgrade(migrate.alembic_config(connection), "0001")
    line = refused("status")
    assert f"has schema 0001, this mlffdb needs {migrate.head()}" in line
    assert line.endswith("run `mlffdb init` to upgrade")


def test_a_right_that_is_missing_is_one_line(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role that may log in and read nothing, as on a server of somebody else's."""
    url = make_url(database_url)
    role = f"{url.database}_stranger"
    execute(database_url, f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    execute(database_url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    try:
        stranger = url.set(username=role, password=PASSWORD)
        text = stranger.render_as_string(hide_password=False)
        result = mlffdb("init", "--database-url", text)
        if "cannot be reached" in result.stderr:
            pytest.skip("this server lets no other role in by its socket")
        assert result.exit_code == 2
        assert "permission denied for schema public" in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    finally:
        execute(database_url, f"DROP ROLE {role}")


def test_the_folder_of_the_database_cannot_be_made(open_folder: Path) -> None:
    (open_folder / "file").write_text("")
    line = refused("init", "--data-dir", str(open_folder / "file" / "below"))
    assert str(open_folder / "file") in line
    assert "choose a" in line  # what to do
    assert "is a file" in refused("status", "--data-dir", str(open_folder / "file"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write there")
def test_the_folder_of_the_database_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        assert "MLFFDB_DATA_DIR" in refused("init", "--data-dir", str(tmp_path / "db"))
    finally:
        tmp_path.chmod(0o755)


def test_a_data_folder_beside_a_url_is_refused(db: Database, tmp_path: Path) -> None:
    """Else the option would be ignored without a word."""
    assert "leave --data-dir out" in refused("status", "--data-dir", str(tmp_path / "d"))


# ---- settings ----


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('databse_url = "x"\n', ("mlffdb.toml", "databse_url", "database_url")),
        ("teacher = [\n", ("mlffdb.toml", "mend the file")),
        ("postgres_version = 17\n", ("mlffdb.toml", "postgres_version", "16 or 18")),
    ],
)
def test_a_wrong_settings_file(text: str, said: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "mlffdb.toml").write_text(text)
    line = refused("status")
    assert all(word in line for word in said), line


def test_a_wrong_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFFDB_POSTGRES_VERSION", "eleven")
    line = refused("status")
    assert line.startswith("environment variable MLFFDB_POSTGRES_VERSION: ")


def test_a_misspelt_variable_is_seen_by_doctor(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFFDB_TEST_POSTGRES", raising=False)  # of this run, not of a user
    monkeypatch.setenv("MLFFDB_DATABSE_URL", "postgresql://h/x")
    assert "MLFFDB_DATABSE_URL: no such setting" in done("doctor")


# ---- the command line ----


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("lable",), "no command 'lable'; did you mean `mlffdb label`?"),
        (("xyzzy",), "see `mlffdb --help`"),
        (("db", "strat"), "did you mean 'start'?"),
        (("--verion",), "did you mean '--version'?"),
        (("label", "--worker-count", "2"), "no such option '--worker-count'"),
        (("label", "--folow"), "did you mean '--follow'? see `mlffdb label --help`"),
        (("label", "--workers", "-1"), "'--workers': -1 is not in the range x>=1"),
        (("label", "--workers", "0"), "not in the range"),
        (("label", "--workers", "two"), "'two' is not a valid integer"),
        (("label", "--gpu", "-1"), "not in the range"),
        (("label", "--gpu", "0", "--device", "cpu"), "give one of --gpu, --gpus and --device"),
        (("label", "--limit", "0"), "not in the range"),
        (("sample", "quickstart", "--workers", "-3"), "not in the range"),
        (("run",), "missing argument 'PLAN'"),
        (("run", "quickstart", "--workers", "-3"), "not in the range"),
        (("import",), "missing argument 'FILES"),
        (("export", "name"), "missing option '--teacher'"),
        (("export", "name", "--teacher", "t", "--seed", "-1"), "not in the range"),
        (("sql", ""), "the query is empty"),
        (("sql", "SELECT 1", "--timeout", "0"), "not in the range"),
        (("status", "extra"), "unexpected extra argument (extra)"),
    ],
)
def test_a_wrong_command_line_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    assert said in refused(*arguments)


def test_a_command_line_is_checked_before_the_database_is_touched(tmp_path: Path) -> None:
    """Nothing is started for a command that cannot work."""
    for arguments in (("label", "--teacher", "nope"), ("run", "nope"), ("sample", "nope")):
        refused(*arguments)
    assert not Path(os.environ["MLFFDB_DATA_DIR"]).exists()


def test_ctrl_c_is_no_traceback(db: Database) -> None:
    """In a command without workers, such as a long query."""
    code = (
        "import os, signal, threading, sys\n"
        "from mlffdb_cli.main import main\n"
        "threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "main(['sql', 'SELECT pg_sleep(30)'])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 130, result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith("error: interrupted")
    assert "Traceback" not in result.stderr


def test_output_cut_off_by_head_is_no_error(db: Database) -> None:
    command = f"{sys.executable} -m mlffdb_cli.main sql --views | head -1"
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("structures: ")
