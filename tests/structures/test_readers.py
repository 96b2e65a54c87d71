"""Reading files: what comes out, what is refused and why, and how much memory it takes."""

from __future__ import annotations

import gzip
import sqlite3
import tracemalloc
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.db import connect
from ase.io.trajectory import Trajectory

from mlffdb.errors import ReadError
from mlffdb.structures import Candidate, Rejection, Structure, structure_id
from mlffdb.structures.readers import read_candidates

FRAMES = ["H2O", "CH4", "NH3", "CH3CH2OH"]


def read(path, **options):
    return list(read_candidates(path, **options))


def images():
    crystal = bulk("NaCl", "rocksalt", a=5.64)
    slab = fcc111("Al", (2, 2, 2), vacuum=6)
    slab.info.clear()
    water = molecule("H2O")
    water.info["charge"] = 1
    water.info["multiplicity"] = 2
    return [crystal, slab, water]


@pytest.mark.parametrize("name", ["f.extxyz", "f.xyz", "f.xyz.gz", "f.traj"])
def test_what_ase_wrote_comes_back(name, tmp_path):
    path = tmp_path / name
    if name.endswith(".gz"):
        ase.io.write(tmp_path / "plain.xyz", images(), format="extxyz")
        path.write_bytes(gzip.compress((tmp_path / "plain.xyz").read_bytes()))
    else:
        ase.io.write(path, images(), format="traj" if name == "f.traj" else "extxyz")
    results = read(path)
    assert [item.origin.index for item in results] == [0, 1, 2]
    for item, atoms in zip(results, images(), strict=True):
        expected = Structure.from_atoms(atoms)
        assert item.structure.numbers.tolist() == expected.numbers.tolist()
        np.testing.assert_allclose(item.structure.positions, expected.positions, atol=1e-7)
        assert item.structure.pbc == expected.pbc
        assert item.structure.charge == expected.charge
        assert item.structure.multiplicity == expected.multiplicity
        assert item.origin.file == str(path)
        assert (item.origin.source, item.origin.method) == ("file", "import")
    assert results[2].domain == "inorganic"
    assert results[2].origin.group_keys == ("composition:H2O",)


@pytest.mark.parametrize("name", ["POSCAR", "CONTCAR.relaxed", "cell.vasp", "cell.cif", "cell.xsf"])
def test_single_crystals(name, tmp_path):
    crystal = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    formats = {"cif": "cif", "xsf": "xsf"}
    ase.io.write(tmp_path / name, crystal, format=formats.get(name.split(".")[-1], "vasp"))
    (item,) = read(tmp_path / name)
    assert item.structure.pbc == (True, True, True)
    assert sorted(item.structure.numbers.tolist()) == sorted(crystal.numbers.tolist())
    assert item.structure.volume == pytest.approx(crystal.get_volume())
    assert item.domain == "inorganic"


def test_domain_and_charge_of_the_user_win(tmp_path):
    ase.io.write(tmp_path / "f.xyz", molecule("CH4"))
    (item,) = read(tmp_path / "f.xyz", domain="test", charge=-2)
    assert (item.domain, item.structure.charge) == ("test", -2)


def test_labels_in_the_file_do_not_matter(tmp_path):
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = molecule("H2O")
    plain = structure_id(Structure.from_atoms(atoms))
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.ones((3, 3)))
    ase.io.write(tmp_path / "f.traj", atoms)
    (item,) = read(tmp_path / "f.traj")
    assert structure_id(item.structure) == plain


