"""Settings: who wins, what relative paths are relative to, and what is said of mistakes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlffdb.config import find_config_file, load_settings
from mlffdb.errors import ConfigError


def test_options_win_over_variables_and_variables_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlffdb.toml").write_text('teacher = "a"\nplan = "a"\nexports_dir = "out"\n')
    monkeypatch.setenv("MLFFDB_TEACHER", "b")
    monkeypatch.delenv("MLFFDB_EXPORTS_DIR")
    found = load_settings()
    assert (found.teacher, found.plan) == ("b", "a")
    assert load_settings(teacher="c", plan=None).teacher == "c"
    assert load_settings(plan=None).plan == "a"


def test_paths_in_the_file_are_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlffdb.toml").write_text('exports_dir = "out"\n')
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    monkeypatch.delenv("MLFFDB_EXPORTS_DIR")
    monkeypatch.delenv("MLFFDB_DATA_DIR")
    assert find_config_file() == tmp_path.resolve() / "mlffdb.toml"
    assert load_settings().exports_dir == tmp_path.resolve() / "out"
    assert load_settings().data_dir == tmp_path.resolve() / ".mlffdb"


@pytest.mark.parametrize(("uid", "folder"), [(0, Path("/var/lib/mlffdb")), (1000, None)])
def test_the_data_folder_of_root_can_be_entered_by_the_server(
    uid: int, folder: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFFDB_DATA_DIR")
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    expected = folder or Path.home() / ".local" / "share" / "mlffdb"
    assert load_settings().data_dir == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('teecher = "a"\n', r"mlffdb\.toml: teecher: .*known keys: .*teacher"),
        ("teacher = \n", r"mlffdb\.toml: .*mend the file"),
        ("postgres_version = 9\n", r"mlffdb\.toml: postgres_version: .*16"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_place(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mlffdb.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_settings()


def test_a_mistake_in_a_variable_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFFDB_POSTGRES_VERSION", "9")
    with pytest.raises(ConfigError, match="MLFFDB_POSTGRES_VERSION"):
        load_settings()


def test_a_number_can_stand_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFFDB_POSTGRES_VERSION", "16")
    assert load_settings().postgres_version == 16


def test_the_url_with_its_password_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFFDB_DATABASE_URL", "postgresql://me:secret@host/db")
    assert "secret" not in repr(load_settings())
