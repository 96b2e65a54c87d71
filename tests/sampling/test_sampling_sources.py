"""Sources: files, ASE's molecules, dimers, peptides, prototypes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.collections import g2
from ase.data import atomic_numbers, chemical_symbols
from ase.io import write as ase_write
from ase.spacegroup import crystal as ase_crystal
from pydantic import ValidationError

from mlffdb.sampling import describe, tasks
from mlffdb.sampling.amino_acids import CHARGED, RESIDUES, capped_smiles, formula, parse_sequence
from mlffdb.sampling.crystals import IONS, PROTOTYPES, balanced_charges, lattice_constant
from mlffdb.sampling.geometry import closest_contact, covalent_radii
from mlffdb.structures import Structure, structure_id
from mlffdb.structures.composition import hill_formula
from mlffdb.structures.molecules import atomic_numbers as numbers_of
from mlffdb.structures.molecules import from_smiles
from tests.sampling.sampling_helpers import make_plan, sample


def refused(**source) -> str:
    with pytest.raises(ValidationError) as caught:
        make_plan(source)
    return str(caught.value)


# ---- files ----


def test_files_are_cut_into_tasks_without_changing_structures(tmp_path):
    frames = [molecule("H2O"), molecule("CH4"), bulk("Cu"), molecule("NH3"), molecule("CO2")]
    frames[1].info["charge"] = 0
    ase_write(tmp_path / "some.extxyz", frames)
    source = {"type": "files", "files": [str(tmp_path / "some.extxyz")]}
    rattle = {"type": "rattle", "std": 0.05, "count": 2}
    one = make_plan({**source, "structures_per_task": 100}, [rattle])
    many = make_plan({**source, "structures_per_task": 2}, [rattle])
    assert [task.expected for task in tasks(one)] == [15]
    assert [task.expected for task in tasks(many)] == [6, 6, 3]
    made, rejected = sample(one)
    assert not rejected
    again, _ = sample(many)
    assert [structure_id(c.structure) for c in made] == [structure_id(c.structure) for c in again]
    assert [c.origin.index for c in made[::3]] == [0, 1, 2, 3, 4]
    assert {c.domain for c in made} == {"organic", "inorganic"}
    assert describe(one)[0].domain == "by composition"


def test_a_bad_entry_of_a_file_is_told_and_the_rest_goes_on(tmp_path):
    text = "3\n\nO 0 0 0\nH 0 0.76 0.59\nH 0 -0.76 0.59\n2\n\nO nan 0 0\nH 0 0 1\n1\n\nHe 0 0 0\n"
    (tmp_path / "some.xyz").write_text(text)
    source = {"type": "files", "files": [str(tmp_path / "some.xyz")]}
    made, rejected = sample(make_plan(source))
    assert len(made) == 2
    assert len(rejected) == 1
    assert rejected[0].index == 1


# ---- g2 ----


def test_g2_has_the_right_multiplicities():
    names = ["O2", "NO", "CH3", "H2O", "CH2_s1A1d", "CH2_s3B1d", "Li"]
    made, _ = sample(make_plan({"type": "g2", "names": names, "open_shell": True}))
    assert [c.structure.spin_multiplicity for c in made] == [3, 2, 2, 1, 1, 3, 2]
    assert [c.tags for c in made] == [()] * 6 + [("reference",)]


def test_g2_by_elements_and_closed_shells():
    plan = make_plan({"type": "g2", "elements": ["C", "H"]})
    names = [task.payload["name"] for task in tasks(plan)]
    assert "CH4" in names
    assert "CH3" not in names
    assert all(set(g2[name].symbols) <= {"C", "H"} for name in names)
    assert len(list(tasks(make_plan({"type": "g2", "open_shell": True})))) == len(g2.names)


def test_g2_and_smiles_agree_on_which_molecule_it_is(smiles):
    for name, text in {"CH4": "C", "CH3CH2OH": "CCO", "C6H6": "c1ccccc1", "CO2": "O=C=O"}.items():
        ours, _ = sample(make_plan({"type": "g2", "names": [name]}))
        theirs, _ = sample(make_plan(smiles(text)))
        assert ours[0].origin.group_keys == theirs[0].origin.group_keys


def test_all_of_g2_has_group_keys():
    made, rejected = sample(make_plan({"type": "g2", "open_shell": True}))
    assert not rejected
    for candidate in made:
        (key,) = candidate.origin.group_keys
        assert key.startswith(("inchikey:", "composition:", "smiles:"))


def test_unknown_g2_name():
    assert "did you mean 'CH4'" in refused(type="g2", names=["ch4"])


# ---- dimers ----


@pytest.mark.parametrize("pair", [["O", "O"], ["c1ccccc1", "C"], ["CO", "[NH4+]"]])
def test_closest_contact_of_molecules_is_the_scale(pair):
    source = {"type": "dimers", "molecules": [pair], "scale": [0.9, 2.8], "count": 6}
    made, _ = sample(make_plan(source))
    count = sum(from_smiles(text).GetNumAtoms() for text in pair[:1])
    for candidate, scale in zip(made, np.geomspace(0.9, 2.8, 6), strict=True):
        structure = candidate.structure
        distance = np.linalg.norm(
            structure.positions[None, :count] - structure.positions[count:, None], axis=-1
        )
        radii = covalent_radii()[structure.numbers]
        sums = radii[None, :count] + radii[count:, None]
        assert (distance / sums).min() == pytest.approx(scale)
        assert candidate.tags == ("reference",)
        assert structure.charge == ("+" in pair[1])
    assert len({c.origin.group_keys for c in made}) == 1


def test_atoms_at_their_distances():
    source = {"type": "dimers", "elements": [["H", "F"]], "scale": [0.6, 3.0], "count": 5}
    made, _ = sample(make_plan(source))
    assert [closest_contact(c.structure, 4.0) for c in made] == pytest.approx(
        np.geomspace(0.6, 3.0, 5)
    )
    assert {c.origin.group_keys for c in made} == {("dimer:F-H",)}
    assert {c.structure.spin_multiplicity for c in made} == {1}


def test_impossible_multiplicity_is_refused():
    assert "H-O has 9 electrons" in refused(type="dimers", elements=[["H", "O"]])
    plan = make_plan({"type": "dimers", "elements": [["H", "O"]], "multiplicity": 2, "count": 1})
    made, _ = sample(plan)
    assert made[0].structure.spin_multiplicity == 2


@pytest.mark.parametrize("scale", [[0, 1], [2, 1], [1, 99]])
def test_impossible_scales_are_refused(scale):
    assert "needs 0 < first" in refused(type="dimers", elements=[["He", "He"]], scale=scale)


def test_a_bad_molecule_of_a_pair_is_told():
    made, rejected = sample(make_plan({"type": "dimers", "molecules": [["O", "Cx"], ["O", "O"]]}))
    assert len(made) == 10
    assert [r.code for r in rejected] == ["smiles"]


# ---- peptides ----


@pytest.mark.parametrize("code", RESIDUES)
def test_residues_are_those_that_rdkit_knows(code):
    """Stereochemistry and composition against RDKit's own amino acids."""
    from rdkit import Chem

    letter, residue, _ = RESIDUES[code]
    ours = Chem.CanonSmiles(residue + "O")
    theirs = Chem.CanonSmiles(Chem.MolToSmiles(Chem.MolFromSequence(letter)))
    assert ours == theirs


