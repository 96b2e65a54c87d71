"""Teachers, devices, plans, thresholds, queries and exports that cannot be had as asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from ase import Atoms

from mlffdb.store import runs, structures
from mlffdb.store.database import Database
from mlffdb.structures import Candidate, Origin, Structure
from tests.cli.running import column, done, done_json, mlffdb, process, refused, the_line, value
from tests.helpers import add_molecules, approve_all
from tests.snapshots.filling import EMT_TEACHER, candidates, family, fill

TEACHER = "gfn2-xtb"
needs_xtb = pytest.mark.skipif(find_spec("tblite") is None, reason="needs the extra xtb")


def no_gpu() -> bool:
    return not Path("/dev/nvidiactl").exists()


# ---- teachers and devices ----


def test_an_unknown_teacher_is_named_with_the_nearest(db: Database) -> None:
    add_molecules(db, 2)
    for command in (("label",), ("label", "--dry-run"), ("label", "--follow")):
        line = refused(*command, "--teacher", "gfn2xtb")
        assert line.startswith("unknown teacher 'gfn2xtb'; did you mean gfn2-xtb?")
        assert "mlffdb teachers" in line
    assert value(db, "SELECT count(*) FROM run WHERE action = 'label'") == 0


def test_a_configured_teacher_that_is_unknown(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFFDB_TEACHER", "gfn3")
    assert refused("label").startswith("unknown teacher 'gfn3'")


@needs_xtb
def test_elements_that_a_teacher_does_not_know_fail_alone(db: Database) -> None:
    """GFN2-xTB ends with radon; uranium hexafluoride is refused, its neighbours are labelled."""
    shape = [(2, 0, 0), (-2, 0, 0), (0, 2, 0), (0, -2, 0), (0, 0, 2), (0, 0, -2)]
    hexafluoride = Structure.from_atoms(Atoms("UF6", [(0, 0, 0), *shape]))
    add_molecules(db, 3)
    run = runs.start(db, "import")
    with db.begin() as connection:
        origin = Origin("file", "import", index=0)
        structures.add(connection, run.run_id, [Candidate(hexafluoride, origin, "inorganic")])
    add_molecules(db, 3, seed=1)
    result = mlffdb("label", "--teacher", TEACHER, "--workers", "1")
    line = the_line(result.exit_code, result.stderr, result.output)
    assert line == "gfn2-xtb could not label all: 1 × unsupported_element; the others are labelled"
    assert "1 × unsupported_element: " in result.stdout
    assert value(db, "SELECT count(*) FROM label") == 6
    (failure,) = done_json("status")["failures"]
    assert failure["tasks"] == 1
    assert "U" in failure["example"]
    again = mlffdb("label", "--teacher", TEACHER, "--workers", "1")
    assert again.exit_code == 0  # nothing new failed
    assert value(db, "SELECT count(*) FROM label") == 6


@pytest.mark.parametrize("name", [TEACHER, "gfn1-xtb"])
def test_a_teacher_without_gpu_version_never_runs_on_the_cpu_in_silence(
    db: Database, name: str
) -> None:
    add_molecules(db, 2)
    for option in (("--gpu", "0"), ("--device", "cuda:1"), ("--device", "cuda")):
        line = refused("label", "--teacher", name, *option)
        assert line == f"{name} runs on the CPU only; use --device cpu"
    assert value(db, "SELECT count(*) FROM label") == 0


@pytest.mark.skipif(not no_gpu(), reason="there is a GPU here")
@pytest.mark.parametrize(
    ("arguments", "backend", "modules"),
    [
        ((), "torch", ("torch", "orb_models")),
        (("--teacher", "orb-v2"), "torch", ("torch", "orb_models")),
        (("--teacher", "fennol:ani1x_model0"), "jax", ("jax", "fennol")),
    ],
)
def test_a_gpu_that_is_missing_is_said_before_weights_are_fetched(
    db: Database, arguments: tuple[str, ...], backend: str, modules: tuple[str, ...]
) -> None:
    if not all(map(find_spec, modules)):
        pytest.skip(f"needs {' and '.join(modules)}")
    add_molecules(db, 2)
    result = process("label", "--gpu", "0", *arguments)
    line = the_line(result.returncode, result.stderr)
    assert line.startswith(f"cuda:0 was asked for but {backend} sees no GPU; ")
    assert "--device cpu" in line
    assert value(db, "SELECT count(*) FROM label") == 0
    assert not list(Path(os.environ["MLFFDB_CACHE_DIR"]).glob("weights/*"))


def test_a_device_that_is_none(db: Database) -> None:
    for command in (("label",), ("run", "quickstart"), ("sample", "quickstart")):
        assert refused(*command, "--device", "gpu0") == "unknown device 'gpu0'; use cpu or cuda:N"


def test_a_model_file_that_is_not_there_or_none(db: Database, tmp_path: Path) -> None:
    add_molecules(db, 1)
    line = refused("label", "--teacher", f"fennol:{tmp_path}/none.fnx")
    assert f"no such file: {tmp_path}/none.fnx" in line
    if find_spec("fennol") is None:
        pytest.skip("needs the extra fennol for the rest")
    (tmp_path / "bad.fnx").write_text("no model")
    result = process("label", "--teacher", f"fennol:{tmp_path}/bad.fnx")
    assert "cannot be read as a FeNNol model" in the_line(result.returncode, result.stderr)


# ---- conditions, queries, thresholds, plans ----


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("n_atoms <", "syntax error"),
        ("n_atms < 5", 'column "n_atms" does not exist'),
        ("true); DROP TABLE structure; --", "--where"),
        ("n_atoms", "must be type boolean"),
    ],
)
def test_a_wrong_condition(db: Database, condition: str, said: str) -> None:
    fill(db, family("H2O", 3))
    line = refused("export", "x", "--teacher", "emt", "--where", condition)
    assert line.startswith("--where over the view dataset: ")
    assert said in line
    line = refused("label", "--dry-run", "--teacher", TEACHER, "--where", condition)
    assert line.startswith("--where over the view structures: ")
    assert value(db, "SELECT count(*) FROM snapshot") == 0
    assert value(db, "SELECT count(*) FROM structure") == 3


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM structures", ""),
        ("INSERT INTO runs (name) VALUES ('x')", ""),
        ("DROP TABLE structure", ""),
        ("UPDATE structure SET formula = 'X'", ""),
        ("SELECT * FROM structure", "permission denied for table structure"),
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM nothing_here", "does not exist"),
        ("SELECT 1; DROP TABLE structure", ""),
        ("COMMIT; DELETE FROM structure", ""),
    ],
)
def test_queries_that_are_refused(db: Database, statement: str, said: str) -> None:
    add_molecules(db, 2)
    assert said in refused("sql", statement)
    assert said in refused("sql", "--json", "-", stdin=statement)
    assert value(db, "SELECT count(*) FROM structure WHERE formula <> 'X'") == 2


def test_a_query_that_takes_too_long(db: Database) -> None:
    line = refused("sql", "SELECT pg_sleep(60)", "--timeout", "0.3")
    assert line.startswith("the query ran longer than 0.3 s and was cancelled")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("force_mx: {value: 10}\n", ("line 1", "'force_mx'", "force_max")),
        ("force_max: {vlue: 10}\n", ("line 1", "vlue", "value")),
        ("force_max: [\n", ("limits.yaml",)),
        ("force_max: {value: many}\n", ("line 1", "force_max.value")),
    ],
)
def test_a_wrong_file_of_thresholds(
    db: Database, tmp_path: Path, content: str, said: tuple[str, ...]
) -> None:
    add_molecules(db, 2)
    path = tmp_path / "limits.yaml"
    path.write_text(content)
    for option in ((), ("--checks",)):
        line = refused("validate", "--thresholds", str(path), *option)
        assert all(word in line for word in ("limits.yaml", *said)), line
    assert "does not exist" in refused("validate", "--thresholds", str(tmp_path / "none.yaml"))
    assert value(db, "SELECT count(*) FROM verdict") == 0


PLAN = """\
name: small
blocks:
  - name: molecules
    source: {type: smiles, smiles: [C, O]}
    methods:
      - {type: rattle, std: 0.05, count: 2}
