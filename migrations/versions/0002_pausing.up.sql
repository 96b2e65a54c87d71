ALTER TABLE label DROP CONSTRAINT fk_label_teacher_id, DROP CONSTRAINT fk_label_run_id;
CREATE FUNCTION refuse_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never deleted: labels name them', TG_TABLE_NAME;
END $$;
COMMENT ON FUNCTION refuse_delete() IS 'Keeps what labels name without a foreign key';
CREATE TRIGGER kept BEFORE DELETE ON run
    FOR EACH ROW EXECUTE FUNCTION refuse_delete();
CREATE TRIGGER kept BEFORE DELETE ON teacher
    FOR EACH ROW EXECUTE FUNCTION refuse_delete();
ALTER TABLE teacher
    ADD COLUMN paused_at timestamp with time zone,
    ADD COLUMN paused_why text,
    ADD COLUMN contract jsonb;
COMMENT ON COLUMN teacher.paused_at IS 'Since when nothing is claimed for it; NULL: not paused';
COMMENT ON COLUMN teacher.paused_why IS 'Reason of the pause, for people';
COMMENT ON COLUMN teacher.contract IS 'What `mlffdb teachers check` measured, by check';
CREATE OR REPLACE VIEW teachers AS
SELECT t.teacher_id, t.name, t.fingerprint, t.versions, t.weights_sha256, t.precision,
    t.settings, t.untrained, t.conservative, t.licence, t.paused_at, t.paused_why, t.contract,
    greatest(t.created_at, w.last_start) AS last_used_at,
    NOT coalesce(w.alive, false) AND greatest(t.created_at, w.last_start)
        < max(greatest(t.created_at, w.last_start)) OVER (PARTITION BY t.name) AS superseded
FROM teacher t
LEFT JOIN (SELECT teacher_id, max(started_at) AS last_start,
        bool_or(stopped_at IS NULL AND heartbeat_at > now() - interval '2 minutes') AS alive
    FROM worker GROUP BY teacher_id) w USING (teacher_id);
COMMENT ON COLUMN teachers.paused_at IS 'Since when nothing is claimed for it; NULL: not paused';
COMMENT ON COLUMN teachers.paused_why IS 'Reason of the pause, or NULL';
COMMENT ON COLUMN teachers.contract IS 'What `mlffdb teachers check` measured, by check; or NULL';
COMMENT ON COLUMN teachers.last_used_at IS 'Start of its last worker, or when it was first used';
COMMENT ON COLUMN teachers.superseded IS 'Another exact teacher of this name was used later, and no worker of this one is alive';
CREATE OR REPLACE VIEW tasks AS
SELECT k.structure_id, t.name AS teacher, k.status, k.priority, k.cost, k.attempts, k.error_code,
    k.error, k.lease_expires_at, k.updated_at,
    k.teacher_id, k.not_before,
    extract(epoch FROM now() - k.updated_at)::double precision AS age_seconds,
    k.worker_id, w.host, w.pid, t.superseded, t.paused_at IS NOT NULL AS paused
FROM label_task k JOIN teachers t USING (teacher_id) LEFT JOIN worker w USING (worker_id);
COMMENT ON VIEW tasks IS 'Labelling tasks with their state: what `tasks --where` chooses from';
COMMENT ON COLUMN tasks.teacher_id IS 'Exact teacher';
COMMENT ON COLUMN tasks.not_before IS 'Not claimed before (backoff of a retry)';
COMMENT ON COLUMN tasks.age_seconds IS 'Since the last change, s';
COMMENT ON COLUMN tasks.worker_id IS 'Worker of the last claim, or NULL';
COMMENT ON COLUMN tasks.host IS 'Its machine';
COMMENT ON COLUMN tasks.pid IS 'Its process id';
COMMENT ON COLUMN tasks.superseded IS 'Of a former exact teacher; see the view teachers';
COMMENT ON COLUMN tasks.paused IS 'Its teacher is paused';
CREATE VIEW sample_tasks AS
SELECT k.task_index, r.name AS plan, k.status, k.priority, k.cost, k.attempts, k.error_code,
    k.error, k.lease_expires_at, k.updated_at,
    k.plan_digest, k.not_before,
    extract(epoch FROM now() - k.updated_at)::double precision AS age_seconds,
    k.worker_id, w.host, w.pid, k.inserted, k.existing
