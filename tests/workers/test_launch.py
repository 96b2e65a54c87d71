"""Launching workers on a cluster: the script, what is refused, and a campaign on a real Slurm.

The database is the embedded one, opened by `mlffdb db start --listen`; the workers know its
address from the job's script and its password from a passfile.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psycopg2
import pytest
import yaml
from ase.build import molecule
from sqlalchemy import make_url

from mlffdb.config import load_settings
from mlffdb.store import runs, structures, workers
from mlffdb.store.database import Database, libpq
from mlffdb.structures import Candidate, Origin, Structure
from mlffdb_workers.launchers import Launch, LaunchError
from mlffdb_workers.launchers.slurm import Slurm
from tests.cli.running import column, done, done_json, refused, value, wait_until
from tests.test_docs import PAGES, blocks, resolve
from tests.workers.slurm_cluster import slurm_cluster, why_not

TEACHER = "gfn2-xtb"
STRUCTURES = 200
LABEL = ("label", "--launcher", "slurm", "--teacher", TEACHER, "--time", "10")
URL = "MLFFDB_DATABASE_URL"
AWAY = "postgresql://me@db.example.org/mlff"


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with slurm_cluster() as conf:
        monkeypatch.setenv("SLURM_CONF", str(conf))
        yield


@pytest.fixture
def listening(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database with the schema that commands reach by TCP only."""
    folder = open_folder / "db"
    started = done_json("db", "start", "--data-dir", str(folder), "--listen", "127.0.0.1:0")
    passfile = open_folder / "pgpass"
    passfile.touch(mode=0o600)
    passfile.write_text(f"*:*:*:mlffdb:{Path(started['password_file']).read_text()}")
    monkeypatch.setenv(URL, started["tcp_url"])
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    done("init")
    with Database(load_settings()) as database:
        yield database


# ---- the script ----


def launch(folder: Path = Path("/"), **changed: Any) -> Launch:
    given: dict[str, Any] = {"command": ("label",), "workers": 1, "environment": {}}
    return Launch(**{**given, "folder": folder, **changed})


def test_the_shell_hands_on_what_was_typed(tmp_path: Path) -> None:
    """Folder, variables and arguments pass a real bash unharmed, whatever is in them."""
    folder = tmp_path / "it's $HOME; a `folder`"
    folder.mkdir()
    command = ("label", "--where", "formula = 'H2O' AND \"n_atoms\" > $(echo 1)", "é\n")
    url = "postgresql://me@db/a'b"
    script = Slurm().script(launch(folder, command=command, environment={URL: url}))
    printing = "import os, sys; print([os.getcwd(), os.environ['MLFFDB_DATABASE_URL'], *sys.argv])"
    assert script.count("-m mlffdb_cli.main") == 1
    script = script.replace("-m mlffdb_cli.main", f"-c {shlex.quote(printing)}")
    numbers = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_JOB_ID": "17"}
    ended = subprocess.run(
        ["bash"],
        input=script,
        capture_output=True,
        text=True,
        env={**os.environ, **numbers},
        check=True,
    )
    said, seen = ended.stdout.splitlines()
    assert said.startswith("task 3 of job 17 on ")
    assert seen == repr([str(folder), url, "-c", *command])


def test_the_script_asks_for_what_a_worker_needs() -> None:
    wanted = launch(workers=8, gpus_per_worker=2, cpus_per_worker=6, time="1-12:00:00",
                    options=("--partition=gpu", "--comment=two words"))  # fmt: skip
    lines = Slurm().script(wanted).splitlines()
    assert lines[0] == "#!/bin/bash"
    for directive in ("--array=0-7", "--gres=gpu:2", "--cpus-per-task=6", "--time=1-12:00:00",
                      "--requeue", "--signal=B:TERM@120", "--partition=gpu",
                      "'--comment=two words'"):  # fmt: skip
        assert f"#SBATCH {directive}" in lines
    assert lines[-1] == f"exec {shlex.quote(sys.executable)} -m mlffdb_cli.main label"
    assert "gres" not in Slurm().script(launch())


