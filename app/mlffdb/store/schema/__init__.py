"""The tables, as SQLAlchemy models; `python -m mlffdb.store.schema` prints the SQL that makes them.

The migrations make the same schema (tested by comparing dumps). Every table about a structure has
structure_id in its keys, constraints are named, and nothing on the hot path needs a trigger or an
advisory lock, so that structure_id can become the distribution key of a distributed PostgreSQL.
"""

from mlffdb.store.schema import extras
from mlffdb.store.schema.base import Base
from mlffdb.store.schema.labels import Audit, Label, Teacher
from mlffdb.store.schema.queue import LabelTask, SampleTask, Worker
from mlffdb.store.schema.snapshots import Component, Snapshot, SnapshotMember
from mlffdb.store.schema.structures import Origin, Run, Structure, StructurePair
from mlffdb.store.schema.validation import Finding, Verdict

__all__ = [
    "Audit",
    "Base",
    "Component",
    "Finding",
    "Label",
    "LabelTask",
    "Origin",
    "Run",
    "SampleTask",
    "Snapshot",
    "SnapshotMember",
    "Structure",
    "StructurePair",
    "Teacher",
    "Verdict",
    "Worker",
    "extras",
]
