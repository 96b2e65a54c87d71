"""Whatever decides the numbers of a label makes another teacher."""

from __future__ import annotations

import dataclasses

import pytest

from mlffdb.teachers import xtb
from mlffdb.teachers.base import Identity

ONE = Identity("orb-v2", {"orb-models": "0.5.5", "torch": "2.7"}, "ab" * 32, "float32-highest")


@pytest.mark.parametrize(
    "change",
    [
        {"weights_sha256": "cd" * 32},
        {"precision": "float32-high"},
        {"versions": {"orb-models": "0.7.0", "torch": "2.7"}},
        {"versions": {"orb-models": "0.5.5", "torch": "2.8"}},
        {"settings": {"edge_method": "knn_alchemi"}},
        {"untrained": True},
        {"name": "orb-v3"},
    ],
)
def test_a_change_makes_another_fingerprint(change) -> None:
    assert dataclasses.replace(ONE, **change).fingerprint != ONE.fingerprint


def test_the_order_of_what_is_said_does_not() -> None:
    versions = {"torch": "2.7", "orb-models": "0.5.5"}
    assert dataclasses.replace(ONE, versions=versions).fingerprint == ONE.fingerprint


def test_a_package_that_is_updated_is_another_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tblite", reason="the extra xtb is not installed")
    before = xtb.load_xtb("gfn2-xtb", "cpu").identity.fingerprint
    assert xtb.load_xtb("gfn2-xtb", "cpu").identity.fingerprint == before
    monkeypatch.setattr(xtb, "version", lambda package: "99.0")
    assert xtb.load_xtb("gfn2-xtb", "cpu").identity.fingerprint != before
