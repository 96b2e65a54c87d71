"""What is asked to watch a campaign: the queries, each with what it costs.

``counts`` reads the whole task table once (0.2 s for a million rows, 0.6 s before their first
vacuum; counting the pending ones by their partial index takes 0.1 to 1.7 s there). All others go by
indexes and are bounded, so that they can be asked every second.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text

from mlffdb.store.queue import LABEL_TASKS, SAMPLE_TASKS, TaskTable

#: Rates are over so long, or since the first worker started if that is less.
WINDOW_SECONDS = 120.0
#: Most labels that are counted for a rate: with more in the window, over the time of the last ones.
RATE_ROWS = 50_000
#: Labels whose mean cost stands for all of the window.
COST_ROWS = 1_000
#: Attempt from which a running task is listed: each earlier one ended with a dead or failed worker.
STUCK_ATTEMPT = 3
STUCK_ROWS = 20
#: Workers that were last heard of longer ago are not listed.
FORGET_SECONDS = 600.0
WORKER_ROWS = 1_000

#: Tasks per scope, status and reason; an example is [message, key] of a failed one.
_COUNTS = """
SELECT {scope} AS scope, status,
    CASE WHEN status IN ('failed', 'cancelled') THEN coalesce(error_code, 'unknown') END AS code,
    count(*) AS tasks, sum(cost)::double precision AS cost,
    min(ARRAY[coalesce(error, ''), {key}::text]) FILTER (WHERE status = 'failed') AS example,
    {more}
FROM {table} GROUP BY 1, 2, 3 ORDER BY 1, 2, 4 DESC, 3"""

_MORE = {
    LABEL_TASKS: "0 AS structures, 0 AS recent, 0 AS recent_cost, 0 AS recent_structures",
    SAMPLE_TASKS: """coalesce(sum(inserted), 0)::bigint AS structures,
    count(*) FILTER (WHERE status = 'done' AND updated_at > now() - {window}) AS recent,
    coalesce(sum(cost) FILTER (WHERE status = 'done' AND updated_at > now() - {window}), 0)
        AS recent_cost,
    coalesce(sum(inserted) FILTER (WHERE updated_at > now() - {window}), 0)::bigint
        AS recent_structures""",
}

#: Running tasks are few, and have an index of their own.
_RUNNING = "SELECT count(*) FROM label_task WHERE teacher_id = :teacher AND status = 'running'"

#: Labels of the window, at most RATE_ROWS of them, from the end of an index.
_RATE = """
SELECT count(*) FILTER (WHERE created_at > now() - make_interval(secs => :window)) AS labels,
    extract(epoch FROM now() - min(created_at))::double precision AS first_seconds,
    count(*) FILTER (WHERE created_at > :since) AS since
FROM (SELECT created_at FROM label WHERE teacher_id = :teacher
        AND created_at > least(:since, now() - make_interval(secs => :window))
    ORDER BY created_at DESC LIMIT :rows) recent"""

#: Mean cost of the last labels, by key.
_COST = """
SELECT avg(k.cost)::double precision
FROM (SELECT structure_id FROM label WHERE teacher_id = :teacher
    ORDER BY created_at DESC LIMIT :rows) recent
JOIN label_task k ON k.teacher_id = :teacher AND k.structure_id = recent.structure_id"""

_STUCK = """
SELECT * FROM (
    SELECT '{kind}' AS kind, {name} AS name, k.{key}::text AS key, k.attempts,
        extract(epoch FROM clock_timestamp() - k.lease_expires_at)::double precision
            AS overdue_seconds,
        w.host, w.pid, k.error_code, k.error, count(*) OVER () AS tasks
    FROM {table} k {joins} LEFT JOIN worker w USING (worker_id)
    WHERE k.status = 'running'
        AND (k.lease_expires_at < clock_timestamp() OR k.attempts >= :attempt)
) stuck ORDER BY overdue_seconds DESC LIMIT :rows"""

#: Workers that did not say goodbye, those last heard of first.
_WORKERS = """
SELECT w.worker_id, w.run_id, w.kind, t.name AS teacher, w.teacher_id, w.host, w.pid, w.device,
    w.version, w.done, w.failed, w.late, w.compute_seconds, w.budget, w.started_at, w.heartbeat_at,
    extract(epoch FROM w.heartbeat_at - w.started_at)::double precision AS seconds,
    extract(epoch FROM now() - w.heartbeat_at)::double precision AS silent_seconds
