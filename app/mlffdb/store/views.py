"""The documented views: what `mlffdb sql` and `--where` can see, and nothing else.

A reader's role can select these and no table. Array columns of elements hold symbols; units are
in the comments, which `\\d+` and docs/schema.md show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ase.data import chemical_symbols


@dataclass(frozen=True, slots=True)
class View:
    """A view with what it is for and what its columns mean."""

    name: str
    comment: str
    columns: Mapping[str, str]
    sql: str


_SYMBOLS = ",".join(chemical_symbols[1:119])

FUNCTIONS = f"""
CREATE FUNCTION element_symbols(atomic_numbers smallint[]) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN ARRAY(
    SELECT (string_to_array('{_SYMBOLS}', ','))[z] FROM unnest(atomic_numbers) AS z
);
COMMENT ON FUNCTION element_symbols(smallint[]) IS 'Symbols of atomic numbers, same order';
"""

_STRUCTURE = {
    "structure_id": "Identity",
    "formula": "Hill formula",
    "elements": "Symbols that occur, by atomic number",
    "n_elements": "Number of different elements",
    "n_atoms": "Number of atoms",
    "n_periodic": "Number of periodic axes, 0-3",
    "periodic": "Periodic in at least one direction",
    "charge": "Total charge, e",
    "multiplicity": "2S+1 as stated, or NULL",
    "domain": "organic, biomolecule, inorganic ...",
    "tags": "Marks such as reference",
    "methods": "Methods that it was found by",
}

_STRUCTURE_SQL = """s.structure_id, s.formula, element_symbols(s.elements) AS elements,
    cardinality(s.elements) AS n_elements, s.n_atoms, s.n_periodic, s.n_periodic > 0 AS periodic,
    s.charge, s.multiplicity, s.domain, s.tags,
    ARRAY(SELECT DISTINCT o.method FROM origin o WHERE o.structure_id = s.structure_id ORDER BY 1)
        AS methods"""

_TASK = {
    "status": "pending, running, done, failed or cancelled",
    "priority": "Smaller is claimed first",
    "cost": "Expected cost, atoms",
    "attempts": "Claims so far",
    "error_code": "Short reason of the last failure",
    "error": "Message of the last failure",
    "lease_expires_at": "Claimable again after",
    "updated_at": "Last change",
}

_TASK_SQL = """k.status, k.priority, k.cost, k.attempts, k.error_code,
    k.error, k.lease_expires_at, k.updated_at"""

_TASK_WORKER = {
    "not_before": "Not claimed before (backoff of a retry)",
    "age_seconds": "Since the last change, s",
    "worker_id": "Worker of the last claim, or NULL",
    "host": "Its machine",
    "pid": "Its process id",
}

_TASK_WORKER_SQL = """k.not_before,
    extract(epoch FROM now() - k.updated_at)::double precision AS age_seconds,
    k.worker_id, w.host, w.pid"""

VIEWS = (
    View(
        "structures",
        "One row per structure",
        {
            **_STRUCTURE,
            "verdict": "valid, suspect or rejected before labelling; NULL: not checked yet",
            "created_at": "When it was first found",
        },
        f"""SELECT {_STRUCTURE_SQL}, v.verdict, s.created_at
FROM structure s
LEFT JOIN verdict v
    ON v.structure_id = s.structure_id AND v.teacher_id IS NULL AND v.is_current""",
    ),
    View(
        "dataset",
        "One row per label, with its structure: what `export --where` chooses from",
        {
            **_STRUCTURE,
            "structure_verdict": "Verdict on the structure; NULL: not checked yet",
            "teacher": "Name of the teacher",
            "teacher_id": "Exact teacher (version, weights, settings)",
            "energy": "Total energy, eV",
            "energy_per_atom": "Total energy per atom, eV",
            "force_max": "Largest norm of a force, eV/Å",
            "stress": "Voigt xx yy zz yz xz xy, eV/Å³, tensile positive; or NULL",
            "label_verdict": "Verdict on the label; NULL: not checked yet",
            "untrained": "Label of random weights",
            "device": "Device it was computed on",
            "wall_seconds": "Time it took, s",
            "labelled_at": "When the label was written",
            "energy_spread": "Spread of an ensemble's energies, eV; or NULL",
            "forces_spread": "Largest spread of a force component, eV/Å; or NULL",
        },
        f"""SELECT {_STRUCTURE_SQL}, sv.verdict AS structure_verdict,
    t.name AS teacher, l.teacher_id, l.energy, l.energy_per_atom, l.force_max, l.stress,
    lv.verdict AS label_verdict, t.untrained, l.device, l.wall_seconds,
    l.created_at AS labelled_at, l.energy_spread, l.forces_spread
