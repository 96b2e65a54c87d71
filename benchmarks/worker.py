"""Workers: labelling through queue and database against the bare teacher, and how they end.

Rows of a teacher: `labelled_per_s` by workers and the database, `bare_per_s` by plain loops over
the same teacher's batches, both with as many processes, in turns; medians of the rounds. Loading is
left out on both sides: a worker's time begins when it registers, a bare process's when it has
loaded. The row ``null`` is a teacher that computes nothing: claim, decode, checks, encode, store,
with PostgreSQL on the same cores. The last rows: from SIGKILL of supervisor and workers to the
first label after a restart, of tasks that the dead held; and the leases held after a clean stop.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import text

from benchmarks import _null_teacher as null
from benchmarks._plugin import installed
from benchmarks.teachers import make_structures
from mlffdb.config import load_settings
from mlffdb.pipeline import setup
from mlffdb.store import runs, structures, verdicts
from mlffdb.store.database import Database
from mlffdb.store.embedded import EmbeddedServer
from mlffdb.structures import Candidate, Origin, Structure
from mlffdb.teachers import registry
from mlffdb.teachers.batches import plan_batches
from mlffdb.teachers.label import label
from mlffdb_workers import campaign
from mlffdb_workers.state import LoopOptions

#: Teacher → processes, structures, rounds. FeNNol and Orb use both cores from one process.
TEACHERS = {
    "gfn2-xtb": (2, 1500, 3),
    "fennol:ani1x_model0": (1, 8000, 3),
    "orb-v2": (1, 40, 3),
}
NULL = (2, 60_000, 5)
LEASE = 5.0


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Return a row per teacher that is ready here, and the rows of the null teacher.

    quick: a tenth of the structures, one round
    """
    rows = []
    for name, (processes, count, rounds) in TEACHERS.items():
        with _stage() as folder:  # of its own: a teacher labels whatever it finds
            _random_orb(folder)
            if registry.readiness(name, load_settings()).ready:
                rows.append(_compare(name, processes, count // (10 if quick else 1),
                                     1 if quick else rounds))  # fmt: skip
    with _stage() as folder, installed(folder, null.NAME, null.__name__):
        processes, count, rounds = NULL
        rows.append(_pipeline(processes, count // (10 if quick else 1), 1 if quick else rounds))
        rows.append(_restart())
        rows.append(_clean_stop())
    return rows


@contextmanager
def _stage() -> Iterator[Path]:
    """Give a folder with an embedded database, which commands started meanwhile use."""
    with tempfile.TemporaryDirectory(prefix="mlffdb-bench-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)  # a server started by root runs as another user
        saved = dict(os.environ)
        os.environ["MLFFDB_DATA_DIR"] = name
        os.environ.pop("MLFFDB_DATABASE_URL", None)
        setup.init()
        try:
            yield folder
        finally:
            EmbeddedServer(folder).stop()
            os.environ.clear()
            os.environ.update(saved)


def _random_orb(folder: Path) -> None:
    """Write an Orb checkpoint with random weights where it is looked for, if there is none."""
    from importlib.util import find_spec

    settings = load_settings()
    if find_spec("orb_models") is None or registry.readiness("orb-v2", settings).ready:
        return
    from mlffdb.teachers.orb import save_random_checkpoint

    weights = folder / "weights"
    weights.mkdir()
    for path in [] if settings.weights_dir is None else settings.weights_dir.iterdir():
        (weights / path.name).symlink_to(path.resolve())
    save_random_checkpoint(weights / "orb-v2-20241011.ckpt")
    os.environ["MLFFDB_WEIGHTS_DIR"] = str(weights)


# ---- against the bare teacher ----


def _compare(name: str, processes: int, count: int, rounds: int) -> dict[str, Any]:
    ours, bare, shares = [], [], []
    for number in range(rounds):
        seed = 100 * number + len(name)
        bare.append(_bare(name, processes, count, seed))
        rate, share = _labelled(name, processes, make_structures(count, seed=seed))
        ours.append(rate)
        shares.append(share)
    ours_rate, bare_rate = statistics.median(ours), statistics.median(bare)
    return {
        "what": name,
        "processes": processes,
        "structures": count,
        "labelled_per_s": round(ours_rate, 1),
        "bare_per_s": round(bare_rate, 1),
        "ratio": round(ours_rate / bare_rate, 3),
        "share_computing": round(statistics.median(shares), 3),
        "rounds": rounds,
    }


def _labelled(name: str, processes: int, made: Sequence[Structure]) -> tuple[float, float]:
    """Label *made* through the database; return structures/s and the share of time computing."""
    with Database(load_settings()) as database:
        _add(database, made)
        report = campaign.label(database, name, workers=processes)
        with database.begin() as connection:
            row = connection.execute(
                text("""
SELECT count(*) / extract(epoch FROM max(l.created_at) - min(w.started_at)),
    (SELECT sum(compute_seconds) / sum(extract(epoch FROM stopped_at - started_at))
     FROM worker WHERE run_id = :run)
FROM label l JOIN worker w USING (worker_id) WHERE w.run_id = :run"""),
                {"run": report.run_id},
            ).one()
    return float(row[0]), float(row[1])


def _add(database: Database, made: Sequence[Structure]) -> None:
    """Add structures as checked: the checks before labelling have a benchmark of their own."""
    run_record = runs.start(database, "import", name="benchmark")
    offered = [
        Candidate(structure, Origin("benchmark", "rattle", index=index), "organic")
        for index, structure in enumerate(made)
    ]
    with database.begin() as connection:
        added = structures.add(connection, run_record.run_id, offered)
        verdicts.write(
            connection,
            run_id=run_record.run_id,
            rule_version="benchmark",
            teacher_id=None,
            verdicts=dict.fromkeys(added.ids, "valid"),
            findings=[],
        )
        connection.execute(text("ANALYZE"))
    runs.finish(database, run_record, "done", None)


def _bare(name: str, processes: int, count: int, seed: int) -> float:
    """Compute by plain loops in so many processes; return structures/s."""
    share = count // processes
    environment = {**os.environ, **(campaign.ONE_THREAD if processes > 1 else {})}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", __name__, name, str(count), str(seed), str(i), str(processes)],
            stdout=subprocess.PIPE, text=True, env=environment,
        )
        for i in range(processes)
    ]  # fmt: skip
    seconds = [json.loads(p.communicate()[0].splitlines()[-1])["seconds"] for p in started]
    return share * processes / max(seconds)


def _bare_process(name: str, count: int, seed: int, place: int, processes: int) -> None:
    """Compute a share of the structures in the teacher's own batches, with nothing around it."""
    made = make_structures(count, seed=seed)[place::processes]
    teacher = registry.load(name, settings=load_settings())
    started = time.perf_counter()
    for indices in plan_batches(teacher, made, range(len(made))):
        teacher.compute([made[index] for index in indices])
    print(json.dumps({"seconds": time.perf_counter() - started}))


# ---- the pipeline itself ----


def _pipeline(processes: int, count: int, rounds: int) -> dict[str, Any]:
    measured = [
        _labelled(null.NAME, processes, _thirty_atoms(count, seed)) for seed in range(rounds)
    ]
    return {
        "what": "null, 30 atoms",
        "processes": processes,
        "structures": count,
        "labelled_per_s": round(statistics.median(rate for rate, _ in measured), 1),
        "checks_us": round(_checks_us(), 2),
        "rounds": rounds,
    }


def _thirty_atoms(count: int, seed: int) -> list[Structure]:
    """Return structures of 30 atoms on a shaken grid, with an even number of electrons."""
    rng = np.random.default_rng(seed)
    grid = 1.7 * np.stack(np.meshgrid(*[np.arange(4.0)] * 3), -1).reshape(-1, 3)[:30]
    numbers = np.array([6, 7, 8, 1, 1] * 6, dtype=np.uint8)
    return [Structure(numbers, grid + rng.normal(0, 0.1, grid.shape)) for _ in range(count)]


def _checks_us() -> float:
    """Return what the checks before and after computing take for one structure, µs."""
    made = _thirty_atoms(512, 0)
    teacher = null.NullTeacher()

    def best(call: Callable[[], object]) -> float:
        times = []
        for _ in range(7):
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
        return min(times)

    return 1e6 * (best(lambda: label(teacher, made)) - best(lambda: teacher.compute(made))) / 512


# ---- how they end ----


def _restart() -> dict[str, Any]:
    """Kill everything while it holds all open tasks, start again, wait for the first label."""
    with Database(load_settings()) as database:
        _add(database, _thirty_atoms(50, 1000))
        with _command(seconds=600) as process:
            _wait(lambda: _count(database, "status = 'running'") == 50)
            os.killpg(process.pid, signal.SIGKILL)
            with database.begin() as connection:
                pids = connection.scalars(
                    text("SELECT pid FROM worker WHERE stopped_at IS NULL AND kind = 'label'")
                )
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
            died = time.monotonic()
        with _command(seconds=0):
            _wait(lambda: _count(database, "status IN ('pending', 'running')") < 50)
            waited = time.monotonic() - died
    return {"what": "SIGKILL to first label", "seconds": round(waited, 2), "lease_s": LEASE}


def _clean_stop() -> dict[str, Any]:
    """Stop in the middle of a batch that outlasts the grace."""
    with Database(load_settings()) as database:
        _wait(lambda: _count(database, "status IN ('pending', 'running')") == 0)
        _add(database, _thirty_atoms(50, 2000))
        with _command(seconds=600, grace=1.0) as process:
            _wait(lambda: _count(database, "status = 'running'") > 0)
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            status = process.wait()
            seconds = time.monotonic() - started
        held = _count(database, "status = 'running'")
    return {"what": "clean stop", "seconds": round(seconds, 2), "exit": status, "leases": held}


@contextmanager
def _command(*, seconds: float, grace: float = 100.0) -> Iterator[subprocess.Popen[bytes]]:
    """Label by the null teacher whose batches take so many seconds, in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, "campaign", str(grace)],
        env={**os.environ, null.SECONDS: str(seconds)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _count(database: Database, condition: str) -> int:
    with database.begin() as connection:
        return int(
            connection.scalar(
                text(f"SELECT count(*) FROM label_task k JOIN teacher t USING (teacher_id)"
                     f" WHERE t.name = '{null.NAME}' AND {condition}")
            ) or 0
        )  # fmt: skip


def _wait(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("waited too long")
        time.sleep(0.02)


def _campaign(grace: float) -> None:
    with Database(load_settings()) as database:
        campaign.label(database, null.NAME, lease=LEASE, options=LoopOptions(grace=grace))


if __name__ == "__main__":
    if sys.argv[1] == "campaign":
        _campaign(float(sys.argv[2]))
    else:
        _bare_process(sys.argv[1], *(int(value) for value in sys.argv[2:6]))
