"""Tasks and the workers that claim them. Narrow and hot: nothing large belongs here."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, SmallInteger, text
from sqlalchemy.dialects.postgresql import REAL

from mlffdb.store.schema.base import (
    ID,
    JSON,
    TIME,
    Base,
    Text,
    check,
    column,
    one_of,
)

#: Storage settings of a table whose rows change status a few times: room for updates in place,
#: and eager vacuum, since dead rows at the head of the queue are what slows claims.
HOT = {
    "fillfactor": 70,
    "autovacuum_vacuum_scale_factor": 0.01,
    "autovacuum_vacuum_cost_delay": 0,
}


def _task_checks() -> tuple[CheckConstraint, ...]:
    return (
        one_of("status", "pending", "running", "done", "failed", "cancelled"),
        check("attempts", "attempts >= 0"),
        check("cost", "cost >= 0 AND cost < 'Infinity'"),
        check("lease", "(status = 'running') = (lease_expires_at IS NOT NULL)"),
        check("worker", "status <> 'running' OR worker_id IS NOT NULL"),
        check("error", "length(error) <= 1000"),
    )


class TaskColumns:
    """What every kind of task has."""

    status = column(
        Text,
        server_default=text("'pending'"),
        comment="pending, running (leased), done, failed (final, see error) or cancelled",
    )
    priority = column(
        SmallInteger,
        server_default=text("0"),
        comment="Smaller is claimed first: 32 × the user's priority (0 unless said) + a band 0-31 "
        "that mixes sizes",
    )
    cost = column(REAL, comment="Expected cost, in the unit of the teacher (atoms, edges)")
    attempts = column(
        SmallInteger, server_default=text("0"), comment="Counted when claimed, so crashes count"
    )
    not_before = column(
        TIME, server_default=text("now()"), comment="Not claimable before (retry with backoff)"
    )
    lease_expires_at = column(
        TIME, nullable=True, comment="Claimable again after; renewed by heartbeat"
    )
    error_code = column(Text, nullable=True, comment="Short reason of the last failure")
    error = column(Text, nullable=True, comment="Message of the last failure")
    updated_at = column(
        TIME, server_default=text("now()"), comment="Last change of status, server clock"
    )

    worker_id = column(
        ID,
        nullable=True,
        comment="Worker of the last claim; with attempts, the token that fences late writers",
    )


class LabelTask(TaskColumns, Base):
    """A structure to be labelled by a teacher."""

    __tablename__ = "label_task"
    __table_args__ = (
        *_task_checks(),
        Index(
            "ix_label_task_claim",
            "teacher_id",
            "priority",
            "cost",
            "structure_id",
            postgresql_where=text("status = 'pending'"),
        ),
        Index(
            "ix_label_task_running",
            "teacher_id",
            "structure_id",
            postgresql_where=text("status = 'running'"),
        ),
        {
            "comment": "Structures to be labelled; claimed under FOR UPDATE SKIP LOCKED",
            "info": {"reloptions": HOT},
        },
    )

    teacher_id = column(
        Integer, ForeignKey("teacher.teacher_id"), primary_key=True, comment="Teacher"
    )
    structure_id = column(
        ID, ForeignKey("structure.structure_id"), primary_key=True, comment="Structure"
    )


class SampleTask(TaskColumns, Base):
    """One item of a plan's source, to be turned into structures."""

    __tablename__ = "sample_task"
    __table_args__ = (
        *_task_checks(),
        check("task_index", "task_index >= 0"),
        Index(
            "ix_sample_task_claim",
            "plan_digest",
            "priority",
            "cost",
            "task_index",
            postgresql_where=text("status = 'pending'"),
        ),
        Index(
            "ix_sample_task_running",
            "plan_digest",
            "task_index",
            postgresql_where=text("status = 'running'"),
        ),
        {
            "comment": "Items of a plan, to be made into structures; same queue as label_task",
            "info": {"reloptions": HOT},
        },
    )

    plan_digest = column(Text, primary_key=True, comment="SHA-256 (hex) of the plan's meaning")
    task_index = column(Integer, primary_key=True, comment="Place in the plan, from 0")
    run_id = column(BigInteger, ForeignKey("run.run_id"), comment="Run that enqueued it")
    payload = column(JSON, comment="Block and item of the plan")
    inserted = column(Integer, nullable=True, comment="New structures that came of it")
    existing = column(Integer, nullable=True, comment="Structures that were already there")
    rejected = column(JSON, nullable=True, comment="Reason -> how many were rejected")


class Worker(Base):
    """A process that claims tasks."""

    __tablename__ = "worker"
    __table_args__ = (
        one_of("kind", "label", "sample", "audit"),
        {"comment": "Processes that claim tasks, with what they did", "info": {"reloptions": HOT}},
    )

    worker_id = column(ID, primary_key=True, comment="Fresh for every process")
    run_id = column(BigInteger, ForeignKey("run.run_id"), nullable=True, comment="Run it serves")
    kind = column(Text, comment="label, sample or audit")
    teacher_id = column(
        Integer, ForeignKey("teacher.teacher_id"), nullable=True, comment="Teacher it runs"
    )
    host = column(Text, comment="Machine")
    pid = column(Integer, comment="Process id on that machine")
    device = column(Text, comment="cpu, cuda:0 ...")
    version = column(Text, comment="mlffdb's version")
    started_at = column(TIME, server_default=text("now()"), comment="Start")
    heartbeat_at = column(TIME, server_default=text("now()"), comment="Last sign of life")
    stopped_at = column(TIME, nullable=True, comment="Clean end; NULL if running or killed")
    budget = column(REAL, nullable=True, comment="Largest batch cost learned for the device")
    done = column(BigInteger, server_default=text("0"), comment="Tasks completed")
    failed = column(BigInteger, server_default=text("0"), comment="Tasks failed")
    late = column(
        BigInteger, server_default=text("0"), comment="Results refused because the lease was lost"
    )
    compute_seconds = column(REAL, server_default=text("0"), comment="Time spent computing, s")