class TestXyz:
    """Broken frames among good ones."""

    water = "3\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n"

    def codes(self, tmp_path, text):
        (tmp_path / "f.xyz").write_text(text)
        results = read(tmp_path / "f.xyz")
        for index, item in enumerate(results):
            assert (item.index if isinstance(item, Rejection) else item.origin.index) == index
            if isinstance(item, Rejection):
                assert item.file == str(tmp_path / "f.xyz")
                assert item.reason
                assert "\n" not in item.reason
        return [item.code if isinstance(item, Rejection) else "ok" for item in results]

    @pytest.mark.parametrize(
        ("broken", "code"),
        [
            ("3\n\nO 0 0 0\nH 0.96 0 zero\nH -0.24 0.93 0\n", "unreadable"),
            ("3\n\nO 0 0 0\nH 0.96 0 0\n", "unreadable"),
            ("2\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n", "unreadable"),
            ("three\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n", "unreadable"),
            ("3\n\nO 0 0 0\nH 0.96 0 nan\nH -0.24 0.93 0\n", "not_finite"),
            ("3\n\nO 0 0 0\nQq 0.96 0 0\nH -0.24 0.93 0\n", "element"),
            ("3\n\nO 0 0 0\nX 0.96 0 0\nH -0.24 0.93 0\n", "element"),
            ("0\n\n", "no_atoms"),
            ("99999999\n\nO 0 0 0\n", "too_many_atoms"),
            ('3\nLattice="1 2 3"\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n', "unreadable"),
            ("3\ncharge=0.5\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n", "charge"),
            ("3\ncharge -1\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n", "charge"),
            ("3\nspin=0\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n", "multiplicity"),
        ],
    )
    def test_broken_frame_costs_only_itself(self, broken, code, tmp_path):
        assert self.codes(tmp_path, self.water + broken + self.water) == ["ok", code, "ok"]
        assert self.codes(tmp_path, broken + self.water) == [code, "ok"]
        assert self.codes(tmp_path, self.water + broken) == ["ok", code]

    @pytest.mark.parametrize(
        "comment",
        ["it's water", "0 1", "energy = -1.0 'x", "=", "a sketch of = things", "Ünïcode"],
    )
    def test_any_comment_is_fine(self, comment, tmp_path):
        text = self.water.replace("\n\n", f"\n{comment}\n")
        assert self.codes(tmp_path, text * 2) == ["ok", "ok"]

    def test_blank_lines_between_frames_and_windows_line_ends(self, tmp_path):
        text = f"\n{self.water}\n\n{self.water}\n".replace("\n", "\r\n")
        (tmp_path / "f.xyz").write_bytes(text.encode())
        assert len(read(tmp_path / "f.xyz")) == 2

    def test_cell_vectors_after_the_atoms(self, tmp_path):
        text = self.water + "VEC1 9 0 0\nVEC2 0 9 0\nVEC3 0 0 9\n"
        (tmp_path / "f.xyz").write_text(text + self.water)
        first, second = read(tmp_path / "f.xyz")
        assert first.structure.volume == pytest.approx(729)
        assert second.structure.cell is None


def write_trajectory(path):
    with Trajectory(path, "w") as trajectory:
        for name in FRAMES:
            trajectory.write(molecule(name))


def test_trajectory_with_a_broken_image(tmp_path):
    with Trajectory(tmp_path / "f.traj", "w") as trajectory:
        for name in FRAMES:
            atoms = molecule(name)
            if name == "CH4":
                atoms.positions[0] = np.nan
            trajectory.write(atoms)
    results = read(tmp_path / "f.traj")
    assert [isinstance(item, Candidate) for item in results] == [True, False, True, True]
    assert (results[1].code, results[1].index) == ("not_finite", 1)


def test_trajectory_that_was_cut_off(tmp_path):
    write_trajectory(tmp_path / "f.traj")
    content = (tmp_path / "f.traj").read_bytes()
    (tmp_path / "f.traj").write_bytes(content[: int(0.9 * len(content))])
    results = read(tmp_path / "f.traj")
    assert len(results) == len(FRAMES)
    assert isinstance(results[0], Candidate)
    assert results[-1].code == "unreadable"
    (tmp_path / "f.traj").write_bytes(content[:30])
    with pytest.raises(ReadError, match="trajectory"):
        read(tmp_path / "f.traj")


def write_database(path, count):
    with connect(path) as database:
        for index in range(count):
            atoms = molecule(FRAMES[index % len(FRAMES)])
            atoms.rattle(0.05, seed=index)
            database.write(atoms, total_charge=1, multiplicity=2)


def test_ase_database(tmp_path):
    write_database(tmp_path / "f.db", 12)
    with connect(tmp_path / "f.db") as database:
        del database[5]
    with sqlite3.connect(tmp_path / "f.db") as raw:
        raw.execute("UPDATE systems SET positions = x'00' WHERE id = 7")
    raw.close()
    results = read(tmp_path / "f.db")
    assert len(results) == 11
    assert [item.index for item in results if isinstance(item, Rejection)] == [5]
    good = [item for item in results if isinstance(item, Candidate)]
    assert [item.origin.parameters["id"] for item in good] == [1, 2, 3, 4, 6, 8, 9, 10, 11, 12]
    assert {(item.structure.charge, item.structure.multiplicity) for item in good} == {(1, 2)}


