DROP VIEW dataset;
CREATE VIEW dataset AS
SELECT s.structure_id, s.formula, element_symbols(s.elements) AS elements,
    cardinality(s.elements) AS n_elements, s.n_atoms, s.n_periodic, s.n_periodic > 0 AS periodic,
    s.charge, s.multiplicity, s.domain, s.tags,
    ARRAY(SELECT DISTINCT o.method FROM origin o WHERE o.structure_id = s.structure_id ORDER BY 1)
        AS methods, sv.verdict AS structure_verdict,
    t.name AS teacher, l.teacher_id, l.energy, l.energy_per_atom, l.force_max, l.stress,
    lv.verdict AS label_verdict, t.untrained, l.device, l.wall_seconds,
    l.created_at AS labelled_at
FROM label l
JOIN structure s USING (structure_id)
JOIN teacher t USING (teacher_id)
LEFT JOIN verdict sv
    ON sv.structure_id = l.structure_id AND sv.teacher_id IS NULL AND sv.is_current
LEFT JOIN verdict lv
    ON lv.structure_id = l.structure_id AND lv.teacher_id = l.teacher_id AND lv.is_current;
COMMENT ON VIEW dataset IS 'One row per label, with its structure: what `export --where` chooses from';
COMMENT ON COLUMN dataset.structure_id IS 'Identity';
COMMENT ON COLUMN dataset.formula IS 'Hill formula';
COMMENT ON COLUMN dataset.elements IS 'Symbols that occur, by atomic number';
COMMENT ON COLUMN dataset.n_elements IS 'Number of different elements';
COMMENT ON COLUMN dataset.n_atoms IS 'Number of atoms';
COMMENT ON COLUMN dataset.n_periodic IS 'Number of periodic axes, 0-3';
COMMENT ON COLUMN dataset.periodic IS 'Periodic in at least one direction';
COMMENT ON COLUMN dataset.charge IS 'Total charge, e';
COMMENT ON COLUMN dataset.multiplicity IS '2S+1 as stated, or NULL';
COMMENT ON COLUMN dataset.domain IS 'organic, biomolecule, inorganic ...';
COMMENT ON COLUMN dataset.tags IS 'Marks such as reference';
COMMENT ON COLUMN dataset.methods IS 'Methods that it was found by';
COMMENT ON COLUMN dataset.structure_verdict IS 'Verdict on the structure; NULL: not checked yet';
COMMENT ON COLUMN dataset.teacher IS 'Name of the teacher';
COMMENT ON COLUMN dataset.teacher_id IS 'Exact teacher (version, weights, settings)';
COMMENT ON COLUMN dataset.energy IS 'Total energy, eV';
COMMENT ON COLUMN dataset.energy_per_atom IS 'Total energy per atom, eV';
COMMENT ON COLUMN dataset.force_max IS 'Largest norm of a force, eV/Å';
COMMENT ON COLUMN dataset.stress IS 'Voigt xx yy zz yz xz xy, eV/Å³, tensile positive; or NULL';
COMMENT ON COLUMN dataset.label_verdict IS 'Verdict on the label; NULL: not checked yet';
COMMENT ON COLUMN dataset.untrained IS 'Label of random weights';
COMMENT ON COLUMN dataset.device IS 'Device it was computed on';
COMMENT ON COLUMN dataset.wall_seconds IS 'Time it took, s';
COMMENT ON COLUMN dataset.labelled_at IS 'When the label was written';
DROP VIEW progress, tasks, sample_tasks, teachers;
CREATE VIEW tasks AS
SELECT k.structure_id, t.name AS teacher, k.status, k.priority, k.cost, k.attempts,
    k.error_code, k.error, k.lease_expires_at, k.updated_at
