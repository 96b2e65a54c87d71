"""Runs, structures and where they came from."""

from __future__ import annotations

from sqlalchemy import ARRAY, BigInteger, ForeignKey, Identity, Index, Integer, SmallInteger, text
from sqlalchemy.dialects.postgresql import BYTEA

from mlffdb.store.schema.base import (
    ID,
    JSON,
    TIME,
    Base,
    Double,
    Text,
    check,
    column,
    one_of,
)


class Run(Base):
    """One row per action; everything else points to the run that made it."""

    __tablename__ = "run"
    __table_args__ = (
        one_of("action", "import", "sample", "label", "validate", "export", "audit"),
        one_of("status", "running", "done", "failed", "interrupted"),
        {"comment": "One action of a user: its configuration, versions, host, times and counts"},
    )

    run_id = column(BigInteger, Identity(always=True), primary_key=True, comment="Key")
    action = column(Text, comment="import, sample, label, validate, export or audit")
    name = column(Text, nullable=True, comment="Plan, file, teacher or snapshot it was about")
    status = column(
        Text, server_default=text("'running'"), comment="running, done, failed or interrupted"
    )
    config = column(JSON, server_default=text("'{}'::jsonb"), comment="All that was asked for")
    config_hash = column(Text, comment="SHA-256 (hex) of config")
    seed = column(BigInteger, nullable=True, comment="Random seed, where one was used")
    versions = column(JSON, comment="Package -> version")
    host = column(Text, comment="Machine it ran on")
    started_at = column(TIME, server_default=text("now()"), comment="Start, server clock")
    finished_at = column(TIME, nullable=True, comment="End, server clock; NULL while running")
    counts = column(JSON, server_default=text("'{}'::jsonb"), comment="What came of it, by name")
    error = column(Text, nullable=True, comment="Why it failed")


class Structure(Base):
    """One arrangement of atoms; never changed, never deleted."""

    __tablename__ = "structure"
    __table_args__ = (
        check("n_atoms", "n_atoms BETWEEN 1 AND 65535"),
        check("numbers", "octet_length(numbers) = n_atoms"),
        check("positions", "octet_length(positions) = 24 * n_atoms"),
        check("cell", "octet_length(cell) = 72"),
        check("pbc", "pbc BETWEEN 0 AND 7"),
        check("n_periodic", "n_periodic = (pbc & 1) + ((pbc >> 1) & 1) + ((pbc >> 2) & 1)"),
        check("cell_where_periodic", "(cell IS NULL) = (pbc = 0)"),
        check("multiplicity", "multiplicity IS NULL OR (multiplicity >= 1 AND pbc = 0)"),
        check("source_order", "octet_length(source_order) = 2 * n_atoms"),
        check(
            "elements",
            "cardinality(elements) >= 1 AND array_position(elements, NULL) IS NULL"
            " AND 1 <= ALL (elements) AND 118 >= ALL (elements)",
        ),
        check(
            "element_counts",
            "cardinality(element_counts) = cardinality(elements)"
            " AND array_position(element_counts, NULL) IS NULL AND 0 < ALL (element_counts)",
        ),
        check("domain", "domain ~ '^[a-z][a-z0-9_-]*$'"),
        Index("ix_structure_elements", "elements", postgresql_using="gin"),
        Index("ix_structure_formula", "formula"),
        Index("ix_structure_run_id", "run_id"),
        {"comment": "One arrangement of atoms, canonical order; identity is its content"},
    )

    structure_id = column(
        ID,
        primary_key=True,
        comment="First 16 bytes of SHA-256 over the canonical form (grid of 1e-6 Å)",
    )
    run_id = column(BigInteger, ForeignKey("run.run_id"), comment="Run that first found it")
    n_atoms = column(Integer, comment="Number of atoms")
    numbers = column(BYTEA, comment="Atomic numbers, uint8[n_atoms], canonical order")
    positions = column(
        BYTEA, comment="Positions in Å as they came (not wrapped), float64 LE [n_atoms][3]"
    )
    cell = column(
        BYTEA, nullable=True, comment="Lattice vectors in Å, rows, float64 LE [3][3]; NULL isolated"
    )
    pbc = column(SmallInteger, comment="Periodic axes as bits: 1 a, 2 b, 4 c")
    n_periodic = column(SmallInteger, comment="Number of periodic axes, 0-3")
    charge = column(SmallInteger, comment="Total charge, e")
    multiplicity = column(
        SmallInteger,
        nullable=True,
        comment="2S+1 as stated; NULL if periodic or not stated (even electrons then mean 1, "
        "odd ones are rejected by validation)",
    )
    formula = column(Text, comment="Hill formula")
    elements = column(ARRAY(SmallInteger), comment="Atomic numbers that occur, ascending")
    element_counts = column(ARRAY(Integer), comment="Atoms of each of elements")
    domain = column(Text, comment="organic, biomolecule, inorganic ...; as its first origin said")
    tags = column(
        ARRAY(Text),
        server_default=text("'{}'::text[]"),
        comment="Marks such as reference (isolated atoms, dimers); of its first origin",
    )
    source_order = column(
        BYTEA, comment="Index in the source of each canonical atom, uint16 LE [n_atoms]"
    )
    created_at = column(TIME, server_default=text("now()"), comment="When it was first found")


