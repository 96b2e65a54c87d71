"""What models cannot say: storage of large columns, settings of hot tables, frozen snapshots."""

from __future__ import annotations

from mlffdb.store.schema.base import Base

#: Positions and forces do not compress; not trying makes writes 1.5 times as fast.
_UNCOMPRESSED = (
    ("structure", "numbers"),
    ("structure", "positions"),
    ("structure", "source_order"),
    ("label", "forces"),
    ("audit", "forces"),
)

_FROZEN = """
CREATE FUNCTION refuse_change_of_published_snapshot() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status = 'published' THEN
        RAISE EXCEPTION 'snapshot % v% is published and cannot be changed', OLD.name, OLD.version
            USING HINT = 'Export a new version instead.';
    END IF;
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$;
COMMENT ON FUNCTION refuse_change_of_published_snapshot() IS
    'Keeps published snapshots as they are';
CREATE TRIGGER frozen BEFORE UPDATE OR DELETE ON snapshot
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_published_snapshot();
CREATE FUNCTION refuse_change_of_published_members() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    frozen text := (
        SELECT min(p.name || ' v' || p.version) FROM snapshot p
        WHERE p.status = 'published' AND p.snapshot_id IN (SELECT snapshot_id FROM changed)
    );
BEGIN
    IF frozen IS NOT NULL THEN
        RAISE EXCEPTION 'snapshot % is published and its members cannot be changed', frozen
            USING HINT = 'Export a new version instead.';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION refuse_change_of_published_members() IS
    'Keeps members of published snapshots as they are; once per statement, since exports are large';
CREATE TRIGGER frozen_insert AFTER INSERT ON snapshot_member REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_published_members();
CREATE TRIGGER frozen_update AFTER UPDATE ON snapshot_member REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_published_members();
CREATE TRIGGER frozen_move AFTER UPDATE ON snapshot_member REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_published_members();
CREATE TRIGGER frozen_delete AFTER DELETE ON snapshot_member REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_published_members();
CREATE FUNCTION refuse_second_writing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are written once and never changed', TG_TABLE_NAME;
END $$;
COMMENT ON FUNCTION refuse_second_writing() IS 'Keeps structures and labels as they were written';
CREATE TRIGGER written_once BEFORE UPDATE OF structure_id, numbers, positions, cell, pbc, charge,
    multiplicity, source_order ON structure
    FOR EACH ROW EXECUTE FUNCTION refuse_second_writing();
CREATE TRIGGER written_once BEFORE UPDATE ON label
    FOR EACH ROW EXECUTE FUNCTION refuse_second_writing();
CREATE FUNCTION refuse_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never deleted: labels name them', TG_TABLE_NAME;
END $$;
COMMENT ON FUNCTION refuse_delete() IS 'Keeps what labels name without a foreign key';
CREATE TRIGGER kept BEFORE DELETE ON run
    FOR EACH ROW EXECUTE FUNCTION refuse_delete();
CREATE TRIGGER kept BEFORE DELETE ON teacher
    FOR EACH ROW EXECUTE FUNCTION refuse_delete();
CREATE FUNCTION refuse_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'table % holds published snapshots and cannot be truncated', TG_TABLE_NAME;
END $$;
COMMENT ON FUNCTION refuse_truncate() IS 'Keeps published snapshots as they are';
CREATE TRIGGER frozen_truncate BEFORE TRUNCATE ON snapshot
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate();
CREATE TRIGGER frozen_truncate BEFORE TRUNCATE ON snapshot_member
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate();
"""


def statements() -> list[str]:
    """Return the SQL to run after the tables are made."""
    storage = [
        f"ALTER TABLE {table} ALTER COLUMN {name} SET STORAGE EXTERNAL"
        for table, name in _UNCOMPRESSED
    ]
    settings = [
        f"ALTER TABLE {table.name} SET ({', '.join(f'{k} = {v}' for k, v in options.items())})"
        for table in Base.metadata.sorted_tables
        if (options := table.info.get("reloptions"))
    ]
    return [*storage, *settings, _FROZEN.strip()]
