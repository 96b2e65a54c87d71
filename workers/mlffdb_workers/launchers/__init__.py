"""Launchers: how the same `mlffdb label` comes to run many times on a cluster.

A worker needs nothing but the database's address, so a launcher only writes and submits a script;
it keeps no process alive and knows nothing of the work. Without a launcher, the workers are
processes of this machine (`mlffdb_workers.supervisor`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from mlffdb.errors import MlffdbError
from mlffdb.store import runs
from mlffdb.store.database import Database


class LaunchError(MlffdbError):
    """What was asked for cannot be launched, or the scheduler refused it."""


@dataclass(frozen=True, slots=True)
class Launch:
    """The same command, so many times, with what each of them needs."""

    #: Arguments of `mlffdb`, such as ("label", "--teacher", "orb-v2", "--gpu", "0").
    command: tuple[str, ...]
    workers: int
    #: Environment variables that the command needs; never a secret.
    environment: dict[str, str]
    #: Working directory of the command.
    folder: Path
    gpus_per_worker: int = 0
    cpus_per_worker: int = 1
    #: Longest time that one may run, as the scheduler writes it; None for the scheduler's default.
    time: str | None = None
    #: The scheduler's own options, passed on as they are.
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Submission:
    """A job that the scheduler has taken."""

    job_id: str
    #: Commands that show it.
    watch: tuple[str, ...]
    #: The command that stops it.
    stop: str


@dataclass(frozen=True, slots=True)
class LaunchReport:
    """A submission and the run that recorded it."""

    run_id: int
    submission: Submission


class Launcher(Protocol):
    """One kind of scheduler."""

    #: What `--launcher` calls it.
    name: str

    def script(self, launch: Launch) -> str:
        """Return what is submitted; raises LaunchError where *launch* cannot be said in it."""

    def submit(self, script: str) -> Submission:
        """Hand *script* to the scheduler; raises LaunchError with the scheduler's words."""


def launch_workers(
    database: Database, launcher: Launcher, launch: Launch, *, name: str
) -> LaunchReport:
    """Submit *launch*; the run's row keeps the script, and the job's id among the counts.

    name: what is labelled by, for the run's row
    Raises LaunchError; the run then is stored as failed.
    """
    script = launcher.script(launch)
    config = {"launcher": launcher.name, "script": script, **asdict(launch)}
    with runs.recorded(database, "label", name=name, config=config) as run:
        submission = launcher.submit(script)
        run.counts["job_id"] = submission.job_id
    return LaunchReport(run.run_id, submission)
