"""The fixtures themselves: what every other test relies on."""

from __future__ import annotations

import os
from pathlib import Path

from mlffdb.config import load_settings
from tests.conftest import execute


def test_the_environment_is_clean(tmp_path):
    settings = load_settings()
    assert settings.embedded
    assert settings.exports_dir.is_relative_to(tmp_path)
    assert Path.home().is_relative_to(tmp_path)
    assert Path.cwd() == tmp_path
    assert not any(name.startswith("PG") for name in os.environ)


def test_a_database_of_its_own(database_url):
    assert execute(database_url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [
        (0,)
    ]
    execute(database_url, "CREATE TABLE here (x int)")


def test_and_another(database_url):
    execute(database_url, "CREATE TABLE here (x int)")
    assert execute(database_url, "SELECT count(*) FROM here") == [(0,)]
