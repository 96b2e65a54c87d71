"""Frozen versions of the data, and the leakage-free groups behind their splits."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import BYTEA

from mlffdb.store.schema.base import ID, JSON, TIME, Base, Text, check, column, one_of

SPLITS = ("train", "val", "test")


class Component(Base):
    """The leakage-free group that a structure belongs to."""

    __tablename__ = "component"
    __table_args__ = (
        Index("ix_component_component_id", "component_id"),
        {"comment": "Structures tied by parent, molecule, trajectory or near-duplication"},
    )

    structure_id = column(
        ID, ForeignKey("structure.structure_id"), primary_key=True, comment="Structure"
    )
    component_id = column(ID, comment="Smallest structure_id of the group")
    run_id = column(BigInteger, ForeignKey("run.run_id"), comment="Run that grouped it")


class Snapshot(Base):
    """A frozen version; once published it cannot be changed (a trigger holds that)."""

    __tablename__ = "snapshot"
    __table_args__ = (
        UniqueConstraint("name", "version"),
        one_of("status", "building", "published"),
        check("version", "version >= 1"),
        check("name", "name ~ '^[A-Za-z0-9][A-Za-z0-9._-]*$'"),
        check("root_hash", "root_hash ~ '^[0-9a-f]{64}$'"),
        check("published", "status <> 'published' OR root_hash IS NOT NULL"),
        {"comment": "Frozen versions: members, split, query, root hash; never changed"},
    )

    snapshot_id = column(Integer, Identity(always=True), primary_key=True, comment="Key")
    run_id = column(BigInteger, ForeignKey("run.run_id"), comment="Run that exported it")
    name = column(Text, comment="Name given by the user")
    version = column(Integer, comment="1, 2, ... per name")
    status = column(Text, server_default=text("'building'"), comment="building or published")
    teacher_ids = column(ARRAY(Integer), comment="Teachers whose labels it holds")
    condition = column(Text, nullable=True, comment="SQL condition over view dataset, or NULL")
    split = column(JSON, comment="Split name -> fraction asked for")
    seed = column(BigInteger, comment="Seed of the split")
    root_hash = column(Text, nullable=True, comment="SHA-256 (hex) over members, labels and split")
    manifest = column(JSON, nullable=True, comment="As in manifest.json")
    created_at = column(TIME, server_default=text("now()"), comment="When frozen")


class SnapshotMember(Base):
    """A label in a frozen version."""

    __tablename__ = "snapshot_member"
    __table_args__ = (
        # one key instead of one per column: a member has a label, and large exports are quick
        ForeignKeyConstraint(
            ["structure_id", "teacher_id"], ["label.structure_id", "label.teacher_id"]
        ),
        check("split", "split ~ '^[a-z][a-z0-9_]*$'"),
        check("position", "position >= 0"),
        check("label_hash", "octet_length(label_hash) = 32"),
        Index("ix_snapshot_member_snapshot_id_split", "snapshot_id", "split", "position"),
        {"comment": "Labels in a frozen version, with split and place in the file"},
    )

    structure_id = column(ID, primary_key=True, comment="Structure")
    snapshot_id = column(
        Integer, ForeignKey("snapshot.snapshot_id"), primary_key=True, comment="Snapshot"
    )
    teacher_id = column(Integer, primary_key=True, comment="Teacher of the label")
    split = column(Text, comment="train, val, test, or a further test set")
    position = column(Integer, comment="Index in the split's file, from 0")
    component_id = column(ID, comment="Group it was placed with")
    label_hash = column(BYTEA, comment="SHA-256 of the structure's id and label")
