CREATE FUNCTION public.element_symbols(atomic_numbers smallint[]) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY(SELECT (string_to_array('H,He,Li,Be,B,C,N,O,F,Ne,Na,Mg,Al,Si,P,S,Cl,Ar,K,Ca,Sc,Ti,V,Cr,Mn,Fe,Co,Ni,Cu,Zn,Ga,Ge,As,Se,Br,Kr,Rb,Sr,Y,Zr,Nb,Mo,Tc,Ru,Rh,Pd,Ag,Cd,In,Sn,Sb,Te,I,Xe,Cs,Ba,La,Ce,Pr,Nd,Pm,Sm,Eu,Gd,Tb,Dy,Ho,Er,Tm,Yb,Lu,Hf,Ta,W,Re,Os,Ir,Pt,Au,Hg,Tl,Pb,Bi,Po,At,Rn,Fr,Ra,Ac,Th,Pa,U,Np,Pu,Am,Cm,Bk,Cf,Es,Fm,Md,No,Lr,Rf,Db,Sg,Bh,Hs,Mt,Ds,Rg,Cn,Nh,Fl,Mc,Lv,Ts,Og'::text, ','::text))[z.z] AS string_to_array FROM unnest(element_symbols.atomic_numbers) z(z));
COMMENT ON FUNCTION public.element_symbols(atomic_numbers smallint[]) IS 'Symbols of atomic numbers, same order';
CREATE FUNCTION public.refuse_change_of_published_members() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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
COMMENT ON FUNCTION public.refuse_change_of_published_members() IS 'Keeps members of published snapshots as they are; once per statement, since exports are large';
CREATE FUNCTION public.refuse_change_of_published_snapshot() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF OLD.status = 'published' THEN
        RAISE EXCEPTION 'snapshot % v% is published and cannot be changed', OLD.name, OLD.version
            USING HINT = 'Export a new version instead.';
    END IF;
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$;
COMMENT ON FUNCTION public.refuse_change_of_published_snapshot() IS 'Keeps published snapshots as they are';
CREATE FUNCTION public.refuse_second_writing() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are written once and never changed', TG_TABLE_NAME;
END $$;
COMMENT ON FUNCTION public.refuse_second_writing() IS 'Keeps structures and labels as they were written';
CREATE FUNCTION public.refuse_truncate() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'table % holds published snapshots and cannot be truncated', TG_TABLE_NAME;
END $$;
COMMENT ON FUNCTION public.refuse_truncate() IS 'Keeps published snapshots as they are';
CREATE TABLE public.audit (
    structure_id uuid NOT NULL,
    teacher_id integer NOT NULL,
    run_id bigint NOT NULL,
    n_atoms integer NOT NULL,
    energy double precision NOT NULL,
    forces bytea,
    stress double precision[],
    energy_difference double precision NOT NULL,
    force_difference double precision NOT NULL,
    within_tolerance boolean NOT NULL,
    worker_id uuid NOT NULL,
    device text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT ck_audit_energy_difference_finite CHECK (((energy_difference > '-Infinity'::double precision) AND (energy_difference < 'Infinity'::double precision))),
    CONSTRAINT ck_audit_energy_finite CHECK (((energy > '-Infinity'::double precision) AND (energy < 'Infinity'::double precision))),
    CONSTRAINT ck_audit_force_difference_finite CHECK (((force_difference > '-Infinity'::double precision) AND (force_difference < 'Infinity'::double precision))),
    CONSTRAINT ck_audit_forces CHECK (((octet_length(forces) = (12 * n_atoms)) OR (octet_length(forces) = (24 * n_atoms)))),
    CONSTRAINT ck_audit_n_atoms CHECK ((n_atoms >= 1)),
    CONSTRAINT ck_audit_stress CHECK (((array_ndims(stress) = 1) AND (cardinality(stress) = 6) AND (array_position(stress, NULL::double precision) IS NULL) AND (array_position(stress, 'NaN'::double precision) IS NULL) AND (array_position(stress, 'Infinity'::double precision) IS NULL) AND (array_position(stress, '-Infinity'::double precision) IS NULL)))
);
ALTER TABLE ONLY public.audit ALTER COLUMN forces SET STORAGE EXTERNAL;
COMMENT ON TABLE public.audit IS 'Labels computed again, to find faults of hardware and libraries';
COMMENT ON COLUMN public.audit.structure_id IS 'Structure';
COMMENT ON COLUMN public.audit.teacher_id IS 'Teacher';
COMMENT ON COLUMN public.audit.run_id IS 'Run of the audit';
COMMENT ON COLUMN public.audit.n_atoms IS 'Number of atoms';
COMMENT ON COLUMN public.audit.energy IS 'Total energy computed again, eV';
COMMENT ON COLUMN public.audit.forces IS 'As label.forces';
COMMENT ON COLUMN public.audit.stress IS 'As label.stress';
COMMENT ON COLUMN public.audit.energy_difference IS 'Again minus label, eV/atom';
COMMENT ON COLUMN public.audit.force_difference IS 'Largest difference of a component, eV/Å';
COMMENT ON COLUMN public.audit.within_tolerance IS 'Whether both are within the teacher''s tolerance';
COMMENT ON COLUMN public.audit.worker_id IS 'Worker that wrote it';
COMMENT ON COLUMN public.audit.device IS 'Device it ran on';
COMMENT ON COLUMN public.audit.created_at IS 'When written, server clock';
CREATE TABLE public.component (
    structure_id uuid NOT NULL,
    component_id uuid NOT NULL,
    run_id bigint NOT NULL
);
COMMENT ON TABLE public.component IS 'Structures tied by parent, molecule, trajectory or near-duplication';
COMMENT ON COLUMN public.component.structure_id IS 'Structure';
COMMENT ON COLUMN public.component.component_id IS 'Smallest structure_id of the group';
COMMENT ON COLUMN public.component.run_id IS 'Run that grouped it';
CREATE TABLE public.structure (
    structure_id uuid NOT NULL,
    run_id bigint NOT NULL,
    n_atoms integer NOT NULL,
    numbers bytea NOT NULL,
    positions bytea NOT NULL,
    cell bytea,
    pbc smallint NOT NULL,
    n_periodic smallint NOT NULL,
    charge smallint NOT NULL,
    multiplicity smallint,
    formula text NOT NULL,
    elements smallint[] NOT NULL,
    element_counts integer[] NOT NULL,
    domain text NOT NULL,
    tags text[] DEFAULT '{}'::text[] NOT NULL,
    source_order bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT ck_structure_cell CHECK ((octet_length(cell) = 72)),
    CONSTRAINT ck_structure_cell_where_periodic CHECK (((cell IS NULL) = (pbc = 0))),
    CONSTRAINT ck_structure_domain CHECK ((domain ~ '^[a-z][a-z0-9_-]*$'::text)),
    CONSTRAINT ck_structure_element_counts CHECK (((cardinality(element_counts) = cardinality(elements)) AND (array_position(element_counts, NULL::integer) IS NULL) AND (0 < ALL (element_counts)))),
    CONSTRAINT ck_structure_elements CHECK (((cardinality(elements) >= 1) AND (array_position(elements, NULL::smallint) IS NULL) AND (1 <= ALL (elements)) AND (118 >= ALL (elements)))),
    CONSTRAINT ck_structure_multiplicity CHECK (((multiplicity IS NULL) OR ((multiplicity >= 1) AND (pbc = 0)))),
    CONSTRAINT ck_structure_n_atoms CHECK (((n_atoms >= 1) AND (n_atoms <= 65535))),
    CONSTRAINT ck_structure_n_periodic CHECK ((n_periodic = ((((pbc)::integer & 1) + (((pbc >> 1))::integer & 1)) + (((pbc >> 2))::integer & 1)))),
    CONSTRAINT ck_structure_numbers CHECK ((octet_length(numbers) = n_atoms)),
    CONSTRAINT ck_structure_pbc CHECK (((pbc >= 0) AND (pbc <= 7))),
    CONSTRAINT ck_structure_positions CHECK ((octet_length(positions) = (24 * n_atoms))),
    CONSTRAINT ck_structure_source_order CHECK ((octet_length(source_order) = (2 * n_atoms)))
);
ALTER TABLE ONLY public.structure ALTER COLUMN numbers SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.structure ALTER COLUMN positions SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.structure ALTER COLUMN source_order SET STORAGE EXTERNAL;
COMMENT ON TABLE public.structure IS 'One arrangement of atoms, canonical order; identity is its content';
COMMENT ON COLUMN public.structure.structure_id IS 'First 16 bytes of SHA-256 over the canonical form (grid of 1e-6 Å)';
COMMENT ON COLUMN public.structure.run_id IS 'Run that first found it';
COMMENT ON COLUMN public.structure.n_atoms IS 'Number of atoms';
COMMENT ON COLUMN public.structure.numbers IS 'Atomic numbers, uint8[n_atoms], canonical order';
COMMENT ON COLUMN public.structure.positions IS 'Positions in Å as they came (not wrapped), float64 LE [n_atoms][3]';
COMMENT ON COLUMN public.structure.cell IS 'Lattice vectors in Å, rows, float64 LE [3][3]; NULL isolated';
COMMENT ON COLUMN public.structure.pbc IS 'Periodic axes as bits: 1 a, 2 b, 4 c';
COMMENT ON COLUMN public.structure.n_periodic IS 'Number of periodic axes, 0-3';
COMMENT ON COLUMN public.structure.charge IS 'Total charge, e';
COMMENT ON COLUMN public.structure.multiplicity IS '2S+1 as stated; NULL if periodic or not stated (even electrons then mean 1, odd ones are rejected by validation)';
COMMENT ON COLUMN public.structure.formula IS 'Hill formula';
COMMENT ON COLUMN public.structure.elements IS 'Atomic numbers that occur, ascending';
COMMENT ON COLUMN public.structure.element_counts IS 'Atoms of each of elements';
COMMENT ON COLUMN public.structure.domain IS 'organic, biomolecule, inorganic ...; as its first origin said';
COMMENT ON COLUMN public.structure.tags IS 'Marks such as reference (isolated atoms, dimers); of its first origin';
COMMENT ON COLUMN public.structure.source_order IS 'Index in the source of each canonical atom, uint16 LE [n_atoms]';
COMMENT ON COLUMN public.structure.created_at IS 'When it was first found';
CREATE VIEW public.composition_by_domain AS
 SELECT domain,
    count(*) AS structures,
    ((count(*))::double precision / (sum(count(*)) OVER ())::double precision) AS share,
    (avg(((n_periodic > 0))::integer))::double precision AS periodic_share,
    min(n_atoms) AS min_atoms,
    (avg(n_atoms))::double precision AS mean_atoms,
    max(n_atoms) AS max_atoms
   FROM public.structure
  GROUP BY domain
  ORDER BY (count(*)) DESC, domain;
