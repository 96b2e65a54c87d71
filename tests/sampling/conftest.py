"""Fixtures of the sampling tests."""

from __future__ import annotations

import pytest


@pytest.fixture
def smiles():
    return lambda *texts: {"type": "smiles", "smiles": list(texts)}


@pytest.fixture
def write(tmp_path):
    def write_file(name: str, text: str):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_file
