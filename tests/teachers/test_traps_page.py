"""The page about teachers: the tests that it names exist, and so do the teachers."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from mlffdb.teachers import registry

TESTS = Path(__file__).resolve().parents[1]
PAGE = (TESTS.parent / "docs" / "teachers.md").read_text(encoding="utf-8")


def test_every_trap_names_tests_that_exist():
    defined = {
        node.name
        for path in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    section = PAGE.partition("## Silent wrong labels")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \|.*\|$", section, re.M)
    assert rows == [str(number) for number in range(1, 14)]
    for row in re.findall(r"^\| \d+ \|.*\|$", section, re.M):
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        assert set(named) <= defined, set(named) - defined


def test_every_teacher_is_on_the_page():
    for name in registry.names():
        stem = re.sub(r"_model\d$", "_model0", name)
        assert f"`{stem}`" in PAGE, name