"""


@pytest.mark.parametrize("command", [("sample",), ("sample", "--dry-run"), ("run",)])
@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("count: 2", "cuont: 2", ("line 6", "'cuont'", "'count'")),
        ("smiles: [C", "smilse: [C", ("line 4", "'smilse'", "'smiles'")),
        ("type: rattle", "type: ratle", ("line 6", "'ratle'", "'rattle'")),
        ("std: 0.05", "std: -1", ("line 6", "std")),
        ("name: small", "name: small\nlabel: {teachers: [gfn3-xtb]}", ("line 2", "gfn2-xtb")),
        ("  - name", "  - [name", ("small.yaml",)),
    ],
)
def test_a_wrong_plan(
    tmp_path: Path, command: tuple[str, ...], right: str, wrong: str, said: tuple[str, ...]
) -> None:
    """Seen before a database is started."""
    path = tmp_path / "small.yaml"
    path.write_text(PLAN.replace(right, wrong))
    line = refused(*command, str(path))
    assert all(word in line for word in ("small.yaml", *said)), line
    assert not Path(os.environ["MLFFDB_DATA_DIR"]).exists()


def test_a_plan_that_is_not_there(tmp_path: Path) -> None:
    assert "did you mean 'quickstart'?" in refused("run", "quickstar")
    assert "cannot be read" in refused("sample", str(tmp_path / "none.yaml"))


def test_run_sees_before_sampling_what_would_stop_it_at_the_end(
    db: Database, tmp_path: Path
) -> None:
    path = tmp_path / "small.yaml"
    (tmp_path / "limits.yaml").write_text("force_mx: {value: 10}\n")
    for addition, said in (
        ("export: {where: 'n_atms < 5'}", "--where over the view dataset"),
        ("validation: {thresholds: limits.yaml}", "force_mx"),
    ):
        path.write_text(f"{PLAN}{addition}\n")
        assert said in refused("run", str(path))
    path.write_text(f"{PLAN}label: {{teachers: [gfn2-xtb]}}\n")
    assert "CPU only" in refused("run", str(path), "--gpu", "0")
    assert value(db, "SELECT count(*) FROM structure") == 0


# ---- export ----


def test_there_is_nothing_to_export(db: Database) -> None:
    assert "there are no labels yet" in refused("export", "x", "--teacher", TEACHER)
    fill(db, family("H2O", 4), valid=False)
    assert "there are labels by emt" in refused("export", "x", "--teacher", TEACHER)
    line = refused("export", "x", "--teacher", "emt")
    assert line.startswith("nothing valid to export by emt")
    teacher_id = value(db, "SELECT teacher_id FROM teacher")
    approve_all(db)
    approve_all(db, teacher_id=teacher_id, rejected=column(db, "SELECT structure_id FROM label"))
    line = refused("export", "x", "--teacher", "emt")
    assert line.startswith("nothing valid to export by emt")
    assert "4" in line
    approve_all(db, teacher_id=teacher_id)
    line = refused("export", "x", "--teacher", "emt", "--where", "n_atoms > 999")
    assert "the condition selects nothing" in line
    assert value(db, "SELECT count(*) FROM snapshot") == 0
    assert not [p for p in Path(os.environ["MLFFDB_EXPORTS_DIR"]).rglob("*") if p.is_file()]


def test_labels_of_random_weights_are_never_exported(db: Database) -> None:
    fill(db, family("H2O", 4), teacher=replace(EMT_TEACHER, untrained=True))
    line = refused("export", "x", "--teacher", "emt")
    assert "random weights" in line or "untrained" in line
    assert value(db, "SELECT count(*) FROM snapshot") == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("x", "--split", "a/b/c"), "write train/val/test as shares"),
        (("x", "--split", "0.9/0.9/0.1"), "0.9/0.9/0.1"),
        (("a/b",), "snapshot name 'a/b'"),
        (("x", "--out", "{file}/below"), "nothing was published"),
    ],
)
def test_an_export_that_cannot_be_made(
    db: Database, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    fill(db, candidates(2))
    (tmp_path / "file").write_text("")
    filled = [argument.format(file=tmp_path / "file") for argument in arguments]
    assert said in refused("export", *filled, "--teacher", "emt")
    assert value(db, "SELECT count(*) FROM snapshot WHERE status = 'published'") == 0


def test_a_file_that_cannot_grow_publishes_nothing_and_the_next_export_goes_through(
    db: Database, tmp_path: Path
) -> None:
    """As with a quota: the kernel limits the size of every file."""
    fill(db, candidates(4))
    arguments = ("export", "x", "--teacher", "emt", "--out", str(tmp_path / "out"))
    limited = ["sh", "-c", 'ulimit -f 8; exec "$@"', "sh"]  # blocks of 512 bytes
    result = subprocess.run(
        [*limited, sys.executable, "-m", "mlffdb_cli.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "nothing was published" in the_line(result.returncode, result.stderr)
    assert not list(tmp_path.glob("out/x/v*"))
    done(*arguments)
    assert sorted(path.name for path in (tmp_path / "out/x/v1").glob("*.h5")) == [
        "test.h5", "train.h5", "val.h5",
    ]  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_disk_that_is_full(db: Database, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        labels = fill(db, candidates(4))
        line = refused("export", "x", "--teacher", "emt", "--out", str(small))
        assert "MB free" in line or "No space left" in line
        assert "nothing was published" in line
        assert not list(small.glob("x/v*"))
        assert value(db, "SELECT count(*) FROM label") == len(labels)
        done("export", "x", "--teacher", "emt", "--out", str(tmp_path / "roomy"))
        assert (tmp_path / "roomy/x/v1/train.h5").exists()
    finally:
        subprocess.run(["umount", str(small)], check=True)
