"""The example plug-in, installed as a package: listed, checked, and as the page has it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parent / "example_plugin"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "own-teacher.md"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a Python that has the plug-in, by pip into a folder of its own."""
    pytest.importorskip("setuptools", reason="pip builds the plug-in with setuptools")
    source = tmp_path_factory.mktemp("source") / "plugin"
    shutil.copytree(PLUGIN, source, ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--disable-pip-version-check", "--target", target, source],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return {**os.environ, "PYTHONPATH": str(target), "PYTHONWARNINGS": "error"}


def run(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_plugin_holds_the_contract(installed: dict[str, str]) -> None:
    environment = {**installed, **{k: v for k, v in os.environ.items() if k.startswith("MLFFDB_")}}
    said = run(environment, "-m", "mlffdb_cli.main", "teachers", "check", "harmonic")
    assert "The contract holds" in said
    assert "broken" not in said


def test_the_page_shows_the_plugin_and_its_code_runs(installed: dict[str, str]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    code, suite = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    [toml] = re.findall(r"^```toml\n(.*?)^```", page, re.M | re.S)
    assert code == (PLUGIN / "mlffdb_harmonic.py").read_text(encoding="utf-8")
    assert toml == (PLUGIN / "pyproject.toml").read_text(encoding="utf-8")
    listed = "from mlffdb.teachers import registry; assert 'harmonic' in registry.names()\n"
    run(installed, "-c", f"{listed}from mlffdb_harmonic import HarmonicTeacher\n{suite}")
