"""`load`: the sequence of Atoms, the mapped arrays, and files that cannot be read."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from hashlib import sha256

import h5py
import numpy as np
import pytest
from ase.stress import voigt_6_to_full_3x3_stress

from mlffdb.errors import SnapshotFileError
from mlffdb.snapshots.layout import FIELDS
from mlffdb.snapshots.writer import SnapshotWriter
from mlffdb.training import load

SIZES = np.array([3, 1, 2])
TOTAL = 6


@pytest.fixture
def path(tmp_path):
    """Water, an argon crystal and a cation of two atoms."""
    pbc = np.zeros((3, 3), bool)
    pbc[1] = True
    stress = np.full((3, 6), np.nan)
    stress[1] = [1e-3, 2e-3, 3e-3, 4e-4, 5e-4, 6e-4]
    content = {
        "offsets": np.cumsum(SIZES),
        "numbers": np.array([8, 1, 1, 18, 6, 8]),
        "positions": np.arange(18.0).reshape(6, 3),
        "cells": np.where(pbc[:, :, None], np.eye(3) * 5.3, 0),
        "pbc": pbc,
        "charges": np.array([0, 0, 1]),
        "multiplicities": np.array([1, 0, 2]),
        "ids": np.arange(48).reshape(3, 16),
        "components": np.zeros((3, 16)),
        "domains": np.array([1, 0, 1]),
        "energy": np.array([-2.5, -1.5, -3.5]),
        "forces": np.arange(18.0).reshape(6, 3) / 7,
        "stress": stress,
        "stress_mask": np.array([False, True, False]),
    }
    target = tmp_path / "train.h5"
    with SnapshotWriter(
        target,
        3,
        TOTAL,
        forces_dtype="<f4",
        attributes={"name": "set", "version": 2, "split": "train"},
        domain_names=["inorganic", "organic"],
    ) as writer:
        writer.append(content)
        writer.close()
    return target


def test_atoms_have_everything_of_their_structure(path):
    snapshot = load(path)
    water, argon, cation = snapshot
    assert water.get_chemical_formula() == "H2O"
    assert water.get_potential_energy() == -2.5
    np.testing.assert_allclose(water.get_forces(), np.arange(9).reshape(3, 3) / 7, rtol=1e-7)
    assert "stress" not in water.calc.results
    assert not water.cell.any()
    assert water.info == {
        "charge": 0,
        "multiplicity": 1,
        "structure_id": "00010203-0405-0607-0809-0a0b0c0d0e0f",
        "domain": "organic",
    }
    assert argon.pbc.all()
    assert argon.get_stress(voigt=False) == pytest.approx(
        voigt_6_to_full_3x3_stress([1e-3, 2e-3, 3e-3, 4e-4, 5e-4, 6e-4])
    )
    assert "multiplicity" not in argon.info
    assert (cation.info["charge"], cation.info["multiplicity"]) == (1, 2)
    assert repr(snapshot) == "<Snapshot set v2 train: 3 structures>"


def test_indices_and_slices_are_those_of_a_sequence(path):
    snapshot = load(str(path))
    assert len(snapshot) == 3
    energies = [atoms.get_potential_energy() for atoms in snapshot]
    assert snapshot[-1].get_potential_energy() == energies[2]
    assert snapshot[np.int64(1)].get_potential_energy() == energies[1]
    assert [a.get_potential_energy() for a in snapshot[::-1]] == energies[::-1]
    assert snapshot[5:] == []
    for wrong in (3, -4):
        with pytest.raises(IndexError, match="has 3 structures"):
            snapshot[wrong]


def test_nothing_can_be_changed(path):
    snapshot = load(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="read-only"):
        snapshot.arrays["energy"][0] = 1
    with pytest.raises(TypeError):
        snapshot.arrays["energy"] = np.zeros(3)
    atoms = snapshot[0]
    atoms.positions += 1  # the user's own copy
    atoms.calc.results["forces"] += 1
    assert snapshot[0].positions[0, 0] == 0
    assert path.read_bytes() == before


def test_a_batch_is_the_structures_one_after_another(path):
    snapshot = load(path)
    batch = snapshot.batch([2, 0, 2])
    assert batch["offsets"].tolist() == [0, 2, 5, 7]
    assert batch["numbers"].tolist() == [6, 8, 8, 1, 1, 6, 8]
    assert batch["energy"].tolist() == [-3.5, -2.5, -3.5]
    for k, i in enumerate((2, 0, 2)):
        rows = slice(*batch["offsets"][k : k + 2])
        np.testing.assert_array_equal(batch["positions"][rows], snapshot[i].positions)
    assert set(batch) == {field.name for field in FIELDS}
    assert snapshot.batch([])["offsets"].tolist() == [0]


def _energy(snapshot):
    return snapshot[2].get_potential_energy(), snapshot.arrays["forces"].sum()


def test_copies_in_other_processes_read_the_same(path):
    snapshot = load(path)
    assert _energy(pickle.loads(pickle.dumps(snapshot))) == _energy(snapshot)
    assert len(pickle.dumps(snapshot)) < 1000  # the path, not the numbers
    with multiprocessing.get_context("forkserver").Pool(2) as pool:
        assert pool.map(_energy, [snapshot] * 4) == [_energy(snapshot)] * 4


def test_compressed_files_are_read_too(path, tmp_path):
    small = tmp_path / "small.h5"
    with h5py.File(path) as source, h5py.File(small, "w") as target:
        for key, value in source.attrs.items():
            target.attrs[key] = value
        for field in FIELDS:
            dataset = target.create_dataset(
                field.path, data=source[field.path][:], compression="gzip", shuffle=True
            )
            for key, value in source[field.path].attrs.items():
                dataset.attrs[key] = value
    assert _energy(load(small)) == _energy(load(path))
    with pytest.raises(ValueError, match="read-only"):
        load(small).arrays["energy"][0] = 1


def refusal(path, **options):
    with pytest.raises(SnapshotFileError) as error:
        load(path, **options)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    return str(error.value)


def test_what_is_no_snapshot_is_refused(path, tmp_path):
    assert "does not exist" in refusal(tmp_path / "none.h5")
    assert "is a folder" in refusal(tmp_path)
    (tmp_path / "text.h5").write_text("hello")
    assert "no readable HDF5 file" in refusal(tmp_path / "text.h5")
    (tmp_path / "empty.h5").write_bytes(b"")
    assert "no readable HDF5 file" in refusal(tmp_path / "empty.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["a"] = 1
    assert "no mlffdb snapshot" in refusal(tmp_path / "other.h5")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_file_is_refused(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refusal(path)


def test_a_newer_format_is_refused(path):
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 2
    assert "format version 2; this mlffdb reads up to 1: upgrade mlffdb" in refusal(path)


def change(path, name, values):
    with h5py.File(path, "r+") as file:
        file[name][...] = values


def test_a_file_that_contradicts_itself_is_refused(path):
    change(path, "structures/offsets", [0, 4, 3, 6])
    assert "structures/offsets do not ascend" in refusal(path)
    change(path, "structures/offsets", [0, 3, 4, 6])
    change(path, "structures/domains", [0, 2, 0])
    assert "domains points outside its names" in refusal(path)
    change(path, "structures/domains", [0, 0, 0])
    with h5py.File(path, "r+") as file:
        del file["labels/energy"]
    assert "labels/energy is missing" in refusal(path)
    with h5py.File(path, "r+") as file:
        file["labels/energy"] = np.zeros(2)
    assert "lengths disagree in labels/energy" in refusal(path)
    with h5py.File(path, "r+") as file:
        del file["labels/energy"]
        file["labels/energy"] = np.zeros((3, 1))
    assert "labels/energy is float64 (3, 1)" in refusal(path)


def test_verify_finds_one_changed_bit(path):
    assert "manifest.json is missing" in refusal_of_manifest(path)
    files = {"train.h5": {"sha256": sha256(path.read_bytes()).hexdigest()}}
    (path.parent / "manifest.json").write_text(json.dumps({"files": files}))
    assert len(load(path, verify=True)) == 3
    change(path, "labels/energy", [-2.5, np.nextafter(-1.5, 0), -3.5])
    assert "its SHA-256 is not the one in manifest.json" in refusal(path, verify=True)
    assert len(load(path)) == 3


def refusal_of_manifest(path):
    with pytest.raises(SnapshotFileError) as error:
        load(path, verify=True)
    return str(error.value)
