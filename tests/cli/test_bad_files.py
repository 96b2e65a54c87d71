"""Files that are broken as a whole or in part: the rest of the batch goes through."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mlffdb.store.database import Database
from tests.cli.running import column, done, done_json, mlffdb, refused, the_line, value

WATER = "3\nProperties=species:S:1:pos:R:3\nO 0 0 0.12\nH 0 0.76 -0.48\nH 0 -0.76 -0.48\n"
METHANE = (
    "5\n\nC 0 0 0\nH 0.63 0.63 0.63\nH -0.63 -0.63 0.63\nH -0.63 0.63 -0.63\nH 0.63 -0.63 -0.63\n"
)
AMMONIA = "4\n\nN 0 0 0.07\nH 0 0.95 -0.27\nH 0.82 -0.47 -0.27\nH -0.82 -0.47 -0.27\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.xyz").write_text(WATER)
    (folder / "c.xyz").write_text(METHANE)
    return folder


def import_between_good(folder: Path, name: str) -> tuple[str, str]:
    """Import a.xyz, the file *name*, c.xyz; return stdout and the one line of stderr."""
    result = mlffdb("import", *(str(folder / n) for n in ("a.xyz", name, "c.xyz")))
    assert result.exit_code == 2
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    return result.stdout, lines[0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (bytes(range(256)) * 8, "is binary, not text"),
        (b"\x89HDF\r\n\x1a\n garbage", "b.xyz"),
    ],
)
def test_a_file_that_cannot_be_read_does_not_keep_the_others_out(
    db: Database, files: Path, content: bytes, reason: str
) -> None:
    (files / "b.xyz").write_bytes(content)
    out, line = import_between_good(files, "b.xyz")
    assert out.startswith("2 inserted, 0 already there, 0 rejected, 1 files not read")
    assert line.startswith("error: ")
    assert str(files / "b.xyz") in line
    assert reason in line
    assert sorted(column(db, "SELECT formula FROM structure")) == ["CH4", "H2O"]
    assert value(db, "SELECT status FROM run WHERE action = 'import'") == "done"


@pytest.mark.parametrize(
    ("bad", "code", "reason"),
    [
        ("3\nfoo\nO 0 0 0\nH zero\n", "unreadable", "line 1: 3 atoms stated, 2 found"),
        ("2\n\nX 0 0 0\nH 0 0 1\n", "element", "no element"),
        ("2\n\nH nan 0 0\nH 0 0 0.74\n", "not_finite", "NaN or infinity"),
        ("2\n\nH inf 0 0\nH 0 0 0.74\n", "not_finite", "NaN or infinity"),
        ("0\n\n", "no_atoms", "no atoms"),
    ],
)
def test_a_structure_that_cannot_be_is_rejected_with_place_and_reason(
    db: Database, files: Path, bad: str, code: str, reason: str
) -> None:
    (files / "b.xyz").write_text(bad)
    out, line = import_between_good(files, "b.xyz")
    assert out.startswith("2 inserted, 0 already there, 1 rejected.")
    assert f"1 × {code}" in out
    assert line.startswith(f"rejected: {files / 'b.xyz'}, index 0: ")
    assert reason in line
    assert sorted(column(db, "SELECT formula FROM structure")) == ["CH4", "H2O"]


@pytest.mark.parametrize(
    "bad", ["2\n\nX 0 0 0\nH 0 0 1\n", "2\n\nH nan 0 0\nH 0 0 0.74\n", "0\n\n"]
)
def test_its_neighbours_in_the_same_file_are_imported(db: Database, files: Path, bad: str) -> None:
    (files / "b.xyz").write_text(WATER + bad + AMMONIA)
    result = mlffdb("import", str(files / "b.xyz"))
    assert result.exit_code == 2
    assert "index 1: " in result.stderr
    assert sorted(column(db, "SELECT formula FROM structure")) == ["H2O", "H3N"]


def test_a_missing_file_stops_all_before_anything_is_stored(db: Database, files: Path) -> None:
    line = refused("import", str(files / "a.xyz"), str(files / "typo.xyz"))
    assert line == f"{files / 'typo.xyz'}: no such file"
    assert value(db, "SELECT count(*) FROM structure") == 0
    assert value(db, "SELECT count(*) FROM run") == 0


def test_folders_and_unknown_kinds_are_told(db: Database, files: Path) -> None:
    (files / "folder.xyz").mkdir()
    (files / "b.foo").write_text("hello")
    _, line = import_between_good(files, "folder.xyz")
    assert "is a folder" in line
    _, line = import_between_good(files, "b.foo")
    assert "unknown kind of file" in line
    assert "extxyz" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_told(db: Database, files: Path) -> None:
    (files / "b.xyz").write_text(WATER)
    (files / "b.xyz").chmod(0)
    _, line = import_between_good(files, "b.xyz")
    assert "denied" in line.lower()


def test_wrong_options_of_import(db: Database, files: Path) -> None:
    good = str(files / "a.xyz")
    assert "domain 'Bad Domain'" in refused("import", good, "--domain", "Bad Domain")
    result = mlffdb("import", good, "--format", "nonsense")
    assert "'nonsense' is no format" in the_line(result.exit_code, result.stderr)
    assert value(db, "SELECT count(*) FROM structure") == 0


def test_json_of_a_bad_batch_is_json_all_the_same(db: Database, files: Path) -> None:
    (files / "b.xyz").write_text(WATER + "0\n\n")
    (files / "d.xyz").write_text("")
    names = [str(files / name) for name in ("b.xyz", "c.xyz", "d.xyz")]
    result = mlffdb("import", *names, "--json")
    assert result.exit_code == 2

    found = json.loads(result.stdout)
    assert (found["inserted"], found["rejected"]) == (2, {"no_atoms": 1})
    assert found["rejections"][0]["index"] == 1
    assert list(found["unreadable"]) == [names[2]]


def test_a_dry_run_stores_nothing(files: Path) -> None:
    """Not even a database is needed."""
    assert "1 can be imported" in done("import", "--dry-run", str(files / "a.xyz"))
    assert done_json("import", "--dry-run", str(files / "a.xyz"))["inserted"] == 1