def test_a_database_of_another_kind_is_refused_and_not_touched(tmp_path):
    with sqlite3.connect(tmp_path / "f.db") as raw:
        raw.execute("CREATE TABLE other (x int)")
    raw.close()
    before = (tmp_path / "f.db").read_bytes()
    with pytest.raises(ReadError, match="ASE database"):
        read(tmp_path / "f.db")
    assert (tmp_path / "f.db").read_bytes() == before


CIF = """data_{name}
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Na1 Na 0 0 0 {occupancy}
Cl1 {element} 0.5 0.5 0.5 1.0(1)
"""


def test_cif_with_partial_occupancies_and_broken_blocks(tmp_path):
    def block(name, occupancy="1", element="Cl"):
        return CIF.format(name=name, occupancy=occupancy, element=element)

    text = "# made by hand\ndata_global\n_journal 'none'\n;\ndata_inside a text field\n;\n"
    text += block("good") + block("half", "0.5(1)") + block("odd", element="Qq")
    text += block("short").replace("_cell_length_a 5.64", "_cell_length_a nonsense")
    text += block("unknown", "?")
    (tmp_path / "f.cif").write_text(text)
    results = read(tmp_path / "f.cif")
    outcome = [r.code if isinstance(r, Rejection) else r.structure.n_atoms for r in results]
    assert outcome[:3] == [8, "partial_occupancy", "element"]
    assert outcome[4] == 8
    assert isinstance(results[3], Rejection)
    assert results[0].origin.parameters == {"block": "good"}


def test_reading_says_where_ase_stopped(tmp_path, monkeypatch):
    from ase.io import formats

    ase.io.write(tmp_path / "XDATCAR", [bulk("Si", cubic=True)] * 3, format="vasp-xdatcar")
    assert len(read(tmp_path / "XDATCAR")) == 3

    lazily = formats.ioformats["vasp-xdatcar"].module.read_vasp_xdatcar

    def breaking(file, index):
        yield from lazily(file, slice(2))
        raise AssertionError("broken\nhere")

    monkeypatch.setattr(formats.ioformats["vasp-xdatcar"].module, "read_vasp_xdatcar", breaking)
    results = read(tmp_path / "XDATCAR")
    assert [isinstance(item, Candidate) for item in results] == [True, True, False]
    assert (results[2].code, results[2].index) == ("unreadable", 2)
    assert "reading stopped at image 2" in results[2].reason


