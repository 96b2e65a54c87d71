"""What the checks said."""

from __future__ import annotations

from sqlalchemy import ARRAY, BigInteger, Boolean, ForeignKey, Identity, Index, Integer, text

from mlffdb.store.schema.base import ID, TIME, Base, Double, Text, check, column, one_of


class Finding(Base):
    """One thing that a check noticed about a structure or a label."""

    __tablename__ = "finding"
    __table_args__ = (
        one_of("severity", "info", "suspect", "reject"),
        check("message", "length(message) <= 1000"),
        Index("ix_finding_check_name", "check_name"),
        Index("ix_finding_run_id", "run_id"),
        {"comment": "What a check noticed, with value and threshold; history is kept"},
    )

    structure_id = column(
        ID, ForeignKey("structure.structure_id"), primary_key=True, comment="Structure"
    )
    finding_id = column(BigInteger, Identity(always=True), primary_key=True, comment="Key")
    teacher_id = column(
        Integer,
        ForeignKey("teacher.teacher_id"),
        nullable=True,
        comment="Teacher of the label it is about; NULL if about the structure itself",
    )
    run_id = column(BigInteger, ForeignKey("run.run_id"), comment="Validation run")
    check_name = column(Text, comment="Name of the check")
    rule_version = column(Text, comment="Version of checks and thresholds")
    severity = column(Text, comment="info, suspect or reject")
    value = column(Double, nullable=True, comment="What was measured, in unit")
    threshold = column(Double, nullable=True, comment="What it was held against, in unit")
    unit = column(Text, comment="Unit of value and threshold")
    message = column(Text, comment="For people")
    atoms = column(ARRAY(Integer), nullable=True, comment="Atoms concerned, canonical order")


class Verdict(Base):
    """Whether a structure or a label can be used."""

    __tablename__ = "verdict"
    __table_args__ = (
        one_of("verdict", "valid", "suspect", "rejected"),
        Index(
            "uq_verdict_current",
            "structure_id",
            "teacher_id",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=text("is_current"),
        ),
        Index("ix_verdict_run_id", "run_id"),
        {"comment": "valid, suspect or rejected, per structure and per label; history is kept"},
    )

    structure_id = column(
        ID, ForeignKey("structure.structure_id"), primary_key=True, comment="Structure"
    )
    verdict_id = column(BigInteger, Identity(always=True), primary_key=True, comment="Key")
    teacher_id = column(
        Integer,
        ForeignKey("teacher.teacher_id"),
        nullable=True,
        comment="Teacher of the label; NULL for the structure itself, before labelling",
    )
    run_id = column(BigInteger, ForeignKey("run.run_id"), comment="Validation run")
    verdict = column(Text, comment="valid, suspect or rejected")
    rule_version = column(Text, comment="Version of checks and thresholds")
    is_current = column(
        Boolean, server_default=text("true"), comment="Newest one; older ones are history"
    )
    created_at = column(TIME, server_default=text("now()"), comment="When given")