class Origin(Base):
    """One way in which a structure was found; a structure can have many."""

    __tablename__ = "origin"
    __table_args__ = (
        check("source_order", "mod(octet_length(source_order), 2) = 0"),
        check("domain", "domain ~ '^[a-z][a-z0-9_-]*$'"),
        Index("ix_origin_parent_id", "parent_id", postgresql_where=text("parent_id IS NOT NULL")),
        Index("ix_origin_run_id", "run_id"),
        {"comment": "Where a structure came from; found twice means two origins"},
    )

    structure_id = column(
        ID, ForeignKey("structure.structure_id"), primary_key=True, comment="Structure"
    )
    origin_id = column(ID, primary_key=True, comment="Hash of the other columns' content")
    run_id = column(BigInteger, ForeignKey("run.run_id"), comment="Run that found it")
    source = column(Text, comment="Kind of source: file, smiles, prototypes, g2 ...")
    method = column(Text, comment="What was done: import, etkdg, normal_modes, md, rattle ...")
    source_file = column(Text, nullable=True, comment="File as the user named it")
    source_index = column(BigInteger, nullable=True, comment="Index in the file, from 0")
    parent_id = column(
        ID,
        nullable=True,
        comment="Structure it was made from (no foreign key, so that rows can be distributed)",
    )
    parameters = column(JSON, server_default=text("'{}'::jsonb"), comment="Of the method")
    seed = column(BigInteger, nullable=True, comment="Random seed")
    smiles = column(Text, nullable=True, comment="SMILES, its atoms mapped to this origin's order")
    group_keys = column(
        ARRAY(Text),
        server_default=text("'{}'::text[]"),
        comment="Keys that must not be shared by two splits (inchikey:, sequence:, trajectory:)",
    )
    domain = column(Text, comment="Domain that this origin gave it")
    tags = column(
        ARRAY(Text), server_default=text("'{}'::text[]"), comment="Tags that this origin gave it"
    )
    source_order = column(
        BYTEA,
        nullable=True,
        comment="As structure.source_order, of this origin; NULL for the first origin, whose order "
        "structure holds",
    )


class StructurePair(Base):
    """Two structures that are nearly the same."""

    __tablename__ = "structure_pair"
    __table_args__ = (
        check("ordered", "structure_id < other_id"),
        check("distance", "distance >= 0 AND distance < 'Infinity'"),
        {"comment": "Near-duplicates: same up to motion within a tolerance"},
    )

    structure_id = column(
        ID, ForeignKey("structure.structure_id"), primary_key=True, comment="Smaller id"
    )
    other_id = column(ID, primary_key=True, comment="Larger id")
    distance = column(Double, comment="RMSD after superposition, Å")
    run_id = column(BigInteger, ForeignKey("run.run_id"), comment="Run that found the pair")
