"""Reading files: structures of any kind, one at a time, with a reason for each that is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from mlffdb.errors import ReadError
from mlffdb.structures.provenance import Candidate, Rejection
from mlffdb.structures.readers.ase_files import read_database, read_trajectory, read_with_ase
from mlffdb.structures.readers.cif import read_cif
from mlffdb.structures.readers.sdf import read_mol2, read_sdf
from mlffdb.structures.readers.smiles import read_smiles
from mlffdb.structures.readers.source import Source
from mlffdb.structures.readers.spice import read_spice
from mlffdb.structures.readers.xyz import read_xyz

Reader = Callable[[Source], Iterator[Candidate | Rejection]]

#: Formats with a reader of our own, by name.
READERS: dict[str, Reader] = {
    "xyz": read_xyz,
    "extxyz": read_xyz,
    "cif": read_cif,
    "traj": read_trajectory,
    "db": read_database,
    "sdf": read_sdf,
    "mol": read_sdf,
    "mol2": read_mol2,
    "smiles": read_smiles,
    "spice": read_spice,
}
#: File names' endings that say the format.
SUFFIXES = {
    ".xyz": "xyz",
    ".extxyz": "xyz",
    ".cif": "cif",
    ".traj": "traj",
    ".db": "db",
    ".sdf": "sdf",
    ".sd": "sdf",
    ".mol": "mol",
    ".mol2": "mol2",
    ".smi": "smiles",
    ".smiles": "smiles",
    ".ism": "smiles",
    ".can": "smiles",
    ".h5": "spice",
    ".hdf5": "spice",
}
#: First bytes that say the format where the name does not.
SIGNATURES = ((b"\x89HDF\r\n\x1a\n", "spice"), (b"SQLite format 3\0", "db"), (b"- of Ulm", "traj"))


def read_candidates(
    path: Path,
    *,
    domain: str | None = None,
    format: str | None = None,  # noqa: A002 - as ASE and the command line call it
    charge: int | None = None,
) -> Iterator[Candidate | Rejection]:
    """Return an iterator over what the structures of a file become, in order, one at a time.

    domain: of all structures; guessed from the composition where None
    format: a key of READERS, a suffix without its dot, or a format of ASE; from the file's name
        and content where None
    charge: total charge in e of all structures that do not say their bonds; where bonds are known
        and contradict it, the structure is rejected

    Labels in the file are not read. Raises ReadError, at once or when the reading gets there, for
    a file that is missing, empty, a folder, or of a kind that cannot be read.
    """
    _check_readable(path)
    name = SUFFIXES.get(f".{format.lower()}", format) if format else _guess_format(path)
    reader = READERS.get(name) or partial(read_with_ase, file_format=_ase_format(path, name))
    return reader(Source(path, domain, charge))


def _check_readable(path: Path) -> None:
    try:
        if path.is_dir():
            raise ReadError(f"{path}: is a folder; name the files in it")
        with path.open("rb") as file:
            if not file.read(1):
                raise ReadError(f"{path}: is empty")
    except OSError as error:
        raise ReadError(f"{path}: {error.strerror or error}") from None


def _guess_format(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    known = SUFFIXES.get(Path(name).suffix)
    if known is not None:
        return known
    with path.open("rb") as file:
        start = file.read(16)
    for signature, kind in SIGNATURES:
        if start.startswith(signature):
            return kind
    return _ask_ase(path)


def _ask_ase(path: Path) -> str:
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats

    try:
        found = str(filetype(str(path)))
    except UnknownFileTypeError:
        found = ""
    except Exception as error:  # any, on binary content
        raise ReadError(f"{path}: cannot be read: {error}") from None
    if found not in ioformats:
        raise ReadError(f"{path}: unknown kind of file; name its format, {_known()}")
    return "xyz" if found == "extxyz" else found


def _ase_format(path: Path, name: str) -> str:
    from ase.io.formats import ioformats

    if name not in ioformats or not ioformats[name].can_read:
        raise ReadError(f"{path}: {name!r} is no format that can be read; {_known()}")
    return name


def _known() -> str:
    return f"one of {', '.join(READERS)} or a format of ASE (vasp, proteindatabank, …)"
