"""The file by itself: written, read back, and described in docs/format.md as it is."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.data import chemical_symbols

from mlffdb.snapshots.arrays import open_arrays
from mlffdb.snapshots.layout import FIELDS
from mlffdb.snapshots.statistics import composition, training_statistics
from mlffdb.snapshots.writer import SnapshotWriter, read_back

DOCS = Path(__file__).resolve().parents[2] / "docs" / "format.md"


def columns(n: int, *, elements: tuple[int, ...] = (1, 6, 8)) -> dict[str, np.ndarray]:
    """Return n structures of noble shape; energies are exactly -10 eV per unit of Z."""
    rng = np.random.default_rng(n)
    sizes = rng.integers(1, 9, n)
    total = int(sizes.sum())
    numbers = rng.choice(elements, total)
    owner = np.repeat(np.arange(n), sizes)
    stress = rng.normal(size=(n, 6))
    mask = np.arange(n) % 2 == 0
    stress[~mask] = np.nan
    return {
        "offsets": np.cumsum(sizes),
        "numbers": numbers,
        "positions": rng.normal(size=(total, 3)),
        "cells": rng.normal(size=(n, 3, 3)),
        "pbc": np.repeat(mask[:, None], 3, axis=1),
        "charges": rng.integers(-1, 2, n),
        "multiplicities": np.ones(n),
        "ids": rng.integers(0, 256, (n, 16)),
        "components": rng.integers(0, 256, (n, 16)),
        "domains": np.arange(n) % 2,
        "energy": -10.0 * np.bincount(owner, numbers, n),
        "forces": rng.normal(size=(total, 3)),
        "stress": stress,
        "stress_mask": mask,
    }


def opened(path, n, atoms, dtype="<f4"):
    return SnapshotWriter(
        path,
        n,
        atoms,
        forces_dtype=dtype,
        attributes={"name": "set", "split": "train", "note": "Å"},
        domain_names=["inorganic", "organic"],
    )


def write(path, content, *, dtype="<f4", pieces=1):
    with opened(path, len(content["energy"]), len(content["numbers"]), dtype) as writer:
        for part in range(pieces):
            rows = {k: np.array_split(v, pieces)[part] for k, v in content.items()}
            writer.append(rows)
        return writer.close()


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_arrays_come_back_as_written(tmp_path, dtype):
    content = columns(50)
    digests = write(tmp_path / "a.h5", content, dtype=dtype, pieces=3)
    assert read_back(tmp_path / "a.h5")[1] == digests
    found = open_arrays(tmp_path / "a.h5")
    assert found.domain_names == ("inorganic", "organic")
    assert found.attributes["note"] == "Å"
    for field in FIELDS:
        kind = dtype if field.name == "forces" else field.dtype
        expected = content[field.name].astype(kind)
        if field.name == "offsets":
            expected = np.concatenate([[0], expected])
        np.testing.assert_array_equal(found.arrays[field.name], expected)
        assert found.arrays[field.name].dtype == kind
        assert not found.arrays[field.name].flags.writeable


def test_h5py_reads_the_same_numbers(tmp_path):
    content = columns(20)
    write(tmp_path / "a.h5", content)
    with h5py.File(tmp_path / "a.h5") as file:
        for field in FIELDS:
            dataset = file[field.path]
            assert dataset.attrs["unit"] == field.unit
            assert dataset.attrs["description"] == field.description
            assert dataset.chunks is None
            assert dataset.id.get_offset() % (64 if dataset.nbytes >= 64 else 4) == 0
        np.testing.assert_array_equal(file["labels/energy"][:], content["energy"])
        assert file["structures/pbc"].dtype == bool


def test_bytes_depend_on_the_content_alone(tmp_path):
    content = columns(30)
    write(tmp_path / "a.h5", content)
    time.sleep(1.1)  # a time stamp in the file would change
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import tests.snapshots.test_layout as t; "
        "from pathlib import Path; t.write(Path(sys.argv[2]), t.columns(30), pieces=7)"
    )
    here, other = str(Path(__file__).parents[2]), tmp_path / "b.h5"
    subprocess.run([sys.executable, "-c", code, here, str(other)], check=True)
    assert (tmp_path / "a.h5").read_bytes() == other.read_bytes()


def test_an_empty_split_is_a_file_too(tmp_path):
    write(tmp_path / "a.h5", {k: v[:0] for k, v in columns(3).items()})
    arrays = open_arrays(tmp_path / "a.h5").arrays
    assert len(arrays["energy"]) == 0
    assert arrays["positions"].shape == (0, 3)
    assert training_statistics(arrays)["structures"] == 0
    assert composition(arrays, ["inorganic", "organic"])["atoms"] == 0


def test_missing_or_too_many_rows_are_refused(tmp_path):
    content = columns(5)
    with (
        opened(tmp_path / "a.h5", 5, len(content["numbers"])) as writer,
        pytest.raises(ValueError, match="rows are missing in energy"),
    ):
        writer.append({name: rows for name, rows in content.items() if name != "energy"})
        writer.close()
    with (
        opened(tmp_path / "b.h5", 1, 1) as writer,
        pytest.raises(ValueError, match="more rows than the 1 announced"),
    ):
        writer.append({"energy": np.zeros(2)})


def test_energies_of_elements_are_found_and_rank_deficiency_is_said(tmp_path):
    write(tmp_path / "a.h5", columns(60))
    found = training_statistics(open_arrays(tmp_path / "a.h5").arrays)
    assert found["atomic_energies"] == pytest.approx({"H": -10, "C": -60, "O": -80})
    assert found["energy_per_atom"]["std"] == pytest.approx(0, abs=1e-8)
    assert found["atomic_energies_fit"]["undetermined"] == []


def test_a_fit_that_the_compositions_leave_open_says_so(tmp_path):
    pairs = columns(20)  # hydrogen fluoride only
    pairs["numbers"] = np.tile([1, 9], 20)
    pairs["positions"], pairs["forces"] = np.zeros((40, 3)), np.ones((40, 3))
    pairs["offsets"] = np.arange(2, 42, 2)
    pairs["energy"] = np.full(20, -100.0)
    write(tmp_path / "c.h5", pairs)
    open_fit = training_statistics(open_arrays(tmp_path / "c.h5").arrays)
    assert open_fit["atomic_energies_fit"]["rank"] == 1
    assert open_fit["atomic_energies_fit"]["undetermined"] == ["H", "F"]
    assert open_fit["atomic_energies"] == pytest.approx({"H": -50, "F": -50})
    assert open_fit["force_rms"] == {"overall": 1.0, "elements": {"H": 1.0, "F": 1.0}}


def test_composition_counts_structures(tmp_path):
    content = columns(60)
    write(tmp_path / "a.h5", content)
    found = composition(open_arrays(tmp_path / "a.h5").arrays, ["inorganic", "organic"])
    sizes = np.diff(np.concatenate([[0], content["offsets"]]))
    starts = content["offsets"] - sizes
    carbon = sum(6 in content["numbers"][a : a + s] for a, s in zip(starts, sizes, strict=True))
    assert found["elements"]["C"] == carbon
    assert found["domains"] == {"inorganic": 30, "organic": 30}
    assert found["periodic_axes"] == {"0": 30, "3": 30}
    assert found["atoms_per_structure"]["3-5"] == ((sizes >= 3) & (sizes <= 5)).sum()
    assert sum(found["atoms_per_structure"].values()) == 60
    assert set(found["elements"]) <= set(chemical_symbols)


def test_the_docs_describe_every_dataset():
    table = {
        match[1]: match.groups()[1:]
        for match in re.finditer(
            r"^\| `(\S+)` \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", DOCS.read_text(), re.M
        )
    }
    assert list(table) == [field.path for field in FIELDS]
    for field in FIELDS:
        shape, kind, unit, meaning = table[field.path]
        assert shape.strip("()").split(", ")[1:] == [str(size) for size in field.item]
        if field.name != "forces":
            assert kind == np.dtype(field.dtype).name
        assert unit == ("–" if field.unit == "1" else field.unit)
        assert meaning == field.description


def test_the_example_in_the_docs_runs(tmp_path, monkeypatch):
    content = columns(9)
    write(tmp_path / "train.h5", content)
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.S)
    assert code is not None
    found: dict[str, object] = {}
    exec(code[1], found)
    assert found["energy"] == content["energy"][-1]
    last = np.diff(content["offsets"])[-1]
    np.testing.assert_array_equal(found["positions"], content["positions"][-last:])
