"""Importing files of structures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlffdb.errors import ConfigError, ReadError
from mlffdb.store import runs, structures
from mlffdb.store.database import Database
from mlffdb.structures import Candidate, Rejection
from mlffdb.structures.readers import read_candidates

BATCH = 1000
#: What a domain looks like; the database checks it too.
DOMAIN = r"[a-z][a-z0-9_-]*"
#: At most this many rejections are kept with their text; all are counted.
REJECTIONS_KEPT = 1000


@dataclass(slots=True)
class ImportReport:
    """What came of an import."""

    inserted: int = 0
    existing: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    rejections: list[Rejection] = field(default_factory=list)
    #: Files that could not be read at all, with the reason.
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def read(self) -> int:
        """Structures that were read or rejected."""
        return self.inserted + self.existing + self.rejected.total()

    @property
    def complete(self) -> bool:
        """Whether nothing was rejected and every file was read."""
        return not self.rejected and not self.unreadable

    def reject(self, rejection: Rejection) -> None:
        """Count *rejection*."""
        self.rejected[rejection.code] += 1
        if len(self.rejections) < REJECTIONS_KEPT:
            self.rejections.append(rejection)


def import_files(
    database: Database | None,
    files: Sequence[Path],
    *,
    domain: str | None = None,
    file_format: str | None = None,
    charge: int | None = None,
    on_progress: Callable[[ImportReport, Path], None] = lambda _report, _file: None,
) -> ImportReport:
    """Read *files* into the database, a batch at a time; without a database only read them.

    domain: for all structures, instead of the one that composition suggests
    charge: e, for structures whose file does not say
    A structure that is there already gets one more origin. A file that cannot be read does not
    keep the others from being read. Importing again adds nothing. Raises ReadError for a file that
    does not exist and ConfigError for a domain that cannot be one, before anything is read.
    """
    if domain is not None and not re.fullmatch(DOMAIN, domain):
        raise ConfigError(
            f"domain {domain!r}: use small letters, digits, - and _, as in organic or inorganic"
        )
    for path in files:
        if not path.exists():
            raise ReadError(f"{path}: no such file")
    report = ImportReport()
    if database is None:
        for path in files:
            _import_file(None, 0, path, domain, file_format, charge, report, on_progress)
        return report
    config = {"files": [str(path) for path in files], "domain": domain, "format": file_format,
              "charge": charge}  # fmt: skip
    with runs.recorded(database, "import", name=", ".join(map(str, files)), config=config) as run:
        for path in files:
            _import_file(
                database, run.run_id, path, domain, file_format, charge, report, on_progress
            )
            run.counts.update(
                inserted=report.inserted,
                existing=report.existing,
                rejected=dict(report.rejected),
                unreadable=report.unreadable,
            )
    return report


def _import_file(
    database: Database | None,
    run_id: int,
    path: Path,
    domain: str | None,
    file_format: str | None,
    charge: int | None,
    report: ImportReport,
    on_progress: Callable[[ImportReport, Path], None],
) -> None:
    def store(batch: list[Candidate]) -> None:
        if database is None:
            report.inserted += len(batch)
        else:
            added = structures.add_batch(database, run_id, batch)
            report.inserted += added.inserted
            report.existing += added.existing
        batch.clear()
        on_progress(report, path)

    batch: list[Candidate] = []
    try:
        for item in read_candidates(path, domain=domain, format=file_format, charge=charge):
            if isinstance(item, Rejection):
                report.reject(item)
                continue
            batch.append(item)
            if len(batch) == BATCH:
                store(batch)
    except ReadError as error:
        report.unreadable[str(path)] = str(error)
    store(batch)