@pytest.mark.parametrize("time", ["12h", "1:2:3:4", "5\n#SBATCH --uid=0", "", "-5"])
def test_a_time_that_is_none(time: str) -> None:
    with pytest.raises(LaunchError, match="like 12:00:00"):
        Slurm().script(launch(time=time))


@pytest.mark.parametrize("option", ["partition=gpu", "--a\nrm -rf", "", "-", "--=x"])
def test_an_option_of_sbatch_that_is_none(option: str) -> None:
    with pytest.raises(LaunchError, match="write it like --sbatch=--partition=gpu"):
        Slurm().script(launch(options=(option,)))


# ---- what is refused ----


def test_the_embedded_database_is_for_this_machine(open_folder: Path) -> None:
    line = refused("label", "--launcher", "print", "--workers", "2")
    assert "MLFFDB_DATABASE_URL" in line
    assert "mlffdb db start --listen HOST:PORT" in line


@pytest.mark.parametrize(
    ("variable", "url", "said"),
    [
        ("DATABASE", "postgresql://me:geheim@db/mlff", "into ~/.pgpass"),
        ("DATABASE", "postgresql://me@db/mlff?password=geheim", "into ~/.pgpass"),
        ("DATABASE", "postgresql://me@db/mlff?sslpassword=geheim", "into ~/.pgpass"),
        ("READER", "postgresql://you:geheim@db/mlff", "the reader's URL has a password"),
        ("DATABASE", "postgresql:///mlff", "Unix socket"),
        ("DATABASE", "postgresql://me@/mlff?host=/run/postgresql", "Unix socket"),
    ],
)
def test_urls_that_no_script_may_hold(
    variable: str, url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL, AWAY)
    monkeypatch.setenv(f"MLFFDB_{variable}_URL", url)
    line = refused("label", "--launcher", "print")
    assert said in line
    assert "geheim" not in line


def test_options_that_do_not_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL, AWAY)
    assert "go with --launcher" in refused("label", "--time", "12:00:00")
    assert "--gpus-per-worker instead" in refused("label", "--launcher", "print", "--gpu", "0")


# ---- on a server that listens ----


