"""Chaos: labelling by real workers while something is killed, stopped, cut, filled or set wrong.

Each fault has its own server and its own structures (pairs of shaken benzenes, GFN2-xTB), and two
workers that label until nothing is open, while the fault strikes ``times`` times; a campaign that
gives up in the middle is started again, as its user would. Then the database is asked: is every
structure labelled exactly once or failed with a reason, is nothing stuck, was a label ever lost,
and are twenty of them the teacher's own numbers. A number under ``duplicates``, ``stuck``, ``lost``
or ``wrong`` other than 0 is a defect.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase.build import molecule
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from benchmarks import _chaos_teacher as teacher
from benchmarks._plugin import installed
from benchmarks._proxy import Proxy
from mlffdb.config import load_settings
from mlffdb.errors import MlffdbError
from mlffdb.pipeline import setup
from mlffdb.store import runs, structures
from mlffdb.store.database import Database
from mlffdb.store.embedded import EmbeddedServer, process
from mlffdb.store.records import decode
from mlffdb.structures import Candidate, Origin, Structure
from mlffdb.teachers import registry
from mlffdb.teachers.base import Prediction
from mlffdb_workers import campaign
from mlffdb_workers.state import LoopOptions

log = logging.getLogger(__name__)

LEASE = 3.0  # s
HANG = 4.0  # s that a batch may take
#: A campaign that gave up is started again so often at most.
MOST_CAMPAIGNS = 20
DISK = 400 * 2**20  # bytes of the small disk
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
#: Fault → element that one in 40 of the structures carries.
MARKS = {"poison": teacher.KILLS, "hang": teacher.HANGS}


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Return one row per fault; *quick* takes few structures, and none that wait for minutes."""
    if not registry.readiness("gfn2-xtb", load_settings()).ready:
        return []
    count = 120 if quick else 1500
    names = [name for name in FAULTS if not (quick and name in MARKS)]
    return [suffer(name, count) for name in names]


def suffer(name: str, count: int, seed: int = 0) -> dict[str, Any]:
    """Label *count* structures under the fault *name* of FAULTS; return what came of it."""
    fault = FAULTS[name]
    if fault.needs is not None and (missing := fault.needs()):
        return {"fault": name, "skipped": missing}
    with (
        _stage(name) as stage,
        installed(stage.folder / "plugin", teacher.NAME, teacher.__name__),
    ):
        stage.rng = random.Random(seed)
        ids = _add_structures(stage.server.url(), count, mark=MARKS.get(name))
        os.environ["MLFFDB_DATABASE_URL"] = stage.url
        watcher = _Watcher(stage.server.url())
        done = threading.Event()
        trouble = threading.Thread(target=_repeat, args=(fault, stage, done))
        trouble.start()
        started = time.perf_counter()
        try:
            campaigns, totals = _label_all(stage.server.url())
        finally:
            done.set()
            trouble.join()
            stage.server.start()  # whatever the fault did to it last
            watcher.close()
        seconds = time.perf_counter() - started
        with Database(_settings(stage.server.url())) as database:
            found = _examine(database, ids, watcher.seen)
    return {
        "fault": name,
        "structures": count,
        "seconds": round(seconds, 1),
        "times": stage.times,
        "campaigns": campaigns,
        "restarts": totals,
        **found,
    }


# ---- faults ----


@dataclass
class Stage:
    """A server, the way to it, and how often the fault has struck."""

    folder: Path
    server: EmbeddedServer
    proxy: Proxy
    #: What the workers connect to: the proxy, since a socket cannot be cut.
    url: str
    rng: random.Random = field(default_factory=random.Random)
    times: int = 0

    def ask(self, statement: str) -> list[Any]:
        """Return the rows of *statement*, past the proxy; none while the server is away."""
        return _ask(self.server.url(), statement)

    def worker(self) -> int | None:
        """Return the process id of one living worker, drawn at random."""
        found = self.ask("SELECT pid FROM worker WHERE stopped_at IS NULL")
        alive = [pid for (pid,) in found if process.running(pid)]
        return self.rng.choice(alive) if alive else None


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong again and again."""

    strike: Callable[[Stage], bool]
    #: Seconds between two of them.
    pause: float
    #: Returns what is missing here, or an empty text.
    needs: Callable[[], str] | None = None


def kill_worker(stage: Stage) -> bool:
    """SIGKILL of a worker."""
    pid = stage.worker()
    if pid is None:
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return True


def freeze_worker(stage: Stage) -> bool:
    """SIGSTOP past the lease, then SIGCONT: a zombie that wants to write what others did."""
    pid = stage.worker()
    if pid is None:
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(1.7 * LEASE)
        os.kill(pid, signal.SIGCONT)
    return True


def restart_server(stage: Stage) -> bool:
    """An orderly stop of PostgreSQL, a second without it, and a start."""
    stage.server.stop()
    time.sleep(1)
    stage.server.start()
    return True


def crash_server(stage: Stage) -> bool:
    """SIGQUIT to PostgreSQL, which then goes down at once (immediate), and a start."""
    pid = process.live_postmaster(stage.server.cluster)
    if pid is None:
        return False
    os.kill(pid, signal.SIGQUIT)
    while process.running(pid):
        time.sleep(0.05)
    stage.server.start()
    return True


def terminate_backend(stage: Stage) -> bool:
    """pg_terminate_backend on one of the workers' connections."""
    return bool(
        stage.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND usename = current_user ORDER BY random() LIMIT 1"
        )
    )