COMMENT ON VIEW public.composition_by_domain IS 'Structures, sizes and periodic share per domain';
COMMENT ON COLUMN public.composition_by_domain.domain IS 'Domain';
COMMENT ON COLUMN public.composition_by_domain.structures IS 'How many';
COMMENT ON COLUMN public.composition_by_domain.share IS 'Of all structures, 0-1';
COMMENT ON COLUMN public.composition_by_domain.periodic_share IS 'Periodic ones among them, 0-1';
COMMENT ON COLUMN public.composition_by_domain.min_atoms IS 'Smallest';
COMMENT ON COLUMN public.composition_by_domain.mean_atoms IS 'Mean number of atoms';
COMMENT ON COLUMN public.composition_by_domain.max_atoms IS 'Largest';
CREATE VIEW public.composition_by_element AS
 SELECT (public.element_symbols(ARRAY[e.z]))[1] AS element,
    e.z AS atomic_number,
    (sum(f.n))::bigint AS structures,
    (sum((f.n * e.amount)))::bigint AS atoms,
    ((sum(f.n))::double precision / (( SELECT count(*) AS count
           FROM public.structure))::double precision) AS share
   FROM ( SELECT structure.elements,
            structure.element_counts,
            count(*) AS n
           FROM public.structure
          GROUP BY structure.elements, structure.element_counts) f,
    LATERAL UNNEST(f.elements, f.element_counts) e(z, amount)
  GROUP BY e.z
  ORDER BY e.z;
COMMENT ON VIEW public.composition_by_element IS 'In how many structures each element occurs, and how many atoms there are of it';
COMMENT ON COLUMN public.composition_by_element.element IS 'Symbol';
COMMENT ON COLUMN public.composition_by_element.atomic_number IS 'Atomic number';
COMMENT ON COLUMN public.composition_by_element.structures IS 'Structures that contain it';
COMMENT ON COLUMN public.composition_by_element.atoms IS 'Atoms of it';
COMMENT ON COLUMN public.composition_by_element.share IS 'Share of all structures that contain it, 0-1';
CREATE VIEW public.composition_by_formula AS
 SELECT formula,
    min(n_atoms) AS n_atoms,
    count(*) AS structures
   FROM public.structure
  GROUP BY formula
  ORDER BY (count(*)) DESC, formula;
COMMENT ON VIEW public.composition_by_formula IS 'Structures per formula';
COMMENT ON COLUMN public.composition_by_formula.formula IS 'Hill formula';
COMMENT ON COLUMN public.composition_by_formula.n_atoms IS 'Number of atoms';
COMMENT ON COLUMN public.composition_by_formula.structures IS 'How many';
CREATE TABLE public.origin (
    structure_id uuid NOT NULL,
    origin_id uuid NOT NULL,
    run_id bigint NOT NULL,
    source text NOT NULL,
    method text NOT NULL,
    source_file text,
    source_index bigint,
    parent_id uuid,
    parameters jsonb DEFAULT '{}'::jsonb NOT NULL,
    seed bigint,
    smiles text,
    group_keys text[] DEFAULT '{}'::text[] NOT NULL,
    domain text NOT NULL,
    tags text[] DEFAULT '{}'::text[] NOT NULL,
    source_order bytea,
    CONSTRAINT ck_origin_domain CHECK ((domain ~ '^[a-z][a-z0-9_-]*$'::text)),
    CONSTRAINT ck_origin_source_order CHECK ((mod(octet_length(source_order), 2) = 0))
);
COMMENT ON TABLE public.origin IS 'Where a structure came from; found twice means two origins';
COMMENT ON COLUMN public.origin.structure_id IS 'Structure';
COMMENT ON COLUMN public.origin.origin_id IS 'Hash of the other columns'' content';
COMMENT ON COLUMN public.origin.run_id IS 'Run that found it';
COMMENT ON COLUMN public.origin.source IS 'Kind of source: file, smiles, prototypes, g2 ...';
COMMENT ON COLUMN public.origin.method IS 'What was done: import, etkdg, normal_modes, md, rattle ...';
COMMENT ON COLUMN public.origin.source_file IS 'File as the user named it';
COMMENT ON COLUMN public.origin.source_index IS 'Index in the file, from 0';
COMMENT ON COLUMN public.origin.parent_id IS 'Structure it was made from (no foreign key, so that rows can be distributed)';
COMMENT ON COLUMN public.origin.parameters IS 'Of the method';
COMMENT ON COLUMN public.origin.seed IS 'Random seed';
COMMENT ON COLUMN public.origin.smiles IS 'SMILES, its atoms mapped to this origin''s order';
COMMENT ON COLUMN public.origin.group_keys IS 'Keys that must not be shared by two splits (inchikey:, sequence:, trajectory:)';
COMMENT ON COLUMN public.origin.domain IS 'Domain that this origin gave it';
COMMENT ON COLUMN public.origin.tags IS 'Tags that this origin gave it';
COMMENT ON COLUMN public.origin.source_order IS 'As structure.source_order, of this origin; NULL for the first origin, whose order structure holds';
CREATE VIEW public.composition_by_method AS
 SELECT source,
    method,
    count(DISTINCT structure_id) AS structures
   FROM public.origin
  GROUP BY source, method
  ORDER BY (count(DISTINCT structure_id)) DESC, source, method;
COMMENT ON VIEW public.composition_by_method IS 'Structures per source and method; one found twice counts in both';
COMMENT ON COLUMN public.composition_by_method.source IS 'Kind of source';
COMMENT ON COLUMN public.composition_by_method.method IS 'Method';
COMMENT ON COLUMN public.composition_by_method.structures IS 'How many';
CREATE VIEW public.composition_by_size AS
 SELECT ((n_atoms / 10) * 10) AS from_atoms,
    (((n_atoms / 10) * 10) + 9) AS to_atoms,
    count(*) AS structures
   FROM public.structure
  GROUP BY (n_atoms / 10)
  ORDER BY ((n_atoms / 10) * 10);