def test_a_launch_that_is_only_shown(
    listening: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    password = Path(os.environ["PGPASSFILE"]).read_text().split(":")[-1].strip()
    condition = "formula = 'H2O'"
    script = done("label", "--launcher", "print", "--workers", "3", "--cpus-per-worker", "2",
                  "--teacher", TEACHER, "--where", condition, "--follow", "--grace", "20",
                  "--log-level", "debug")  # fmt: skip
    environment = re.findall(r"^export (\w+)=(.*)$", script, re.M)
    assert dict(environment)[URL] == os.environ[URL]
    assert password not in script
    words = shlex.split(script.splitlines()[-1])
    assert words[:4] == ["exec", sys.executable, "-m", "mlffdb_cli.main"]
    name, context = resolve(shlex.join(["mlffdb", *words[4:]]))
    assert name == "label"
    assert context.params["names"] == (TEACHER,)
    assert context.params["workers"] == 2
    assert context.params["where"] == condition
    assert context.params["follow"] is True
    assert context.params["launcher"] == "local"
    assert context.params["grace"] == 20
    assert words[-2:] == ["--log-level", "debug"]
    assert "profile one worker" in refused(*LABEL, "--profile", "trace.json")
    assert "a file of its own" in refused(*LABEL, "--log-file", "label.log")

    shown = done_json("label", "--launcher", "slurm", "--teacher", "orb-v2", "--dry-run",
                      "--gpus-per-worker", "1")["script"]  # fmt: skip
    assert "#SBATCH --gres=gpu:1" in shown
    _, context = resolve(shlex.join(["mlffdb", *shlex.split(shown.splitlines()[-1])[4:]]))
    assert context.params["gpus"] == "all"
    assert context.params["workers"] is None
    line = refused("label", "--launcher", "print", "--gpus-per-worker", "1", "--teacher", TEACHER)
    assert "runs on the CPU only" in line
    assert value(listening, "SELECT count(*) FROM run") == 0

    monkeypatch.setenv("PATH", str(tmp_path))
    assert "run this on a login node" in refused(*LABEL)
    assert column(listening, "SELECT status FROM run") == ["failed"]


def test_listening_is_told_without_the_password(open_folder: Path) -> None:
    """What `db start --listen` prints is enough to connect, by the very line that it prints."""
    option = ("--data-dir", str(open_folder / "my data"))
    text = done("db", "start", *option, "--listen", "127.0.0.1:0")
    [url] = re.findall(r"export MLFFDB_DATABASE_URL=(\S+)", text)
    [line] = re.findall(r"^ +(\(umask .*\))$", text, re.M)
    home = open_folder / "home"
    home.mkdir()
    subprocess.run(["bash", "-c", line], env={**os.environ, "HOME": str(home)}, check=True)
    passfile = home / ".pgpass"
    password = passfile.read_text().split(":")[-1].strip()
    assert len(password) > 20
    assert password not in text
    psycopg2.connect(**libpq(make_url(url)), passfile=str(passfile)).close()
    with pytest.raises(psycopg2.OperationalError, match="no password supplied"):
        psycopg2.connect(**libpq(make_url(url)), passfile=os.devnull)
    assert done("db", "start", *option) == text, "and it is told again"
    assert f"takes TCP connections as {url}" in doctor(*option)
    done("db", "stop", *option)
    assert "MLFFDB_DATABASE_URL" not in done("db", "start", *option)
    assert "takes TCP" not in doctor(*option)


def doctor(*options: str) -> str:
    return str([check["message"] for check in done_json("doctor", *options)])


# ---- Kubernetes ----


def test_the_kubernetes_job_in_the_docs() -> None:
    [page] = blocks(PAGES["docs/clusters.md"], "yaml")
    job = yaml.safe_load(page)
    assert (job["kind"], job["spec"]["completionMode"]) == ("Job", "Indexed")
    [container] = job["spec"]["template"]["spec"]["containers"]
    name, _ = resolve(shlex.join(container["command"]))
    assert name == "label"
    variables = {entry["name"]: entry for entry in container["env"]}
    assert "secretKeyRef" in variables["PGPASSWORD"]["valueFrom"]
    assert make_url(variables[URL]["value"]).password is None


# ---- Slurm ----


def add_benzene_dimers(db: Database, n: int) -> None:
    """Add pairs of stacked benzenes: 24 atoms, some 30 ms each."""
    rng = np.random.default_rng(1)
    pair = molecule("C6H6")
    pair += molecule("C6H6")
    pair.positions[12:, 2] += 3.9
    moved = [pair.positions + rng.normal(0, 0.02, pair.positions.shape) for _ in range(n)]
    offered = [
        Candidate(Structure(pair.numbers, positions), Origin("test", "rattle", index=i), "organic")
        for i, positions in enumerate(moved)
    ]
    run = runs.start(db, "import")
    with db.begin() as connection:
        structures.add(connection, run.run_id, offered)
    runs.finish(db, run, "done", None)


def worker_pids(task: int) -> list[int]:
    """Return the processes of a task of the array: supervisor and worker."""
    ours = {f"SLURM_ARRAY_TASK_ID={task}", f"MLFFDB_DATABASE_URL={os.environ[URL]}"}
    found = []
    for folder in Path("/proc").iterdir():
        try:
            environment = (folder / "environ").read_text().split("\0")
            command = (folder / "cmdline").read_text()
        except (OSError, ValueError):
            continue  # no process, gone, or another's
        if ours <= set(environment) and "mlffdb" in command:
            found.append(int(folder.name))
    return found


def labels_by(db: Database, pids: list[int]) -> int:
    """Return how many labels the workers among *pids* have stored."""
    listed = ", ".join(map(str, pids)) or "0"
    return int(value(db, f"SELECT count(*) FROM label l JOIN worker w USING (worker_id) "
                         f"WHERE w.pid IN ({listed})"))  # fmt: skip


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def submit(workers: int) -> dict[str, Any]:
    # the teacher uses no GPU, but Slurm gives each task one, as to a teacher that does
    options = ("--sbatch=--gres=gpu:1", "--sbatch=--comment=one of 'two' GPUs #1")
    submitted: dict[str, Any] = done_json(*LABEL, "--workers", str(workers), *options)
    return submitted


def log(job: str, task: int) -> str:
    path = Path(f"mlffdb-{job}_{task}.log")
    return path.read_text() if path.exists() else ""


def wait_for_labels(db: Database, job: str, *tasks: int) -> None:
    """Wait until each of these tasks of the array has stored labels, and goes on."""

    def ready() -> bool:
        time.sleep(0.2)  # looking takes time of the cores that label
        logs = "\n".join(log(job, task) for task in tasks)
        assert said("squeue", "-h", "-j", job), f"the job ended before:\n{logs}"
        return all(labels_by(db, worker_pids(task)) for task in tasks)

    wait_until(ready)


def kill(db: Database, task: int) -> None:
    """End a task of the array as a node's end would: all of its processes at once."""
    pids = worker_pids(task)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    # leases of the dead expire in two minutes; here they do at once
    for run_id in column(db, "SELECT run_id FROM run WHERE status = 'running'"):
        for pid in pids:
            workers.expire_leases(db, run_id, pid)


@pytest.mark.slurm
@pytest.mark.skipif(find_spec("tblite") is None, reason="needs the extra xtb")
def test_an_array_of_workers_through_scancel_kill_and_requeue(
    slurm: None, listening: Database
) -> None:
    db = listening
    refusal = refused(*LABEL, "--sbatch=--partition=none")
    assert refusal.startswith("sbatch refused the job: Batch job submission failed: Invalid part")
    assert column(db, "SELECT status FROM run") == ["failed"]

    add_benzene_dimers(db, STRUCTURES)
    submitted = submit(4)
    job, run = submitted["job_id"], submitted["run_id"]
    assert value(db, f"SELECT counts->>'job_id' FROM run WHERE run_id = {run}") == job
    assert "Comment=one of 'two' GPUs #1" in said("scontrol", "show", "job", job)

    wait_for_labels(db, job, 0, 1)  # two GPUs, so two at a time
    subprocess.run(["scancel", f"{job}_0"], check=True)
    kill(db, 1)
    wait_for_labels(db, job, 2, 3)
    subprocess.run(["scontrol", "requeue", f"{job}_2"], check=True)
    kill(db, 3)
    wait_until(lambda: not said("squeue", "-h", "-j", job), 120)  # what was requeued does the rest

    assert value(db, "SELECT count(*) FROM label") == STRUCTURES
    assert column(db, "SELECT DISTINCT status FROM label_task") == ["done"]
    assert value(db, "SELECT count(*) FROM label_task") == STRUCTURES
    assert value(db, "SELECT sum(late) FROM worker") == 0
    assert value(db, "SELECT count(*) FROM worker WHERE stopped_at IS NULL") == 2, "those killed"
    logs = [log(job, task) for task in range(4)]
    assert sorted(re.findall(r"GPUs (\d)", logs[0] + logs[1])) == ["0", "1"]
    assert "Interrupted; run the same command again" in logs[0]
    assert re.findall(r"restarts (\d)", logs[2]) == ["0", "1"]
    assert f"{STRUCTURES} labelled in all, 0 open, 0 failed" in logs[2]
    for killed in (1, 3):
        assert "labelled now" not in logs[killed]