def cut_network(stage: Stage) -> bool:
    """All connections reset at once, or nothing passed on for longer than the lease."""
    if stage.times % 2:
        stage.proxy.freeze(1.5 * LEASE)
        return True
    return stage.proxy.cut() > 0


def fill_disk(stage: Stage) -> bool:
    """The disk of the database full for four seconds; then there is room again, and it is up."""
    filler = stage.folder / "disk" / "filler"
    with suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(bytes(2**20))
            file.flush()
    time.sleep(4)
    filler.unlink()
    stage.server.start()
    return True


def step_clocks(stage: Stage) -> bool:
    """The workers' wall clock set days back or forth (libfaketime rereads the file)."""
    days = stage.rng.choice([-400, -3, 2, 30])
    (stage.folder / "clock").write_text(f"{days:+d}d\n")
    return True


def step_server_clock(stage: Stage) -> bool:
    """Leases over before their time, as after a step of the server's clock by an hour."""
    return bool(
        stage.ask(
            "UPDATE label_task SET lease_expires_at = lease_expires_at - interval '1 hour'"
            " WHERE status = 'running' RETURNING structure_id"
        )
    )


def nothing(_stage: Stage) -> bool:
    """No fault from outside: the structures or nothing at all."""
    return False


def _no_mounts() -> str:
    return "" if os.geteuid() == 0 and shutil.which("mount") else "a small disk needs root"


def _no_faketime() -> str:
    return "" if FAKETIME.is_file() else "needs Debian's package faketime"


#: The faults by name.
FAULTS = {
    "none": Fault(nothing, 1.0),
    "sigkill": Fault(kill_worker, 0.5),
    "sigstop": Fault(freeze_worker, 0.5),
    "restart": Fault(restart_server, 2.0),
    "crash": Fault(crash_server, 2.0),
    "terminate": Fault(terminate_backend, 0.3),
    "network": Fault(cut_network, 1.5),
    "disk": Fault(fill_disk, 2.0, _no_mounts),
    "poison": Fault(nothing, 1.0),
    "hang": Fault(nothing, 1.0),
    "clock": Fault(step_clocks, 0.7, _no_faketime),
    "server_clock": Fault(step_server_clock, 1.0),
}


def _repeat(fault: Fault, stage: Stage, done: threading.Event) -> None:
    """Strike as soon as a worker is there, and again and again until the work is done."""
    while stage.worker() is None:
        if done.wait(0.1):
            return
    while not done.is_set():
        struck = fault.strike(stage)
        stage.times += struck
        done.wait(fault.pause * stage.rng.uniform(0.7, 1.3) if struck else 0.1)


# ---- the work ----


