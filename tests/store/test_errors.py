"""What an error of the driver means, and that two at once do not fail for it."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import psycopg2
import pytest
from ase.build import molecule
from pydantic import SecretStr
from sqlalchemy import text

from mlffdb.config import Settings
from mlffdb.errors import DatabaseError
from mlffdb.pipeline import validating
from mlffdb.store import runs, structures, verdicts
from mlffdb.store.database import (
    Database,
    driver_cursor,
    is_bad_value,
    is_conflict,
    is_connection_failure,
)
from mlffdb.structures import Candidate, Origin, Structure
from tests.helpers import add_molecules


def test_a_lost_connection_is_one_clear_line_in_the_drivers_cursor_too(db: Database) -> None:
    with Database(db.settings) as other, pytest.raises(DatabaseError, match="cannot be reached"):  # noqa: SIM117
        with db.begin() as connection:
            pid = connection.scalar(text("SELECT pg_backend_pid()"))
            with other.begin() as second:
                second.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
            with driver_cursor(connection) as cursor:
                cursor.execute("SELECT 1")


def test_nonsense_is_no_lost_connection(db: Database) -> None:
    with pytest.raises(psycopg2.ProgrammingError) as caught, db.begin() as connection:
        driver_cursor(connection).execute("SELECT %s", (np.float32(1.0),))
    assert not is_connection_failure(caught.value)
    assert is_bad_value(caught.value)
    assert not is_conflict(caught.value)


def test_a_password_among_the_parameters_is_not_shown() -> None:
    url = "postgresql:///name?host=/nowhere&user=me&password=hunter2&sslpassword=hunter3"
    with Database(Settings(database_url=SecretStr(url))) as database:
        assert "hunter" not in database.label
        assert "nowhere" in database.label


@pytest.mark.parametrize(("tolerance", "pairs"), [(0.05, 1), (0.001, 0)])
def test_near_duplicates_are_held_against_the_threshold_in_force(
    db: Database, tmp_path: Path, tolerance: float, pairs: int
) -> None:
    benzene = molecule("C6H6")
    moved = benzene.copy()
    moved.positions[0] += 0.07  # RMSD 0.03 Å
    run = runs.start(db, "import")
    with db.begin() as connection:
        offered = [
            Candidate(Structure.from_atoms(atoms), Origin("test", "import", index=index), "organic")
            for index, atoms in enumerate((benzene, moved))
        ]
        structures.add(connection, run.run_id, offered)
    file = tmp_path / "thresholds.yaml"
    file.write_text(f"duplicate:\n  value: {tolerance}\n")
    found = validating.validate(db, thresholds_file=file)
    assert found.structures.near_duplicates == pairs


def test_two_validations_at_once_give_one_verdict(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of two `mlffdb label` of different teachers, which both check new structures first."""
    add_molecules(db, 24)
    both = threading.Barrier(2)
    write = verdicts.write

    def together(*arguments: object, **options: object) -> None:
        both.wait(timeout=10)
        write(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(verdicts, "write", together)
    errors = []

    def validate() -> None:
        with Database(db.settings) as own:
            try:
                validating.validate_structures(own)
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=validate) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with db.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM verdict")) == 24
