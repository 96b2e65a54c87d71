"""XYZ and extended XYZ, frame by frame: one broken frame does not end the reading.

Frames are cut here and given to ASE's parser one at a time, so memory stays that of one frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

from mlffdb.structures.provenance import Candidate, Rejection
from mlffdb.structures.readers.source import Source
from mlffdb.structures.structure import MAX_ATOMS

if TYPE_CHECKING:
    from ase import Atoms

#: Words of a comment that must not be lost when the comment cannot be parsed.
_MEANINGFUL = ("lattice", "properties=", "pbc", "charge", "spin", "multiplicity")


def read_xyz(source: Source) -> Iterator[Candidate | Rejection]:
    """Yield what each frame becomes; raises ReadError where no frame begins at all."""
    with source.lines() as lines:
        headless: Rejection | None = None  # kept back: is this XYZ at all?
        for index, frame in enumerate(split_frames(lines)):
            if frame.fault and frame.n_atoms is None and index == 0:
                headless = source.reject(index, frame.code, frame.fault)
                continue
            if headless is not None:
                yield headless
                headless = None
            if frame.fault:
                yield source.reject(index, frame.code, frame.fault)
            else:
                yield source.from_atoms(frame.parse, index)
        if headless is not None:
            raise source.fail(headless.reason)


@dataclass(frozen=True, slots=True)
class Frame:
    """The text of one frame, or what is wrong with it."""

    #: As the header states; None where there is no header.
    n_atoms: int | None
    comment: str = ""
    body: tuple[str, ...] = ()
    fault: str = ""
    code: str = "unreadable"

    def parse(self) -> Atoms:
        """Return ASE Atoms; a free comment that ASE cannot parse is left out."""
        try:
            return self._parse(self.comment)
        except Exception:
            if any(word in self.comment.lower() for word in _MEANINGFUL):
                raise
            return self._parse("\n")

    def _parse(self, comment: str) -> Atoms:
        from ase.io.extxyz import read_xyz as parse

        return next(parse(StringIO(f"{self.n_atoms}\n{comment}{''.join(self.body)}"), 0))


def split_frames(lines: Iterator[str]) -> Iterator[Frame]:
    """Cut *lines* into frames; after a broken one go on at the next number of atoms."""
    text = _Lines(lines)
    while text.skip_blank():
        yield _next_frame(text)


def _next_frame(text: _Lines) -> Frame:
    number, n_atoms = text.number, _atom_count(text.current)
    if n_atoms is None:
        fault = f"line {number}: {text.current.strip()[:60]!r} is not a number of atoms"
        text.skip_to_header()
        return Frame(None, fault=fault)
    text.take()
    if n_atoms > MAX_ATOMS:
        text.skip_to_header()
        fault = f"line {number}: {n_atoms} atoms; at most {MAX_ATOMS}"
        return Frame(n_atoms, fault=fault, code="too_many_atoms")
    comment = text.take() or "\n"
    body: list[str] = []
    while len(body) < n_atoms and text.current and _atom_count(text.current) is None:
        body.append(text.take())
    if len(body) < n_atoms:
        fault = f"line {number}: {n_atoms} atoms stated, {len(body)} found"
        return Frame(n_atoms, fault=fault)
    while text.current.lstrip().startswith("VEC"):
        body.append(text.take())
    if _is_atom_line(text.current):
        text.skip_to_header()
        return Frame(n_atoms, fault=f"line {number}: {n_atoms} atoms stated, more found")
    return Frame(n_atoms, comment, tuple(body))


class _Lines:
    """Lines with the next one in view; ``current`` is empty at the end of the file."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.number = 0
        self.current = ""
        self.take()

    def take(self) -> str:
        line = self.current
        self.current = next(self._lines, "")
        self.number += 1
        return line

    def skip_blank(self) -> bool:
        while self.current and not self.current.strip():
            self.take()
        return bool(self.current)

    def skip_to_header(self) -> None:
        while self.current and _atom_count(self.current) is None:
            self.take()


def _atom_count(line: str) -> int | None:
    word = line.strip()
    return int(word) if word.isascii() and word.isdigit() else None


def _is_atom_line(line: str) -> bool:
    words = line.split()
    if len(words) < 4:
        return False
    try:
        [float(word) for word in words[1:4]]
    except ValueError:
        return False
    return True
