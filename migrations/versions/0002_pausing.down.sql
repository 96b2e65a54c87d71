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
