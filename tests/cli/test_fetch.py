"""`mlffdb teachers fetch`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mlffdb_cli.main import main


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network: a proxy that is not there."""
    monkeypatch.setenv("MLFFDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFFDB_WEIGHTS_DIR", raising=False)
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


def fetch(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["teachers", "fetch", *arguments])


def test_a_dry_run_says_what_is_missing_and_from_where(tmp_path: Path) -> None:
    done = fetch("ani1x", "fennol:ani1x_model0", "fennol:fennix-bio1S", "--dry-run", "--json")
    assert done.exit_code == 0
    files = json.loads(done.stdout)
    assert [file["file"] for file in files] == [
        *(f"ani1x_model{i}.fnx" for i in range(8)),
        "fennix-bio1S.fnx",
    ]
    assert all(file["state"] == "missing" for file in files)
    assert files[0]["sha256"].startswith("7d1b256b")
    assert files[-1]["sha256"] is None
    assert "not for commercial" in files[-1]["terms"]
    assert not (tmp_path / "cache").exists()


def test_files_at_hand_are_checked(
    tmp_path: Path, shared_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    good = (shared_folder / "weights" / "ani1x_model0.fnx").read_bytes()
    (folder / "ani1x_model0.fnx").write_bytes(good)
    monkeypatch.setenv("MLFFDB_WEIGHTS_DIR", str(folder))
    done = fetch("fennol:ani1x_model0")
    assert done.exit_code == 0, done.output
    assert "here" in done.stdout
    (folder / "ani1x_model0.fnx").write_bytes(good[:-1])
    done = fetch("fennol:ani1x_model0")
    assert done.exit_code == 2
    assert "is not ani1x_model0.fnx as published" in done.stderr


def test_without_network_one_line_says_what_to_do(tmp_path: Path) -> None:
    done = fetch("fennol:fennix-bio1S")
    assert done.exit_code == 2
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "https://github.com/FeNNol-tools/FeNNol-PMC/" in line
    assert str(tmp_path / "cache" / "weights" / "fennix-bio1S.fnx") in line
    assert "licence ASL (academic, non-commercial)" in done.stderr


def test_a_teacher_without_weights_and_an_unknown_one() -> None:
    done = fetch("gfn2-xtb")
    assert done.exit_code == 0
    assert "gfn2-xtb needs no weights" in done.stdout
    assert fetch("no-such-teacher").exit_code == 2