@contextmanager
def _stage(name: str) -> Iterator[Stage]:
    """Give a migrated database behind a proxy, and the environment that leads there."""
    saved = dict(os.environ)
    small_disk = name == "disk"
    folder = Path(tempfile.mkdtemp(prefix="mlffdb-chaos-", dir="/tmp"))
    folder.chmod(0o755)  # a server started by root runs as another user
    for part in ("plugin", "disk"):
        (folder / part).mkdir()
    if small_disk:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder / "disk"], check=True
        )
    server = EmbeddedServer(folder / "disk" / "data", settings={"shared_buffers": "32MB",
                            "wal_recycle": "off", "min_wal_size": "32MB"})  # fmt: skip
    try:
        server.start()
        libpq = server.libpq()
        proxy = Proxy(Path(str(libpq["host"])) / f".s.PGSQL.{libpq['port']}")
        for variable in [key for key in os.environ if key.startswith("MLFFDB_")]:
            del os.environ[variable]
        os.environ["MLFFDB_DATABASE_URL"] = server.url()
        setup.init()
        if name == "clock":  # for processes started from here on
            (folder / "clock").write_text("+0\n")
            os.environ |= {"LD_PRELOAD": str(FAKETIME), "FAKETIME_NO_CACHE": "1",
                           "FAKETIME_TIMESTAMP_FILE": str(folder / "clock"),
                           "FAKETIME_DONT_FAKE_MONOTONIC": "1"}  # fmt: skip
        url = f"postgresql://{libpq['user']}@127.0.0.1:{proxy.port}/{libpq['dbname']}"
        yield Stage(folder, server, proxy, url)
        proxy.close()
    finally:
        server.stop()
        os.environ.clear()
        os.environ |= saved
        if small_disk:
            subprocess.run(["umount", "-l", folder / "disk"], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _settings(url: str) -> Any:
    return load_settings(database_url=url)


def _add_structures(url: str, count: int, *, mark: int | None) -> list[Any]:
    """Add pairs of benzenes; one in 40 of them carries an atom of the element *mark*."""
    rng = np.random.default_rng(1)
    pair = molecule("C6H6")
    pair += molecule("C6H6")
    pair.positions[12:, 2] += 3.9
    offered = []
    for index in range(count):
        numbers = pair.numbers.copy()
        if mark is not None and index % 40 == 0:
            numbers[6] = mark
        positions = pair.positions + rng.normal(0, 0.02, pair.positions.shape)
        structure = Structure(numbers, positions)
        offered.append(Candidate(structure, Origin("chaos", "rattle", index=index), "organic"))
    with Database(_settings(url)) as database:
        run_record = runs.start(database, "import", name="chaos")
        with database.begin() as connection:
            return list(structures.add(connection, run_record.run_id, offered).ids)


def _label_all(url: str) -> tuple[int, int]:
    """Label until nothing is open; return how many campaigns that took, and restarts of workers."""
    restarts = 0
    for number in range(1, MOST_CAMPAIGNS + 1):
        try:
            with Database(load_settings()) as database:
                report = campaign.label(
                    database, teacher.NAME, workers=2, lease=LEASE, options=LoopOptions(hang=HANG)
                )
            restarts += report.totals.restarts
        except (MlffdbError, DBAPIError) as error:
            log.info("campaign %d gave up: %s", number, error)
        if _ask(url, _ALL_ENDED) == [(True,)]:
            return number, restarts
        time.sleep(1)
    raise RuntimeError(f"tasks are still open after {MOST_CAMPAIGNS} campaigns")


_ALL_ENDED = """
SELECT count(*) > 0 AND count(*) FILTER (WHERE status IN ('pending', 'running')) = 0
FROM label_task"""


def _ask(url: str, statement: str) -> list[Any]:
    """Return the rows of *statement*; none while the server is away."""
    with (
        suppress(MlffdbError, DBAPIError),
        Database(_settings(url)) as database,
        database.begin() as connection,
    ):
        return [tuple(row) for row in connection.execute(text(statement))]
    return []


class _Watcher:
    """Notes which labels were there at some time, to see whether one gets lost."""

    def __init__(self, url: str) -> None:
        self.seen: set[Any] = set()
        self._url = url
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._closed.wait(0.5):
            self.seen.update(key for (key,) in _ask(self._url, "SELECT structure_id FROM label"))

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()
        self._thread.join()


# ---- the examination ----


def _examine(database: Database, ids: list[Any], seen: set[Any]) -> dict[str, Any]:
    """Return the counts that the table shows; ``wrong`` must be 0."""
    with database.begin() as connection:
        tasks = {
            row[0]: (row[1], row[2])
            for row in connection.execute(
                text("SELECT structure_id, status, error_code FROM label_task")
            )
        }
        labelled = connection.scalars(text("SELECT structure_id FROM label")).all()
        late, workers = connection.execute(text("SELECT sum(late), count(*) FROM worker")).one()
    done = {key for key, (status, _) in tasks.items() if status == "done"}
    failed = {key for key, (status, code) in tasks.items() if status == "failed" and code}
    return {
        "workers": workers,
        "labelled": len(labelled),
        "failed": len(failed),
        "late_refused": int(late or 0),
        "duplicates": len(labelled) - len(set(labelled)),
        "stuck": len(set(ids) - done - failed),
        "lost": len(seen - set(labelled)) + len(done - set(labelled)),
        "wrong": len(set(labelled) ^ done) + _wrong_labels(database),
    }


def _wrong_labels(database: Database) -> int:
    """Return how many of twenty labels are not the teacher's own numbers."""
    from mlffdb.teachers.label import label

    with database.begin() as connection:
        rows = connection.execute(
            text(
                "SELECT l.energy, s.numbers, s.positions, s.cell, s.pbc, s.charge, s.multiplicity"
                " FROM label l JOIN structure s USING (structure_id) ORDER BY random() LIMIT 20"
            )
        ).all()
    loaded = registry.load("gfn2-xtb", settings=load_settings())
    results = label(loaded, [decode(row[1:]) for row in rows])
    return sum(
        not isinstance(result, Prediction) or abs(result.energy - row[0]) > 1e-6
        for result, row in zip(results, rows, strict=True)
    )
