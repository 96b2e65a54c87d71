"""Teachers and what they said."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Computed,
    ForeignKey,
    Identity,
    Index,
    Integer,
    SmallInteger,
    text,
)
from sqlalchemy.dialects.postgresql import BYTEA, REAL

from mlffdb.store.schema.base import (
    ID,
    JSON,
    TIME,
    Base,
    Double,
    Text,
    check,
    column,
    finite,
    finite_elements,
)

FORCES_BYTES = "octet_length(forces) IN (12 * n_atoms, 24 * n_atoms)"


class Teacher(Base):
    """One exact way to compute labels: model, weights, versions, precision and settings."""

    __tablename__ = "teacher"
    __table_args__ = (
        check("fingerprint", "fingerprint ~ '^[0-9a-f]{64}$'"),
        check("weights_sha256", "weights_sha256 ~ '^[0-9a-f]{64}$'"),
        Index("ix_teacher_name", "name"),
        {"comment": "One exact way to compute labels; another version is another row"},
    )

    teacher_id = column(Integer, Identity(always=True), primary_key=True, comment="Key")
    name = column(Text, comment="Name on the command line, such as gfn2-xtb")
    fingerprint = column(Text, unique=True, comment="SHA-256 (hex) over the columns below")
    versions = column(JSON, comment="Package -> version, backends included")
    weights_sha256 = column(Text, nullable=True, comment="SHA-256 (hex) of the weights; or NULL")
    precision = column(Text, comment="Arithmetic, such as float64 or float32-highest")
    settings = column(JSON, comment="Everything else that decides the numbers")
    untrained = column(Boolean, comment="Random weights: its labels are never exported")
    conservative = column(Boolean, comment="Forces are the negative gradient of the energy")
    licence = column(Text, comment="Licence of weights or method")
    created_at = column(TIME, server_default=text("now()"), comment="When first used here")
    paused_at = column(
        TIME, nullable=True, comment="Since when nothing is claimed for it; NULL: not paused"
    )
    paused_why = column(Text, nullable=True, comment="Reason of the pause, for people")
    contract = column(
        JSON, nullable=True, comment="What `mlffdb teachers check` measured, by check"
    )


class Label(Base):
    """What a teacher said of a structure; written once."""

    __tablename__ = "label"
    __table_args__ = (
        check("n_atoms", "n_atoms >= 1"),
        finite("energy"),
        check("forces", FORCES_BYTES),
        finite_elements("stress", 6),
        check("energy_spread", "energy_spread >= 0 AND energy_spread < 'Infinity'"),
        check("forces_spread", "forces_spread >= 0 AND forces_spread < 'Infinity'"),
        check("force_max", "force_max >= 0 AND force_max < 'Infinity'"),
        check("batch_size", "batch_size >= 1"),
        check("wall_seconds", "wall_seconds >= 0 AND wall_seconds < 'Infinity'"),
        Index("ix_label_teacher_id_created_at", "teacher_id", "created_at"),
        {"comment": "Energy, forces and stress of a structure by a teacher; append-only"},
    )

    structure_id = column(
        ID, ForeignKey("structure.structure_id"), primary_key=True, comment="Structure"
    )
    # No foreign keys to teacher and run: each insert would lock the same two rows, and many workers
    # at once would spend their time on that. Both tables refuse to delete.
    teacher_id = column(Integer, primary_key=True, comment="Teacher")
    run_id = column(BigInteger, nullable=True, comment="Labelling run")
    n_atoms = column(Integer, comment="Number of atoms, as of the structure")
    energy = column(Double, comment="Total energy, eV")
    energy_per_atom = column(
        Double,
        Computed("energy / n_atoms", persisted=True),
        nullable=True,
        comment="energy / n_atoms, eV",
    )
    forces = column(
        BYTEA,
        nullable=True,
        comment="Forces in eV/Å, LE [n_atoms][3], canonical order; float32, or float64 where the "
        "teacher computes so (12 or 24 bytes per atom)",
    )
    stress = column(
        ARRAY(Double),
        nullable=True,
        comment="Stress in eV/Å³, tensile positive, Voigt xx yy zz yz xz xy; NULL unless periodic "
        "in three dimensions",
    )
    force_max = column(REAL, nullable=True, comment="Largest norm of a force, eV/Å")
    energy_spread = column(REAL, nullable=True, comment="Spread over an ensemble, eV")
    forces_spread = column(REAL, nullable=True, comment="Largest spread of a component, eV/Å")
    charge = column(SmallInteger, comment="Charge that was used, e")
    multiplicity = column(
        SmallInteger, nullable=True, comment="Multiplicity that was used, or NULL"
    )
    batch_size = column(Integer, comment="Structures computed together")
    wall_seconds = column(REAL, comment="This structure's share of the batch's wall time, s")
    worker_id = column(ID, comment="Worker that wrote it")
    device = column(Text, comment="Device it ran on, such as cpu or cuda:0")
    details = column(JSON, nullable=True, comment="Small facts from the teacher")
    created_at = column(TIME, server_default=text("now()"), comment="When written, server clock")


class Audit(Base):
    """A label computed again, beside the one that counts."""

    __tablename__ = "audit"
    __table_args__ = (
        check("n_atoms", "n_atoms >= 1"),
        finite("energy"),
        finite("energy_difference"),
        finite("force_difference"),
        check("forces", FORCES_BYTES),
        finite_elements("stress", 6),
        {"comment": "Labels computed again, to find faults of hardware and libraries"},
    )

    structure_id = column(
        ID, ForeignKey("structure.structure_id"), primary_key=True, comment="Structure"
    )
    teacher_id = column(
        Integer, ForeignKey("teacher.teacher_id"), primary_key=True, comment="Teacher"
    )
    run_id = column(
        BigInteger, ForeignKey("run.run_id"), primary_key=True, comment="Run of the audit"
    )
    n_atoms = column(Integer, comment="Number of atoms")
    energy = column(Double, comment="Total energy computed again, eV")
    forces = column(BYTEA, nullable=True, comment="As label.forces")
    stress = column(ARRAY(Double), nullable=True, comment="As label.stress")
    energy_difference = column(Double, comment="Again minus label, eV/atom")
    force_difference = column(Double, comment="Largest difference of a component, eV/Å")
    within_tolerance = column(Boolean, comment="Whether both are within the teacher's tolerance")
    worker_id = column(ID, comment="Worker that wrote it")
    device = column(Text, comment="Device it ran on")
    created_at = column(TIME, server_default=text("now()"), comment="When written, server clock")
