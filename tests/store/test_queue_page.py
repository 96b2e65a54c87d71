"""docs/queue.md says what the queue does: its states, statements and limits are held against it."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from mlffdb.pipeline import tasks
from mlffdb.store import labels, limits
from mlffdb.store.database import Database
from mlffdb.store.queue import LABEL_TASKS, MAX_ATTEMPTS, Queue, TaskFailure, claim_sql
from mlffdb.store.schema import Base
from mlffdb.store.tasks import Selection
from tests.helpers import add_molecules, add_teacher, approve_all
from tests.store.claiming import claim, complete
from tests.store.pgbouncer import LOGINS, SETTINGS

PAGE = (Path(__file__).parents[2] / "docs" / "queue.md").read_text(encoding="utf-8")
BLOCKS = {
    language: re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)
    for language in ("mermaid", "pgsql", "ini")
}
EDGES = re.findall(r"^ +(\S+) --> (\S+): (.*)$", BLOCKS["mermaid"][0], re.M)

RECORD = """
CREATE TABLE seen (before text, after text);
CREATE FUNCTION record() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen VALUES (CASE WHEN TG_OP = 'INSERT' THEN '[*]' ELSE OLD.status END, NEW.status);
    RETURN NULL;
END $$;
CREATE TRIGGER record AFTER INSERT OR UPDATE OF status ON label_task
    FOR EACH ROW EXECUTE FUNCTION record();
"""


def test_the_states_are_those_of_the_database() -> None:
    (condition,) = [
        str(check.sqltext)
        for check in Base.metadata.tables["label_task"].constraints
        if check.name == "ck_label_task_status"
    ]
    allowed = set(re.findall(r"'(\w+)'", condition))
    assert {state for edge in EDGES for state in edge[:2]} - {"[*]"} == allowed
    assert set(re.findall(r"^\| `(\w+)` \| ", PAGE.partition("## Looking")[0], re.M)) == allowed


class Recorder:
    """What happens to tasks while something is done."""

    def __init__(self, db: Database) -> None:
        self.db = db
        with db.begin() as connection:
            connection.connection.cursor().execute(RECORD)

    def new(self) -> set[tuple[str, str]]:
        """Return the changes of status since the last call."""
        with self.db.begin() as connection:
            rows = connection.execute(text("DELETE FROM seen RETURNING before, after"))
            return {(row.before, row.after) for row in rows}


@pytest.fixture
def recorder(db: Database) -> Recorder:
    """Recording from the start, with twelve structures that passed the checks."""
    add_molecules(db, 12)
    approve_all(db)
    return Recorder(db)


def test_every_edge_of_the_diagram_is_what_happens(db: Database, recorder: Recorder) -> None:
    teacher = add_teacher(db)
    seen: dict[str, set[tuple[str, str]]] = {}

    def enqueue() -> None:
        with db.begin() as connection:
            labels.enqueue(connection, teacher)

    enqueue()
    seen["enqueue"] = recorder.new()
    queue, claims = claim(db, teacher, 6)
    seen["claim"] = recorder.new()
    complete(db, queue, claims[:1])
    seen["complete"] = recorder.new()
    with db.begin() as connection:
        queue.release(connection, claims[1:2])
    seen["release"] = recorder.new()
    with db.begin() as connection:
        queue.fail(connection, [TaskFailure(claims[2], "oom", "later", True)])
    seen["fail, to be tried again"] = recorder.new()
    with db.begin() as connection:
        queue.fail(connection, [TaskFailure(claims[3], "scf", "never", False)])
    seen["fail, for good"] = recorder.new()
    expire(db)
    with db.begin() as connection:
        queue.recover(connection)
    seen["lease expired"] = recorder.new()
    claim(db, teacher, 1)
    recorder.new()
    expire(db, attempts=MAX_ATTEMPTS)
    with db.begin() as connection:
        queue.recover(connection)
    seen["lease expired, no attempts left"] = recorder.new()
    tasks.change_tasks(db, "retry", Selection())
    seen["tasks retry"] = recorder.new()
    claim(db, teacher, 1)
    recorder.new()
    tasks.change_tasks(db, "cancel", Selection())
    seen["tasks cancel"] = recorder.new()
    tasks.change_tasks(db, "requeue", Selection())
    seen["tasks requeue"] = recorder.new()
    with db.begin() as connection:
        keys = connection.execute(text("SELECT structure_id FROM label_task")).scalars().all()
    approve_all(db, rejected=set(keys))
    with db.begin() as connection:
        labels.cancel_rejected(connection)
    seen["rejected by the checks"] = recorder.new()
    approve_all(db)
    with db.begin() as connection:
        labels.reopen_cancelled(connection, teacher)
    seen["rejection revised"] = recorder.new()
    with db.begin() as connection:  # as an owner may who knows what they do
        connection.execute(text("DELETE FROM label"))
    tasks.change_tasks(db, "requeue", Selection())
    seen["tasks requeue, without a result"] = recorder.new()

    drawn: dict[str, set[tuple[str, str]]] = {}
    for before, after, why in EDGES:
        drawn.setdefault(why, set()).add((before, after))
    assert seen == drawn


def expire(db: Database, attempts: int | None = None) -> None:
    with db.begin() as connection:
        connection.execute(
            text(
                "UPDATE label_task SET lease_expires_at = now() - interval '1 s',"
                " attempts = coalesce(:attempts, attempts) WHERE status = 'running'"
            ),
            {"attempts": attempts},
        )


def test_the_claim_on_the_page_is_the_claim() -> None:
    real = " ".join(claim_sql(LABEL_TASKS).split())
    place = 0
    for piece in " ".join(BLOCKS["pgsql"][0].split()).split("…"):
        place = real.find(piece.strip(), place)
        assert place >= 0, piece


def test_the_limits_on_the_page_are_the_limits() -> None:
    table = PAGE.partition("| setting | value |")[2].partition("\n\n")[0]
    found = {}
    for names, values in re.findall(r"^\| (`.*?) \| (.*?) \|", table, re.M):
        found |= dict(zip(re.findall(r"`(\w+)`", names), values.split(", "), strict=True))
    assert found == limits.LIMITS


def test_pgbouncer_on_the_page_is_what_the_tests_run() -> None:
    assert LOGINS.strip() in BLOCKS["pgsql"][1]
    tested = dict(re.findall(r"^(\w+) = (.*)$", SETTINGS, re.M))
    shown = dict(re.findall(r"^(\w+) = (.*)$", BLOCKS["ini"][0], re.M))
    for name in ("pool_mode", "auth_type", "auth_user", "auth_query"):
        assert shown[name] == tested[name]
    assert set(shown) <= set(tested)


def test_a_worker_that_lost_its_token_is_told(db: Database, recorder: Recorder) -> None:
    """As the page says: neither attempt nor worker alone is enough."""
    teacher = add_teacher(db)
    with db.begin() as connection:
        labels.enqueue(connection, teacher)
    queue, claims = claim(db, teacher, 2)
    stranger = Queue(LABEL_TASKS, teacher, uuid4())
    assert complete(db, stranger, claims) == 0
    with db.begin() as connection:
        connection.execute(text("UPDATE label_task SET attempts = 2 WHERE status = 'running'"))
    assert complete(db, queue, claims) == 0