COMMENT ON VIEW public.composition_by_size IS 'Structures per range of ten atoms';
COMMENT ON COLUMN public.composition_by_size.from_atoms IS 'Fewest atoms of the range';
COMMENT ON COLUMN public.composition_by_size.to_atoms IS 'Most atoms of the range';
COMMENT ON COLUMN public.composition_by_size.structures IS 'How many';
CREATE TABLE public.label (
    structure_id uuid NOT NULL,
    teacher_id integer NOT NULL,
    run_id bigint,
    n_atoms integer NOT NULL,
    energy double precision NOT NULL,
    energy_per_atom double precision GENERATED ALWAYS AS ((energy / (n_atoms)::double precision)) STORED,
    forces bytea,
    stress double precision[],
    force_max real,
    energy_spread real,
    forces_spread real,
    charge smallint NOT NULL,
    multiplicity smallint,
    batch_size integer NOT NULL,
    wall_seconds real NOT NULL,
    worker_id uuid NOT NULL,
    device text NOT NULL,
    details jsonb,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT ck_label_batch_size CHECK ((batch_size >= 1)),
    CONSTRAINT ck_label_energy_finite CHECK (((energy > '-Infinity'::double precision) AND (energy < 'Infinity'::double precision))),
    CONSTRAINT ck_label_energy_spread CHECK (((energy_spread >= (0)::double precision) AND (energy_spread < 'Infinity'::real))),
    CONSTRAINT ck_label_force_max CHECK (((force_max >= (0)::double precision) AND (force_max < 'Infinity'::real))),
    CONSTRAINT ck_label_forces CHECK (((octet_length(forces) = (12 * n_atoms)) OR (octet_length(forces) = (24 * n_atoms)))),
    CONSTRAINT ck_label_forces_spread CHECK (((forces_spread >= (0)::double precision) AND (forces_spread < 'Infinity'::real))),
    CONSTRAINT ck_label_n_atoms CHECK ((n_atoms >= 1)),
    CONSTRAINT ck_label_stress CHECK (((array_ndims(stress) = 1) AND (cardinality(stress) = 6) AND (array_position(stress, NULL::double precision) IS NULL) AND (array_position(stress, 'NaN'::double precision) IS NULL) AND (array_position(stress, 'Infinity'::double precision) IS NULL) AND (array_position(stress, '-Infinity'::double precision) IS NULL))),
    CONSTRAINT ck_label_wall_seconds CHECK (((wall_seconds >= (0)::double precision) AND (wall_seconds < 'Infinity'::real)))
);
ALTER TABLE ONLY public.label ALTER COLUMN forces SET STORAGE EXTERNAL;
COMMENT ON TABLE public.label IS 'Energy, forces and stress of a structure by a teacher; append-only';
COMMENT ON COLUMN public.label.structure_id IS 'Structure';
COMMENT ON COLUMN public.label.teacher_id IS 'Teacher';
COMMENT ON COLUMN public.label.run_id IS 'Labelling run';
COMMENT ON COLUMN public.label.n_atoms IS 'Number of atoms, as of the structure';
COMMENT ON COLUMN public.label.energy IS 'Total energy, eV';
COMMENT ON COLUMN public.label.energy_per_atom IS 'energy / n_atoms, eV';
COMMENT ON COLUMN public.label.forces IS 'Forces in eV/Å, LE [n_atoms][3], canonical order; float32, or float64 where the teacher computes so (12 or 24 bytes per atom)';
COMMENT ON COLUMN public.label.stress IS 'Stress in eV/Å³, tensile positive, Voigt xx yy zz yz xz xy; NULL unless periodic in three dimensions';
COMMENT ON COLUMN public.label.force_max IS 'Largest norm of a force, eV/Å';
COMMENT ON COLUMN public.label.energy_spread IS 'Spread over an ensemble, eV';
COMMENT ON COLUMN public.label.forces_spread IS 'Largest spread of a component, eV/Å';
COMMENT ON COLUMN public.label.charge IS 'Charge that was used, e';
COMMENT ON COLUMN public.label.multiplicity IS 'Multiplicity that was used, or NULL';
COMMENT ON COLUMN public.label.batch_size IS 'Structures computed together';
COMMENT ON COLUMN public.label.wall_seconds IS 'This structure''s share of the batch''s wall time, s';
COMMENT ON COLUMN public.label.worker_id IS 'Worker that wrote it';
COMMENT ON COLUMN public.label.device IS 'Device it ran on, such as cpu or cuda:0';
COMMENT ON COLUMN public.label.details IS 'Small facts from the teacher';
COMMENT ON COLUMN public.label.created_at IS 'When written, server clock';
CREATE TABLE public.teacher (
    teacher_id integer NOT NULL,
    name text NOT NULL,
    fingerprint text NOT NULL,
    versions jsonb NOT NULL,
    weights_sha256 text,
    "precision" text NOT NULL,
    settings jsonb NOT NULL,
    untrained boolean NOT NULL,
    conservative boolean NOT NULL,
    licence text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT ck_teacher_fingerprint CHECK ((fingerprint ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT ck_teacher_weights_sha256 CHECK ((weights_sha256 ~ '^[0-9a-f]{64}$'::text))
);
COMMENT ON TABLE public.teacher IS 'One exact way to compute labels; another version is another row';
COMMENT ON COLUMN public.teacher.teacher_id IS 'Key';
COMMENT ON COLUMN public.teacher.name IS 'Name on the command line, such as gfn2-xtb';
COMMENT ON COLUMN public.teacher.fingerprint IS 'SHA-256 (hex) over the columns below';
COMMENT ON COLUMN public.teacher.versions IS 'Package -> version, backends included';
COMMENT ON COLUMN public.teacher.weights_sha256 IS 'SHA-256 (hex) of the weights; or NULL';
COMMENT ON COLUMN public.teacher."precision" IS 'Arithmetic, such as float64 or float32-highest';
COMMENT ON COLUMN public.teacher.settings IS 'Everything else that decides the numbers';
COMMENT ON COLUMN public.teacher.untrained IS 'Random weights: its labels are never exported';
COMMENT ON COLUMN public.teacher.conservative IS 'Forces are the negative gradient of the energy';
COMMENT ON COLUMN public.teacher.licence IS 'Licence of weights or method';
COMMENT ON COLUMN public.teacher.created_at IS 'When first used here';
CREATE TABLE public.verdict (
    structure_id uuid NOT NULL,
    verdict_id bigint NOT NULL,
    teacher_id integer,
    run_id bigint NOT NULL,
    verdict text NOT NULL,
    rule_version text NOT NULL,
    is_current boolean DEFAULT true NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT ck_verdict_verdict CHECK ((verdict = ANY (ARRAY['valid'::text, 'suspect'::text, 'rejected'::text])))
);
COMMENT ON TABLE public.verdict IS 'valid, suspect or rejected, per structure and per label; history is kept';
COMMENT ON COLUMN public.verdict.structure_id IS 'Structure';
COMMENT ON COLUMN public.verdict.verdict_id IS 'Key';
COMMENT ON COLUMN public.verdict.teacher_id IS 'Teacher of the label; NULL for the structure itself, before labelling';
COMMENT ON COLUMN public.verdict.run_id IS 'Validation run';
COMMENT ON COLUMN public.verdict.verdict IS 'valid, suspect or rejected';
COMMENT ON COLUMN public.verdict.rule_version IS 'Version of checks and thresholds';
COMMENT ON COLUMN public.verdict.is_current IS 'Newest one; older ones are history';
COMMENT ON COLUMN public.verdict.created_at IS 'When given';
CREATE VIEW public.dataset AS
 SELECT s.structure_id,
    s.formula,
    public.element_symbols(s.elements) AS elements,
    cardinality(s.elements) AS n_elements,
    s.n_atoms,
    s.n_periodic,
    (s.n_periodic > 0) AS periodic,
    s.charge,
    s.multiplicity,
    s.domain,
    s.tags,
    ARRAY( SELECT DISTINCT o.method
           FROM public.origin o
          WHERE (o.structure_id = s.structure_id)
          ORDER BY o.method) AS methods,
    sv.verdict AS structure_verdict,
    t.name AS teacher,
    l.teacher_id,
    l.energy,
    l.energy_per_atom,
    l.force_max,
    l.stress,
    lv.verdict AS label_verdict,
    t.untrained,
    l.device,
    l.wall_seconds,
    l.created_at AS labelled_at
   FROM ((((public.label l
     JOIN public.structure s USING (structure_id))
     JOIN public.teacher t USING (teacher_id))
     LEFT JOIN public.verdict sv ON (((sv.structure_id = l.structure_id) AND (sv.teacher_id IS NULL) AND sv.is_current)))
     LEFT JOIN public.verdict lv ON (((lv.structure_id = l.structure_id) AND (lv.teacher_id = l.teacher_id) AND lv.is_current)));
COMMENT ON VIEW public.dataset IS 'One row per label, with its structure: what `export --where` chooses from';
COMMENT ON COLUMN public.dataset.structure_id IS 'Identity';
COMMENT ON COLUMN public.dataset.formula IS 'Hill formula';
COMMENT ON COLUMN public.dataset.elements IS 'Symbols that occur, by atomic number';
COMMENT ON COLUMN public.dataset.n_elements IS 'Number of different elements';
COMMENT ON COLUMN public.dataset.n_atoms IS 'Number of atoms';
COMMENT ON COLUMN public.dataset.n_periodic IS 'Number of periodic axes, 0-3';
COMMENT ON COLUMN public.dataset.periodic IS 'Periodic in at least one direction';
COMMENT ON COLUMN public.dataset.charge IS 'Total charge, e';
COMMENT ON COLUMN public.dataset.multiplicity IS '2S+1 as stated, or NULL';
COMMENT ON COLUMN public.dataset.domain IS 'organic, biomolecule, inorganic ...';
COMMENT ON COLUMN public.dataset.tags IS 'Marks such as reference';
COMMENT ON COLUMN public.dataset.methods IS 'Methods that it was found by';
COMMENT ON COLUMN public.dataset.structure_verdict IS 'Verdict on the structure; NULL: not checked yet';
COMMENT ON COLUMN public.dataset.teacher IS 'Name of the teacher';
COMMENT ON COLUMN public.dataset.teacher_id IS 'Exact teacher (version, weights, settings)';
COMMENT ON COLUMN public.dataset.energy IS 'Total energy, eV';
COMMENT ON COLUMN public.dataset.energy_per_atom IS 'Total energy per atom, eV';
COMMENT ON COLUMN public.dataset.force_max IS 'Largest norm of a force, eV/Å';
COMMENT ON COLUMN public.dataset.stress IS 'Voigt xx yy zz yz xz xy, eV/Å³, tensile positive; or NULL';
COMMENT ON COLUMN public.dataset.label_verdict IS 'Verdict on the label; NULL: not checked yet';
COMMENT ON COLUMN public.dataset.untrained IS 'Label of random weights';
COMMENT ON COLUMN public.dataset.device IS 'Device it was computed on';
COMMENT ON COLUMN public.dataset.wall_seconds IS 'Time it took, s';
COMMENT ON COLUMN public.dataset.labelled_at IS 'When the label was written';
CREATE VIEW public.failures AS
SELECT
    NULL::text AS teacher,
    NULL::integer AS teacher_id,
    NULL::text AS error_code,
    NULL::bigint AS tasks,
    NULL::text AS example,
    NULL::uuid AS example_id;
COMMENT ON VIEW public.failures IS 'Failed labelling tasks by reason, with an example';
COMMENT ON COLUMN public.failures.teacher IS 'Name';
COMMENT ON COLUMN public.failures.teacher_id IS 'Exact teacher';
COMMENT ON COLUMN public.failures.error_code IS 'Reason';
COMMENT ON COLUMN public.failures.tasks IS 'How many';
COMMENT ON COLUMN public.failures.example IS 'One of the messages';
COMMENT ON COLUMN public.failures.example_id IS 'The structure it is about';
CREATE TABLE public.finding (
    structure_id uuid NOT NULL,
    finding_id bigint NOT NULL,
    teacher_id integer,
    run_id bigint NOT NULL,
    check_name text NOT NULL,
    rule_version text NOT NULL,
    severity text NOT NULL,
    value double precision,
    threshold double precision,
    unit text NOT NULL,
    message text NOT NULL,
    atoms integer[],
    CONSTRAINT ck_finding_message CHECK ((length(message) <= 1000)),
    CONSTRAINT ck_finding_severity CHECK ((severity = ANY (ARRAY['info'::text, 'suspect'::text, 'reject'::text])))
);
COMMENT ON TABLE public.finding IS 'What a check noticed, with value and threshold; history is kept';
COMMENT ON COLUMN public.finding.structure_id IS 'Structure';
COMMENT ON COLUMN public.finding.finding_id IS 'Key';
COMMENT ON COLUMN public.finding.teacher_id IS 'Teacher of the label it is about; NULL if about the structure itself';
COMMENT ON COLUMN public.finding.run_id IS 'Validation run';
COMMENT ON COLUMN public.finding.check_name IS 'Name of the check';
COMMENT ON COLUMN public.finding.rule_version IS 'Version of checks and thresholds';
COMMENT ON COLUMN public.finding.severity IS 'info, suspect or reject';
COMMENT ON COLUMN public.finding.value IS 'What was measured, in unit';
COMMENT ON COLUMN public.finding.threshold IS 'What it was held against, in unit';
COMMENT ON COLUMN public.finding.unit IS 'Unit of value and threshold';
COMMENT ON COLUMN public.finding.message IS 'For people';
COMMENT ON COLUMN public.finding.atoms IS 'Atoms concerned, canonical order';
ALTER TABLE public.finding ALTER COLUMN finding_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.finding_finding_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE VIEW public.findings AS
 SELECT f.structure_id,
    t.name AS teacher,
    f.check_name,
    f.severity,
    f.value,
    f.threshold,
    f.unit,
    f.message,
    f.rule_version,
    f.run_id
   FROM (public.finding f
     LEFT JOIN public.teacher t USING (teacher_id));
COMMENT ON VIEW public.findings IS 'What checks noticed; all runs of validation';
COMMENT ON COLUMN public.findings.structure_id IS 'Structure';
COMMENT ON COLUMN public.findings.teacher IS 'Teacher of the label, or NULL if about the structure';
COMMENT ON COLUMN public.findings.check_name IS 'Check';
COMMENT ON COLUMN public.findings.severity IS 'info, suspect or reject';
COMMENT ON COLUMN public.findings.value IS 'Measured, in unit';
COMMENT ON COLUMN public.findings.threshold IS 'Held against, in unit';
COMMENT ON COLUMN public.findings.unit IS 'Unit';
COMMENT ON COLUMN public.findings.message IS 'For people';
COMMENT ON COLUMN public.findings.rule_version IS 'Version of checks and thresholds';
COMMENT ON COLUMN public.findings.run_id IS 'Validation run';
CREATE VIEW public.findings_by_check AS
 SELECT f.check_name,
    f.severity,
    t.name AS teacher,
    f.teacher_id,
    count(*) AS findings,
    min(f.threshold) AS threshold,
    min(f.unit) AS unit
   FROM ((public.finding f
     JOIN public.verdict v ON (((v.structure_id = f.structure_id) AND v.is_current AND (v.run_id = f.run_id) AND (NOT (v.teacher_id IS DISTINCT FROM f.teacher_id)))))
     LEFT JOIN public.teacher t ON ((t.teacher_id = f.teacher_id)))
  GROUP BY f.check_name, f.severity, t.name, f.teacher_id
  ORDER BY (count(*)) DESC, f.check_name;
COMMENT ON VIEW public.findings_by_check IS 'Findings behind the current verdicts, per check';
COMMENT ON COLUMN public.findings_by_check.check_name IS 'Check';
COMMENT ON COLUMN public.findings_by_check.severity IS 'info, suspect or reject';
COMMENT ON COLUMN public.findings_by_check.teacher IS 'Name, or NULL';
COMMENT ON COLUMN public.findings_by_check.teacher_id IS 'Exact teacher, or NULL';
COMMENT ON COLUMN public.findings_by_check.findings IS 'How many';
COMMENT ON COLUMN public.findings_by_check.threshold IS 'Held against (smallest used)';
COMMENT ON COLUMN public.findings_by_check.unit IS 'Unit';
CREATE TABLE public.label_task (
    teacher_id integer NOT NULL,
    structure_id uuid NOT NULL,
    status text DEFAULT 'pending'::text NOT NULL,
    priority smallint DEFAULT 0 NOT NULL,
    cost real NOT NULL,
    attempts smallint DEFAULT 0 NOT NULL,
    not_before timestamp with time zone DEFAULT now() NOT NULL,
    lease_expires_at timestamp with time zone,
    error_code text,
    error text,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    worker_id uuid,
    CONSTRAINT ck_label_task_attempts CHECK ((attempts >= 0)),
    CONSTRAINT ck_label_task_cost CHECK (((cost >= (0)::double precision) AND (cost < 'Infinity'::real))),
    CONSTRAINT ck_label_task_error CHECK ((length(error) <= 1000)),
    CONSTRAINT ck_label_task_lease CHECK (((status = 'running'::text) = (lease_expires_at IS NOT NULL))),
    CONSTRAINT ck_label_task_status CHECK ((status = ANY (ARRAY['pending'::text, 'running'::text, 'done'::text, 'failed'::text, 'cancelled'::text]))),
    CONSTRAINT ck_label_task_worker CHECK (((status <> 'running'::text) OR (worker_id IS NOT NULL)))
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.01', autovacuum_vacuum_cost_delay='0');
COMMENT ON TABLE public.label_task IS 'Structures to be labelled; claimed under FOR UPDATE SKIP LOCKED';
COMMENT ON COLUMN public.label_task.teacher_id IS 'Teacher';
COMMENT ON COLUMN public.label_task.structure_id IS 'Structure';
COMMENT ON COLUMN public.label_task.status IS 'pending, running (leased), done, failed (final, see error) or cancelled';
COMMENT ON COLUMN public.label_task.priority IS 'Smaller is claimed first: 32 × the user''s priority (0 unless said) + a band 0-31 that mixes sizes';
COMMENT ON COLUMN public.label_task.cost IS 'Expected cost, in the unit of the teacher (atoms, edges)';
COMMENT ON COLUMN public.label_task.attempts IS 'Counted when claimed, so crashes count';
COMMENT ON COLUMN public.label_task.not_before IS 'Not claimable before (retry with backoff)';
COMMENT ON COLUMN public.label_task.lease_expires_at IS 'Claimable again after; renewed by heartbeat';
COMMENT ON COLUMN public.label_task.error_code IS 'Short reason of the last failure';
COMMENT ON COLUMN public.label_task.error IS 'Message of the last failure';
COMMENT ON COLUMN public.label_task.updated_at IS 'Last change of status, server clock';
COMMENT ON COLUMN public.label_task.worker_id IS 'Worker of the last claim; with attempts, the token that fences late writers';
CREATE VIEW public.origins AS
 SELECT structure_id,
    source,
    method,
    source_file,
    source_index,
    parent_id,
    parameters,
    seed,
    smiles,
    group_keys,
    run_id
   FROM public.origin;
COMMENT ON VIEW public.origins IS 'Where structures came from; many rows per structure';
COMMENT ON COLUMN public.origins.structure_id IS 'Structure';
COMMENT ON COLUMN public.origins.source IS 'Kind of source';
COMMENT ON COLUMN public.origins.method IS 'What was done';
COMMENT ON COLUMN public.origins.source_file IS 'File, or NULL';
COMMENT ON COLUMN public.origins.source_index IS 'Index in the file';
COMMENT ON COLUMN public.origins.parent_id IS 'Structure it was made from, or NULL';
COMMENT ON COLUMN public.origins.parameters IS 'Of the method';
COMMENT ON COLUMN public.origins.seed IS 'Random seed';
COMMENT ON COLUMN public.origins.smiles IS 'SMILES, or NULL';
COMMENT ON COLUMN public.origins.group_keys IS 'Keys that no two splits share';
COMMENT ON COLUMN public.origins.run_id IS 'Run that found it';
CREATE VIEW public.progress AS
SELECT
    NULL::text AS teacher,
    NULL::integer AS teacher_id,
    NULL::bigint AS pending,
    NULL::bigint AS running,
    NULL::bigint AS done,
    NULL::bigint AS failed,
    NULL::bigint AS cancelled,
    NULL::double precision AS remaining_cost,
    NULL::bigint AS labels_last_minute;
COMMENT ON VIEW public.progress IS 'Labelling per teacher';
COMMENT ON COLUMN public.progress.teacher IS 'Name';
COMMENT ON COLUMN public.progress.teacher_id IS 'Exact teacher';
COMMENT ON COLUMN public.progress.pending IS 'Waiting';
COMMENT ON COLUMN public.progress.running IS 'Leased to a worker';
COMMENT ON COLUMN public.progress.done IS 'Labelled';
COMMENT ON COLUMN public.progress.failed IS 'Failed for good';
COMMENT ON COLUMN public.progress.cancelled IS 'Cancelled (rejected before labelling, or by a user)';
COMMENT ON COLUMN public.progress.remaining_cost IS 'Cost of pending and running tasks';
COMMENT ON COLUMN public.progress.labels_last_minute IS 'Labels written in the last minute';
CREATE VIEW public.quality AS
 SELECT t.name AS teacher,
    v.teacher_id,
    v.verdict,
    count(*) AS rows,
    ((count(*))::double precision / (sum(count(*)) OVER (PARTITION BY v.teacher_id))::double precision) AS share
   FROM (public.verdict v
     LEFT JOIN public.teacher t ON ((t.teacher_id = v.teacher_id)))
  WHERE v.is_current
  GROUP BY v.teacher_id, t.name, v.verdict
  ORDER BY t.name NULLS FIRST, v.teacher_id, v.verdict;
COMMENT ON VIEW public.quality IS 'Current verdicts on structures and labels, per teacher';
COMMENT ON COLUMN public.quality.teacher IS 'Name; NULL: verdicts on the structures themselves';
COMMENT ON COLUMN public.quality.teacher_id IS 'Exact teacher, or NULL';
COMMENT ON COLUMN public.quality.verdict IS 'valid, suspect or rejected';
COMMENT ON COLUMN public.quality.rows IS 'How many';
COMMENT ON COLUMN public.quality.share IS 'Of the teacher''s verdicts, 0-1';
CREATE TABLE public.run (
    run_id bigint NOT NULL,
    action text NOT NULL,
    name text,
    status text DEFAULT 'running'::text NOT NULL,
    config jsonb DEFAULT '{}'::jsonb NOT NULL,
    config_hash text NOT NULL,
    seed bigint,
    versions jsonb NOT NULL,
    host text NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    finished_at timestamp with time zone,
    counts jsonb DEFAULT '{}'::jsonb NOT NULL,
    error text,
    CONSTRAINT ck_run_action CHECK ((action = ANY (ARRAY['import'::text, 'sample'::text, 'label'::text, 'validate'::text, 'export'::text, 'audit'::text]))),
    CONSTRAINT ck_run_status CHECK ((status = ANY (ARRAY['running'::text, 'done'::text, 'failed'::text, 'interrupted'::text])))
);
COMMENT ON TABLE public.run IS 'One action of a user: its configuration, versions, host, times and counts';
COMMENT ON COLUMN public.run.run_id IS 'Key';
COMMENT ON COLUMN public.run.action IS 'import, sample, label, validate, export or audit';
COMMENT ON COLUMN public.run.name IS 'Plan, file, teacher or snapshot it was about';
COMMENT ON COLUMN public.run.status IS 'running, done, failed or interrupted';
COMMENT ON COLUMN public.run.config IS 'All that was asked for';
COMMENT ON COLUMN public.run.config_hash IS 'SHA-256 (hex) of config';
COMMENT ON COLUMN public.run.seed IS 'Random seed, where one was used';
COMMENT ON COLUMN public.run.versions IS 'Package -> version';
COMMENT ON COLUMN public.run.host IS 'Machine it ran on';
COMMENT ON COLUMN public.run.started_at IS 'Start, server clock';
COMMENT ON COLUMN public.run.finished_at IS 'End, server clock; NULL while running';
COMMENT ON COLUMN public.run.counts IS 'What came of it, by name';
COMMENT ON COLUMN public.run.error IS 'Why it failed';
ALTER TABLE public.run ALTER COLUMN run_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.run_run_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE VIEW public.runs AS
 SELECT run_id,
    action,
    name,
    status,
    counts,
    seed,
    host,
    started_at,
    finished_at,
    error
   FROM public.run;
COMMENT ON VIEW public.runs IS 'Actions with their counts';
COMMENT ON COLUMN public.runs.run_id IS 'Key';
COMMENT ON COLUMN public.runs.action IS 'import, sample, label, validate, export or audit';
COMMENT ON COLUMN public.runs.name IS 'What it was about';
COMMENT ON COLUMN public.runs.status IS 'running, done, failed or interrupted';
COMMENT ON COLUMN public.runs.counts IS 'What came of it';
COMMENT ON COLUMN public.runs.seed IS 'Random seed';
COMMENT ON COLUMN public.runs.host IS 'Machine';
COMMENT ON COLUMN public.runs.started_at IS 'Start';
COMMENT ON COLUMN public.runs.finished_at IS 'End';
COMMENT ON COLUMN public.runs.error IS 'Why it failed';
CREATE TABLE public.sample_task (
    plan_digest text NOT NULL,
    task_index integer NOT NULL,
    run_id bigint NOT NULL,
    payload jsonb NOT NULL,
    inserted integer,
    existing integer,
    rejected jsonb,
    status text DEFAULT 'pending'::text NOT NULL,
    priority smallint DEFAULT 0 NOT NULL,
    cost real NOT NULL,
    attempts smallint DEFAULT 0 NOT NULL,
    not_before timestamp with time zone DEFAULT now() NOT NULL,
    lease_expires_at timestamp with time zone,
    error_code text,
    error text,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    worker_id uuid,
    CONSTRAINT ck_sample_task_attempts CHECK ((attempts >= 0)),
    CONSTRAINT ck_sample_task_cost CHECK (((cost >= (0)::double precision) AND (cost < 'Infinity'::real))),
    CONSTRAINT ck_sample_task_error CHECK ((length(error) <= 1000)),
    CONSTRAINT ck_sample_task_lease CHECK (((status = 'running'::text) = (lease_expires_at IS NOT NULL))),
    CONSTRAINT ck_sample_task_status CHECK ((status = ANY (ARRAY['pending'::text, 'running'::text, 'done'::text, 'failed'::text, 'cancelled'::text]))),
    CONSTRAINT ck_sample_task_task_index CHECK ((task_index >= 0)),
    CONSTRAINT ck_sample_task_worker CHECK (((status <> 'running'::text) OR (worker_id IS NOT NULL)))
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.01', autovacuum_vacuum_cost_delay='0');
COMMENT ON TABLE public.sample_task IS 'Items of a plan, to be made into structures; same queue as label_task';
COMMENT ON COLUMN public.sample_task.plan_digest IS 'SHA-256 (hex) of the plan''s meaning';
COMMENT ON COLUMN public.sample_task.task_index IS 'Place in the plan, from 0';
COMMENT ON COLUMN public.sample_task.run_id IS 'Run that enqueued it';
COMMENT ON COLUMN public.sample_task.payload IS 'Block and item of the plan';
COMMENT ON COLUMN public.sample_task.inserted IS 'New structures that came of it';
COMMENT ON COLUMN public.sample_task.existing IS 'Structures that were already there';
COMMENT ON COLUMN public.sample_task.rejected IS 'Reason -> how many were rejected';
COMMENT ON COLUMN public.sample_task.status IS 'pending, running (leased), done, failed (final, see error) or cancelled';
COMMENT ON COLUMN public.sample_task.priority IS 'Smaller is claimed first: 32 × the user''s priority (0 unless said) + a band 0-31 that mixes sizes';
COMMENT ON COLUMN public.sample_task.cost IS 'Expected cost, in the unit of the teacher (atoms, edges)';
COMMENT ON COLUMN public.sample_task.attempts IS 'Counted when claimed, so crashes count';
COMMENT ON COLUMN public.sample_task.not_before IS 'Not claimable before (retry with backoff)';
COMMENT ON COLUMN public.sample_task.lease_expires_at IS 'Claimable again after; renewed by heartbeat';
COMMENT ON COLUMN public.sample_task.error_code IS 'Short reason of the last failure';
COMMENT ON COLUMN public.sample_task.error IS 'Message of the last failure';
COMMENT ON COLUMN public.sample_task.updated_at IS 'Last change of status, server clock';
COMMENT ON COLUMN public.sample_task.worker_id IS 'Worker of the last claim; with attempts, the token that fences late writers';
CREATE TABLE public.snapshot (
    snapshot_id integer NOT NULL,
    run_id bigint NOT NULL,
    name text NOT NULL,
    version integer NOT NULL,
    status text DEFAULT 'building'::text NOT NULL,
    teacher_ids integer[] NOT NULL,
    condition text,
    split jsonb NOT NULL,
    seed bigint NOT NULL,
    root_hash text,
    manifest jsonb,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT ck_snapshot_name CHECK ((name ~ '^[A-Za-z0-9][A-Za-z0-9._-]*$'::text)),
    CONSTRAINT ck_snapshot_published CHECK (((status <> 'published'::text) OR (root_hash IS NOT NULL))),
    CONSTRAINT ck_snapshot_root_hash CHECK ((root_hash ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT ck_snapshot_status CHECK ((status = ANY (ARRAY['building'::text, 'published'::text]))),
    CONSTRAINT ck_snapshot_version CHECK ((version >= 1))
);
COMMENT ON TABLE public.snapshot IS 'Frozen versions: members, split, query, root hash; never changed';
COMMENT ON COLUMN public.snapshot.snapshot_id IS 'Key';
COMMENT ON COLUMN public.snapshot.run_id IS 'Run that exported it';
COMMENT ON COLUMN public.snapshot.name IS 'Name given by the user';
COMMENT ON COLUMN public.snapshot.version IS '1, 2, ... per name';
COMMENT ON COLUMN public.snapshot.status IS 'building or published';
COMMENT ON COLUMN public.snapshot.teacher_ids IS 'Teachers whose labels it holds';
COMMENT ON COLUMN public.snapshot.condition IS 'SQL condition over view dataset, or NULL';
COMMENT ON COLUMN public.snapshot.split IS 'Split name -> fraction asked for';
COMMENT ON COLUMN public.snapshot.seed IS 'Seed of the split';
COMMENT ON COLUMN public.snapshot.root_hash IS 'SHA-256 (hex) over members, labels and split';
COMMENT ON COLUMN public.snapshot.manifest IS 'As in manifest.json';
COMMENT ON COLUMN public.snapshot.created_at IS 'When frozen';
CREATE TABLE public.snapshot_member (
    structure_id uuid NOT NULL,
    snapshot_id integer NOT NULL,
    teacher_id integer NOT NULL,
    split text NOT NULL,
    "position" integer NOT NULL,
    component_id uuid NOT NULL,
    label_hash bytea NOT NULL,
    CONSTRAINT ck_snapshot_member_label_hash CHECK ((octet_length(label_hash) = 32)),
    CONSTRAINT ck_snapshot_member_position CHECK (("position" >= 0)),
    CONSTRAINT ck_snapshot_member_split CHECK ((split ~ '^[a-z][a-z0-9_]*$'::text))
);
COMMENT ON TABLE public.snapshot_member IS 'Labels in a frozen version, with split and place in the file';
COMMENT ON COLUMN public.snapshot_member.structure_id IS 'Structure';
COMMENT ON COLUMN public.snapshot_member.snapshot_id IS 'Snapshot';
COMMENT ON COLUMN public.snapshot_member.teacher_id IS 'Teacher of the label';
COMMENT ON COLUMN public.snapshot_member.split IS 'train, val, test, or a further test set';
COMMENT ON COLUMN public.snapshot_member."position" IS 'Index in the split''s file, from 0';
COMMENT ON COLUMN public.snapshot_member.component_id IS 'Group it was placed with';
COMMENT ON COLUMN public.snapshot_member.label_hash IS 'SHA-256 of the structure''s id and label';
CREATE VIEW public.snapshot_entries AS
 SELECT p.name,
    p.version,
    m.structure_id,
    m.teacher_id,
    m.split,
    m."position",
    m.component_id
   FROM (public.snapshot_member m
     JOIN public.snapshot p USING (snapshot_id));
COMMENT ON VIEW public.snapshot_entries IS 'Which label is in which exported version';
COMMENT ON COLUMN public.snapshot_entries.name IS 'Snapshot';
COMMENT ON COLUMN public.snapshot_entries.version IS 'Version';
COMMENT ON COLUMN public.snapshot_entries.structure_id IS 'Structure';
COMMENT ON COLUMN public.snapshot_entries.teacher_id IS 'Teacher of the label';
COMMENT ON COLUMN public.snapshot_entries.split IS 'train, val or test';
COMMENT ON COLUMN public.snapshot_entries."position" IS 'Index in the split''s file';
COMMENT ON COLUMN public.snapshot_entries.component_id IS 'Leakage-free group';
ALTER TABLE public.snapshot ALTER COLUMN snapshot_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.snapshot_snapshot_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE VIEW public.snapshots AS
SELECT
    NULL::text AS name,
    NULL::integer AS version,
    NULL::text AS status,
    NULL::text AS root_hash,
    NULL::text AS condition,
    NULL::bigint AS seed,
    NULL::bigint AS train,
    NULL::bigint AS val,
    NULL::bigint AS test,
    NULL::timestamp with time zone AS created_at;
COMMENT ON VIEW public.snapshots IS 'Exported versions';
COMMENT ON COLUMN public.snapshots.name IS 'Name';
COMMENT ON COLUMN public.snapshots.version IS 'Version';
COMMENT ON COLUMN public.snapshots.status IS 'building or published';
COMMENT ON COLUMN public.snapshots.root_hash IS 'SHA-256 over members, labels and split';
COMMENT ON COLUMN public.snapshots.condition IS 'SQL condition it was chosen by, or NULL';
COMMENT ON COLUMN public.snapshots.seed IS 'Seed of the split';
COMMENT ON COLUMN public.snapshots.train IS 'Structures in train';
COMMENT ON COLUMN public.snapshots.val IS 'Structures in val';
COMMENT ON COLUMN public.snapshots.test IS 'Structures in test';
COMMENT ON COLUMN public.snapshots.created_at IS 'When frozen';
CREATE TABLE public.structure_pair (
    structure_id uuid NOT NULL,
    other_id uuid NOT NULL,
    distance double precision NOT NULL,
    run_id bigint NOT NULL,
    CONSTRAINT ck_structure_pair_distance CHECK (((distance >= (0)::double precision) AND (distance < 'Infinity'::double precision))),
    CONSTRAINT ck_structure_pair_ordered CHECK ((structure_id < other_id))
);
COMMENT ON TABLE public.structure_pair IS 'Near-duplicates: same up to motion within a tolerance';
COMMENT ON COLUMN public.structure_pair.structure_id IS 'Smaller id';
COMMENT ON COLUMN public.structure_pair.other_id IS 'Larger id';
COMMENT ON COLUMN public.structure_pair.distance IS 'RMSD after superposition, Å';
COMMENT ON COLUMN public.structure_pair.run_id IS 'Run that found the pair';
CREATE VIEW public.structures AS
 SELECT s.structure_id,
    s.formula,
    public.element_symbols(s.elements) AS elements,
    cardinality(s.elements) AS n_elements,
    s.n_atoms,
    s.n_periodic,
    (s.n_periodic > 0) AS periodic,
    s.charge,
    s.multiplicity,
    s.domain,
    s.tags,
    ARRAY( SELECT DISTINCT o.method
           FROM public.origin o
          WHERE (o.structure_id = s.structure_id)
          ORDER BY o.method) AS methods,
    v.verdict,
    s.created_at
   FROM (public.structure s
     LEFT JOIN public.verdict v ON (((v.structure_id = s.structure_id) AND (v.teacher_id IS NULL) AND v.is_current)));
COMMENT ON VIEW public.structures IS 'One row per structure';
COMMENT ON COLUMN public.structures.structure_id IS 'Identity';
COMMENT ON COLUMN public.structures.formula IS 'Hill formula';
COMMENT ON COLUMN public.structures.elements IS 'Symbols that occur, by atomic number';
COMMENT ON COLUMN public.structures.n_elements IS 'Number of different elements';
COMMENT ON COLUMN public.structures.n_atoms IS 'Number of atoms';
COMMENT ON COLUMN public.structures.n_periodic IS 'Number of periodic axes, 0-3';
COMMENT ON COLUMN public.structures.periodic IS 'Periodic in at least one direction';
COMMENT ON COLUMN public.structures.charge IS 'Total charge, e';
COMMENT ON COLUMN public.structures.multiplicity IS '2S+1 as stated, or NULL';
COMMENT ON COLUMN public.structures.domain IS 'organic, biomolecule, inorganic ...';
COMMENT ON COLUMN public.structures.tags IS 'Marks such as reference';
COMMENT ON COLUMN public.structures.methods IS 'Methods that it was found by';
COMMENT ON COLUMN public.structures.verdict IS 'valid, suspect or rejected before labelling; NULL: not checked yet';
COMMENT ON COLUMN public.structures.created_at IS 'When it was first found';
CREATE VIEW public.tasks AS
 SELECT k.structure_id,
    t.name AS teacher,
    k.status,
    k.priority,
    k.cost,
    k.attempts,
    k.error_code,
    k.error,
    k.lease_expires_at,
    k.updated_at
   FROM (public.label_task k
     JOIN public.teacher t USING (teacher_id));
COMMENT ON VIEW public.tasks IS 'Labelling tasks with their state';
COMMENT ON COLUMN public.tasks.structure_id IS 'Structure';
COMMENT ON COLUMN public.tasks.teacher IS 'Teacher';
COMMENT ON COLUMN public.tasks.status IS 'pending, running, done, failed or cancelled';
COMMENT ON COLUMN public.tasks.priority IS 'Smaller is claimed first';
COMMENT ON COLUMN public.tasks.cost IS 'Expected cost, atoms';
COMMENT ON COLUMN public.tasks.attempts IS 'Claims so far';
COMMENT ON COLUMN public.tasks.error_code IS 'Short reason of the last failure';
COMMENT ON COLUMN public.tasks.error IS 'Message of the last failure';
COMMENT ON COLUMN public.tasks.lease_expires_at IS 'Claimable again after';
COMMENT ON COLUMN public.tasks.updated_at IS 'Last change';
ALTER TABLE public.teacher ALTER COLUMN teacher_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.teacher_teacher_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE VIEW public.teachers AS
 SELECT teacher_id,
    name,
    fingerprint,
    versions,
    weights_sha256,
    "precision",
    settings,
    untrained,
    conservative,
    licence
   FROM public.teacher;
COMMENT ON VIEW public.teachers IS 'Exact teachers that were used';
COMMENT ON COLUMN public.teachers.teacher_id IS 'Key';
COMMENT ON COLUMN public.teachers.name IS 'Name';
COMMENT ON COLUMN public.teachers.fingerprint IS 'SHA-256 over all that decides its numbers';
COMMENT ON COLUMN public.teachers.versions IS 'Package -> version';
COMMENT ON COLUMN public.teachers.weights_sha256 IS 'SHA-256 of the weights, or NULL';
COMMENT ON COLUMN public.teachers."precision" IS 'Arithmetic';
COMMENT ON COLUMN public.teachers.settings IS 'Other settings';
COMMENT ON COLUMN public.teachers.untrained IS 'Random weights';
COMMENT ON COLUMN public.teachers.conservative IS 'Forces are the gradient of the energy';
COMMENT ON COLUMN public.teachers.licence IS 'Licence of weights or method';
ALTER TABLE public.verdict ALTER COLUMN verdict_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.verdict_verdict_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.worker (
    worker_id uuid NOT NULL,
    run_id bigint,
    kind text NOT NULL,
    teacher_id integer,
    host text NOT NULL,
    pid integer NOT NULL,
    device text NOT NULL,
    version text NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    heartbeat_at timestamp with time zone DEFAULT now() NOT NULL,
    stopped_at timestamp with time zone,
    budget real,
    done bigint DEFAULT 0 NOT NULL,
    failed bigint DEFAULT 0 NOT NULL,
    late bigint DEFAULT 0 NOT NULL,
    compute_seconds real DEFAULT 0 NOT NULL,
    CONSTRAINT ck_worker_kind CHECK ((kind = ANY (ARRAY['label'::text, 'sample'::text, 'audit'::text])))
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.01', autovacuum_vacuum_cost_delay='0');
COMMENT ON TABLE public.worker IS 'Processes that claim tasks, with what they did';
COMMENT ON COLUMN public.worker.worker_id IS 'Fresh for every process';
COMMENT ON COLUMN public.worker.run_id IS 'Run it serves';
COMMENT ON COLUMN public.worker.kind IS 'label, sample or audit';
COMMENT ON COLUMN public.worker.teacher_id IS 'Teacher it runs';
COMMENT ON COLUMN public.worker.host IS 'Machine';
COMMENT ON COLUMN public.worker.pid IS 'Process id on that machine';
COMMENT ON COLUMN public.worker.device IS 'cpu, cuda:0 ...';
COMMENT ON COLUMN public.worker.version IS 'mlffdb''s version';
COMMENT ON COLUMN public.worker.started_at IS 'Start';
COMMENT ON COLUMN public.worker.heartbeat_at IS 'Last sign of life';
COMMENT ON COLUMN public.worker.stopped_at IS 'Clean end; NULL if running or killed';
COMMENT ON COLUMN public.worker.budget IS 'Largest batch cost learned for the device';
COMMENT ON COLUMN public.worker.done IS 'Tasks completed';
COMMENT ON COLUMN public.worker.failed IS 'Tasks failed';
COMMENT ON COLUMN public.worker.late IS 'Results refused because the lease was lost';
COMMENT ON COLUMN public.worker.compute_seconds IS 'Time spent computing, s';
CREATE VIEW public.workers AS
 SELECT w.worker_id,
    w.kind,
    t.name AS teacher,
    w.host,
    w.pid,
    w.device,
    ((w.stopped_at IS NULL) AND (w.heartbeat_at > (now() - '00:02:00'::interval))) AS alive,
    w.done,
    w.failed,
    w.late,
    (w.compute_seconds / (NULLIF(EXTRACT(epoch FROM (COALESCE(w.stopped_at, w.heartbeat_at) - w.started_at)), (0)::numeric))::double precision) AS compute_share,
    w.started_at,
    w.heartbeat_at,
    w.stopped_at
   FROM (public.worker w
     LEFT JOIN public.teacher t USING (teacher_id));
COMMENT ON VIEW public.workers IS 'Processes that label or sample';
COMMENT ON COLUMN public.workers.worker_id IS 'Key';
COMMENT ON COLUMN public.workers.kind IS 'label, sample or audit';
COMMENT ON COLUMN public.workers.teacher IS 'Teacher it runs, or NULL';
COMMENT ON COLUMN public.workers.host IS 'Machine';
COMMENT ON COLUMN public.workers.pid IS 'Process id';
COMMENT ON COLUMN public.workers.device IS 'Device';
COMMENT ON COLUMN public.workers.alive IS 'Sign of life within two minutes and not stopped';
COMMENT ON COLUMN public.workers.done IS 'Tasks completed';
COMMENT ON COLUMN public.workers.failed IS 'Tasks failed';
COMMENT ON COLUMN public.workers.late IS 'Results refused because the lease was lost';
COMMENT ON COLUMN public.workers.compute_share IS 'Share of its time spent computing, 0-1';
COMMENT ON COLUMN public.workers.started_at IS 'Start';
COMMENT ON COLUMN public.workers.heartbeat_at IS 'Last sign of life';
COMMENT ON COLUMN public.workers.stopped_at IS 'Clean end';
ALTER TABLE ONLY public.audit
    ADD CONSTRAINT pk_audit PRIMARY KEY (structure_id, teacher_id, run_id);
ALTER TABLE ONLY public.component
    ADD CONSTRAINT pk_component PRIMARY KEY (structure_id);
ALTER TABLE ONLY public.finding
    ADD CONSTRAINT pk_finding PRIMARY KEY (structure_id, finding_id);
ALTER TABLE ONLY public.label
    ADD CONSTRAINT pk_label PRIMARY KEY (structure_id, teacher_id);
ALTER TABLE ONLY public.label_task
    ADD CONSTRAINT pk_label_task PRIMARY KEY (teacher_id, structure_id);
ALTER TABLE ONLY public.origin
    ADD CONSTRAINT pk_origin PRIMARY KEY (structure_id, origin_id);
ALTER TABLE ONLY public.run
    ADD CONSTRAINT pk_run PRIMARY KEY (run_id);
ALTER TABLE ONLY public.sample_task
    ADD CONSTRAINT pk_sample_task PRIMARY KEY (plan_digest, task_index);
ALTER TABLE ONLY public.snapshot
    ADD CONSTRAINT pk_snapshot PRIMARY KEY (snapshot_id);
ALTER TABLE ONLY public.snapshot_member
    ADD CONSTRAINT pk_snapshot_member PRIMARY KEY (structure_id, snapshot_id, teacher_id);
ALTER TABLE ONLY public.structure
    ADD CONSTRAINT pk_structure PRIMARY KEY (structure_id);
ALTER TABLE ONLY public.structure_pair
    ADD CONSTRAINT pk_structure_pair PRIMARY KEY (structure_id, other_id);
ALTER TABLE ONLY public.teacher
    ADD CONSTRAINT pk_teacher PRIMARY KEY (teacher_id);
ALTER TABLE ONLY public.verdict
    ADD CONSTRAINT pk_verdict PRIMARY KEY (structure_id, verdict_id);
ALTER TABLE ONLY public.worker
    ADD CONSTRAINT pk_worker PRIMARY KEY (worker_id);
ALTER TABLE ONLY public.snapshot
    ADD CONSTRAINT uq_snapshot_name_version UNIQUE (name, version);
ALTER TABLE ONLY public.teacher
    ADD CONSTRAINT uq_teacher_fingerprint UNIQUE (fingerprint);
CREATE INDEX ix_component_component_id ON public.component USING btree (component_id);
CREATE INDEX ix_finding_check_name ON public.finding USING btree (check_name);
CREATE INDEX ix_finding_run_id ON public.finding USING btree (run_id);
CREATE INDEX ix_label_task_claim ON public.label_task USING btree (teacher_id, priority, cost, structure_id) WHERE (status = 'pending'::text);
CREATE INDEX ix_label_task_running ON public.label_task USING btree (teacher_id, structure_id) WHERE (status = 'running'::text);
CREATE INDEX ix_label_teacher_id_created_at ON public.label USING btree (teacher_id, created_at);
CREATE INDEX ix_origin_parent_id ON public.origin USING btree (parent_id) WHERE (parent_id IS NOT NULL);
CREATE INDEX ix_origin_run_id ON public.origin USING btree (run_id);
CREATE INDEX ix_sample_task_claim ON public.sample_task USING btree (plan_digest, priority, cost, task_index) WHERE (status = 'pending'::text);
CREATE INDEX ix_sample_task_running ON public.sample_task USING btree (plan_digest, task_index) WHERE (status = 'running'::text);
CREATE INDEX ix_snapshot_member_snapshot_id_split ON public.snapshot_member USING btree (snapshot_id, split, "position");
CREATE INDEX ix_structure_elements ON public.structure USING gin (elements);
CREATE INDEX ix_structure_formula ON public.structure USING btree (formula);
CREATE INDEX ix_structure_run_id ON public.structure USING btree (run_id);
CREATE INDEX ix_teacher_name ON public.teacher USING btree (name);
CREATE INDEX ix_verdict_run_id ON public.verdict USING btree (run_id);
CREATE UNIQUE INDEX uq_verdict_current ON public.verdict USING btree (structure_id, teacher_id) NULLS NOT DISTINCT WHERE is_current;
CREATE OR REPLACE VIEW public.failures AS
 SELECT t.name AS teacher,
    t.teacher_id,
    k.error_code,
    count(*) AS tasks,
    min(k.error) AS example,
    (array_agg(k.structure_id ORDER BY k.error, k.structure_id))[1] AS example_id
   FROM (public.label_task k
     JOIN public.teacher t USING (teacher_id))
  WHERE (k.status = 'failed'::text)
  GROUP BY t.teacher_id, k.error_code
  ORDER BY (count(*)) DESC, t.name, t.teacher_id, k.error_code;
CREATE OR REPLACE VIEW public.progress AS
 SELECT t.name AS teacher,
    t.teacher_id,
    count(*) FILTER (WHERE (k.status = 'pending'::text)) AS pending,
    count(*) FILTER (WHERE (k.status = 'running'::text)) AS running,
    count(*) FILTER (WHERE (k.status = 'done'::text)) AS done,
    count(*) FILTER (WHERE (k.status = 'failed'::text)) AS failed,
    count(*) FILTER (WHERE (k.status = 'cancelled'::text)) AS cancelled,
    (COALESCE(sum(k.cost) FILTER (WHERE (k.status = ANY (ARRAY['pending'::text, 'running'::text]))), (0)::real))::double precision AS remaining_cost,
    ( SELECT count(*) AS count
           FROM public.label l
          WHERE ((l.teacher_id = t.teacher_id) AND (l.created_at > (now() - '00:01:00'::interval)))) AS labels_last_minute
   FROM (public.teacher t
     JOIN public.label_task k USING (teacher_id))
  GROUP BY t.teacher_id
  ORDER BY t.name, t.teacher_id;
CREATE OR REPLACE VIEW public.snapshots AS
 SELECT p.name,
    p.version,
    p.status,
    p.root_hash,
    p.condition,
    p.seed,
    count(*) FILTER (WHERE (m.split = 'train'::text)) AS train,
    count(*) FILTER (WHERE (m.split = 'val'::text)) AS val,
    count(*) FILTER (WHERE (m.split = 'test'::text)) AS test,
    p.created_at
   FROM (public.snapshot p
     LEFT JOIN public.snapshot_member m USING (snapshot_id))
  GROUP BY p.snapshot_id;
CREATE TRIGGER frozen BEFORE DELETE OR UPDATE ON public.snapshot FOR EACH ROW EXECUTE FUNCTION public.refuse_change_of_published_snapshot();
CREATE TRIGGER frozen_delete AFTER DELETE ON public.snapshot_member REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change_of_published_members();
CREATE TRIGGER frozen_insert AFTER INSERT ON public.snapshot_member REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change_of_published_members();
CREATE TRIGGER frozen_move AFTER UPDATE ON public.snapshot_member REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change_of_published_members();
CREATE TRIGGER frozen_truncate BEFORE TRUNCATE ON public.snapshot FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_truncate();
CREATE TRIGGER frozen_truncate BEFORE TRUNCATE ON public.snapshot_member FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_truncate();
CREATE TRIGGER frozen_update AFTER UPDATE ON public.snapshot_member REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change_of_published_members();
CREATE TRIGGER written_once BEFORE UPDATE ON public.label FOR EACH ROW EXECUTE FUNCTION public.refuse_second_writing();
CREATE TRIGGER written_once BEFORE UPDATE OF structure_id, numbers, positions, cell, pbc, charge, multiplicity, source_order ON public.structure FOR EACH ROW EXECUTE FUNCTION public.refuse_second_writing();
ALTER TABLE ONLY public.audit
    ADD CONSTRAINT fk_audit_run_id FOREIGN KEY (run_id) REFERENCES public.run(run_id);
ALTER TABLE ONLY public.audit
    ADD CONSTRAINT fk_audit_structure_id FOREIGN KEY (structure_id) REFERENCES public.structure(structure_id);
ALTER TABLE ONLY public.audit
    ADD CONSTRAINT fk_audit_teacher_id FOREIGN KEY (teacher_id) REFERENCES public.teacher(teacher_id);
ALTER TABLE ONLY public.component
    ADD CONSTRAINT fk_component_run_id FOREIGN KEY (run_id) REFERENCES public.run(run_id);
ALTER TABLE ONLY public.component
    ADD CONSTRAINT fk_component_structure_id FOREIGN KEY (structure_id) REFERENCES public.structure(structure_id);
ALTER TABLE ONLY public.finding
    ADD CONSTRAINT fk_finding_run_id FOREIGN KEY (run_id) REFERENCES public.run(run_id);
ALTER TABLE ONLY public.finding
    ADD CONSTRAINT fk_finding_structure_id FOREIGN KEY (structure_id) REFERENCES public.structure(structure_id);
ALTER TABLE ONLY public.finding
    ADD CONSTRAINT fk_finding_teacher_id FOREIGN KEY (teacher_id) REFERENCES public.teacher(teacher_id);
ALTER TABLE ONLY public.label
    ADD CONSTRAINT fk_label_run_id FOREIGN KEY (run_id) REFERENCES public.run(run_id);
ALTER TABLE ONLY public.label
    ADD CONSTRAINT fk_label_structure_id FOREIGN KEY (structure_id) REFERENCES public.structure(structure_id);
ALTER TABLE ONLY public.label_task
    ADD CONSTRAINT fk_label_task_structure_id FOREIGN KEY (structure_id) REFERENCES public.structure(structure_id);
ALTER TABLE ONLY public.label_task
    ADD CONSTRAINT fk_label_task_teacher_id FOREIGN KEY (teacher_id) REFERENCES public.teacher(teacher_id);
ALTER TABLE ONLY public.label
    ADD CONSTRAINT fk_label_teacher_id FOREIGN KEY (teacher_id) REFERENCES public.teacher(teacher_id);
ALTER TABLE ONLY public.origin
    ADD CONSTRAINT fk_origin_run_id FOREIGN KEY (run_id) REFERENCES public.run(run_id);
ALTER TABLE ONLY public.origin
    ADD CONSTRAINT fk_origin_structure_id FOREIGN KEY (structure_id) REFERENCES public.structure(structure_id);
ALTER TABLE ONLY public.sample_task
    ADD CONSTRAINT fk_sample_task_run_id FOREIGN KEY (run_id) REFERENCES public.run(run_id);
ALTER TABLE ONLY public.snapshot_member
    ADD CONSTRAINT fk_snapshot_member_snapshot_id FOREIGN KEY (snapshot_id) REFERENCES public.snapshot(snapshot_id);
ALTER TABLE ONLY public.snapshot_member
    ADD CONSTRAINT fk_snapshot_member_structure_id_teacher_id FOREIGN KEY (structure_id, teacher_id) REFERENCES public.label(structure_id, teacher_id);
ALTER TABLE ONLY public.snapshot
    ADD CONSTRAINT fk_snapshot_run_id FOREIGN KEY (run_id) REFERENCES public.run(run_id);
ALTER TABLE ONLY public.structure_pair
    ADD CONSTRAINT fk_structure_pair_run_id FOREIGN KEY (run_id) REFERENCES public.run(run_id);
ALTER TABLE ONLY public.structure_pair
    ADD CONSTRAINT fk_structure_pair_structure_id FOREIGN KEY (structure_id) REFERENCES public.structure(structure_id);
ALTER TABLE ONLY public.structure
    ADD CONSTRAINT fk_structure_run_id FOREIGN KEY (run_id) REFERENCES public.run(run_id);
ALTER TABLE ONLY public.verdict
    ADD CONSTRAINT fk_verdict_run_id FOREIGN KEY (run_id) REFERENCES public.run(run_id);
ALTER TABLE ONLY public.verdict
    ADD CONSTRAINT fk_verdict_structure_id FOREIGN KEY (structure_id) REFERENCES public.structure(structure_id);
ALTER TABLE ONLY public.verdict
    ADD CONSTRAINT fk_verdict_teacher_id FOREIGN KEY (teacher_id) REFERENCES public.teacher(teacher_id);
ALTER TABLE ONLY public.worker
    ADD CONSTRAINT fk_worker_run_id FOREIGN KEY (run_id) REFERENCES public.run(run_id);
ALTER TABLE ONLY public.worker
    ADD CONSTRAINT fk_worker_teacher_id FOREIGN KEY (teacher_id) REFERENCES public.teacher(teacher_id);