FROM label l
JOIN structure s USING (structure_id)
JOIN teacher t USING (teacher_id)
LEFT JOIN verdict sv
    ON sv.structure_id = l.structure_id AND sv.teacher_id IS NULL AND sv.is_current
LEFT JOIN verdict lv
    ON lv.structure_id = l.structure_id AND lv.teacher_id = l.teacher_id AND lv.is_current""",
    ),
    View(
        "origins",
        "Where structures came from; many rows per structure",
        {
            "structure_id": "Structure",
            "source": "Kind of source",
            "method": "What was done",
            "source_file": "File, or NULL",
            "source_index": "Index in the file",
            "parent_id": "Structure it was made from, or NULL",
            "parameters": "Of the method",
            "seed": "Random seed",
            "smiles": "SMILES, or NULL",
            "group_keys": "Keys that no two splits share",
            "run_id": "Run that found it",
        },
        """SELECT structure_id, source, method, source_file, source_index, parent_id, parameters,
    seed, smiles, group_keys, run_id FROM origin""",
    ),
    View(
        "findings",
        "What checks noticed; all runs of validation",
        {
            "structure_id": "Structure",
            "teacher": "Teacher of the label, or NULL if about the structure",
            "check_name": "Check",
            "severity": "info, suspect or reject",
            "value": "Measured, in unit",
            "threshold": "Held against, in unit",
            "unit": "Unit",
            "message": "For people",
            "rule_version": "Version of checks and thresholds",
            "run_id": "Validation run",
        },
        """SELECT f.structure_id, t.name AS teacher, f.check_name, f.severity, f.value,
    f.threshold, f.unit, f.message, f.rule_version, f.run_id
FROM finding f LEFT JOIN teacher t USING (teacher_id)""",
    ),
    View(
        "teachers",
        "Exact teachers that were used",
        {
            "teacher_id": "Key",
            "name": "Name",
            "fingerprint": "SHA-256 over all that decides its numbers",
            "versions": "Package -> version",
            "weights_sha256": "SHA-256 of the weights, or NULL",
            "precision": "Arithmetic",
            "settings": "Other settings",
            "untrained": "Random weights",
            "conservative": "Forces are the gradient of the energy",
            "licence": "Licence of weights or method",
            "paused_at": "Since when nothing is claimed for it; NULL: not paused",
            "paused_why": "Reason of the pause, or NULL",
            "contract": "What `mlffdb teachers check` measured, by check; or NULL",
            "last_used_at": "Start of its last worker, or when it was first used",
            "superseded": "Another exact teacher of this name was used later, and no worker of "
            "this one is alive",
        },
        """SELECT t.teacher_id, t.name, t.fingerprint, t.versions, t.weights_sha256, t.precision,
    t.settings, t.untrained, t.conservative, t.licence, t.paused_at, t.paused_why, t.contract,
    greatest(t.created_at, w.last_start) AS last_used_at,
    NOT coalesce(w.alive, false) AND greatest(t.created_at, w.last_start)
        < max(greatest(t.created_at, w.last_start)) OVER (PARTITION BY t.name) AS superseded