@pytest.mark.parametrize("code", RESIDUES)
def test_capped_residues_have_all_their_atoms(code):
    molecule = from_smiles(capped_smiles((code,), charged=False))
    counts = Counter(chemical_symbols[z] for z in numbers_of(molecule))
    assert counts == formula((code,))
    assert not any(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms())


@pytest.mark.parametrize(
    ("sequence", "hill", "charge"),
    [
        ("ALA", "C6H12N2O2", 0),  # alanine dipeptide
        ("GLY-GLY", "C7H13N3O3", 0),
        ("PRO-PRO", "C13H21N3O3", 0),
        ("WHY", "C29H33N7O5", 0),
        ("ala-ser", "C9H17N3O4", 0),
    ],
)
def test_built_peptides_against_known_formulae(sequence, hill, charge):
    made, rejected = sample(make_plan({"type": "peptides", "sequences": [sequence]}))
    assert not rejected
    assert hill_formula(made[0].structure.numbers) == hill
    assert made[0].structure.charge == charge
    assert made[0].structure.spin_multiplicity == 1
    assert made[0].domain == "biomolecule"
    codes = "-".join(parse_sequence(sequence))
    assert f"sequence:{codes}" in made[0].origin.group_keys
    assert closest_contact(made[0].structure) > 0.6


