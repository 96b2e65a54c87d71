"""The one entry to all benchmarks."""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import benchmarks
from benchmarks import __main__ as entry

FOLDER = Path(benchmarks.__file__).parent
SOURCE = '''"""Counts to ten."""


def run(quick=False):
    return [{"what": "ten", "seconds": 0.25, "many": 1234.5, "quick": quick}, {"what": "eleven"}]
'''


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A benchmark that takes no time, beside the real ones."""
    (tmp_path / "counting.py").write_text(SOURCE)
    (tmp_path / "_helper.py").write_text(SOURCE)
    (tmp_path / "tools.py").write_text('"""No benchmark."""\n')
    monkeypatch.setattr(entry, "FOLDER", tmp_path)
    monkeypatch.setattr(benchmarks, "__path__", [str(tmp_path), *benchmarks.__path__])
    return "counting"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(entry.main, arguments)


def test_every_benchmark_says_what_it_measures_and_can_be_quick() -> None:
    known = entry.available()
    assert {"sampling", "structures", "teachers"} <= set(known)
    for name, what in known.items():
        assert what.endswith("."), f"{name}: the first line of its docstring is a sentence"
        parameters = inspect.signature(importlib.import_module(f"benchmarks.{name}").run).parameters
        assert parameters["quick"].default is False, name


def test_the_list_names_them_all() -> None:
    found = run()
    assert found.exit_code == 0
    assert all(name in found.stdout for name in entry.available())
    assert {row["benchmark"] for row in json.loads(run("--json").stdout)} == set(entry.available())


def test_only_files_with_a_run_are_benchmarks(counting: str) -> None:
    assert entry.available() == {counting: "Counts to ten."}


def test_an_unknown_name_is_told(counting: str) -> None:
    found = run("countin")
    assert found.exit_code == 2
    assert "countin" in found.stderr
    assert counting in found.stderr


def test_table_and_json_have_the_same_numbers(counting: str) -> None:
    report = json.loads(run(counting, "--json").stdout)
    assert report["rows"][0] == {"what": "ten", "seconds": 0.25, "many": 1234.5, "quick": False}
    assert report["versions"]["mlffdb"]
    assert report["machine"]["cores"] >= 1
    table = run(counting).stdout
    for said in ("Counts to ten.", "0.25", "1,234", "eleven", report["machine"]["python"]):
        assert said in table


def test_quick_reaches_the_benchmark(counting: str) -> None:
    report = json.loads(run(counting, "--quick", "--json").stdout)
    assert report["quick"] is True
    assert report["rows"][0]["quick"] is True
