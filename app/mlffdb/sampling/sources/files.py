"""Structures from files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from mlffdb.sampling.input_file import InputFile
from mlffdb.sampling.items import Item, Parent
from mlffdb.sampling.source import Source, Work
from mlffdb.structures import Candidate, Rejection


class Files(Source):
    """Structures of any file that ``mlffdb import`` reads, as parents of more.

    Without a domain in the block, each structure's composition tells its domain.
    """

    type: Literal["files"] = "files"
    files: tuple[InputFile, ...] = Field(min_length=1, description="paths, relative to the plan")
    structures_per_task: int = Field(
        default=20, ge=1, description="structures that one task works on"
    )

    periodic: ClassVar[bool | None] = None

    def work(self) -> Iterator[Work]:
        for number, path in enumerate(self.files):
            total = _count(path, path.stat().st_mtime_ns)
            for start in range(0, total, self.structures_per_task):
                count = min(self.structures_per_task, total - start)
                yield Work({"file": number, "start": start, "count": count}, items=count)

    def build(
        self,
        payload: Mapping[str, Any],
        domain: str,
        seed: int,  # noqa: ARG002
    ) -> Iterator[Item | Rejection]:
        number, start = payload["file"], payload["start"]
        found = _read(self.files[number], domain)
        for index, entry in enumerate(islice(found, start, start + payload["count"]), start):
            if isinstance(entry, Rejection):
                yield entry
            else:
                yield _item(entry, [number, index])


def _item(entry: Candidate, key: list[int]) -> Item:
    origin = entry.origin
    return Item(
        source=origin.source,
        key=key,
        domain=entry.domain,
        group_keys=origin.group_keys,
        tags=entry.tags,
        smiles=origin.smiles,
        file=origin.file,
        index=origin.index,
        parents=[Parent.of(entry.structure)],
        given=[entry],
    )


def _read(path: Path, domain: str) -> Iterator[Candidate | Rejection]:
    from mlffdb.structures.readers import read_candidates

    return read_candidates(path, domain=domain or None)


@lru_cache(maxsize=256)
def _count(path: Path, _modified: int) -> int:
    """Number of entries of a file, rejected ones too; one pass over it."""
    return sum(1 for _ in _read(path, ""))