@pytest.mark.parametrize("code", CHARGED)
def test_side_chains_at_ph_7(code):
    source = {"type": "peptides", "sequences": [code]}
    neutral, _ = sample(make_plan(source))
    charged, _ = sample(make_plan({**source, "protonation": "ph7"}))
    expected = 1 if code in ("ARG", "LYS") else -1
    assert charged[0].structure.charge == expected
    assert charged[0].structure.n_atoms - neutral[0].structure.n_atoms == expected
    assert charged[0].structure.spin_multiplicity == 1


def test_unknown_residue_names_the_known_ones():
    message = refused(type="peptides", sequences=["ALA-XYZ"])
    assert "unknown residue XYZ" in message
    assert "TRP (W)" in message
    with pytest.raises(ValueError, match="unknown residue B"):
        parse_sequence("AB")


# ---- prototypes ----


def made_of(prototype, min_atoms=1, **elements):
    source = {
        "type": "prototypes",
        "crystals": [{"prototype": prototype, "charges": "any", **elements}],
        "min_atoms": min_atoms,
    }
    made, rejected = sample(make_plan(source))
    assert not rejected
    return made[0]


def shells(atoms):
    from ase.neighborlist import neighbor_list

    i, d = neighbor_list("id", atoms, 5.0)
    kinds = [f"{atoms.symbols[k]} {x:.4f}" for k, x in zip(i, d, strict=True)]
    return {kind: n / len(atoms) for kind, n in Counter(kinds).items()}


@pytest.mark.parametrize(
    ("name", "elements", "reference"),
    [
        ("fcc", {"A": "Cu"}, lambda a: bulk("Cu", "fcc", a=a)),
        ("bcc", {"A": "Fe"}, lambda a: bulk("Fe", "bcc", a=a)),
        ("hcp", {"A": "Mg"}, lambda a: bulk("Mg", "hcp", a=a, c=a * np.sqrt(8 / 3))),
        ("sc", {"A": "Po"}, lambda a: bulk("Po", "sc", a=a)),
        ("diamond", {"A": "Si"}, lambda a: bulk("Si", "diamond", a=a)),
        ("rocksalt", {"A": "Na", "X": "Cl"}, lambda a: bulk("NaCl", "rocksalt", a=a)),
        ("cesiumchloride", {"A": "Cs", "X": "I"}, lambda a: bulk("CsI", "cesiumchloride", a=a)),
        ("zincblende", {"A": "Ga", "X": "As"}, lambda a: bulk("GaAs", "zincblende", a=a)),
        ("wurtzite", {"A": "Zn", "X": "O"}, lambda a: bulk("ZnO", "wurtzite", a=a, u=0.375)),
        ("fluorite", {"A": "Ca", "X": "F"}, lambda a: bulk("CaF2", "fluorite", a=a)),
        (
            "antifluorite",
            {"A": "Li", "X": "O"},
            lambda a: ase_crystal(
                ["Li", "O"],
                [(0.25, 0.25, 0.25), (0, 0, 0)],
                spacegroup=225,
                cellpar=[a] * 3 + [90] * 3,
            ),
        ),
        (
            "rutile",
            {"A": "Ti", "X": "O"},
            lambda a: ase_crystal(
                ["Ti", "O"],
                [(0, 0, 0), (0.305, 0.305, 0)],
                spacegroup=136,
                cellpar=[a, a, 0.644 * a, 90, 90, 90],
            ),
        ),
        (
            "perovskite",
            {"A": "Sr", "B": "Ti", "X": "O"},
            lambda a: ase_crystal(
                ["Sr", "Ti", "O"],
                [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)],
                spacegroup=221,
                cellpar=[a] * 3 + [90] * 3,
            ),
        ),
    ],
)
def test_prototypes_are_the_crystals_that_ase_builds(name, elements, reference):
    candidate = made_of(name, **{letter: [symbol] for letter, symbol in elements.items()})
    atoms = candidate.structure.to_atoms()
    expected = reference(lattice_constant(name, elements))
    assert shells(atoms) == pytest.approx(shells(expected))
    assert candidate.structure.volume / len(atoms) == pytest.approx(
        expected.get_volume() / len(expected)
    )


def test_every_prototype_is_compared_above():
    marks = test_prototypes_are_the_crystals_that_ase_builds.pytestmark
    assert {case[0] for case in marks[0].args[1]} == set(PROTOTYPES)