FROM label_task k JOIN teacher t USING (teacher_id);
COMMENT ON VIEW tasks IS 'Labelling tasks with their state';
COMMENT ON COLUMN tasks.structure_id IS 'Structure';
COMMENT ON COLUMN tasks.teacher IS 'Teacher';
COMMENT ON COLUMN tasks.status IS 'pending, running, done, failed or cancelled';
COMMENT ON COLUMN tasks.priority IS 'Smaller is claimed first';
COMMENT ON COLUMN tasks.cost IS 'Expected cost, atoms';
COMMENT ON COLUMN tasks.attempts IS 'Claims so far';
COMMENT ON COLUMN tasks.error_code IS 'Short reason of the last failure';
COMMENT ON COLUMN tasks.error IS 'Message of the last failure';
COMMENT ON COLUMN tasks.lease_expires_at IS 'Claimable again after';
COMMENT ON COLUMN tasks.updated_at IS 'Last change';
CREATE VIEW teachers AS
SELECT teacher_id, name, fingerprint, versions, weights_sha256, precision, settings,
    untrained, conservative, licence FROM teacher;
COMMENT ON VIEW teachers IS 'Exact teachers that were used';
COMMENT ON COLUMN teachers.teacher_id IS 'Key';
COMMENT ON COLUMN teachers.name IS 'Name';
COMMENT ON COLUMN teachers.fingerprint IS 'SHA-256 over all that decides its numbers';
COMMENT ON COLUMN teachers.versions IS 'Package -> version';
COMMENT ON COLUMN teachers.weights_sha256 IS 'SHA-256 of the weights, or NULL';
COMMENT ON COLUMN teachers.precision IS 'Arithmetic';
COMMENT ON COLUMN teachers.settings IS 'Other settings';
COMMENT ON COLUMN teachers.untrained IS 'Random weights';
COMMENT ON COLUMN teachers.conservative IS 'Forces are the gradient of the energy';
COMMENT ON COLUMN teachers.licence IS 'Licence of weights or method';
CREATE VIEW progress AS
SELECT t.name AS teacher, t.teacher_id,
    count(*) FILTER (WHERE k.status = 'pending') AS pending,
    count(*) FILTER (WHERE k.status = 'running') AS running,
    count(*) FILTER (WHERE k.status = 'done') AS done,
    count(*) FILTER (WHERE k.status = 'failed') AS failed,
    count(*) FILTER (WHERE k.status = 'cancelled') AS cancelled,
    coalesce(sum(k.cost) FILTER (WHERE k.status IN ('pending', 'running')), 0)::double precision
        AS remaining_cost,
    (SELECT count(*) FROM label l WHERE l.teacher_id = t.teacher_id
        AND l.created_at > now() - interval '1 minute') AS labels_last_minute
FROM teacher t JOIN label_task k USING (teacher_id)
GROUP BY t.teacher_id ORDER BY t.name, t.teacher_id;
COMMENT ON VIEW progress IS 'Labelling per teacher';
COMMENT ON COLUMN progress.teacher IS 'Name';
COMMENT ON COLUMN progress.teacher_id IS 'Exact teacher';
COMMENT ON COLUMN progress.pending IS 'Waiting';
COMMENT ON COLUMN progress.running IS 'Leased to a worker';
COMMENT ON COLUMN progress.done IS 'Labelled';
COMMENT ON COLUMN progress.failed IS 'Failed for good';
COMMENT ON COLUMN progress.cancelled IS 'Cancelled (rejected before labelling, or by a user)';
COMMENT ON COLUMN progress.remaining_cost IS 'Cost of pending and running tasks';
COMMENT ON COLUMN progress.labels_last_minute IS 'Labels written in the last minute';
ALTER TABLE teacher DROP COLUMN paused_at, DROP COLUMN paused_why, DROP COLUMN contract;
DROP TRIGGER kept ON run;
DROP TRIGGER kept ON teacher;
DROP FUNCTION refuse_delete();
ALTER TABLE label
    ADD CONSTRAINT fk_label_teacher_id FOREIGN KEY (teacher_id) REFERENCES teacher (teacher_id),
    ADD CONSTRAINT fk_label_run_id FOREIGN KEY (run_id) REFERENCES run (run_id);