FROM teacher t
LEFT JOIN (SELECT teacher_id, max(started_at) AS last_start,
        bool_or(stopped_at IS NULL AND heartbeat_at > now() - interval '2 minutes') AS alive
    FROM worker GROUP BY teacher_id) w USING (teacher_id)""",
    ),
    View(
        "tasks",
        "Labelling tasks with their state: what `tasks --where` chooses from",
        {
            "structure_id": "Structure",
            "teacher": "Teacher",
            **_TASK,
            "teacher_id": "Exact teacher",
            **_TASK_WORKER,
            "superseded": "Of a former exact teacher; see the view teachers",
            "paused": "Its teacher is paused",
        },
        f"""SELECT k.structure_id, t.name AS teacher, {_TASK_SQL},
    k.teacher_id, {_TASK_WORKER_SQL}, t.superseded, t.paused_at IS NOT NULL AS paused
FROM label_task k JOIN teachers t USING (teacher_id) LEFT JOIN worker w USING (worker_id)""",
    ),
    View(
        "sample_tasks",
        "Sampling tasks with their state: what `tasks --kind sample --where` chooses from",
        {
            "task_index": "Place in the plan, from 0",
            "plan": "Name of the plan",
            **_TASK,
            "plan_digest": "SHA-256 (hex) of the plan's meaning",
            **_TASK_WORKER,
            "inserted": "New structures that came of it",
            "existing": "Structures that were already there",
        },
        f"""SELECT k.task_index, r.name AS plan, {_TASK_SQL},
    k.plan_digest, {_TASK_WORKER_SQL}, k.inserted, k.existing
FROM sample_task k JOIN run r USING (run_id) LEFT JOIN worker w USING (worker_id)""",
    ),
    View(
        "runs",
        "Actions with their counts",
        {
            "run_id": "Key",
            "action": "import, sample, label, validate, export or audit",
            "name": "What it was about",
            "status": "running, done, failed or interrupted",
            "counts": "What came of it",
            "seed": "Random seed",
            "host": "Machine",
            "started_at": "Start",
            "finished_at": "End",
            "error": "Why it failed",
        },
        """SELECT run_id, action, name, status, counts, seed, host, started_at, finished_at,
    error FROM run""",
    ),
    View(
        "workers",
        "Processes that label or sample",
        {
            "worker_id": "Key",
            "kind": "label, sample or audit",
            "teacher": "Teacher it runs, or NULL",
            "host": "Machine",
            "pid": "Process id",
            "device": "Device",
            "alive": "Sign of life within two minutes and not stopped",
            "done": "Tasks completed",
            "failed": "Tasks failed",
            "late": "Results refused because the lease was lost",
            "compute_share": "Share of its time spent computing, 0-1",
            "started_at": "Start",
            "heartbeat_at": "Last sign of life",
            "stopped_at": "Clean end",
        },
        """SELECT w.worker_id, w.kind, t.name AS teacher, w.host, w.pid, w.device,
    w.stopped_at IS NULL AND w.heartbeat_at > now() - interval '2 minutes' AS alive,
    w.done, w.failed, w.late,
    w.compute_seconds
        / nullif(extract(epoch FROM coalesce(w.stopped_at, w.heartbeat_at) - w.started_at), 0)
        AS compute_share,
    w.started_at, w.heartbeat_at, w.stopped_at
FROM worker w LEFT JOIN teacher t USING (teacher_id)""",
    ),
    View(
        "snapshots",
        "Exported versions",
        {
            "name": "Name",
            "version": "Version",
            "status": "building or published",
            "root_hash": "SHA-256 over members, labels and split",
            "condition": "SQL condition it was chosen by, or NULL",
            "seed": "Seed of the split",
            "train": "Structures in train",
            "val": "Structures in val",
            "test": "Structures in test",
            "created_at": "When frozen",
        },
        """SELECT p.name, p.version, p.status, p.root_hash, p.condition, p.seed,
    count(*) FILTER (WHERE m.split = 'train') AS train,
    count(*) FILTER (WHERE m.split = 'val') AS val,
    count(*) FILTER (WHERE m.split = 'test') AS test, p.created_at
