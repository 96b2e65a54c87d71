"""Exporting from a real database: content, determinism, versions, reasons, refusals."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import re
from uuid import UUID

import numpy as np
import pytest
from ase.data import chemical_symbols
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from mlffdb.errors import ExportError
from mlffdb.snapshots.export import export_snapshot, rewrite_snapshot
from mlffdb.snapshots.freeze import export_lock
from mlffdb.store import ddl, runs, structures, verdicts
from mlffdb.store.labels import register_teacher
from mlffdb.structures import structure_id
from mlffdb.structures.identity import canonical_order
from mlffdb.training import load
from tests.snapshots import filling


def export(db, out, name="set", **options):
    options = {"teacher": "emt", "run_id": filling.new_run(db), **options}
    return export_snapshot(db, name, out=out, **options)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def as_new(db):
    """Make the database as empty as at first."""
    with db.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
        cursor = connection.connection.cursor()
        for statement in ddl.statements():
            cursor.execute(statement)


def test_files_hold_exactly_what_was_labelled(db, tmp_path):
    known = filling.fill(db, filling.candidates())
    seen = []
    report = export(db, tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert report.created
    assert report.path == tmp_path / "set" / "v1"
    assert sorted(contents(report.path)) == [
        "card.md",
        "manifest.json",
        "statistics.json",
        "test.h5",
        "train.h5",
        "val.h5",
    ]
    assert report.structures == len(known) == seen[-1][0] == seen[-1][1]
    found = 0
    for split, count in report.counts.items():
        snapshot = load(report.path / f"{split}.h5", verify=True)
        assert len(snapshot) == count > 0
        for atoms in snapshot:
            structure, label = known[UUID(atoms.info["structure_id"])]
            assert (atoms.numbers == structure.numbers).all()  # in the source's order
            assert (atoms.positions == structure.positions).all()
            assert atoms.get_potential_energy() == label.energy
            assert (atoms.get_forces() == label.forces).all()
            assert atoms.info["charge"] == 0
            assert (atoms.pbc == structure.pbc).all()
            if structure.cell is None:
                assert atoms.info["multiplicity"] == 1
                assert atoms.info["domain"] == "organic"
                assert "stress" not in atoms.calc.results
            else:
                assert (atoms.cell.array == structure.cell).all()
                assert (atoms.get_stress() == label.stress).all()
            found += 1
    assert found == len(known)


def test_no_parent_or_key_is_in_two_splits(db, tmp_path):
    chosen = filling.candidates()
    filling.fill(db, chosen)
    report = export(db, tmp_path)
    split = {}
    for name in report.counts:
        snapshot = load(report.path / f"{name}.h5")
        split |= {snapshot.structure_id(i): name for i in range(len(snapshot))}
    for candidate in chosen:
        if candidate.origin.parent:
            assert split[structure_id(candidate.structure)] == split[candidate.origin.parent]


def test_unlabelled_parents_and_near_duplicates_tie_their_relatives_together(db, tmp_path):
    families = [filling.family(name, 3) for name in filling.MOLECULES]
    everyone = [c for members in families for c in members]
    labels = filling.fill(db, everyone)
    first, second = (structure_id(families[i][0].structure) for i in (0, 1))
    run_id = filling.new_run(db)
    with db.begin() as connection:
        verdicts.add_pairs(connection, run_id, [(first, second, 0.01)])
        # what ties them is rejected itself
        filling.judge(connection, run_id, {first: "rejected", second: "rejected"}, None)
    for seed in range(5):
        report = export(db, tmp_path, f"set{seed}", seed=seed)
        assert report.structures == len(labels) - 2
        split = {}
        for name in report.counts:
            snapshot = load(report.path / f"{name}.h5")
            split |= {snapshot.structure_id(i): name for i in range(len(snapshot))}
        tied = [structure_id(c.structure) for i in (0, 1) for c in families[i][1:]]
        assert len({split[i] for i in tied}) == 1


def test_two_databases_filled_in_different_order_give_the_same_bytes(db, tmp_path):
    chosen = filling.candidates()
    filling.fill(db, chosen)
    first = export(db, tmp_path / "a", seed=3)
    as_new(db)
    db.close()
    with db.begin() as connection:  # so that keys of runs and teachers differ too
        register_teacher(connection, filling.other_version("cd", name="rival"))
    for _ in range(5):
        filling.new_run(db)
    random.Random(1).shuffle(chosen)
    half = len(chosen) // 2
    filling.fill(db, chosen[half:])
    filling.fill(db, chosen[:half])
    second = export(db, tmp_path / "b", seed=3)
    assert first.root_hash == second.root_hash
    assert contents(first.path) == contents(second.path)


def test_exporting_twice_changes_nothing(db, tmp_path):
    filling.fill(db, filling.candidates(2))
    first = export(db, tmp_path)
    before = contents(first.path)
    again = export(db, tmp_path)
    assert (again.created, again.written, again.version) == (False, False, 1)
    assert again.counts == first.counts
    assert contents(first.path) == before
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["v1"]


def test_missing_files_of_the_newest_version_are_written_again(db, tmp_path):
    filling.fill(db, filling.candidates(2))
    first = export(db, tmp_path)
    before = contents(first.path)
    (first.path / "val.h5").unlink()
    again = export(db, tmp_path)
    assert (again.created, again.written, again.version) == (False, True, 1)
    assert contents(first.path) == before


def test_growing_makes_a_version_in_which_nothing_has_moved(db, tmp_path):
    chosen = filling.candidates(4)
    old = [c for c in chosen if c.origin.index is None or c.origin.index < 2]
    filling.fill(db, old)
    first = export(db, tmp_path)
    filling.fill(db, chosen)
    second = export(db, tmp_path)
    assert (second.version, second.created) == (2, True)
    for split, count in first.counts.items():
        before, after = (load(r.path / f"{split}.h5") for r in (first, second))
        ids = {after.structure_id(i) for i in range(len(after))}
        assert {before.structure_id(i) for i in range(count)} <= ids
    rewritten = rewrite_snapshot(db, "set", 1, out=tmp_path / "again")
    assert contents(rewritten.path) == contents(first.path)


def test_a_later_structure_that_bridges_two_splits_is_left_out(db, tmp_path):
    filling.fill(db, filling.candidates(2))
    first = export(db, tmp_path)
    ids = {}
    for split in ("train", "test"):
        snapshot = load(first.path / f"{split}.h5")
        ids[split] = next(
            snapshot.structure_id(i) for i, a in enumerate(snapshot) if a.info["domain"]
        )
    new = filling.family("H2O", 5)[-1]
    filling.fill(db, [new])
    with db.begin() as connection:
        identity = structure_id(new.structure)
        pairs = [(identity, ids["train"], 0.01), (identity, ids["test"], 0.01)]
        verdicts.add_pairs(connection, filling.new_run(db), pairs)
    second = export(db, tmp_path)
    reason = "ties two splits of earlier versions together (quarantined)"
    assert second.left_out[reason] == 1
    assert second.root_hash == first.root_hash
    assert any("quarantined" in line for line in second.warnings)


def test_every_reason_for_leaving_out_is_counted(db, tmp_path):
    labels = list(filling.fill(db, filling.candidates(3)))
    run_id = filling.new_run(db)
    key = filling.teacher_id(db)
    unjudged = filling.fill(db, filling.family("CH3CHO", 2), valid=False)
    with db.begin() as connection:
        filling.judge(connection, run_id, {labels[0]: "rejected"}, None)
        filling.judge(connection, run_id, {labels[1]: "suspect"}, None)
        filling.judge(connection, run_id, dict.fromkeys(labels[2:5], "suspect"), key)
        filling.judge(connection, run_id, {labels[5]: "rejected"}, key)
        filling.judge(connection, run_id, {next(iter(unjudged)): "valid"}, None)
        verdicts_left = {
            "structure rejected": 1,
            "structure suspect": 1,
            "label suspect": 3,
            "label rejected": 1,
            "label not validated": 1,
            "structure not validated": 1,
            "not labelled": 1,
        }
        structures.add(connection, run_id, [filling.unlabelled("SiH4")])
    report = export(db, tmp_path)
    assert report.left_out == verdicts_left
    card = (report.path / "card.md").read_text()
    assert "- label suspect: 3" in card
    assert json.loads((report.path / "manifest.json").read_text())["left_out"] == verdicts_left


def test_a_condition_chooses_and_is_recorded(db, tmp_path):
    labels = filling.fill(db, filling.candidates(2))
    chosen = [i for i, (structure, _) in labels.items() if structure.n_periodic]
    report = export(db, tmp_path, structure_ids=chosen, condition="n_periodic = 3")
    assert report.structures == len(chosen)
    content = json.loads((report.path / "manifest.json").read_text())
    assert content["query"] == {"condition": "n_periodic = 3", "teacher": "emt"}
    assert "n_periodic = 3" in (report.path / "card.md").read_text()
    with pytest.raises(ExportError, match="the condition selects nothing"):
        export(db, tmp_path, "empty", structure_ids=[])


def test_the_manifest_names_what_decided_the_bytes_and_no_place_or_time(db, tmp_path):
    filling.fill(db, filling.candidates(2))
    report = export(db, tmp_path, split="0.7/0.2/0.1", seed=5)
    raw = (report.path / "manifest.json").read_text()
    content = json.loads(raw)
    for name, known in content["files"].items():
        assert hashlib.sha256((report.path / name).read_bytes()).hexdigest() == known["sha256"]
    assert set(content["software"]) == {"mlffdb", "h5py", "hdf5", "numpy"}
    assert content["split"]["asked"] == {"train": 0.7, "val": 0.2, "test": 0.1}
    assert content["split"]["seed"] == 5
    assert content["rule_versions"] == ["rules-1"]
    assert content["teachers"][0]["fingerprint"] == filling.EMT_TEACHER.fingerprint
    assert content["root_hash"] == report.root_hash
    everything = raw + "".join(
        (report.path / name).read_text() for name in ("statistics.json", "card.md")
    )
    assert str(tmp_path) not in everything
    assert not re.search(r"\b20\d\d-\d\d", everything)
    assert "run_id" not in everything


def test_the_root_hash_can_be_computed_by_hand(db, tmp_path):
    labels = filling.fill(db, filling.candidates(2))
    report = export(db, tmp_path)
    splits = {}
    for number, name in enumerate(("train", "val", "test")):
        snapshot = load(report.path / f"{name}.h5")
        splits |= {snapshot.structure_id(i): number for i in range(len(snapshot))}
    root = hashlib.sha256(b"mlffdb snapshot 1")
    for identity in sorted(labels):
        structure, label = labels[identity]
        content = bytes.fromhex(filling.EMT_TEACHER.fingerprint) + identity.bytes
        content += np.array([label.energy], ">f8").tobytes()
        content += np.array([0, 0 if structure.n_periodic else 1], ">i2").tobytes()
        if label.stress is not None:
            content += label.stress.astype(">f8").tobytes()
        content += label.forces[canonical_order(structure)].astype("<f8").tobytes()
        leaf = identity.bytes + hashlib.sha256(content).digest() + bytes([splits[identity]])
        root.update(leaf)
    assert root.hexdigest() == report.root_hash


def test_forces_keep_the_precision_of_the_teacher(db, tmp_path):
    filling.fill(db, filling.candidates(2), forces_dtype=np.float32)
    assert load(export(db, tmp_path).path / "train.h5").arrays["forces"].dtype == np.float32
    filling.fill(db, filling.family("C6H6", 2), forces_dtype=np.float64)
    mixed = export(db, tmp_path)
    assert load(mixed.path / "train.h5").arrays["forces"].dtype == np.float64


def test_a_published_version_cannot_be_changed(db, tmp_path):
    filling.fill(db, filling.candidates(2))
    export(db, tmp_path)
    for statement in (
        "DELETE FROM snapshot_member",
        "UPDATE snapshot SET seed = 9",
        "DELETE FROM snapshot",
    ):
        with pytest.raises(DBAPIError, match="published"), db.begin() as connection:
            connection.execute(text(statement))


def test_components_are_stored(db, tmp_path):
    chosen = filling.candidates(3)
    filling.fill(db, chosen)
    export(db, tmp_path)
    with db.begin() as connection:
        rows = connection.execute(text("SELECT structure_id, component_id FROM component")).all()
    components = dict(rows)
    assert len(components) == len(chosen)
    for name in filling.MOLECULES:
        ids = [structure_id(c.structure) for c in filling.family(name, 3)]
        assert {components[i] for i in ids} == {min(ids)}


def test_another_seed_of_the_same_name_is_answered_with_a_warning(db, tmp_path):
    filling.fill(db, filling.candidates(2))
    first = export(db, tmp_path)
    again = export(db, tmp_path, seed=1)
    assert not again.created
    assert again.root_hash == first.root_hash
    assert any("another name" in line for line in again.warnings)
    other = export(db, tmp_path, "other", seed=1)
    assert other.root_hash != first.root_hash


def test_a_folder_with_something_else_is_never_overwritten(db, tmp_path):
    filling.fill(db, filling.candidates(2))
    strange = tmp_path / "set" / "v1"
    strange.mkdir(parents=True)
    (strange / "thesis.txt").write_text("precious")
    report = export(db, tmp_path)
    assert report.version == 2
    assert (strange / "thesis.txt").read_text() == "precious"
    assert export(db, tmp_path).created is False


def test_an_old_teacher_version_beside_the_new_one_must_be_named(db, tmp_path):
    filling.fill(db, filling.candidates(2))
    filling.fill(db, filling.family("H2O", 3), teacher=filling.other_version("cd"))
    with pytest.raises(ExportError, match="emt@abababababab, emt@cdcdcdcdcdcd"):
        export(db, tmp_path)
    assert export(db, tmp_path, teacher="emt@cd").structures == 3


def test_a_name_may_itself_end_in_a_precision(db, tmp_path):
    precise = dataclasses.replace(filling.other_version("cd"), name="emt@float64")
    filling.fill(db, filling.family("H2O", 3), teacher=precise)
    assert export(db, tmp_path, teacher="emt@float64").structures == 3
    assert export(db, tmp_path, teacher="emt@float64@cd").created is False
    with pytest.raises(ExportError, match="no labels by teacher emt@float32"):
        export(db, tmp_path, teacher="emt@float32")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("set", {"teacher": "nobody"}, "no labels by teacher nobody; there are labels by emt"),
        ("a b", {}, "snapshot name 'a b' must begin with"),
        ("../set", {}, "snapshot name '../set' must begin with"),
        ("set", {"split": "0.8/0.8"}, "adds up to 1.6, not 1"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(db, tmp_path, name, options, message):
    filling.fill(db, filling.family("H2O", 2))
    with pytest.raises(ExportError) as error:
        export(db, tmp_path, name, **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.rglob("*")) == [] or not list(tmp_path.rglob("v*"))


def test_untrained_teachers_are_refused(db, tmp_path):
    filling.fill(db, filling.family("H2O", 2), teacher=filling.other_version("ef", untrained=True))
    with pytest.raises(ExportError, match="untrained"):
        export(db, tmp_path)


def test_nothing_valid_says_why(db, tmp_path):
    filling.fill(db, filling.family("H2O", 3), valid=False)
    with pytest.raises(ExportError) as error:
        export(db, tmp_path)
    assert str(error.value) == (
        "nothing valid to export by emt (structure not validated: 3); run `mlffdb validate`"
    )
    with db.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM snapshot")) == 0


def test_an_unknown_version_is_refused(db, tmp_path):
    filling.fill(db, filling.candidates(2))
    export(db, tmp_path)
    with pytest.raises(ExportError, match="snapshot set has no version 7; there are: v1"):
        rewrite_snapshot(db, "set", 7, out=tmp_path)


def test_two_exports_of_a_name_at_once(db, tmp_path):
    filling.fill(db, filling.family("H2O", 2))
    with (
        export_lock(db, "set"),
        pytest.raises(ExportError, match="is being exported by another process"),
    ):
        export(db, tmp_path)
    assert export(db, tmp_path).created


def test_statistics_are_those_of_train_alone(db, tmp_path):
    filling.fill(db, filling.candidates(3))
    report = export(db, tmp_path)
    train = load(report.path / "train.h5")
    statistics = json.loads((report.path / "statistics.json").read_text())
    forces = np.concatenate([atoms.get_forces() for atoms in train])
    assert statistics["train"]["force_rms"]["overall"] == pytest.approx(np.sqrt((forces**2).mean()))
    symbols = list(statistics["train"]["atomic_energies"])
    counts = np.array([[a.get_chemical_symbols().count(s) for s in symbols] for a in train])
    energies = np.array([a.get_potential_energy() for a in train])
    expected = np.linalg.lstsq(counts.astype(float), energies, rcond=None)[0]
    found = list(statistics["train"]["atomic_energies"].values())
    assert found == pytest.approx(expected, abs=1e-6)
    residual = (energies - counts @ expected) / counts.sum(axis=1)
    assert statistics["train"]["energy_per_atom"]["std"] == pytest.approx(residual.std(), abs=1e-7)
    assert statistics["composition"]["train"]["structures"] == len(train)
    assert sum(s["structures"] for s in statistics["composition"].values()) == report.structures


def test_runs_are_free_to_fail_before_anything_is_frozen(db, tmp_path):
    filling.fill(db, filling.family("H2O", 2))
    with pytest.raises(ExportError, match="cannot write"):
        blocked = tmp_path / "file"
        blocked.write_text("")
        export(db, blocked)
    with db.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM snapshot")) == 0
    assert runs.start(db, "export").run_id > 0


def test_elements_that_only_a_test_meets_are_named(db, tmp_path):
    filling.fill(db, filling.candidates(3))
    report = export(db, tmp_path)
    elements = {
        split: {
            int(number) for atoms in load(report.path / f"{split}.h5") for number in atoms.numbers
        }
        for split in ("train", "val", "test")
    }
    unseen = (elements["val"] | elements["test"]) - elements["train"]
    assert unseen, "this set has an element of one molecule only outside of train"
    said = next(warning for warning in report.warnings if "not in train" in warning)
    assert said.split(" in val")[0].split(", ") == [chemical_symbols[n] for n in sorted(unseen)]
