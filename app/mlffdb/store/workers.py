"""Rows of the worker table: who is alive, on which device, and what it did."""

from __future__ import annotations

import os
import socket
from uuid import UUID

from sqlalchemy import Connection, text

from mlffdb.config import package_version
from mlffdb.store.database import Database


def register(
    connection: Connection,
    worker_id: UUID,
    *,
    kind: str,
    device: str,
    run_id: int | None = None,
    teacher_id: int | None = None,
) -> None:
    """Insert a worker's row."""
    connection.execute(
        text(
            "INSERT INTO worker (worker_id, run_id, kind, teacher_id, host, pid, device, version)"
            " VALUES (:id, :run, :kind, :teacher, :host, :pid, :device, :version)"
        ),
        {
            "id": worker_id,
            "run": run_id,
            "kind": kind,
            "teacher": teacher_id,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "device": device,
            "version": package_version(),
        },
    )


def beat(
    connection: Connection,
    worker_id: UUID,
    *,
    done: int,
    failed: int,
    late: int,
    compute_seconds: float,
    budget: float | None,
    stopped: bool = False,
) -> None:
    """Store a sign of life with the counters so far; *stopped* says that it ended cleanly."""
    connection.execute(
        text(
            "UPDATE worker SET heartbeat_at = now(), done = :done, failed = :failed, late = :late,"
            " compute_seconds = :compute, budget = :budget,"
            " stopped_at = CASE WHEN :stopped THEN now() END WHERE worker_id = :id"
        ),
        {
            "id": worker_id,
            "done": done,
            "failed": failed,
            "late": late,
            "compute": compute_seconds,
            "budget": budget,
            "stopped": stopped,
        },
    )


def learned_budget(connection: Connection, teacher_id: int, device: str) -> float | None:
    """Return the batch budget that the last worker of this teacher, host and device ended with."""
    value = connection.scalar(
        text(
            "SELECT budget FROM worker WHERE teacher_id = :teacher AND device = :device"
            " AND host = :host AND budget IS NOT NULL ORDER BY heartbeat_at DESC LIMIT 1"
        ),
        {"teacher": teacher_id, "device": device, "host": socket.gethostname()},
    )
    return None if value is None else float(value)


def expire_leases(database: Database, run_id: int, pid: int) -> None:
    """Let the leases of a worker of this host that is known to be dead expire now."""
    with database.begin() as connection:
        for table in ("label_task", "sample_task"):
            connection.execute(
                text(
                    f"UPDATE {table} SET lease_expires_at = now() WHERE status = 'running'"
                    " AND worker_id IN (SELECT worker_id FROM worker WHERE run_id = :run"
                    " AND pid = :pid AND host = :host AND stopped_at IS NULL)"
                ),
                {"run": run_id, "pid": pid, "host": socket.gethostname()},
            )