FROM snapshot p LEFT JOIN snapshot_member m USING (snapshot_id)
GROUP BY p.snapshot_id""",
    ),
    View(
        "snapshot_entries",
        "Which label is in which exported version",
        {
            "name": "Snapshot",
            "version": "Version",
            "structure_id": "Structure",
            "teacher_id": "Teacher of the label",
            "split": "train, val or test",
            "position": "Index in the split's file",
            "component_id": "Leakage-free group",
        },
        """SELECT p.name, p.version, m.structure_id, m.teacher_id, m.split, m.position,
    m.component_id
FROM snapshot_member m JOIN snapshot p USING (snapshot_id)""",
    ),
    View(
        "composition_by_element",
        "In how many structures each element occurs, and how many atoms there are of it",
        {
            "element": "Symbol",
            "atomic_number": "Atomic number",
            "structures": "Structures that contain it",
            "atoms": "Atoms of it",
            "share": "Share of all structures that contain it, 0-1",
        },
        """SELECT (element_symbols(ARRAY[e.z]))[1] AS element, e.z AS atomic_number,
    sum(f.n)::bigint AS structures, sum(f.n * e.amount)::bigint AS atoms,
    sum(f.n)::double precision / (SELECT count(*) FROM structure) AS share
FROM (SELECT elements, element_counts, count(*) AS n FROM structure
      GROUP BY elements, element_counts) f,
    unnest(f.elements, f.element_counts) AS e(z, amount)
GROUP BY e.z ORDER BY e.z""",
    ),
    View(
        "composition_by_formula",
        "Structures per formula",
        {
            "formula": "Hill formula",
            "n_atoms": "Number of atoms",
            "structures": "How many",
        },
        """SELECT formula, min(n_atoms) AS n_atoms, count(*) AS structures
FROM structure GROUP BY formula ORDER BY structures DESC, formula""",
    ),
    View(
        "composition_by_domain",
        "Structures, sizes and periodic share per domain",
        {
            "domain": "Domain",
            "structures": "How many",
            "share": "Of all structures, 0-1",
            "periodic_share": "Periodic ones among them, 0-1",
            "min_atoms": "Smallest",
            "mean_atoms": "Mean number of atoms",
            "max_atoms": "Largest",
        },
        """SELECT domain, count(*) AS structures,
    count(*)::double precision / sum(count(*)) OVER () AS share,
    avg((n_periodic > 0)::int)::double precision AS periodic_share,
    min(n_atoms) AS min_atoms, avg(n_atoms)::double precision AS mean_atoms,
    max(n_atoms) AS max_atoms
FROM structure GROUP BY domain ORDER BY structures DESC, domain""",
    ),
    View(
        "composition_by_method",
        "Structures per source and method; one found twice counts in both",
        {
            "source": "Kind of source",
            "method": "Method",
            "structures": "How many",
        },
        """SELECT source, method, count(DISTINCT structure_id) AS structures
FROM origin GROUP BY source, method ORDER BY structures DESC, source, method""",
    ),
    View(
        "composition_by_size",
        "Structures per range of ten atoms",
        {
            "from_atoms": "Fewest atoms of the range",
            "to_atoms": "Most atoms of the range",
            "structures": "How many",
        },
        """SELECT n_atoms / 10 * 10 AS from_atoms, n_atoms / 10 * 10 + 9 AS to_atoms,
    count(*) AS structures
FROM structure GROUP BY n_atoms / 10 ORDER BY 1""",
    ),
    View(
        "progress",
        "Labelling per teacher",
        {
            "teacher": "Name",
            "teacher_id": "Exact teacher",
            "pending": "Waiting",
            "running": "Leased to a worker",
            "done": "Labelled",
            "failed": "Failed for good",
            "cancelled": "Cancelled (rejected before labelling, or by a user)",
            "remaining_cost": "Cost of pending and running tasks",
            "labels_last_minute": "Labels written in the last minute",
            "paused_at": "Since when its tasks are not claimed; NULL: not paused",
            "paused_why": "Reason of the pause, or NULL",
            "superseded": "Of a former exact teacher; see the view teachers",
        },
        """SELECT t.name AS teacher, t.teacher_id, k.pending, k.running, k.done, k.failed,
    k.cancelled, k.remaining_cost,
    (SELECT count(*) FROM label l WHERE l.teacher_id = t.teacher_id
        AND l.created_at > now() - interval '1 minute') AS labels_last_minute,
    t.paused_at, t.paused_why, t.superseded