FROM worker w LEFT JOIN teacher t USING (teacher_id)
WHERE w.stopped_at IS NULL AND w.heartbeat_at > now() - make_interval(secs => :forget)
ORDER BY w.heartbeat_at DESC LIMIT :rows"""

#: How long the workers of each kind and teacher that are there have been at it.
_AT_WORK = """
SELECT kind, teacher_id,
    extract(epoch FROM now() - min(started_at))::double precision AS seconds
FROM worker WHERE stopped_at IS NULL AND heartbeat_at > now() - make_interval(secs => :window)
GROUP BY 1, 2"""


def counts(connection: Connection, table: TaskTable) -> list[dict[str, Any]]:
    """Return tasks, cost and an example per scope, status and reason; reads the whole table."""
    window = f"interval '{WINDOW_SECONDS} seconds'"
    statement = _COUNTS.format(
        scope=table.scope,
        key=table.key,
        table=table.name,
        more=_MORE[table].format(window=window),
    )
    return _rows(connection, statement)


def teachers(connection: Connection) -> list[dict[str, Any]]:
    """Return id, name, pause and whether it is superseded, of every teacher."""
    return _rows(
        connection,
        "SELECT teacher_id, name, paused_at, paused_why, superseded FROM teachers"
        " ORDER BY name, teacher_id",
    )


def plans(connection: Connection) -> dict[str, str]:
    """Return digest → name of the plans that have tasks; their first task names the run."""
    rows = _rows(
        connection,
        "SELECT k.plan_digest, r.name FROM sample_task k JOIN run r USING (run_id)"
        " WHERE k.task_index = 0",
    )
    return {row["plan_digest"]: row["name"] or "" for row in rows}


def running(connection: Connection, teacher_id: int) -> int:
    """Return how many tasks of a teacher are leased."""
    return int(connection.scalar(text(_RUNNING), {"teacher": teacher_id}) or 0)


def rate(connection: Connection, teacher_id: int, since: Any) -> dict[str, Any]:
    """Return labels of the window, the age of the first of them, and how many came after *since*.

    since: the server's time at which tasks were counted
    """
    values = {"teacher": teacher_id, "since": since, "window": WINDOW_SECONDS, "rows": RATE_ROWS}
    return _rows(connection, _RATE, **values)[0]


def mean_cost(connection: Connection, teacher_id: int) -> float | None:
    """Return the mean cost of the last labels of a teacher, in the unit of its tasks."""
    found = connection.scalar(text(_COST), {"teacher": teacher_id, "rows": COST_ROWS})
    return None if found is None else float(found)


def stuck(connection: Connection) -> list[dict[str, Any]]:
    """Return running tasks whose lease is over, or that are tried again and again."""
    label = _STUCK.format(
        kind="label",
        name="t.name",
        key="structure_id",
        table="label_task",
        joins="JOIN teacher t USING (teacher_id)",
    )
    sample = _STUCK.format(
        kind="sample",
        name="r.name",
        key="task_index",
        table="sample_task",
        joins="JOIN run r ON r.run_id = k.run_id",
    )
    values = {"attempt": STUCK_ATTEMPT, "rows": STUCK_ROWS}
    return _rows(connection, label, **values) + _rows(connection, sample, **values)


def workers(connection: Connection) -> list[dict[str, Any]]:
    """Return the workers that did not end cleanly and were heard of lately."""
    return _rows(connection, _WORKERS, forget=FORGET_SECONDS, rows=WORKER_ROWS)


def at_work(connection: Connection) -> dict[tuple[str, int | None], float]:
    """Return (kind, teacher) → for how long its workers that are there have been at it, s."""
    rows = _rows(connection, _AT_WORK, window=WINDOW_SECONDS)
    return {(row["kind"], row["teacher_id"]): float(row["seconds"]) for row in rows}


def _rows(connection: Connection, statement: str, **values: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(text(statement), values).mappings()]
