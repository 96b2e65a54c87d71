CREATE TABLE run (
	run_id BIGINT GENERATED ALWAYS AS IDENTITY, 
	action TEXT NOT NULL, 
	name TEXT, 
	status TEXT DEFAULT 'running' NOT NULL, 
	config JSONB DEFAULT '{}'::jsonb NOT NULL, 
	config_hash TEXT NOT NULL, 
	seed BIGINT, 
	versions JSONB NOT NULL, 
	host TEXT NOT NULL, 
	started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
	finished_at TIMESTAMP WITH TIME ZONE, 
	counts JSONB DEFAULT '{}'::jsonb NOT NULL, 
	error TEXT, 
	CONSTRAINT pk_run PRIMARY KEY (run_id), 
	CONSTRAINT ck_run_action CHECK (action IN ('import', 'sample', 'label', 'validate', 'export', 'audit')), 
	CONSTRAINT ck_run_status CHECK (status IN ('running', 'done', 'failed', 'interrupted'))
);
COMMENT ON TABLE run IS 'One action of a user: its configuration, versions, host, times and counts';
COMMENT ON COLUMN run.run_id IS 'Key';
COMMENT ON COLUMN run.action IS 'import, sample, label, validate, export or audit';
COMMENT ON COLUMN run.name IS 'Plan, file, teacher or snapshot it was about';
COMMENT ON COLUMN run.status IS 'running, done, failed or interrupted';
COMMENT ON COLUMN run.config IS 'All that was asked for';
COMMENT ON COLUMN run.config_hash IS 'SHA-256 (hex) of config';
COMMENT ON COLUMN run.seed IS 'Random seed, where one was used';
COMMENT ON COLUMN run.versions IS 'Package -> version';
COMMENT ON COLUMN run.host IS 'Machine it ran on';
COMMENT ON COLUMN run.started_at IS 'Start, server clock';
COMMENT ON COLUMN run.finished_at IS 'End, server clock; NULL while running';
COMMENT ON COLUMN run.counts IS 'What came of it, by name';
COMMENT ON COLUMN run.error IS 'Why it failed';
CREATE TABLE teacher (
	teacher_id INTEGER GENERATED ALWAYS AS IDENTITY, 
	name TEXT NOT NULL, 
	fingerprint TEXT NOT NULL, 
	versions JSONB NOT NULL, 
	weights_sha256 TEXT, 
	precision TEXT NOT NULL, 
	settings JSONB NOT NULL, 
	untrained BOOLEAN NOT NULL, 
	conservative BOOLEAN NOT NULL, 
	licence TEXT NOT NULL, 
	created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
	CONSTRAINT pk_teacher PRIMARY KEY (teacher_id), 
	CONSTRAINT ck_teacher_fingerprint CHECK (fingerprint ~ '^[0-9a-f]{64}$'), 
	CONSTRAINT ck_teacher_weights_sha256 CHECK (weights_sha256 ~ '^[0-9a-f]{64}$'), 
	CONSTRAINT uq_teacher_fingerprint UNIQUE (fingerprint)
);
COMMENT ON TABLE teacher IS 'One exact way to compute labels; another version is another row';
COMMENT ON COLUMN teacher.teacher_id IS 'Key';
COMMENT ON COLUMN teacher.name IS 'Name on the command line, such as gfn2-xtb';
COMMENT ON COLUMN teacher.fingerprint IS 'SHA-256 (hex) over the columns below';
COMMENT ON COLUMN teacher.versions IS 'Package -> version, backends included';
COMMENT ON COLUMN teacher.weights_sha256 IS 'SHA-256 (hex) of the weights; or NULL';
COMMENT ON COLUMN teacher.precision IS 'Arithmetic, such as float64 or float32-highest';
COMMENT ON COLUMN teacher.settings IS 'Everything else that decides the numbers';
COMMENT ON COLUMN teacher.untrained IS 'Random weights: its labels are never exported';
COMMENT ON COLUMN teacher.conservative IS 'Forces are the negative gradient of the energy';
COMMENT ON COLUMN teacher.licence IS 'Licence of weights or method';
COMMENT ON COLUMN teacher.created_at IS 'When first used here';
CREATE INDEX ix_teacher_name ON teacher (name);
CREATE TABLE sample_task (
	plan_digest TEXT NOT NULL, 
	task_index INTEGER NOT NULL, 
	run_id BIGINT NOT NULL, 
	payload JSONB NOT NULL, 
	inserted INTEGER, 
	existing INTEGER, 
	rejected JSONB, 
	status TEXT DEFAULT 'pending' NOT NULL, 
	priority SMALLINT DEFAULT 0 NOT NULL, 
	cost REAL NOT NULL, 
	attempts SMALLINT DEFAULT 0 NOT NULL, 
	not_before TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
	lease_expires_at TIMESTAMP WITH TIME ZONE, 
	error_code TEXT, 
	error TEXT, 
	updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
	worker_id UUID, 
	CONSTRAINT pk_sample_task PRIMARY KEY (plan_digest, task_index), 
	CONSTRAINT ck_sample_task_status CHECK (status IN ('pending', 'running', 'done', 'failed', 'cancelled')), 
	CONSTRAINT ck_sample_task_attempts CHECK (attempts >= 0), 
	CONSTRAINT ck_sample_task_cost CHECK (cost >= 0 AND cost < 'Infinity'), 
	CONSTRAINT ck_sample_task_lease CHECK ((status = 'running') = (lease_expires_at IS NOT NULL)), 
	CONSTRAINT ck_sample_task_worker CHECK (status <> 'running' OR worker_id IS NOT NULL), 
	CONSTRAINT ck_sample_task_error CHECK (length(error) <= 1000), 
	CONSTRAINT ck_sample_task_task_index CHECK (task_index >= 0), 
	CONSTRAINT fk_sample_task_run_id FOREIGN KEY(run_id) REFERENCES run (run_id)
);
COMMENT ON TABLE sample_task IS 'Items of a plan, to be made into structures; same queue as label_task';
COMMENT ON COLUMN sample_task.plan_digest IS 'SHA-256 (hex) of the plan''s meaning';
COMMENT ON COLUMN sample_task.task_index IS 'Place in the plan, from 0';
COMMENT ON COLUMN sample_task.run_id IS 'Run that enqueued it';
COMMENT ON COLUMN sample_task.payload IS 'Block and item of the plan';
COMMENT ON COLUMN sample_task.inserted IS 'New structures that came of it';
COMMENT ON COLUMN sample_task.existing IS 'Structures that were already there';
COMMENT ON COLUMN sample_task.rejected IS 'Reason -> how many were rejected';
COMMENT ON COLUMN sample_task.status IS 'pending, running (leased), done, failed (final, see error) or cancelled';
COMMENT ON COLUMN sample_task.priority IS 'Smaller is claimed first: 32 × the user''s priority (0 unless said) + a band 0-31 that mixes sizes';
COMMENT ON COLUMN sample_task.cost IS 'Expected cost, in the unit of the teacher (atoms, edges)';
COMMENT ON COLUMN sample_task.attempts IS 'Counted when claimed, so crashes count';
COMMENT ON COLUMN sample_task.not_before IS 'Not claimable before (retry with backoff)';
COMMENT ON COLUMN sample_task.lease_expires_at IS 'Claimable again after; renewed by heartbeat';
COMMENT ON COLUMN sample_task.error_code IS 'Short reason of the last failure';
COMMENT ON COLUMN sample_task.error IS 'Message of the last failure';
COMMENT ON COLUMN sample_task.updated_at IS 'Last change of status, server clock';
COMMENT ON COLUMN sample_task.worker_id IS 'Worker of the last claim; with attempts, the token that fences late writers';
CREATE INDEX ix_sample_task_claim ON sample_task (plan_digest, priority, cost, task_index) WHERE status = 'pending';
CREATE INDEX ix_sample_task_running ON sample_task (plan_digest, task_index) WHERE status = 'running';
CREATE TABLE snapshot (
	snapshot_id INTEGER GENERATED ALWAYS AS IDENTITY, 
	run_id BIGINT NOT NULL, 
	name TEXT NOT NULL, 
	version INTEGER NOT NULL, 
	status TEXT DEFAULT 'building' NOT NULL, 
	teacher_ids INTEGER[] NOT NULL, 
	condition TEXT, 
	split JSONB NOT NULL, 
	seed BIGINT NOT NULL, 
	root_hash TEXT, 
	manifest JSONB, 
	created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
	CONSTRAINT pk_snapshot PRIMARY KEY (snapshot_id), 
	CONSTRAINT uq_snapshot_name_version UNIQUE (name, version), 
	CONSTRAINT ck_snapshot_status CHECK (status IN ('building', 'published')), 
	CONSTRAINT ck_snapshot_version CHECK (version >= 1), 
	CONSTRAINT ck_snapshot_name CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]*$'), 
	CONSTRAINT ck_snapshot_root_hash CHECK (root_hash ~ '^[0-9a-f]{64}$'), 
	CONSTRAINT ck_snapshot_published CHECK (status <> 'published' OR root_hash IS NOT NULL), 
	CONSTRAINT fk_snapshot_run_id FOREIGN KEY(run_id) REFERENCES run (run_id)
);
COMMENT ON TABLE snapshot IS 'Frozen versions: members, split, query, root hash; never changed';
COMMENT ON COLUMN snapshot.snapshot_id IS 'Key';
COMMENT ON COLUMN snapshot.run_id IS 'Run that exported it';
COMMENT ON COLUMN snapshot.name IS 'Name given by the user';
COMMENT ON COLUMN snapshot.version IS '1, 2, ... per name';
COMMENT ON COLUMN snapshot.status IS 'building or published';
COMMENT ON COLUMN snapshot.teacher_ids IS 'Teachers whose labels it holds';
COMMENT ON COLUMN snapshot.condition IS 'SQL condition over view dataset, or NULL';
COMMENT ON COLUMN snapshot.split IS 'Split name -> fraction asked for';
COMMENT ON COLUMN snapshot.seed IS 'Seed of the split';
COMMENT ON COLUMN snapshot.root_hash IS 'SHA-256 (hex) over members, labels and split';
COMMENT ON COLUMN snapshot.manifest IS 'As in manifest.json';
COMMENT ON COLUMN snapshot.created_at IS 'When frozen';
CREATE TABLE structure (
	structure_id UUID NOT NULL, 
	run_id BIGINT NOT NULL, 
	n_atoms INTEGER NOT NULL, 
	numbers BYTEA NOT NULL, 
	positions BYTEA NOT NULL, 
	cell BYTEA, 
	pbc SMALLINT NOT NULL, 
	n_periodic SMALLINT NOT NULL, 
	charge SMALLINT NOT NULL, 
	multiplicity SMALLINT, 
	formula TEXT NOT NULL, 
	elements SMALLINT[] NOT NULL, 
	element_counts INTEGER[] NOT NULL, 
	domain TEXT NOT NULL, 
	tags TEXT[] DEFAULT '{}'::text[] NOT NULL, 
	source_order BYTEA NOT NULL, 
	created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
	CONSTRAINT pk_structure PRIMARY KEY (structure_id), 
	CONSTRAINT ck_structure_n_atoms CHECK (n_atoms BETWEEN 1 AND 65535), 
	CONSTRAINT ck_structure_numbers CHECK (octet_length(numbers) = n_atoms), 
	CONSTRAINT ck_structure_positions CHECK (octet_length(positions) = 24 * n_atoms), 
	CONSTRAINT ck_structure_cell CHECK (octet_length(cell) = 72), 
	CONSTRAINT ck_structure_pbc CHECK (pbc BETWEEN 0 AND 7), 
	CONSTRAINT ck_structure_n_periodic CHECK (n_periodic = (pbc & 1) + ((pbc >> 1) & 1) + ((pbc >> 2) & 1)), 
	CONSTRAINT ck_structure_cell_where_periodic CHECK ((cell IS NULL) = (pbc = 0)), 
	CONSTRAINT ck_structure_multiplicity CHECK (multiplicity IS NULL OR (multiplicity >= 1 AND pbc = 0)), 
	CONSTRAINT ck_structure_source_order CHECK (octet_length(source_order) = 2 * n_atoms), 
	CONSTRAINT ck_structure_elements CHECK (cardinality(elements) >= 1 AND array_position(elements, NULL) IS NULL AND 1 <= ALL (elements) AND 118 >= ALL (elements)), 
	CONSTRAINT ck_structure_element_counts CHECK (cardinality(element_counts) = cardinality(elements) AND array_position(element_counts, NULL) IS NULL AND 0 < ALL (element_counts)), 
	CONSTRAINT ck_structure_domain CHECK (domain ~ '^[a-z][a-z0-9_-]*$'), 
	CONSTRAINT fk_structure_run_id FOREIGN KEY(run_id) REFERENCES run (run_id)
);
COMMENT ON TABLE structure IS 'One arrangement of atoms, canonical order; identity is its content';
COMMENT ON COLUMN structure.structure_id IS 'First 16 bytes of SHA-256 over the canonical form (grid of 1e-6 Å)';
COMMENT ON COLUMN structure.run_id IS 'Run that first found it';
COMMENT ON COLUMN structure.n_atoms IS 'Number of atoms';
COMMENT ON COLUMN structure.numbers IS 'Atomic numbers, uint8[n_atoms], canonical order';
COMMENT ON COLUMN structure.positions IS 'Positions in Å as they came (not wrapped), float64 LE [n_atoms][3]';
COMMENT ON COLUMN structure.cell IS 'Lattice vectors in Å, rows, float64 LE [3][3]; NULL isolated';
COMMENT ON COLUMN structure.pbc IS 'Periodic axes as bits: 1 a, 2 b, 4 c';
COMMENT ON COLUMN structure.n_periodic IS 'Number of periodic axes, 0-3';
COMMENT ON COLUMN structure.charge IS 'Total charge, e';
COMMENT ON COLUMN structure.multiplicity IS '2S+1 as stated; NULL if periodic or not stated (even electrons then mean 1, odd ones are rejected by validation)';
COMMENT ON COLUMN structure.formula IS 'Hill formula';
COMMENT ON COLUMN structure.elements IS 'Atomic numbers that occur, ascending';
COMMENT ON COLUMN structure.element_counts IS 'Atoms of each of elements';
COMMENT ON COLUMN structure.domain IS 'organic, biomolecule, inorganic ...; as its first origin said';
COMMENT ON COLUMN structure.tags IS 'Marks such as reference (isolated atoms, dimers); of its first origin';
COMMENT ON COLUMN structure.source_order IS 'Index in the source of each canonical atom, uint16 LE [n_atoms]';
COMMENT ON COLUMN structure.created_at IS 'When it was first found';
CREATE INDEX ix_structure_elements ON structure USING gin (elements);
CREATE INDEX ix_structure_formula ON structure (formula);
CREATE INDEX ix_structure_run_id ON structure (run_id);
CREATE TABLE worker (
	worker_id UUID NOT NULL, 
	run_id BIGINT, 
	kind TEXT NOT NULL, 
	teacher_id INTEGER, 
	host TEXT NOT NULL, 
	pid INTEGER NOT NULL, 
	device TEXT NOT NULL, 
	version TEXT NOT NULL, 
	started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
	heartbeat_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
	stopped_at TIMESTAMP WITH TIME ZONE, 
	budget REAL, 
	done BIGINT DEFAULT 0 NOT NULL, 
	failed BIGINT DEFAULT 0 NOT NULL, 
	late BIGINT DEFAULT 0 NOT NULL, 
	compute_seconds REAL DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_worker PRIMARY KEY (worker_id), 
	CONSTRAINT ck_worker_kind CHECK (kind IN ('label', 'sample', 'audit')), 
	CONSTRAINT fk_worker_run_id FOREIGN KEY(run_id) REFERENCES run (run_id), 
	CONSTRAINT fk_worker_teacher_id FOREIGN KEY(teacher_id) REFERENCES teacher (teacher_id)
);
COMMENT ON TABLE worker IS 'Processes that claim tasks, with what they did';
COMMENT ON COLUMN worker.worker_id IS 'Fresh for every process';
COMMENT ON COLUMN worker.run_id IS 'Run it serves';
COMMENT ON COLUMN worker.kind IS 'label, sample or audit';
COMMENT ON COLUMN worker.teacher_id IS 'Teacher it runs';
COMMENT ON COLUMN worker.host IS 'Machine';
COMMENT ON COLUMN worker.pid IS 'Process id on that machine';
COMMENT ON COLUMN worker.device IS 'cpu, cuda:0 ...';
COMMENT ON COLUMN worker.version IS 'mlffdb''s version';
COMMENT ON COLUMN worker.started_at IS 'Start';
COMMENT ON COLUMN worker.heartbeat_at IS 'Last sign of life';
COMMENT ON COLUMN worker.stopped_at IS 'Clean end; NULL if running or killed';
COMMENT ON COLUMN worker.budget IS 'Largest batch cost learned for the device';
COMMENT ON COLUMN worker.done IS 'Tasks completed';
COMMENT ON COLUMN worker.failed IS 'Tasks failed';
COMMENT ON COLUMN worker.late IS 'Results refused because the lease was lost';
COMMENT ON COLUMN worker.compute_seconds IS 'Time spent computing, s';
CREATE TABLE audit (
	structure_id UUID NOT NULL, 
	teacher_id INTEGER NOT NULL, 
	run_id BIGINT NOT NULL, 
	n_atoms INTEGER NOT NULL, 
	energy DOUBLE PRECISION NOT NULL, 
	forces BYTEA, 
	stress DOUBLE PRECISION[], 
	energy_difference DOUBLE PRECISION NOT NULL, 
	force_difference DOUBLE PRECISION NOT NULL, 
	within_tolerance BOOLEAN NOT NULL, 
	worker_id UUID NOT NULL, 
	device TEXT NOT NULL, 
	created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
	CONSTRAINT pk_audit PRIMARY KEY (structure_id, teacher_id, run_id), 
	CONSTRAINT ck_audit_n_atoms CHECK (n_atoms >= 1), 
	CONSTRAINT ck_audit_energy_finite CHECK (energy > '-Infinity'::double precision AND energy < 'Infinity'::double precision), 
	CONSTRAINT ck_audit_energy_difference_finite CHECK (energy_difference > '-Infinity'::double precision AND energy_difference < 'Infinity'::double precision), 
	CONSTRAINT ck_audit_force_difference_finite CHECK (force_difference > '-Infinity'::double precision AND force_difference < 'Infinity'::double precision), 
	CONSTRAINT ck_audit_forces CHECK (octet_length(forces) IN (12 * n_atoms, 24 * n_atoms)), 
	CONSTRAINT ck_audit_stress CHECK (array_ndims(stress) = 1 AND cardinality(stress) = 6 AND array_position(stress, NULL) IS NULL AND array_position(stress, 'NaN'::double precision) IS NULL AND array_position(stress, 'Infinity'::double precision) IS NULL AND array_position(stress, '-Infinity'::double precision) IS NULL), 
	CONSTRAINT fk_audit_structure_id FOREIGN KEY(structure_id) REFERENCES structure (structure_id), 
	CONSTRAINT fk_audit_teacher_id FOREIGN KEY(teacher_id) REFERENCES teacher (teacher_id), 
	CONSTRAINT fk_audit_run_id FOREIGN KEY(run_id) REFERENCES run (run_id)
);
COMMENT ON TABLE audit IS 'Labels computed again, to find faults of hardware and libraries';
COMMENT ON COLUMN audit.structure_id IS 'Structure';
COMMENT ON COLUMN audit.teacher_id IS 'Teacher';
COMMENT ON COLUMN audit.run_id IS 'Run of the audit';
COMMENT ON COLUMN audit.n_atoms IS 'Number of atoms';
COMMENT ON COLUMN audit.energy IS 'Total energy computed again, eV';
COMMENT ON COLUMN audit.forces IS 'As label.forces';
COMMENT ON COLUMN audit.stress IS 'As label.stress';
COMMENT ON COLUMN audit.energy_difference IS 'Again minus label, eV/atom';
COMMENT ON COLUMN audit.force_difference IS 'Largest difference of a component, eV/Å';
COMMENT ON COLUMN audit.within_tolerance IS 'Whether both are within the teacher''s tolerance';
COMMENT ON COLUMN audit.worker_id IS 'Worker that wrote it';
COMMENT ON COLUMN audit.device IS 'Device it ran on';
COMMENT ON COLUMN audit.created_at IS 'When written, server clock';
CREATE TABLE component (
	structure_id UUID NOT NULL, 
	component_id UUID NOT NULL, 
	run_id BIGINT NOT NULL, 
	CONSTRAINT pk_component PRIMARY KEY (structure_id), 
	CONSTRAINT fk_component_structure_id FOREIGN KEY(structure_id) REFERENCES structure (structure_id), 
	CONSTRAINT fk_component_run_id FOREIGN KEY(run_id) REFERENCES run (run_id)
);
COMMENT ON TABLE component IS 'Structures tied by parent, molecule, trajectory or near-duplication';
COMMENT ON COLUMN component.structure_id IS 'Structure';
COMMENT ON COLUMN component.component_id IS 'Smallest structure_id of the group';
COMMENT ON COLUMN component.run_id IS 'Run that grouped it';
CREATE INDEX ix_component_component_id ON component (component_id);
CREATE TABLE finding (
	structure_id UUID NOT NULL, 
	finding_id BIGINT GENERATED ALWAYS AS IDENTITY, 
	teacher_id INTEGER, 
	run_id BIGINT NOT NULL, 
	check_name TEXT NOT NULL, 
	rule_version TEXT NOT NULL, 
	severity TEXT NOT NULL, 
	value DOUBLE PRECISION, 
	threshold DOUBLE PRECISION, 
	unit TEXT NOT NULL, 
	message TEXT NOT NULL, 
	atoms INTEGER[], 
	CONSTRAINT pk_finding PRIMARY KEY (structure_id, finding_id), 
	CONSTRAINT ck_finding_severity CHECK (severity IN ('info', 'suspect', 'reject')), 
	CONSTRAINT ck_finding_message CHECK (length(message) <= 1000), 
	CONSTRAINT fk_finding_structure_id FOREIGN KEY(structure_id) REFERENCES structure (structure_id), 
	CONSTRAINT fk_finding_teacher_id FOREIGN KEY(teacher_id) REFERENCES teacher (teacher_id), 
	CONSTRAINT fk_finding_run_id FOREIGN KEY(run_id) REFERENCES run (run_id)
);
COMMENT ON TABLE finding IS 'What a check noticed, with value and threshold; history is kept';
COMMENT ON COLUMN finding.structure_id IS 'Structure';
COMMENT ON COLUMN finding.finding_id IS 'Key';
COMMENT ON COLUMN finding.teacher_id IS 'Teacher of the label it is about; NULL if about the structure itself';
COMMENT ON COLUMN finding.run_id IS 'Validation run';
COMMENT ON COLUMN finding.check_name IS 'Name of the check';
COMMENT ON COLUMN finding.rule_version IS 'Version of checks and thresholds';
COMMENT ON COLUMN finding.severity IS 'info, suspect or reject';
COMMENT ON COLUMN finding.value IS 'What was measured, in unit';
COMMENT ON COLUMN finding.threshold IS 'What it was held against, in unit';
COMMENT ON COLUMN finding.unit IS 'Unit of value and threshold';
COMMENT ON COLUMN finding.message IS 'For people';
COMMENT ON COLUMN finding.atoms IS 'Atoms concerned, canonical order';
CREATE INDEX ix_finding_check_name ON finding (check_name);
CREATE INDEX ix_finding_run_id ON finding (run_id);
CREATE TABLE label (
	structure_id UUID NOT NULL, 
	teacher_id INTEGER NOT NULL, 
	run_id BIGINT, 
	n_atoms INTEGER NOT NULL, 
	energy DOUBLE PRECISION NOT NULL, 
	energy_per_atom DOUBLE PRECISION GENERATED ALWAYS AS (energy / n_atoms) STORED, 
	forces BYTEA, 
	stress DOUBLE PRECISION[], 
	force_max REAL, 
	energy_spread REAL, 
	forces_spread REAL, 
	charge SMALLINT NOT NULL, 
	multiplicity SMALLINT, 
	batch_size INTEGER NOT NULL, 
	wall_seconds REAL NOT NULL, 
	worker_id UUID NOT NULL, 
	device TEXT NOT NULL, 
	details JSONB, 
	created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
	CONSTRAINT pk_label PRIMARY KEY (structure_id, teacher_id), 
	CONSTRAINT ck_label_n_atoms CHECK (n_atoms >= 1), 
	CONSTRAINT ck_label_energy_finite CHECK (energy > '-Infinity'::double precision AND energy < 'Infinity'::double precision), 
	CONSTRAINT ck_label_forces CHECK (octet_length(forces) IN (12 * n_atoms, 24 * n_atoms)), 
	CONSTRAINT ck_label_stress CHECK (array_ndims(stress) = 1 AND cardinality(stress) = 6 AND array_position(stress, NULL) IS NULL AND array_position(stress, 'NaN'::double precision) IS NULL AND array_position(stress, 'Infinity'::double precision) IS NULL AND array_position(stress, '-Infinity'::double precision) IS NULL), 
	CONSTRAINT ck_label_energy_spread CHECK (energy_spread >= 0 AND energy_spread < 'Infinity'), 
	CONSTRAINT ck_label_forces_spread CHECK (forces_spread >= 0 AND forces_spread < 'Infinity'), 
	CONSTRAINT ck_label_force_max CHECK (force_max >= 0 AND force_max < 'Infinity'), 
	CONSTRAINT ck_label_batch_size CHECK (batch_size >= 1), 
	CONSTRAINT ck_label_wall_seconds CHECK (wall_seconds >= 0 AND wall_seconds < 'Infinity'), 
	CONSTRAINT fk_label_structure_id FOREIGN KEY(structure_id) REFERENCES structure (structure_id), 
	CONSTRAINT fk_label_teacher_id FOREIGN KEY(teacher_id) REFERENCES teacher (teacher_id), 
	CONSTRAINT fk_label_run_id FOREIGN KEY(run_id) REFERENCES run (run_id)
);
COMMENT ON TABLE label IS 'Energy, forces and stress of a structure by a teacher; append-only';
COMMENT ON COLUMN label.structure_id IS 'Structure';
COMMENT ON COLUMN label.teacher_id IS 'Teacher';
COMMENT ON COLUMN label.run_id IS 'Labelling run';
COMMENT ON COLUMN label.n_atoms IS 'Number of atoms, as of the structure';
COMMENT ON COLUMN label.energy IS 'Total energy, eV';
COMMENT ON COLUMN label.energy_per_atom IS 'energy / n_atoms, eV';
COMMENT ON COLUMN label.forces IS 'Forces in eV/Å, LE [n_atoms][3], canonical order; float32, or float64 where the teacher computes so (12 or 24 bytes per atom)';
COMMENT ON COLUMN label.stress IS 'Stress in eV/Å³, tensile positive, Voigt xx yy zz yz xz xy; NULL unless periodic in three dimensions';
COMMENT ON COLUMN label.force_max IS 'Largest norm of a force, eV/Å';
COMMENT ON COLUMN label.energy_spread IS 'Spread over an ensemble, eV';
COMMENT ON COLUMN label.forces_spread IS 'Largest spread of a component, eV/Å';
COMMENT ON COLUMN label.charge IS 'Charge that was used, e';
COMMENT ON COLUMN label.multiplicity IS 'Multiplicity that was used, or NULL';
COMMENT ON COLUMN label.batch_size IS 'Structures computed together';
COMMENT ON COLUMN label.wall_seconds IS 'This structure''s share of the batch''s wall time, s';
COMMENT ON COLUMN label.worker_id IS 'Worker that wrote it';
COMMENT ON COLUMN label.device IS 'Device it ran on, such as cpu or cuda:0';
COMMENT ON COLUMN label.details IS 'Small facts from the teacher';
COMMENT ON COLUMN label.created_at IS 'When written, server clock';
CREATE INDEX ix_label_teacher_id_created_at ON label (teacher_id, created_at);
CREATE TABLE label_task (
	teacher_id INTEGER NOT NULL, 
	structure_id UUID NOT NULL, 
	status TEXT DEFAULT 'pending' NOT NULL, 
	priority SMALLINT DEFAULT 0 NOT NULL, 
	cost REAL NOT NULL, 
	attempts SMALLINT DEFAULT 0 NOT NULL, 
	not_before TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
	lease_expires_at TIMESTAMP WITH TIME ZONE, 
	error_code TEXT, 
	error TEXT, 
	updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
	worker_id UUID, 
	CONSTRAINT pk_label_task PRIMARY KEY (teacher_id, structure_id), 
	CONSTRAINT ck_label_task_status CHECK (status IN ('pending', 'running', 'done', 'failed', 'cancelled')), 
	CONSTRAINT ck_label_task_attempts CHECK (attempts >= 0), 
	CONSTRAINT ck_label_task_cost CHECK (cost >= 0 AND cost < 'Infinity'), 
	CONSTRAINT ck_label_task_lease CHECK ((status = 'running') = (lease_expires_at IS NOT NULL)), 
	CONSTRAINT ck_label_task_worker CHECK (status <> 'running' OR worker_id IS NOT NULL), 
	CONSTRAINT ck_label_task_error CHECK (length(error) <= 1000), 
	CONSTRAINT fk_label_task_teacher_id FOREIGN KEY(teacher_id) REFERENCES teacher (teacher_id), 
	CONSTRAINT fk_label_task_structure_id FOREIGN KEY(structure_id) REFERENCES structure (structure_id)
);
COMMENT ON TABLE label_task IS 'Structures to be labelled; claimed under FOR UPDATE SKIP LOCKED';
COMMENT ON COLUMN label_task.teacher_id IS 'Teacher';
COMMENT ON COLUMN label_task.structure_id IS 'Structure';
COMMENT ON COLUMN label_task.status IS 'pending, running (leased), done, failed (final, see error) or cancelled';
COMMENT ON COLUMN label_task.priority IS 'Smaller is claimed first: 32 × the user''s priority (0 unless said) + a band 0-31 that mixes sizes';
COMMENT ON COLUMN label_task.cost IS 'Expected cost, in the unit of the teacher (atoms, edges)';
COMMENT ON COLUMN label_task.attempts IS 'Counted when claimed, so crashes count';
COMMENT ON COLUMN label_task.not_before IS 'Not claimable before (retry with backoff)';
COMMENT ON COLUMN label_task.lease_expires_at IS 'Claimable again after; renewed by heartbeat';
COMMENT ON COLUMN label_task.error_code IS 'Short reason of the last failure';
COMMENT ON COLUMN label_task.error IS 'Message of the last failure';
COMMENT ON COLUMN label_task.updated_at IS 'Last change of status, server clock';
COMMENT ON COLUMN label_task.worker_id IS 'Worker of the last claim; with attempts, the token that fences late writers';
CREATE INDEX ix_label_task_claim ON label_task (teacher_id, priority, cost, structure_id) WHERE status = 'pending';
CREATE INDEX ix_label_task_running ON label_task (teacher_id, structure_id) WHERE status = 'running';
CREATE TABLE origin (
	structure_id UUID NOT NULL, 
	origin_id UUID NOT NULL, 
	run_id BIGINT NOT NULL, 
	source TEXT NOT NULL, 
	method TEXT NOT NULL, 
	source_file TEXT, 
	source_index BIGINT, 
	parent_id UUID, 
	parameters JSONB DEFAULT '{}'::jsonb NOT NULL, 
	seed BIGINT, 
	smiles TEXT, 
	group_keys TEXT[] DEFAULT '{}'::text[] NOT NULL, 
	domain TEXT NOT NULL, 
	tags TEXT[] DEFAULT '{}'::text[] NOT NULL, 
	source_order BYTEA, 
	CONSTRAINT pk_origin PRIMARY KEY (structure_id, origin_id), 
	CONSTRAINT ck_origin_source_order CHECK (mod(octet_length(source_order), 2) = 0), 
	CONSTRAINT ck_origin_domain CHECK (domain ~ '^[a-z][a-z0-9_-]*$'), 
	CONSTRAINT fk_origin_structure_id FOREIGN KEY(structure_id) REFERENCES structure (structure_id), 
	CONSTRAINT fk_origin_run_id FOREIGN KEY(run_id) REFERENCES run (run_id)
);
COMMENT ON TABLE origin IS 'Where a structure came from; found twice means two origins';
COMMENT ON COLUMN origin.structure_id IS 'Structure';
COMMENT ON COLUMN origin.origin_id IS 'Hash of the other columns'' content';
COMMENT ON COLUMN origin.run_id IS 'Run that found it';
COMMENT ON COLUMN origin.source IS 'Kind of source: file, smiles, prototypes, g2 ...';
COMMENT ON COLUMN origin.method IS 'What was done: import, etkdg, normal_modes, md, rattle ...';
COMMENT ON COLUMN origin.source_file IS 'File as the user named it';
COMMENT ON COLUMN origin.source_index IS 'Index in the file, from 0';
COMMENT ON COLUMN origin.parent_id IS 'Structure it was made from (no foreign key, so that rows can be distributed)';
COMMENT ON COLUMN origin.parameters IS 'Of the method';
COMMENT ON COLUMN origin.seed IS 'Random seed';
COMMENT ON COLUMN origin.smiles IS 'SMILES, its atoms mapped to this origin''s order';
COMMENT ON COLUMN origin.group_keys IS 'Keys that must not be shared by two splits (inchikey:, sequence:, trajectory:)';
COMMENT ON COLUMN origin.domain IS 'Domain that this origin gave it';
COMMENT ON COLUMN origin.tags IS 'Tags that this origin gave it';
COMMENT ON COLUMN origin.source_order IS 'As structure.source_order, of this origin; NULL for the first origin, whose order structure holds';
CREATE INDEX ix_origin_parent_id ON origin (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX ix_origin_run_id ON origin (run_id);
CREATE TABLE structure_pair (
	structure_id UUID NOT NULL, 
	other_id UUID NOT NULL, 
	distance DOUBLE PRECISION NOT NULL, 
	run_id BIGINT NOT NULL, 
	CONSTRAINT pk_structure_pair PRIMARY KEY (structure_id, other_id), 
	CONSTRAINT ck_structure_pair_ordered CHECK (structure_id < other_id), 
	CONSTRAINT ck_structure_pair_distance CHECK (distance >= 0 AND distance < 'Infinity'), 
	CONSTRAINT fk_structure_pair_structure_id FOREIGN KEY(structure_id) REFERENCES structure (structure_id), 
	CONSTRAINT fk_structure_pair_run_id FOREIGN KEY(run_id) REFERENCES run (run_id)
);
COMMENT ON TABLE structure_pair IS 'Near-duplicates: same up to motion within a tolerance';
COMMENT ON COLUMN structure_pair.structure_id IS 'Smaller id';
COMMENT ON COLUMN structure_pair.other_id IS 'Larger id';
COMMENT ON COLUMN structure_pair.distance IS 'RMSD after superposition, Å';
COMMENT ON COLUMN structure_pair.run_id IS 'Run that found the pair';
CREATE TABLE verdict (
	structure_id UUID NOT NULL, 
	verdict_id BIGINT GENERATED ALWAYS AS IDENTITY, 
	teacher_id INTEGER, 
	run_id BIGINT NOT NULL, 
	verdict TEXT NOT NULL, 
	rule_version TEXT NOT NULL, 
	is_current BOOLEAN DEFAULT true NOT NULL, 
	created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
	CONSTRAINT pk_verdict PRIMARY KEY (structure_id, verdict_id), 
	CONSTRAINT ck_verdict_verdict CHECK (verdict IN ('valid', 'suspect', 'rejected')), 
	CONSTRAINT fk_verdict_structure_id FOREIGN KEY(structure_id) REFERENCES structure (structure_id), 
	CONSTRAINT fk_verdict_teacher_id FOREIGN KEY(teacher_id) REFERENCES teacher (teacher_id), 
	CONSTRAINT fk_verdict_run_id FOREIGN KEY(run_id) REFERENCES run (run_id)
);
COMMENT ON TABLE verdict IS 'valid, suspect or rejected, per structure and per label; history is kept';
COMMENT ON COLUMN verdict.structure_id IS 'Structure';
COMMENT ON COLUMN verdict.verdict_id IS 'Key';
COMMENT ON COLUMN verdict.teacher_id IS 'Teacher of the label; NULL for the structure itself, before labelling';
COMMENT ON COLUMN verdict.run_id IS 'Validation run';
COMMENT ON COLUMN verdict.verdict IS 'valid, suspect or rejected';
COMMENT ON COLUMN verdict.rule_version IS 'Version of checks and thresholds';
COMMENT ON COLUMN verdict.is_current IS 'Newest one; older ones are history';
COMMENT ON COLUMN verdict.created_at IS 'When given';
CREATE INDEX ix_verdict_run_id ON verdict (run_id);
CREATE UNIQUE INDEX uq_verdict_current ON verdict (structure_id, teacher_id) NULLS NOT DISTINCT WHERE is_current;
CREATE TABLE snapshot_member (
	structure_id UUID NOT NULL, 
	snapshot_id INTEGER NOT NULL, 
	teacher_id INTEGER NOT NULL, 
	split TEXT NOT NULL, 
	position INTEGER NOT NULL, 
	component_id UUID NOT NULL, 
	label_hash BYTEA NOT NULL, 
	CONSTRAINT pk_snapshot_member PRIMARY KEY (structure_id, snapshot_id, teacher_id), 
	CONSTRAINT fk_snapshot_member_structure_id_teacher_id FOREIGN KEY(structure_id, teacher_id) REFERENCES label (structure_id, teacher_id), 
	CONSTRAINT ck_snapshot_member_split CHECK (split ~ '^[a-z][a-z0-9_]*$'), 
	CONSTRAINT ck_snapshot_member_position CHECK (position >= 0), 
	CONSTRAINT ck_snapshot_member_label_hash CHECK (octet_length(label_hash) = 32), 
	CONSTRAINT fk_snapshot_member_snapshot_id FOREIGN KEY(snapshot_id) REFERENCES snapshot (snapshot_id)
);
COMMENT ON TABLE snapshot_member IS 'Labels in a frozen version, with split and place in the file';
COMMENT ON COLUMN snapshot_member.structure_id IS 'Structure';
COMMENT ON COLUMN snapshot_member.snapshot_id IS 'Snapshot';
COMMENT ON COLUMN snapshot_member.teacher_id IS 'Teacher of the label';
COMMENT ON COLUMN snapshot_member.split IS 'train, val, test, or a further test set';
COMMENT ON COLUMN snapshot_member.position IS 'Index in the split''s file, from 0';
COMMENT ON COLUMN snapshot_member.component_id IS 'Group it was placed with';
COMMENT ON COLUMN snapshot_member.label_hash IS 'SHA-256 of the structure''s id and label';
CREATE INDEX ix_snapshot_member_snapshot_id_split ON snapshot_member (snapshot_id, split, position);
ALTER TABLE structure ALTER COLUMN numbers SET STORAGE EXTERNAL;
ALTER TABLE structure ALTER COLUMN positions SET STORAGE EXTERNAL;
ALTER TABLE structure ALTER COLUMN source_order SET STORAGE EXTERNAL;
ALTER TABLE label ALTER COLUMN forces SET STORAGE EXTERNAL;
ALTER TABLE audit ALTER COLUMN forces SET STORAGE EXTERNAL;
ALTER TABLE sample_task SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE worker SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE label_task SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
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
CREATE FUNCTION refuse_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'table % holds published snapshots and cannot be truncated', TG_TABLE_NAME;
END $$;
COMMENT ON FUNCTION refuse_truncate() IS 'Keeps published snapshots as they are';
CREATE TRIGGER frozen_truncate BEFORE TRUNCATE ON snapshot
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate();
CREATE TRIGGER frozen_truncate BEFORE TRUNCATE ON snapshot_member
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate();
CREATE FUNCTION element_symbols(atomic_numbers smallint[]) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN ARRAY(
    SELECT (string_to_array('H,He,Li,Be,B,C,N,O,F,Ne,Na,Mg,Al,Si,P,S,Cl,Ar,K,Ca,Sc,Ti,V,Cr,Mn,Fe,Co,Ni,Cu,Zn,Ga,Ge,As,Se,Br,Kr,Rb,Sr,Y,Zr,Nb,Mo,Tc,Ru,Rh,Pd,Ag,Cd,In,Sn,Sb,Te,I,Xe,Cs,Ba,La,Ce,Pr,Nd,Pm,Sm,Eu,Gd,Tb,Dy,Ho,Er,Tm,Yb,Lu,Hf,Ta,W,Re,Os,Ir,Pt,Au,Hg,Tl,Pb,Bi,Po,At,Rn,Fr,Ra,Ac,Th,Pa,U,Np,Pu,Am,Cm,Bk,Cf,Es,Fm,Md,No,Lr,Rf,Db,Sg,Bh,Hs,Mt,Ds,Rg,Cn,Nh,Fl,Mc,Lv,Ts,Og', ','))[z] FROM unnest(atomic_numbers) AS z
);
COMMENT ON FUNCTION element_symbols(smallint[]) IS 'Symbols of atomic numbers, same order';
CREATE VIEW structures AS
SELECT s.structure_id, s.formula, element_symbols(s.elements) AS elements,
    cardinality(s.elements) AS n_elements, s.n_atoms, s.n_periodic, s.n_periodic > 0 AS periodic,
    s.charge, s.multiplicity, s.domain, s.tags,
    ARRAY(SELECT DISTINCT o.method FROM origin o WHERE o.structure_id = s.structure_id ORDER BY 1)
        AS methods, v.verdict, s.created_at
FROM structure s
LEFT JOIN verdict v
    ON v.structure_id = s.structure_id AND v.teacher_id IS NULL AND v.is_current;
COMMENT ON VIEW structures IS 'One row per structure';
COMMENT ON COLUMN structures.structure_id IS 'Identity';
COMMENT ON COLUMN structures.formula IS 'Hill formula';
COMMENT ON COLUMN structures.elements IS 'Symbols that occur, by atomic number';
COMMENT ON COLUMN structures.n_elements IS 'Number of different elements';
COMMENT ON COLUMN structures.n_atoms IS 'Number of atoms';
COMMENT ON COLUMN structures.n_periodic IS 'Number of periodic axes, 0-3';
COMMENT ON COLUMN structures.periodic IS 'Periodic in at least one direction';
COMMENT ON COLUMN structures.charge IS 'Total charge, e';
COMMENT ON COLUMN structures.multiplicity IS '2S+1 as stated, or NULL';
COMMENT ON COLUMN structures.domain IS 'organic, biomolecule, inorganic ...';
COMMENT ON COLUMN structures.tags IS 'Marks such as reference';
COMMENT ON COLUMN structures.methods IS 'Methods that it was found by';
COMMENT ON COLUMN structures.verdict IS 'valid, suspect or rejected before labelling; NULL: not checked yet';
COMMENT ON COLUMN structures.created_at IS 'When it was first found';
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
CREATE VIEW origins AS
SELECT structure_id, source, method, source_file, source_index, parent_id, parameters,
    seed, smiles, group_keys, run_id FROM origin;
COMMENT ON VIEW origins IS 'Where structures came from; many rows per structure';
COMMENT ON COLUMN origins.structure_id IS 'Structure';
COMMENT ON COLUMN origins.source IS 'Kind of source';
COMMENT ON COLUMN origins.method IS 'What was done';
COMMENT ON COLUMN origins.source_file IS 'File, or NULL';
COMMENT ON COLUMN origins.source_index IS 'Index in the file';
COMMENT ON COLUMN origins.parent_id IS 'Structure it was made from, or NULL';
COMMENT ON COLUMN origins.parameters IS 'Of the method';
COMMENT ON COLUMN origins.seed IS 'Random seed';
COMMENT ON COLUMN origins.smiles IS 'SMILES, or NULL';
COMMENT ON COLUMN origins.group_keys IS 'Keys that no two splits share';
COMMENT ON COLUMN origins.run_id IS 'Run that found it';
CREATE VIEW findings AS
SELECT f.structure_id, t.name AS teacher, f.check_name, f.severity, f.value,
    f.threshold, f.unit, f.message, f.rule_version, f.run_id
FROM finding f LEFT JOIN teacher t USING (teacher_id);
COMMENT ON VIEW findings IS 'What checks noticed; all runs of validation';
COMMENT ON COLUMN findings.structure_id IS 'Structure';
COMMENT ON COLUMN findings.teacher IS 'Teacher of the label, or NULL if about the structure';
COMMENT ON COLUMN findings.check_name IS 'Check';
COMMENT ON COLUMN findings.severity IS 'info, suspect or reject';
COMMENT ON COLUMN findings.value IS 'Measured, in unit';
COMMENT ON COLUMN findings.threshold IS 'Held against, in unit';
COMMENT ON COLUMN findings.unit IS 'Unit';
COMMENT ON COLUMN findings.message IS 'For people';
COMMENT ON COLUMN findings.rule_version IS 'Version of checks and thresholds';
COMMENT ON COLUMN findings.run_id IS 'Validation run';
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
CREATE VIEW runs AS
SELECT run_id, action, name, status, counts, seed, host, started_at, finished_at,
    error FROM run;
COMMENT ON VIEW runs IS 'Actions with their counts';
COMMENT ON COLUMN runs.run_id IS 'Key';
COMMENT ON COLUMN runs.action IS 'import, sample, label, validate, export or audit';
COMMENT ON COLUMN runs.name IS 'What it was about';
COMMENT ON COLUMN runs.status IS 'running, done, failed or interrupted';
COMMENT ON COLUMN runs.counts IS 'What came of it';
COMMENT ON COLUMN runs.seed IS 'Random seed';
COMMENT ON COLUMN runs.host IS 'Machine';
COMMENT ON COLUMN runs.started_at IS 'Start';
COMMENT ON COLUMN runs.finished_at IS 'End';
COMMENT ON COLUMN runs.error IS 'Why it failed';
CREATE VIEW workers AS
SELECT w.worker_id, w.kind, t.name AS teacher, w.host, w.pid, w.device,
    w.stopped_at IS NULL AND w.heartbeat_at > now() - interval '2 minutes' AS alive,
    w.done, w.failed, w.late,
    w.compute_seconds
        / nullif(extract(epoch FROM coalesce(w.stopped_at, w.heartbeat_at) - w.started_at), 0)
        AS compute_share,
    w.started_at, w.heartbeat_at, w.stopped_at
FROM worker w LEFT JOIN teacher t USING (teacher_id);
COMMENT ON VIEW workers IS 'Processes that label or sample';
COMMENT ON COLUMN workers.worker_id IS 'Key';
COMMENT ON COLUMN workers.kind IS 'label, sample or audit';
COMMENT ON COLUMN workers.teacher IS 'Teacher it runs, or NULL';
COMMENT ON COLUMN workers.host IS 'Machine';
COMMENT ON COLUMN workers.pid IS 'Process id';
COMMENT ON COLUMN workers.device IS 'Device';
COMMENT ON COLUMN workers.alive IS 'Sign of life within two minutes and not stopped';
COMMENT ON COLUMN workers.done IS 'Tasks completed';
COMMENT ON COLUMN workers.failed IS 'Tasks failed';
COMMENT ON COLUMN workers.late IS 'Results refused because the lease was lost';
COMMENT ON COLUMN workers.compute_share IS 'Share of its time spent computing, 0-1';
COMMENT ON COLUMN workers.started_at IS 'Start';
COMMENT ON COLUMN workers.heartbeat_at IS 'Last sign of life';
COMMENT ON COLUMN workers.stopped_at IS 'Clean end';
CREATE VIEW snapshots AS
SELECT p.name, p.version, p.status, p.root_hash, p.condition, p.seed,
    count(*) FILTER (WHERE m.split = 'train') AS train,
    count(*) FILTER (WHERE m.split = 'val') AS val,
    count(*) FILTER (WHERE m.split = 'test') AS test, p.created_at
FROM snapshot p LEFT JOIN snapshot_member m USING (snapshot_id)
GROUP BY p.snapshot_id;
COMMENT ON VIEW snapshots IS 'Exported versions';
COMMENT ON COLUMN snapshots.name IS 'Name';
COMMENT ON COLUMN snapshots.version IS 'Version';
COMMENT ON COLUMN snapshots.status IS 'building or published';
COMMENT ON COLUMN snapshots.root_hash IS 'SHA-256 over members, labels and split';
COMMENT ON COLUMN snapshots.condition IS 'SQL condition it was chosen by, or NULL';
COMMENT ON COLUMN snapshots.seed IS 'Seed of the split';
COMMENT ON COLUMN snapshots.train IS 'Structures in train';
COMMENT ON COLUMN snapshots.val IS 'Structures in val';
COMMENT ON COLUMN snapshots.test IS 'Structures in test';
COMMENT ON COLUMN snapshots.created_at IS 'When frozen';
CREATE VIEW snapshot_entries AS
SELECT p.name, p.version, m.structure_id, m.teacher_id, m.split, m.position,
    m.component_id
FROM snapshot_member m JOIN snapshot p USING (snapshot_id);
COMMENT ON VIEW snapshot_entries IS 'Which label is in which exported version';
COMMENT ON COLUMN snapshot_entries.name IS 'Snapshot';
COMMENT ON COLUMN snapshot_entries.version IS 'Version';
COMMENT ON COLUMN snapshot_entries.structure_id IS 'Structure';
COMMENT ON COLUMN snapshot_entries.teacher_id IS 'Teacher of the label';
COMMENT ON COLUMN snapshot_entries.split IS 'train, val or test';
COMMENT ON COLUMN snapshot_entries.position IS 'Index in the split''s file';
COMMENT ON COLUMN snapshot_entries.component_id IS 'Leakage-free group';
CREATE VIEW composition_by_element AS
SELECT (element_symbols(ARRAY[e.z]))[1] AS element, e.z AS atomic_number,
    sum(f.n)::bigint AS structures, sum(f.n * e.amount)::bigint AS atoms,
    sum(f.n)::double precision / (SELECT count(*) FROM structure) AS share
FROM (SELECT elements, element_counts, count(*) AS n FROM structure
      GROUP BY elements, element_counts) f,
    unnest(f.elements, f.element_counts) AS e(z, amount)
GROUP BY e.z ORDER BY e.z;
COMMENT ON VIEW composition_by_element IS 'In how many structures each element occurs, and how many atoms there are of it';
COMMENT ON COLUMN composition_by_element.element IS 'Symbol';
COMMENT ON COLUMN composition_by_element.atomic_number IS 'Atomic number';
COMMENT ON COLUMN composition_by_element.structures IS 'Structures that contain it';
COMMENT ON COLUMN composition_by_element.atoms IS 'Atoms of it';
COMMENT ON COLUMN composition_by_element.share IS 'Share of all structures that contain it, 0-1';
CREATE VIEW composition_by_formula AS
SELECT formula, min(n_atoms) AS n_atoms, count(*) AS structures
FROM structure GROUP BY formula ORDER BY structures DESC, formula;
COMMENT ON VIEW composition_by_formula IS 'Structures per formula';
COMMENT ON COLUMN composition_by_formula.formula IS 'Hill formula';
COMMENT ON COLUMN composition_by_formula.n_atoms IS 'Number of atoms';
COMMENT ON COLUMN composition_by_formula.structures IS 'How many';
CREATE VIEW composition_by_domain AS
SELECT domain, count(*) AS structures,
    count(*)::double precision / sum(count(*)) OVER () AS share,
    avg((n_periodic > 0)::int)::double precision AS periodic_share,
    min(n_atoms) AS min_atoms, avg(n_atoms)::double precision AS mean_atoms,
    max(n_atoms) AS max_atoms
FROM structure GROUP BY domain ORDER BY structures DESC, domain;
COMMENT ON VIEW composition_by_domain IS 'Structures, sizes and periodic share per domain';
COMMENT ON COLUMN composition_by_domain.domain IS 'Domain';
COMMENT ON COLUMN composition_by_domain.structures IS 'How many';
COMMENT ON COLUMN composition_by_domain.share IS 'Of all structures, 0-1';
COMMENT ON COLUMN composition_by_domain.periodic_share IS 'Periodic ones among them, 0-1';
COMMENT ON COLUMN composition_by_domain.min_atoms IS 'Smallest';
COMMENT ON COLUMN composition_by_domain.mean_atoms IS 'Mean number of atoms';
COMMENT ON COLUMN composition_by_domain.max_atoms IS 'Largest';
CREATE VIEW composition_by_method AS
SELECT source, method, count(DISTINCT structure_id) AS structures
FROM origin GROUP BY source, method ORDER BY structures DESC, source, method;
COMMENT ON VIEW composition_by_method IS 'Structures per source and method; one found twice counts in both';
COMMENT ON COLUMN composition_by_method.source IS 'Kind of source';
COMMENT ON COLUMN composition_by_method.method IS 'Method';
COMMENT ON COLUMN composition_by_method.structures IS 'How many';
CREATE VIEW composition_by_size AS
SELECT n_atoms / 10 * 10 AS from_atoms, n_atoms / 10 * 10 + 9 AS to_atoms,
    count(*) AS structures
FROM structure GROUP BY n_atoms / 10 ORDER BY 1;
COMMENT ON VIEW composition_by_size IS 'Structures per range of ten atoms';
COMMENT ON COLUMN composition_by_size.from_atoms IS 'Fewest atoms of the range';
COMMENT ON COLUMN composition_by_size.to_atoms IS 'Most atoms of the range';
COMMENT ON COLUMN composition_by_size.structures IS 'How many';
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
CREATE VIEW failures AS
SELECT t.name AS teacher, t.teacher_id, k.error_code, count(*) AS tasks,
    min(k.error) AS example,
    (array_agg(k.structure_id ORDER BY k.error, k.structure_id))[1] AS example_id
FROM label_task k JOIN teacher t USING (teacher_id)
WHERE k.status = 'failed'
GROUP BY t.teacher_id, k.error_code ORDER BY tasks DESC, t.name, t.teacher_id, k.error_code;
COMMENT ON VIEW failures IS 'Failed labelling tasks by reason, with an example';
COMMENT ON COLUMN failures.teacher IS 'Name';
COMMENT ON COLUMN failures.teacher_id IS 'Exact teacher';
COMMENT ON COLUMN failures.error_code IS 'Reason';
COMMENT ON COLUMN failures.tasks IS 'How many';
COMMENT ON COLUMN failures.example IS 'One of the messages';
COMMENT ON COLUMN failures.example_id IS 'The structure it is about';
CREATE VIEW quality AS
SELECT t.name AS teacher, v.teacher_id, v.verdict, count(*) AS rows,
    count(*)::double precision / sum(count(*)) OVER (PARTITION BY v.teacher_id) AS share
FROM verdict v LEFT JOIN teacher t ON t.teacher_id = v.teacher_id
WHERE v.is_current
GROUP BY v.teacher_id, t.name, v.verdict
ORDER BY t.name NULLS FIRST, v.teacher_id, v.verdict;
COMMENT ON VIEW quality IS 'Current verdicts on structures and labels, per teacher';
COMMENT ON COLUMN quality.teacher IS 'Name; NULL: verdicts on the structures themselves';
COMMENT ON COLUMN quality.teacher_id IS 'Exact teacher, or NULL';
COMMENT ON COLUMN quality.verdict IS 'valid, suspect or rejected';
COMMENT ON COLUMN quality.rows IS 'How many';
COMMENT ON COLUMN quality.share IS 'Of the teacher''s verdicts, 0-1';
CREATE VIEW findings_by_check AS
SELECT f.check_name, f.severity, t.name AS teacher, f.teacher_id, count(*) AS findings,
    min(f.threshold) AS threshold, min(f.unit) AS unit
FROM finding f
JOIN verdict v ON v.structure_id = f.structure_id AND v.is_current AND v.run_id = f.run_id
    AND v.teacher_id IS NOT DISTINCT FROM f.teacher_id
LEFT JOIN teacher t ON t.teacher_id = f.teacher_id
GROUP BY f.check_name, f.severity, t.name, f.teacher_id ORDER BY findings DESC, f.check_name;
COMMENT ON VIEW findings_by_check IS 'Findings behind the current verdicts, per check';
COMMENT ON COLUMN findings_by_check.check_name IS 'Check';
COMMENT ON COLUMN findings_by_check.severity IS 'info, suspect or reject';
COMMENT ON COLUMN findings_by_check.teacher IS 'Name, or NULL';
COMMENT ON COLUMN findings_by_check.teacher_id IS 'Exact teacher, or NULL';
COMMENT ON COLUMN findings_by_check.findings IS 'How many';
COMMENT ON COLUMN findings_by_check.threshold IS 'Held against (smallest used)';
COMMENT ON COLUMN findings_by_check.unit IS 'Unit';