FROM teachers t JOIN (
    SELECT teacher_id,
        count(*) FILTER (WHERE status = 'pending') AS pending,
        count(*) FILTER (WHERE status = 'running') AS running,
        count(*) FILTER (WHERE status = 'done') AS done,
        count(*) FILTER (WHERE status = 'failed') AS failed,
        count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
        coalesce(sum(cost) FILTER (WHERE status IN ('pending', 'running')), 0)::double precision
            AS remaining_cost
    FROM label_task GROUP BY teacher_id) k USING (teacher_id)
ORDER BY t.name, t.teacher_id""",
    ),
    View(
        "failures",
        "Failed labelling tasks by reason, with an example",
        {
            "teacher": "Name",
            "teacher_id": "Exact teacher",
            "error_code": "Reason",
            "tasks": "How many",
            "example": "One of the messages",
            "example_id": "The structure it is about",
        },
        """SELECT t.name AS teacher, t.teacher_id, k.error_code, count(*) AS tasks,
    min(k.error) AS example,
    (array_agg(k.structure_id ORDER BY k.error, k.structure_id))[1] AS example_id
FROM label_task k JOIN teacher t USING (teacher_id)
WHERE k.status = 'failed'
GROUP BY t.teacher_id, k.error_code ORDER BY tasks DESC, t.name, t.teacher_id, k.error_code""",
    ),
    View(
        "quality",
        "Current verdicts on structures and labels, per teacher",
        {
            "teacher": "Name; NULL: verdicts on the structures themselves",
            "teacher_id": "Exact teacher, or NULL",
            "verdict": "valid, suspect or rejected",
            "rows": "How many",
            "share": "Of the teacher's verdicts, 0-1",
        },
        """SELECT t.name AS teacher, v.teacher_id, v.verdict, count(*) AS rows,
    count(*)::double precision / sum(count(*)) OVER (PARTITION BY v.teacher_id) AS share
FROM verdict v LEFT JOIN teacher t ON t.teacher_id = v.teacher_id
WHERE v.is_current
GROUP BY v.teacher_id, t.name, v.verdict
ORDER BY t.name NULLS FIRST, v.teacher_id, v.verdict""",
    ),
    View(
        "findings_by_check",
        "Findings behind the current verdicts, per check",
        {
            "check_name": "Check",
            "severity": "info, suspect or reject",
            "teacher": "Name, or NULL",
            "teacher_id": "Exact teacher, or NULL",
            "findings": "How many",
            "threshold": "Held against (smallest used)",
            "unit": "Unit",
        },
        """SELECT f.check_name, f.severity, t.name AS teacher, f.teacher_id, count(*) AS findings,
    min(f.threshold) AS threshold, min(f.unit) AS unit
FROM finding f
JOIN verdict v ON v.structure_id = f.structure_id AND v.is_current AND v.run_id = f.run_id
    AND v.teacher_id IS NOT DISTINCT FROM f.teacher_id
LEFT JOIN teacher t ON t.teacher_id = f.teacher_id
GROUP BY f.check_name, f.severity, t.name, f.teacher_id ORDER BY findings DESC, f.check_name""",
    ),
)

#: Views by name.
BY_NAME = {view.name: view for view in VIEWS}


def statements() -> list[str]:
    """Return the SQL that makes functions, views and their comments."""
    result = [FUNCTIONS.strip()]
    for view in VIEWS:
        result.append(f"CREATE VIEW {view.name} AS\n{view.sql}")
        result.append(f"COMMENT ON VIEW {view.name} IS {_quoted(view.comment)}")
        result.extend(
            f"COMMENT ON COLUMN {view.name}.{column} IS {_quoted(comment)}"
            for column, comment in view.columns.items()
        )
    return result


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
