"""CIF, block by block: one broken block does not end the reading."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from typing import TYPE_CHECKING, Any

from mlffdb.errors import InvalidStructureError
from mlffdb.structures.provenance import Candidate, Rejection
from mlffdb.structures.readers.source import Source, quiet, split_records

if TYPE_CHECKING:
    from ase import Atoms
    from ase.io.cif import CIFBlock

FULL_OCCUPANCY = 0.999


def read_cif(source: Source) -> Iterator[Candidate | Rejection]:
    """Yield what each block with atoms becomes; raises ReadError where there is none."""
    index = 0
    with source.lines() as lines:
        for block in _blocks(lines):
            parsed = _parse(block)
            if parsed is None:
                continue
            if isinstance(parsed, Exception):
                yield source.reject_error(index, parsed)
            else:
                yield _read_block(source, parsed, index)
            index += 1
    if index == 0:
        raise source.fail("no block with atoms found in this CIF file")


def _blocks(lines: Iterator[str]) -> Iterator[list[str]]:
    """Cut at ``data_`` lines that are not inside a text field (between lines that begin with ;)."""
    in_text = False

    def starts(line: str) -> bool:
        nonlocal in_text
        if line.startswith(";"):
            in_text = not in_text
        return not in_text and line[:5].lower() == "data_"

    return split_records(lines, start=starts)


def _parse(lines: list[str]) -> CIFBlock | Exception | None:
    """Return the block, what is wrong with it, or None where it has no atoms."""
    from ase.io.cif import parse_cif

    try:
        with quiet():
            block = next(iter(parse_cif(StringIO("".join(lines)))), None)
            return block if block is not None and block.has_structure() else None
    except Exception as error:  # the parser may raise anything on a broken block
        return error if lines[0][:5].lower() == "data_" else None


def _read_block(source: Source, block: CIFBlock, index: int) -> Candidate | Rejection:
    def read() -> Atoms:
        _refuse_disorder(block)
        return block.get_atoms(fractional_occupancies=False)

    return source.from_atoms(read, index, {"block": block.name})


def _refuse_disorder(block: CIFBlock) -> None:
    values = block.get("_atom_site_occupancy", [])
    partial = [value for value in values if _number(value) < FULL_OCCUPANCY]
    if partial:
        raise InvalidStructureError(
            "partial_occupancy",
            f"{len(partial)} of {len(values)} sites are partly occupied; "
            "choose one arrangement and import that",
        )


def _number(value: Any) -> float:
    """Return an occupancy; ``.`` and ``?`` mean full."""
    return float(value) if isinstance(value, (int, float)) else 1.0