def test_pdb_models_and_the_unit_cube_of_what_is_no_crystal(tmp_path):
    ase.io.write(tmp_path / "f.pdb", [molecule("CH3CH2OH")] * 2)
    text = (tmp_path / "f.pdb").read_text()
    cube = "CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1           1\n"
    (tmp_path / "f.pdb").write_text(cube + text)
    results = read(tmp_path / "f.pdb")
    assert [item.structure.cell for item in results] == [None, None]
    (tmp_path / "f.pdb").write_text(cube.replace(" 1.000", "21.000") + text)
    assert read(tmp_path / "f.pdb")[0].structure.volume == pytest.approx(21**3)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.xyz", b""),
        ("garbage.xyz", bytes(range(256)) * 40),
        ("prose.xyz", b"this is no xyz file\nnot at all\n"),
        ("garbage.cif", bytes(range(256)) * 40),
        ("prose.cif", b"this is no cif file\n"),
        ("garbage.traj", bytes(range(256)) * 40),
        ("garbage.db", bytes(range(256)) * 40),
        ("garbage.sdf", bytes(range(256)) * 40),
        ("prose.sdf", b"this is\nno sdf\nfile\nat all\n"),
        ("garbage.mol2", bytes(range(256)) * 40),
        ("garbage.smi", bytes(range(256)) * 40),
        ("comments.smi", b"# nothing\n\n"),
        ("garbage.h5", bytes(range(256)) * 40),
        ("garbage.pdb", bytes(range(256)) * 40),
        ("POSCAR", bytes(range(256)) * 40),
        ("garbage.unknown", bytes(range(256)) * 40),
        ("garbage", bytes(range(256)) * 40),
        ("prose.txt", b"this is nothing\n"),
        ("cut.xyz.gz", gzip.compress(b"3\n\nO 0 0 0\n" * 1000)[:40]),
        ("no.xyz.gz", b"not compressed"),
    ],
)
def test_files_that_cannot_be_read(name, content, tmp_path, capfd):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ReadError) as caught:
        read(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", ["", "absent.xyz", "file.xyz/below.xyz"])
def test_missing_files_and_folders_are_refused_at_once(suffix, tmp_path):
    (tmp_path / "file.xyz").write_text("1\n\nH 0 0 0\n")
    with pytest.raises(ReadError, match=str(tmp_path)):
        read_candidates(tmp_path / suffix)


def test_format_can_be_named(tmp_path):
    (tmp_path / "water.dat").write_text(TestXyz.water)
    with pytest.raises(ReadError, match="format"):
        read(tmp_path / "water.dat")
    assert len(read(tmp_path / "water.dat", format="xyz")) == 1
    with pytest.raises(ReadError, match="'nonsense' is no format"):
        read(tmp_path / "water.dat", format="nonsense")


def test_content_tells_the_format_where_the_name_does_not(tmp_path):
    write_trajectory(tmp_path / "t.traj")
    write_database(tmp_path / "d.db", 2)
    (tmp_path / "t.traj").rename(tmp_path / "one")
    (tmp_path / "d.db").rename(tmp_path / "two.bin")
    assert len(read(tmp_path / "one")) == len(FRAMES)
    assert len(read(tmp_path / "two.bin")) == 2


def test_warnings_of_parsers_do_not_leak(tmp_path):
    # pytest turns a warning into an error: this CIF makes ASE warn about its crystal system
    text = CIF.format(name="x", occupancy="1", element="Cl")
    text = text.replace("loop_", "_symmetry_cell_setting 'nonsense'\nloop_", 1)
    (tmp_path / "f.cif").write_text(text)
    assert isinstance(read(tmp_path / "f.cif")[0], Candidate)


def write_xyz(path: Path, count: int) -> None:
    with path.open("w") as file:
        for index in range(count):
            file.write(f"2\nstep={index}\nO 0 0 0\nH 0 0 {1 + index * 1e-6:.7f}\n")


def write_smiles(path: Path, count: int) -> None:
    path.write_text("[Na+]\n" * count)


def write_sdf(path: Path, count: int) -> None:
    from rdkit import Chem

    from mlffdb.structures.molecules import embed, from_smiles

    mol = from_smiles("O")
    embed(mol, 1, 0)
    path.write_text((Chem.MolToMolBlock(mol) + "$$$$\n") * count)


def write_cif(path: Path, count: int) -> None:
    block = CIF.format(name="x", occupancy="1", element="Cl").replace("'F m -3 m'", "'P 1'")
    path.write_text(block * count)


def write_spice(path: Path, count: int) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        group = file.create_group("water")
        group["smiles"] = ["[O:1]([H:2])[H:3]"]
        group["conformations"] = np.tile(molecule("H2O").positions, (count * 400, 1, 1))
        group["conformations"].attrs["units"] = "angstrom"


@pytest.mark.parametrize(
    ("name", "write", "few", "many"),
    [
        ("f.xyz", write_xyz, 100, 3000),
        ("f.db", write_database, 30, 500),
        ("f.smi", write_smiles, 30, 600),
        ("f.sdf", write_sdf, 50, 1500),
        ("f.cif", write_cif, 10, 400),
        ("f.h5", write_spice, 2, 24),
    ],
)
def test_memory_does_not_grow_with_the_file(name, write, few, many, tmp_path, monkeypatch):
    from mlffdb.structures.readers import spice

    monkeypatch.setattr(spice, "_CHUNK_ATOMS", 600)

    def peak(count):
        path = tmp_path / f"{count}" / name
        path.parent.mkdir()
        write(path, count)
        for _ in read_candidates(path):  # imports and caches
            break
        tracemalloc.start()
        try:
            found = sum(isinstance(item, Candidate) for item in read_candidates(path))
            return found, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    (n_few, small), (n_many, large) = peak(few), peak(many)
    assert n_many >= 5 * n_few > 0
    # Python's free lists fill up at first (0.2 MB, no more for 12,000 frames); what is kept of
    # each frame, were it only its text, would be 0.6 MB or more
    assert large < small + 300_000


def test_no_atoms_at_all_in_ase_images(tmp_path):
    ase.io.write(tmp_path / "f.traj", [molecule("H2O"), Atoms()])
    results = read(tmp_path / "f.traj")
    assert isinstance(results[0], Candidate)
    assert results[1].code == "no_atoms"
