"""Which labels a snapshot takes, why others are left out, and what ties structures together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from mlffdb.errors import ExportError
from mlffdb.snapshots.copying import copy_in, copy_out
from mlffdb.snapshots.grouping import Ids, as_ids

#: Why a structure is left out, first that holds; NULL: it is taken.
_REASON = """CASE
    WHEN vs.verdict = 'rejected' THEN 'structure rejected'
    WHEN l.structure_id IS NULL THEN 'not labelled'
    WHEN vs.verdict IS NULL THEN 'structure not validated'
    WHEN vs.verdict <> 'valid' THEN 'structure ' || vs.verdict
    WHEN vl.verdict IS NULL THEN 'label not validated'
    WHEN vl.verdict <> 'valid' THEN 'label ' || vl.verdict
    WHEN l.forces IS NULL THEN 'label without forces'
END"""

_SOURCE = """structure s
LEFT JOIN label l ON l.structure_id = s.structure_id AND l.teacher_id = %(teacher)s
LEFT JOIN verdict vs
    ON vs.structure_id = s.structure_id AND vs.teacher_id IS NULL AND vs.is_current
LEFT JOIN verdict vl
    ON vl.structure_id = s.structure_id AND vl.teacher_id = %(teacher)s AND vl.is_current"""

_CHOSEN = " WHERE EXISTS (SELECT FROM pg_temp.chosen c WHERE c.structure_id = s.structure_id)"

#: SHA-256 over teacher, structure and label; numbers big-endian, forces as stored
#: (little-endian, canonical atom order). docs/format.md spells it out.
_LABEL_HASH = """sha256(decode(%(fingerprint)s, 'hex') || uuid_send(s.structure_id)
    || float8send(l.energy) || int2send(l.charge) || int2send(coalesce(l.multiplicity, 0::int2))
    || coalesce(float8send(l.stress[1]) || float8send(l.stress[2]) || float8send(l.stress[3])
        || float8send(l.stress[4]) || float8send(l.stress[5]) || float8send(l.stress[6]), '')
    || l.forces)"""

_MEMBER_COLUMNS = {
    "structure_id": "S16",
    "label_hash": "S32",
    "domain": ">i4",
    "light": ">i8",
    "heavy": ">i8",
}

#: Elements of a structure as two bit masks: atomic numbers below HEAVY, and from there.
HEAVY = 60
_MASKS = f"""(SELECT coalesce(bit_or(1::bigint << z), 0)
         FROM unnest(s.elements) AS z WHERE z < {HEAVY}) AS light,
        (SELECT coalesce(bit_or(1::bigint << (z - {HEAVY})), 0)
         FROM unnest(s.elements) AS z WHERE z >= {HEAVY}) AS heavy"""


@dataclass(frozen=True, slots=True)
class TeacherInfo:
    """The teacher of a snapshot, as files and people need it."""

    teacher_id: int
    name: str
    fingerprint: str
    versions: dict[str, str]
    weights_sha256: str | None
    precision: str
    settings: dict[str, Any]
    conservative: bool
    licence: str


@dataclass(frozen=True, eq=False, slots=True)
class Selection:
    """The n labels that can be taken, by structure id."""

    structures: Ids
    #: (n,) S32, see docs/format.md
    label_hashes: NDArray[np.bytes_]
    #: (n,) indices into domain_names
    domains: NDArray[np.int32]
    domain_names: tuple[str, ...]
    #: (n, 2) int64, bit masks of elements: those below HEAVY, and the others
    elements: NDArray[np.int64]
    #: Reason → how many structures were left out for it.
    left_out: dict[str, int]
    #: Versions of the checks behind the verdicts.
    rule_versions: tuple[str, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Graph:
    """All structures and what ties them, as `grouping.find_components` takes it."""

    structures: Ids
    links: Ids
    keys: Ids


def find_teacher(connection: Connection, name: str) -> TeacherInfo:
    """Return the teacher *name* (or ``NAME@FINGERPRINT``, its first digits) that has labels here.

    Raises ExportError where there is none, more than one, or one with random weights.
    """
    stem, _, digits = name.rpartition("@")  # a name itself may end in @float64
    rows = connection.execute(
        text(
            "SELECT teacher_id, name, fingerprint, versions, weights_sha256, precision, settings,"
            " conservative, licence, untrained FROM teacher t WHERE (name = :name"
            " OR name = :stem AND starts_with(fingerprint, :digits))"
            " AND EXISTS (SELECT FROM label l WHERE l.teacher_id = t.teacher_id)"
            " ORDER BY teacher_id"
        ),
        {"name": name, "stem": stem, "digits": digits.lower()},
    ).all()
    if not rows:
        raise ExportError(_no_labels(connection, name))
    if len(rows) > 1:
        choices = ", ".join(f"{row.name}@{row.fingerprint[:12]}" for row in rows)
        raise ExportError(
            f"teacher {rows[0].name} has labels of {len(rows)} versions, which must not be mixed; "
            f"name one: {choices}"
        )
    *values, untrained = rows[0]
    if untrained:
        raise ExportError(
            f"teacher {rows[0].name} has random weights (untrained); its labels are never exported"
        )
    return TeacherInfo(*values)


def teacher_by_id(connection: Connection, teacher_id: int) -> TeacherInfo:
    """Return the teacher with this key."""
    row = connection.execute(
        text(
            "SELECT teacher_id, name, fingerprint, versions, weights_sha256, precision, settings,"
            " conservative, licence FROM teacher WHERE teacher_id = :teacher_id"
        ),
        {"teacher_id": teacher_id},
    ).one()
    return TeacherInfo(*row)


def _no_labels(connection: Connection, name: str) -> str:
    known = connection.scalars(
        text(
            "SELECT DISTINCT name FROM teacher t WHERE NOT untrained"
            " AND EXISTS (SELECT FROM label l WHERE l.teacher_id = t.teacher_id) ORDER BY 1"
        )
    ).all()
    there = f"there are labels by {', '.join(known)}" if known else "there are no labels yet"
    return f"no labels by teacher {name}; {there}; run `mlffdb label --teacher NAME`"


def select(
    connection: Connection, teacher: TeacherInfo, structure_ids: Iterable[UUID] | None
) -> Selection:
    """Return the labels by *teacher* that are valid, on structures that are.

    structure_ids: choose among these only; None: among all

    Raises ExportError, with the reasons counted, where nothing can be taken.
    """
    source = _SOURCE
    if structure_ids is not None:
        _choose(connection, as_ids(structure_ids))
        source += _CHOSEN
    parameters = {"teacher": teacher.teacher_id, "fingerprint": teacher.fingerprint}
    left_out = _left_out(connection, source, parameters)
    names = connection.scalars(text("SELECT DISTINCT domain FROM structure")).all()
    domains = sorted(names)  # in Python: the server's order depends on its locale
    rows = copy_out(
        connection,
        f"""SELECT structure_id, label_hash, domain, light, heavy FROM (
    SELECT s.structure_id, {_LABEL_HASH} AS label_hash, {_MASKS},
        array_position(%(domains)s::text[], s.domain) - 1 AS domain, {_REASON} AS reason
    FROM {source}) AS labels WHERE reason IS NULL ORDER BY structure_id""",
        _MEMBER_COLUMNS,
        {**parameters, "domains": domains},
    )
    if not len(rows):
        raise ExportError(_nothing(teacher, left_out, structure_ids is not None))
    used, index = np.unique(rows["domain"], return_inverse=True)
    return Selection(
        np.ascontiguousarray(rows["structure_id"]),
        np.ascontiguousarray(rows["label_hash"]),
        index.astype(np.int32),
        tuple(domains[i] for i in used),
        np.stack([rows["light"], rows["heavy"]], axis=1).astype(np.int64),
        left_out,
        _rule_versions(connection, source, parameters),
    )


def _choose(connection: Connection, ids: Ids) -> None:
    connection.exec_driver_sql(
        "CREATE TEMPORARY TABLE chosen (structure_id uuid PRIMARY KEY) ON COMMIT DROP"
    )
    if len(ids):
        copy_in(connection, "pg_temp.chosen", {"structure_id": "S16"}, {"structure_id": ids})
    connection.exec_driver_sql("ANALYZE pg_temp.chosen")


def _left_out(connection: Connection, source: str, parameters: dict[str, Any]) -> dict[str, int]:
    rows = connection.exec_driver_sql(
        f"SELECT {_REASON} AS reason, count(*) FROM {source} GROUP BY 1", parameters
    )
    return dict(sorted((row[0], int(row[1])) for row in rows if row[0] is not None))


def _rule_versions(
    connection: Connection, source: str, parameters: dict[str, Any]
) -> tuple[str, ...]:
    rows = connection.exec_driver_sql(
        f"""SELECT DISTINCT unnest(ARRAY[structure_rules, label_rules]) FROM (
    SELECT vs.rule_version AS structure_rules, vl.rule_version AS label_rules,
        {_REASON} AS reason FROM {source}) AS labels WHERE reason IS NULL""",
        parameters,
    )
    return tuple(sorted(row[0] for row in rows))


def _nothing(teacher: TeacherInfo, left_out: dict[str, int], chosen: bool) -> str:
    reasons = ", ".join(f"{reason}: {count}" for reason, count in left_out.items())
    if not reasons:
        cause = "the condition selects nothing" if chosen else "there are no structures"
    else:
        cause = reasons
    advice = "; run `mlffdb validate`" if "not validated" in reasons else ""
    return f"nothing valid to export by {teacher.name} ({cause}){advice}"


def read_graph(connection: Connection) -> Graph:
    """Return all structures, their parents, near-duplicates and group keys.

    Rejected and unlabelled structures are in it too: they still tie their children together.
    """
    pair = {"a": "S16", "b": "S16"}
    structures = copy_out(connection, "SELECT structure_id AS a FROM structure", {"a": "S16"})
    links = [
        copy_out(connection, query, pair)
        for query in (
            "SELECT structure_id, parent_id FROM origin WHERE parent_id IS NOT NULL",
            "SELECT structure_id, other_id FROM structure_pair",
        )
    ]
    keys = copy_out(
        connection,
        "SELECT structure_id, substr(sha256(convert_to(key, 'UTF8')), 1, 16)"
        " FROM origin, unnest(group_keys) AS key",
        pair,
    )
    return Graph(
        np.ascontiguousarray(structures["a"]),
        np.concatenate([_pairs(rows) for rows in links]),
        _pairs(keys),
    )


def _pairs(rows: NDArray[Any]) -> Ids:
    return np.stack([rows["a"], rows["b"]], axis=1)


def store_components(connection: Connection, run_id: int, structures: Ids, components: Ids) -> int:
    """Bring table component up to date; return how many rows changed."""
    columns = {"structure_id": "S16", "component_id": "S16"}
    known = copy_out(connection, "SELECT structure_id, component_id FROM component", columns)
    changed = _differing(structures, components, known)
    if not changed.any():
        return 0
    connection.exec_driver_sql(
        "CREATE TEMPORARY TABLE grouped (structure_id uuid, component_id uuid) ON COMMIT DROP"
    )
    values = {"structure_id": structures[changed], "component_id": components[changed]}
    copy_in(connection, "pg_temp.grouped", columns, values)
    connection.exec_driver_sql(
        "INSERT INTO component (structure_id, component_id, run_id)"
        " SELECT structure_id, component_id, %s FROM pg_temp.grouped ORDER BY structure_id"
        " ON CONFLICT (structure_id) DO UPDATE"
        " SET component_id = excluded.component_id, run_id = excluded.run_id",
        (run_id,),
    )
    return int(changed.sum())


def _differing(structures: Ids, components: Ids, known: NDArray[Any]) -> NDArray[np.bool_]:
    """Return (n,) whether a structure's component is not the one in *known*."""
    if not len(known):
        return np.ones(len(structures), dtype=bool)
    order = np.argsort(known["structure_id"])
    ids = known["structure_id"][order]
    at = np.minimum(np.searchsorted(ids, structures), len(ids) - 1)
    differs: NDArray[np.bool_] = ids[at] != structures
    differs |= known["component_id"][order[at]] != components
    return differs


def look_up(ids: Ids, structures: Ids, values: Ids) -> Ids:
    """Return the *values* of *ids*, given (n,) *structures* and their (n,) *values*."""
    order = np.argsort(structures)
    result: Ids = values[order[np.searchsorted(structures, ids, sorter=order)]]
    return result
