"""Labelling: queue, workers and database against bare loops of the same teacher, in the same run.

Both use the same structures and as many processes as there are cores. Loading the teacher is left
out on both sides: a worker's time begins when it registers, a bare process's when it has loaded.
The two take turns, and the medians count.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import text

from benchmarks.teachers import BareFennol, bare_xtb, make_structures
from mlffdb.config import load_settings
from mlffdb.pipeline import setup
from mlffdb.store import runs, structures
from mlffdb.store.database import Database
from mlffdb.store.embedded import EmbeddedServer
from mlffdb.structures import Candidate, Origin, Structure
from mlffdb.teachers import registry
from mlffdb_workers import campaign

#: Teacher → processes, structures. FeNNol uses both cores from one process.
TEACHERS = {"gfn2-xtb": (2, 1500), "fennol:ani1x_model0": (1, 8000)}


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Return one row per teacher that is ready here; *quick* takes a tenth of the structures."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="mlffdb-bench-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)  # a server started by root runs as another user
        os.environ["MLFFDB_DATA_DIR"] = folder
        os.environ.pop("MLFFDB_DATABASE_URL", None)
        setup.init()
        try:
            for name, (processes, count) in TEACHERS.items():
                if registry.readiness(name, load_settings()).ready:
                    n = count // 10 if quick else count
                    rows.append(_compare(name, processes, n, 1 if quick else 3))
        finally:
            EmbeddedServer(Path(folder)).stop()
    return rows


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
        "teacher": name,
        "processes": processes,
        "structures": count,
        "labelled_per_s": round(ours_rate, 1),
        "bare_per_s": round(bare_rate, 1),
        "ratio": round(ours_rate / bare_rate, 3),
        "share_computing": round(statistics.median(shares), 3),
        "rounds": rounds,
    }


def _labelled(name: str, processes: int, made: list[Structure]) -> tuple[float, float]:
    """Label *made* through the database; return structures/s and the share of time computing."""
    with Database(load_settings()) as database:
        run_record = runs.start(database, "import", name="benchmark")
        with database.begin() as connection:
            offered = [Candidate(s, Origin("benchmark", "rattle", index=i), "organic")
                       for i, s in enumerate(made)]  # fmt: skip
            structures.add(connection, run_record.run_id, offered)
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
    made = make_structures(count, seed=seed)[place::processes]
    compute = _bare_teacher(name)
    started = time.perf_counter()
    compute(made)
    print(json.dumps({"seconds": time.perf_counter() - started}))


def _bare_teacher(name: str) -> Callable[[Sequence[Structure]], object]:
    """Return a loaded teacher without anything of ours around it."""
    if name.endswith("xtb"):
        import tblite.interface  # noqa: F401 - loading is not timed

        return bare_xtb
    settings = load_settings()
    folder = settings.weights_dir or settings.cache_dir / "weights"
    return BareFennol(str(folder / f"{name.removeprefix('fennol:')}.fnx"), 1024)


if __name__ == "__main__":
    _bare_process(sys.argv[1], *(int(value) for value in sys.argv[2:6]))
