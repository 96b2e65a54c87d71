"""What all readers share: their file, and how a frame becomes a candidate or a rejection."""

from __future__ import annotations

import gzip
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlffdb.errors import InvalidStructureError, ReadError
from mlffdb.structures.composition import composition_key, guess_domain
from mlffdb.structures.provenance import Candidate, Origin, Rejection
from mlffdb.structures.structure import Structure

if TYPE_CHECKING:
    from ase import Atoms

#: A record (molecule, crystal) of more lines is taken for a file of another kind.
MAX_RECORD_LINES = 1_000_000
_MAX_REASON = 300
_MAX_SYMBOL = 4


@dataclass(frozen=True, slots=True)
class Source:
    """A file that is read, and what the user said about all that is in it."""

    path: Path
    domain: str | None = None
    charge: int | None = None

    def fail(self, reason: object) -> ReadError:
        """Return the error for a file that cannot be read at all."""
        return ReadError(f"{self.path}: {one_line(reason)}")

    def reject(self, index: int | None, code: str, reason: object) -> Rejection:
        """Return the rejection of one frame."""
        return Rejection(str(self.path), index, code, one_line(reason))

    def reject_error(self, index: int, error: Exception) -> Rejection:
        """Return the rejection of a frame that failed with *error*."""
        if isinstance(error, InvalidStructureError):
            return self.reject(index, error.code, error)
        symbol = error.args[0] if isinstance(error, KeyError) and error.args else None
        if isinstance(symbol, str) and len(symbol) <= _MAX_SYMBOL:
            return self.reject(index, "element", f"{symbol!r} is no element symbol")
        return self.reject(index, "unreadable", f"{type(error).__name__}: {error}")

    def accept(
        self,
        structure: Structure,
        index: int,
        *,
        method: str = "import",
        parameters: Mapping[str, Any] | None = None,
        smiles: str | None = None,
        seed: int | None = None,
        group_key: str | None = None,
    ) -> Candidate:
        """Return the candidate for one frame; without *group_key* its composition is the key."""
        composition = _composition(structure.numbers.tobytes(), structure.n_periodic)
        origin = Origin(
            "file",
            method,
            file=str(self.path),
            index=index,
            parameters=parameters or {},
            seed=seed,
            smiles=smiles,
            group_keys=(group_key or composition.key,),
        )
        return Candidate(structure, origin, self.domain or composition.domain)

    def from_atoms(
        self, read: Callable[[], Atoms], index: int, parameters: Mapping[str, Any] | None = None
    ) -> Candidate | Rejection:
        """Return what becomes of the ASE Atoms that *read* gives."""
        try:
            with quiet():
                structure = Structure.from_atoms(read(), charge=self.charge)
        except Exception as error:  # a parser may raise anything on a broken frame
            return self.reject_error(index, error)
        return self.accept(structure, index, parameters=parameters)

    @contextmanager
    def lines(self) -> Iterator[Iterator[str]]:
        """Open as text (``.gz`` too) and give its lines; refuse what is binary."""
        try:
            with self._open() as file:
                if b"\0" in file.peek(4096)[:4096]:
                    raise self.fail("is binary, not text; check its format")
                yield TextIOWrapper(file, "utf-8", "replace")
        except (OSError, EOFError, zlib.error) as error:
            raise self.fail(error) from None

    def _open(self) -> gzip.GzipFile | BufferedReader:
        if self.path.suffix.lower() == ".gz":
            return gzip.open(self.path, "rb")
        return self.path.open("rb")


class _Composition(NamedTuple):
    key: str
    domain: str


@lru_cache(maxsize=256)
def _composition(numbers: bytes, n_periodic: int) -> _Composition:
    """Key and domain; the frames of a trajectory share them, so they are worked out once."""
    elements = np.frombuffer(numbers, dtype=np.uint8)
    return _Composition(composition_key(elements, n_periodic), guess_domain(elements, n_periodic))


def one_line(reason: object) -> str:
    """Return *reason* as one short line."""
    text = " ".join(str(reason).split())
    return text if len(text) <= _MAX_REASON else text[: _MAX_REASON - 1] + "…"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings of a parser from the user, who gets a rejection where it matters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def split_records(
    lines: Iterator[str],
    *,
    start: Callable[[str], bool] | None = None,
    end: Callable[[str], bool] | None = None,
) -> Iterator[list[str]]:
    """Cut *lines* into records before each line that is a *start* or after each that is an *end*.

    Records of blank lines are left out. Raises InvalidStructureError where no border comes.
    """
    record: list[str] = []
    for line in lines:
        if start is not None and start(line):
            yield from _unless_blank(record)
            record = []
        record.append(line)
        if end is not None and end(line):
            yield from _unless_blank(record)
            record = []
        if len(record) > MAX_RECORD_LINES:
            raise InvalidStructureError(
                "unreadable", f"no end of a record within {MAX_RECORD_LINES:,} lines"
            )
    yield from _unless_blank(record)


def _unless_blank(record: list[str]) -> Iterator[list[str]]:
    if any(line.strip() for line in record):
        yield record
