"""`mlffdb tasks` and `mlffdb teachers pause`, as they are typed."""

from __future__ import annotations

from uuid import uuid4

import pytest

from mlffdb.store import labels
from mlffdb.store.database import Database
from mlffdb.store.queue import LABEL_TASKS, Queue, TaskFailure
from tests.cli.running import done, done_json, refused
from tests.helpers import add_molecules, add_teacher, approve_all, statuses

COUNT = 8


@pytest.fixture
def teacher(db: Database) -> int:
    """A teacher with two failed tasks, one running and five pending."""
    add_molecules(db, COUNT)
    approve_all(db)
    identity = add_teacher(db)
    queue = Queue(LABEL_TASKS, identity, uuid4())
    with db.begin() as connection:
        labels.enqueue(connection, identity)
        claims = queue.claim(connection, 3)
        queue.fail(connection, [TaskFailure(c, "scf", "no [bold] end", False) for c in claims[:2]])
    return identity


def test_tasks_from_failed_to_pending(db: Database, teacher: int) -> None:
    shown = done("tasks", "list", "--status", "failed")
    assert shown.count("scf") == 2 and "no [bold] end" in shown
    assert {row["attempts"] for row in done_json("tasks", "list", "--status", "failed")} == {1}
    would = done("tasks", "retry", "--dry-run")
    assert "2 tasks would change" in would and "scf" in would
    assert statuses(db, teacher)["failed"] == 2
    assert "1 task is pending again; 1 selected" in done("tasks", "retry", "--limit", "1")
    assert done_json("tasks", "retry")["changed"] == 1
    assert "No task is selected that `tasks retry` takes" in done("tasks", "retry")
    assert statuses(db, teacher) == {"pending": COUNT - 1, "running": 1}


def test_tasks_cancelled_and_queued_again(db: Database, teacher: int) -> None:
    assert "say which" in refused("tasks", "cancel")
    text = done("tasks", "cancel", "--teacher", "test-teacher", "--where", "status = 'running'")
    assert text == "1 task is cancelled. Next: mlffdb status\n"
    assert "5 tasks are cancelled" in done("tasks", "cancel", "--all")
    text = done("tasks", "requeue", "--limit", "4")
    assert "4 tasks are pending again; 2 selected stay as they are" in text
    assert statuses(db, teacher) == {"failed": 2, "pending": 4, "cancelled": 2}
    assert "4 tasks are of priority -1" in done("tasks", "priority", "-1", "--kind", "label")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("retry", "--status", "pending"), "takes tasks that are failed, not pending"),
        (("retry", "--where", "nonsense"), 'column "nonsense" does not exist'),
        (("list", "--where", "status = 'failed'; DROP TABLE label"), "--where over the view tasks"),
        (("list", "--kind", "sample", "--teacher", "a"), "sampling tasks have no teacher"),
        (("list", "--kind", "label", "--plan", "a"), "labelling tasks have no plan"),
        (("priority", "2000"), "2000 is not in the range"),
    ],
)
def test_mistakes_are_one_line(db: Database, arguments: tuple[str, ...], says: str) -> None:
    assert says in refused("tasks", *arguments)


def test_nothing_selected_is_a_clear_line(db: Database) -> None:
    assert done("tasks", "list", "--status", "failed").startswith("No task is selected.")
    assert done_json("tasks", "list") == []
    assert done("tasks", "requeue", "--where", "attempts > 99").startswith("No task is selected")


def test_pausing_and_resuming_as_typed(db: Database, teacher: int) -> None:
    text = done("teachers", "pause", "test-teacher", "--why", "broken GPU")
    assert "5 pending tasks stay where they are, 1 running ones are finished" in text
    assert done_json("sql", "SELECT paused_why FROM teachers") == [{"paused_why": "broken GPU"}]
    assert "is claimed again: 5 pending" in done("teachers", "resume", "test-teacher")
    assert "was not paused" in done("teachers", "resume", "test-teacher")
    assert "has seen no teacher gfn9" in refused("teachers", "pause", "gfn9")


def test_a_name_that_was_never_seen_is_told(db: Database) -> None:
    """A slip of the fingers must not look like an empty queue."""
    for action in ("list", "retry", "cancel", "requeue"):
        assert "has seen no teacher gfn9" in refused("tasks", action, "--teacher", "gfn9")
    assert "has sampled no plan alcohol" in refused("tasks", "list", "--plan", "alcohol")
