"""SPICE-style HDF5: a group per molecule with ``conformations`` and an atom-mapped ``smiles``.

Layout of openmm/spice-dataset: ``conformations`` (n_conformations, n_atoms, 3) with an attribute
``units``; ``smiles`` (1,) with map numbers 1 … n_atoms that give the order of the atoms;
``atomic_numbers`` (n_atoms,) in the published files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlffdb.errors import InvalidStructureError
from mlffdb.structures.composition import guess_domain
from mlffdb.structures.molecules import atomic_numbers, charge_and_multiplicity, group_key
from mlffdb.structures.provenance import Candidate, Origin, Rejection
from mlffdb.structures.readers.molecule_records import check_charge
from mlffdb.structures.readers.source import Source
from mlffdb.structures.structure import Structure

if TYPE_CHECKING:
    import h5py

BOHR = 0.529177210544  # Å, CODATA 2022
#: Å per unit of length, by the name in the ``units`` attribute.
UNITS = {
    "nanometers": 10.0,
    "nanometer": 10.0,
    "nm": 10.0,
    "angstroms": 1.0,
    "angstrom": 1.0,
    "å": 1.0,
    "bohr": BOHR,
    "bohrs": BOHR,
}
_CHUNK_ATOMS = 200_000  # atoms of conformations held at once


def read_spice(source: Source) -> Iterator[Candidate | Rejection]:
    """Yield one result per conformation; the index runs over the whole file.

    Raises ReadError where the file is no HDF5, has no ``conformations``, or where its first
    molecule states no ``units``; the same in a later molecule rejects that molecule.
    """
    import h5py

    try:
        file = h5py.File(source.path, "r")
    except OSError as error:
        raise source.fail(f"cannot be read as HDF5: {error}") from None
    index, found = 0, False
    with file:
        for name in file:
            group = file.get(name)
            if not isinstance(group, h5py.Group) or "conformations" not in group:
                continue
            if not found:
                _refuse_without_units(source, group)
                found = True
            yield from _read_group(source, group, name, index)
            index += _n_conformations(group)
    if not found:
        raise source.fail("no group with `conformations` found; only SPICE-style HDF5 is read")


def _refuse_without_units(source: Source, group: h5py.Group) -> None:
    try:
        _scale(group)
    except InvalidStructureError as error:
        raise source.fail(error) from None


@dataclass(frozen=True, slots=True)
class _Molecule:
    """What all conformations of a group share."""

    numbers: NDArray[np.int64]
    charge: int
    multiplicity: int | None
    smiles: str
    group_keys: tuple[str, ...]
    domain: str


def _read_group(
    source: Source, group: h5py.Group, name: str, start: int
) -> Iterator[Candidate | Rejection]:
    count = _n_conformations(group)
    try:
        scale = _scale(group)
        molecule = _read_molecule(source, group)
    except Exception as error:  # ours, RDKit's or h5py's: of this molecule only
        yield from (source.reject_error(start + i, _named(error, name)) for i in range(count))
        return
    conformations = group["conformations"]
    step = max(_CHUNK_ATOMS // len(molecule.numbers), 1)
    for first in range(0, count, step):
        stop = min(first + step, count)
        try:
            block = np.asarray(conformations[first:stop], dtype=np.float64) * scale
        except (OSError, ValueError, TypeError) as error:  # a damaged block of the file
            fault = _named(error, name)
            yield from (source.reject_error(start + i, fault) for i in range(first, stop))
            continue
        for conformation, positions in enumerate(block, start=first):
            yield _read_conformation(
                source, molecule, positions, start + conformation, (name, conformation)
            )


def _read_conformation(
    source: Source,
    molecule: _Molecule,
    positions: NDArray[np.float64],
    index: int,
    place: tuple[str, int],
) -> Candidate | Rejection:
    try:
        structure = Structure(
            molecule.numbers,  # type: ignore[arg-type]
            positions,
            charge=molecule.charge,
            multiplicity=molecule.multiplicity,
        )
    except InvalidStructureError as error:
        return source.reject_error(index, _named(error, place[0]))
    origin = Origin(
        "file",
        "import",
        file=str(source.path),
        index=index,
        parameters={"group": place[0], "conformation": place[1]},
        smiles=molecule.smiles,
        group_keys=molecule.group_keys,
    )
    return Candidate(structure, origin, molecule.domain)


def _named(error: Exception, name: str) -> Exception:
    if isinstance(error, InvalidStructureError):
        return InvalidStructureError(error.code, f"group {name!r}: {error}")
    return RuntimeError(f"group {name!r}: {type(error).__name__}: {error}")


def _n_conformations(group: h5py.Group) -> int:
    shape: tuple[int, ...] = getattr(group["conformations"], "shape", ())
    return int(shape[0]) if len(shape) == 3 else 1


def _scale(group: h5py.Group) -> float:
    """Return Å per unit of the conformations; there is no default."""
    units = group["conformations"].attrs.get("units")
    if isinstance(units, bytes):
        units = units.decode("utf-8", "replace")
    if units is None:
        raise InvalidStructureError(
            "no_units", f"group {group.name!r}: `conformations` states no `units`; add it"
        )
    try:
        return UNITS[str(units).strip().lower()]
    except KeyError:
        known = ", ".join(UNITS)
        raise InvalidStructureError("no_units", f"units {units!r} are not one of {known}") from None


def _read_molecule(source: Source, group: h5py.Group) -> _Molecule:
    """Return charge, spin and keys of a group; the work with RDKit is done once for all."""
    from rdkit import rdBase

    smiles = _text(group, "smiles")
    n_atoms = _n_atoms(group)
    with rdBase.BlockLogs():
        mol, numbers = _mapped_molecule(smiles, n_atoms)
        charge, multiplicity = charge_and_multiplicity(mol)
        key = group_key(mol)
    check_charge(source, charge)
    stated = group.get("atomic_numbers")
    if stated is not None and not np.array_equal(stated[()], numbers):
        raise InvalidStructureError("smiles", "`atomic_numbers` and `smiles` contradict each other")
    domain = source.domain or guess_domain(numbers, 0)
    return _Molecule(numbers, charge, multiplicity, smiles, (key,), domain)


def _n_atoms(group: h5py.Group) -> int:
    shape = group["conformations"].shape
    if len(shape) != 3 or shape[2] != 3 or 0 in shape[:2]:
        raise InvalidStructureError(
            "shape", f"`conformations` has shape {shape}, not (n_conformations, n_atoms, 3)"
        )
    return int(shape[1])


def _text(group: h5py.Group, name: str) -> str:
    if name not in group:
        raise InvalidStructureError("smiles", f"`{name}` is missing")
    value = np.ravel(group[name][()])[0]
    return value.decode() if isinstance(value, bytes) else str(value)


def _mapped_molecule(smiles: str, n_atoms: int) -> tuple[Any, NDArray[np.int64]]:
    """Return the molecule and its atomic numbers in the order of the map numbers."""
    from rdkit import Chem

    options = Chem.SmilesParserParams()
    options.removeHs = False
    mol = Chem.MolFromSmiles(smiles, options)
    if mol is None:
        raise InvalidStructureError("smiles", f"SMILES {smiles!r} cannot be understood")
    maps = np.array([atom.GetAtomMapNum() for atom in mol.GetAtoms()], dtype=np.int64)
    if not np.array_equal(np.sort(maps), np.arange(1, n_atoms + 1)):
        raise InvalidStructureError(
            "smiles", f"the map numbers of the SMILES are not 1 to {n_atoms}, once each"
        )
    if any(atom.GetTotalNumHs() for atom in mol.GetAtoms()):
        raise InvalidStructureError("no_hydrogens", "the SMILES leaves hydrogens out")
    return mol, atomic_numbers(mol)[np.argsort(maps)]