FROM sample_task k JOIN run r USING (run_id) LEFT JOIN worker w USING (worker_id);
COMMENT ON VIEW sample_tasks IS 'Sampling tasks with their state: what `tasks --kind sample --where` chooses from';
COMMENT ON COLUMN sample_tasks.task_index IS 'Place in the plan, from 0';
COMMENT ON COLUMN sample_tasks.plan IS 'Name of the plan';
COMMENT ON COLUMN sample_tasks.status IS 'pending, running, done, failed or cancelled';
COMMENT ON COLUMN sample_tasks.priority IS 'Smaller is claimed first';
COMMENT ON COLUMN sample_tasks.cost IS 'Expected cost, atoms';
COMMENT ON COLUMN sample_tasks.attempts IS 'Claims so far';
COMMENT ON COLUMN sample_tasks.error_code IS 'Short reason of the last failure';
COMMENT ON COLUMN sample_tasks.error IS 'Message of the last failure';
COMMENT ON COLUMN sample_tasks.lease_expires_at IS 'Claimable again after';
COMMENT ON COLUMN sample_tasks.updated_at IS 'Last change';
COMMENT ON COLUMN sample_tasks.plan_digest IS 'SHA-256 (hex) of the plan''s meaning';
COMMENT ON COLUMN sample_tasks.not_before IS 'Not claimed before (backoff of a retry)';
COMMENT ON COLUMN sample_tasks.age_seconds IS 'Since the last change, s';
COMMENT ON COLUMN sample_tasks.worker_id IS 'Worker of the last claim, or NULL';
COMMENT ON COLUMN sample_tasks.host IS 'Its machine';
COMMENT ON COLUMN sample_tasks.pid IS 'Its process id';
COMMENT ON COLUMN sample_tasks.inserted IS 'New structures that came of it';
COMMENT ON COLUMN sample_tasks.existing IS 'Structures that were already there';
CREATE OR REPLACE VIEW progress AS
SELECT t.name AS teacher, t.teacher_id, k.pending, k.running, k.done, k.failed,
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
ORDER BY t.name, t.teacher_id;
COMMENT ON COLUMN progress.paused_at IS 'Since when its tasks are not claimed; NULL: not paused';
COMMENT ON COLUMN progress.paused_why IS 'Reason of the pause, or NULL';
COMMENT ON COLUMN progress.superseded IS 'Of a former exact teacher; see the view teachers';
CREATE OR REPLACE VIEW dataset AS
SELECT s.structure_id, s.formula, element_symbols(s.elements) AS elements,
    cardinality(s.elements) AS n_elements, s.n_atoms, s.n_periodic, s.n_periodic > 0 AS periodic,
    s.charge, s.multiplicity, s.domain, s.tags,
    ARRAY(SELECT DISTINCT o.method FROM origin o WHERE o.structure_id = s.structure_id ORDER BY 1)
        AS methods, sv.verdict AS structure_verdict,
    t.name AS teacher, l.teacher_id, l.energy, l.energy_per_atom, l.force_max, l.stress,
    lv.verdict AS label_verdict, t.untrained, l.device, l.wall_seconds,
    l.created_at AS labelled_at, l.energy_spread, l.forces_spread
FROM label l
JOIN structure s USING (structure_id)
JOIN teacher t USING (teacher_id)
LEFT JOIN verdict sv
    ON sv.structure_id = l.structure_id AND sv.teacher_id IS NULL AND sv.is_current
LEFT JOIN verdict lv
    ON lv.structure_id = l.structure_id AND lv.teacher_id = l.teacher_id AND lv.is_current;
COMMENT ON COLUMN dataset.energy_spread IS 'Spread of an ensemble''s energies, eV; or NULL';
COMMENT ON COLUMN dataset.forces_spread IS 'Largest spread of a force component, eV/Å; or NULL';