@pytest.mark.parametrize(
    ("name", "elements", "measured"),
    [
        ("rocksalt", {"A": "Na", "X": "Cl"}, 5.640),
        ("rocksalt", {"A": "Mg", "X": "O"}, 4.212),
        ("cesiumchloride", {"A": "Cs", "X": "Cl"}, 4.123),
        ("zincblende", {"A": "Ga", "X": "As"}, 5.653),
        ("zincblende", {"A": "Zn", "X": "S"}, 5.409),
        ("wurtzite", {"A": "Zn", "X": "O"}, 3.250),
        ("fluorite", {"A": "Ca", "X": "F"}, 5.463),
        ("antifluorite", {"A": "Na", "X": "S"}, 6.526),
        ("rutile", {"A": "Ti", "X": "O"}, 4.594),
        ("perovskite", {"A": "Sr", "B": "Ti", "X": "O"}, 3.905),
        ("fcc", {"A": "Cu"}, 3.61),
        ("bcc", {"A": "Cu"}, 2.87),  # same volume per atom as fcc copper
        ("hcp", {"A": "Mg"}, 3.21),
    ],
)
def test_lattice_constants_are_within_five_per_cent(name, elements, measured):
    assert lattice_constant(name, elements) == pytest.approx(measured, rel=0.05)


def test_only_neutral_compounds_are_made():
    source = {
        "type": "prototypes",
        "crystals": [{"prototype": "rocksalt", "A": ["Na", "Mg", "Al"], "X": ["Cl", "O", "N"]}],
    }
    plan = make_plan(source)
    names = ["".join(task.payload["elements"].values()) for task in tasks(plan)]
    assert names == ["NaCl", "MgO", "AlN"]
    assert len(describe(plan)[0].problems) == 6
    made, _ = sample(plan)
    for candidate in made:
        symbols = candidate.structure.to_atoms().symbols
        totals = {sum(states) for states in _charges(symbols)}
        assert 0 in totals
        assert len(symbols) >= 10


def _charges(symbols):
    """Total charges for each way to give every element one oxidation state."""
    from itertools import product

    elements = sorted(set(symbols))
    for states in product(*(IONS[element] for element in elements)):
        chosen = dict(zip(elements, states, strict=True))
        yield [chosen[symbol] for symbol in symbols]


def test_balance_knows_mixed_valence_and_anions():
    perovskite = PROTOTYPES["perovskite"]
    assert balanced_charges(perovskite, {"A": "Sr", "B": "Ti", "X": "O"}) == {
        "A": 2,
        "B": 4,
        "X": -2,
    }
    assert balanced_charges(PROTOTYPES["rutile"], {"A": "Ti", "X": "O"}) == {"A": 4, "X": -2}
    assert balanced_charges(PROTOTYPES["rocksalt"], {"A": "Cl", "X": "Na"}) is None
    assert balanced_charges(PROTOTYPES["rocksalt"], {"A": "Ti", "X": "O"}) == {"A": 2, "X": -2}


def test_supercells_keep_the_formula_and_have_atoms_enough():
    candidate = made_of("perovskite", min_atoms=30, A=["Ba"], B=["Ti"], X=["O"])
    counts = Counter(candidate.structure.numbers.tolist())
    assert candidate.structure.n_atoms == 40
    assert counts[atomic_numbers["O"]] == 3 * counts[56] == 3 * counts[22]
    assert candidate.origin.group_keys == ("prototype:BaTiO3-perovskite",)
    lengths = np.linalg.norm(candidate.structure.cell, axis=1)
    assert lengths.max() / lengths.min() < 2.1
    assert isinstance(candidate.structure, Structure)


def test_prototype_sites_must_fit():
    message = refused(type="prototypes", crystals=[{"prototype": "rocksalt", "A": ["Na"]}])
    assert "rocksalt has the sites A, X, but elements are given for A" in message


def test_the_crystals_plan_has_nothing_impossible():
    from mlffdb.sampling import load_plan

    plan = load_plan("crystals")
    elements = set()
    for block in plan.blocks:
        for work in block.source.work():
            (item,) = block.source.build(work.payload, "inorganic", 0)
            structure = item.given[0].structure
            elements |= set(structure.numbers.tolist())
            assert closest_contact(structure) > 0.75, item.key
            assert 5 < structure.volume / structure.n_atoms < 120, item.key
            assert 10 <= structure.n_atoms <= 40
    assert len(elements) > 50
