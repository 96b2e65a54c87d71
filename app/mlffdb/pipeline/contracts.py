"""Running the contract suite on a teacher, and keeping what it measured with the teacher's row."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import bindparam, text

from mlffdb.config import Settings, package_version
from mlffdb.errors import MlffdbError
from mlffdb.pipeline.setup import connect
from mlffdb.pipeline.teachers import load_teacher, teacher_row
from mlffdb.store import labels
from mlffdb.store.database import Database
from mlffdb.store.embedded import EmbeddedServer
from mlffdb.store.labels import TeacherRow
from mlffdb.store.schema.base import JSON
from mlffdb.teachers.contract import Outcome, built_in_structures, run_suite


@dataclass(frozen=True, slots=True)
class ContractReport:
    """What the contract suite found on one teacher."""

    teacher: str
    fingerprint: str
    device: str
    #: Structures that each check ran on.
    structures: int
    checks: list[Outcome]
    #: Why the result is not kept in a database; None where it is.
    not_stored: str | None = None

    @property
    def broken(self) -> list[Outcome]:
        """Checks that the teacher does not hold."""
        return [outcome for outcome in self.checks if outcome.status == "broken"]


def check_teacher(
    name: str,
    *,
    device: str,
    settings: Settings,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> ContractReport:
    """Run the suite on the teacher *name* and keep the result where there is a database.

    Raises TeacherError where the teacher cannot be loaded or no built-in structure fits it.
    """
    teacher = load_teacher(name, device=device, settings=settings)
    try:
        structures = built_in_structures(teacher.capabilities)
        outcomes = run_suite(teacher, structures, on_progress)
        report = ContractReport(
            teacher.name, teacher.identity.fingerprint, teacher.device, len(structures), outcomes
        )
        reason = _store(teacher_row(teacher), report, settings)
    finally:
        teacher.close()
    return ContractReport(
        report.teacher, report.fingerprint, report.device, report.structures, outcomes, reason
    )


def stored_contracts(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the latest stored result by teacher's name; none where no database is running."""
    if settings.embedded and not _server(settings).is_alive():
        return {}
    try:
        with connect(settings) as database, database.begin() as connection:
            rows = connection.execute(
                text("""
SELECT DISTINCT ON (name) name, contract FROM teacher WHERE contract IS NOT NULL
ORDER BY name, contract->>'checked_at' DESC""")
            ).all()
    except MlffdbError:  # the list of teachers needs no database
        return {}
    return {row.name: row.contract for row in rows}


def _store(row: TeacherRow, report: ContractReport, settings: Settings) -> str | None:
    """Keep *report* with the teacher's row; returns why it cannot be, or None."""
    if settings.embedded and not any(settings.data_dir.glob("*/cluster/PG_VERSION")):
        return "there is no database here; `mlffdb init` makes one"
    try:
        with connect(settings) as database:
            _write(database, row, report)
    except MlffdbError as error:
        return str(error)
    return None


def _write(database: Database, row: TeacherRow, report: ContractReport) -> None:
    content = {
        "checked_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "mlffdb": package_version(),
        "device": report.device,
        "structures": report.structures,
        "checks": {
            outcome.check: {key: value for key, value in asdict(outcome).items() if key != "check"}
            for outcome in report.checks
        },
    }
    statement = text("UPDATE teacher SET contract = :content WHERE teacher_id = :teacher")
    with database.begin() as connection:
        teacher_id = labels.register_teacher(connection, row)
        connection.execute(
            statement.bindparams(bindparam("content", type_=JSON)),
            {"content": content, "teacher": teacher_id},
        )


def _server(settings: Settings) -> EmbeddedServer:
    return EmbeddedServer(settings.data_dir, version=settings.postgres_version)
