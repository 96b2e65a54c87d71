"""Threshold files: defaults complete, changes kept, mistakes named by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlffdb.errors import ConfigError
from mlffdb.validation import (
    CHECKS,
    RULE_VERSION,
    Finding,
    Severity,
    StructureBatch,
    Threshold,
    catalogue,
    check_structures,
    load_thresholds,
    structure_check,
)
from mlffdb.validation.batch import finding, value_of
from mlffdb.validation.thresholds import ADDED
from tests.validation.making import batch, g2


def test_every_check_has_its_limits_and_every_limit_its_check() -> None:
    defaults = load_thresholds()
    named = [name for check in CHECKS.values() for name in check.thresholds]
    assert sorted(named) == sorted(defaults.entries)
    for row in catalogue(defaults):
        assert row["source"] and row["explanation"] and row["looks_at"]
        assert row["value"] is None or row["unit"]


def test_the_reference_values_are_the_defaults() -> None:
    defaults = load_thresholds()
    expected = {"force_max": 50.0, "net_force": 0.1, "min_distance": 0.5, "stress_max": 80.0}
    expected |= {"min_distance_suspect": 0.7, "energy_outlier": 8.0, "duplicate": 0.01}
    assert {name: defaults[name].value for name in expected} == expected


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text(
        "force_max: 15.0\nenergy_outlier:\n  value: 6\n  severity: suspect\n"
        "volume_per_atom_max:\n  enabled: false\n"
    )
    default, changed = load_thresholds(), load_thresholds(path)
    assert changed["force_max"].value == 15.0
    assert changed["force_max"].severity is Severity.REJECT
    assert changed["energy_outlier"].severity is Severity.SUSPECT
    assert changed.active("volume_per_atom_max") is None
    assert changed["net_force"] == default["net_force"]
    assert changed.rule_version != default.rule_version
    assert changed.rule_version.startswith(f"{RULE_VERSION}+")


def test_prose_does_not_change_the_rule_version(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text("force_max:\n  source: my own\n")
    assert load_thresholds(path).rule_version == load_thresholds().rule_version


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text("# nothing\n")
    assert load_thresholds(path).digest == load_thresholds().digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "net_force: 1\nforce_mx: 3\n",
            r"line 2: no threshold is called 'force_mx'; known: .*force_max",
        ),
        (
            "force_max:\n  valeu: 3\n",
            r"line 2: force_max.valeu: .*; allowed: value, unit, severity",
        ),
        ("force_max:\n  value: 3\n  severity: fatal\n", r"line 3: force_max.severity: .*'reject'"),
        ("force_max: much\n", r"line 1: force_max.value: .*number"),
        ("force_max: .nan\n", r"line 1: force_max.value: .*finite"),
        ("force_max:\n", r"line 1: force_max needs a number; `enabled: false`"),
        ("multiplicity_parity: 3\n", r"line 1: multiplicity_parity has no value to set"),
        ("force_max: 1\nforce_max: 2\n", r"line 2: force_max is given twice"),
        ("- 3\n", r"line 1: expected lines of `name: value`"),
        ("force_max: [\n", r"line 2: this is not YAML"),
    ],
)
def test_mistakes_name_file_line_and_what_is_allowed(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"limits\.yaml, {message}") as caught:
        load_thresholds(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml.*name a readable YAML file"):
        load_thresholds(tmp_path / "none.yaml")


def test_a_limit_switched_off_finds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text("missing_hydrogens:\n  enabled: false\n")
    benzene = g2("C6H6").take(range(6))
    assert check_structures(batch(benzene), load_thresholds())
    assert check_structures(batch(benzene), load_thresholds(path)) == []


def test_a_check_is_added_by_registering_a_function() -> None:
    limit = Threshold(
        value=5, unit="atoms", severity=Severity.SUSPECT, source="test", explanation="too large"
    )

    @structure_check("size", "Too many atoms", defaults={"size": limit})
    def size(given: StructureBatch) -> list[Finding]:
        bound = given.thresholds["size"]
        return [
            finding("size", bound, i, float(n), f"{n} atoms")
            for i, n in enumerate(given.structures.n_atoms.tolist())
            if n > value_of(bound)
        ]

    try:
        found = check_structures(batch(g2("H2O"), g2("C6H6")), load_thresholds())
        assert [(f.index, f.check, f.value) for f in found] == [(1, "size", 12.0)]
        with pytest.raises(ValueError, match="registered already"):
            structure_check("size", "again")(size)
    finally:
        del CHECKS["size"], ADDED["size"]
