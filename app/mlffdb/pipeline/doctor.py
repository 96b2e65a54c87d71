"""`mlffdb doctor`: what is installed and ready, and a remedy for what is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from mlffdb.config import ENV_PREFIX, Settings, find_config_file, package_version
from mlffdb.errors import MlffdbError
from mlffdb.pipeline.teachers import families
from mlffdb.store import migrate
from mlffdb.store.database import Database
from mlffdb.store.embedded import EmbeddedServer, is_network_filesystem

State = Literal["ok", "note", "problem"]

MIN_FREE_BYTES = 5 * 2**30
#: Package → the extra that brings it.
OPTIONAL = {
    "tblite": "xtb",
    "fennol": "fennol",
    "jax": "fennol",
    "orb-models": "orb",
    "torch": "orb",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report."""

    topic: str
    state: State
    message: str
    remedy: str = ""


def examine(settings: Settings) -> list[Check]:
    """Return all checks; a problem comes with its remedy."""
    return [
        *_installed(),
        _config(),
        *_folder(settings),
        *_database(settings),
        *_listening(settings),
        *_teachers(settings),
        *_devices(),
    ]


def _installed() -> list[Check]:
    python = ".".join(map(str, sys.version_info[:3]))
    found = [Check("mlffdb", "ok", f"{package_version()} on Python {python}")]
    for package, extra in OPTIONAL.items():
        try:
            found.append(Check("package", "ok", f"{package} {version(package)}"))
        except PackageNotFoundError:
            found.append(
                Check(
                    "package",
                    "note",
                    f"{package} is not installed",
                    f"pip install 'mlffdb[{extra}]'",
                )
            )
    return found


def _config() -> Check:
    path = find_config_file()
    variables = sorted(name for name in os.environ if name.startswith(ENV_PREFIX))
    known = {ENV_PREFIX + key.upper() for key in Settings.model_fields}
    strange = [name for name in variables if name not in known]
    if strange:
        return Check(
            "settings", "note", f"{', '.join(strange)}: no such setting",
            f"known: {', '.join(sorted(known))}",
        )  # fmt: skip
    return Check(
        "settings",
        "ok",
        f"{path or 'no mlffdb.toml'}; environment: {', '.join(variables) or 'nothing'}",
    )


def _folder(settings: Settings) -> list[Check]:
    if not settings.embedded:
        return []
    folder = settings.data_dir
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    checks = []
    network = is_network_filesystem(existing)
    if network is not None:
        checks.append(
            Check(
                "data folder",
                "problem",
                f"{folder} is on a network file system ({network}), where a database can be "
                "damaged",
                "set MLFFDB_DATA_DIR to a local disk, or MLFFDB_DATABASE_URL to a server",
            )
        )
    free = shutil.disk_usage(existing).free
    checks.append(
        Check(
            "data folder",
            "ok" if free > MIN_FREE_BYTES else "problem",
            f"{folder}, {free / 2**30:.0f} GiB free",
            "" if free > MIN_FREE_BYTES else "make room, or set MLFFDB_DATA_DIR to a larger disk",
        )
    )
    return checks


def _database(settings: Settings) -> list[Check]:
    try:
        with Database(settings) as database:
            number = database.server_version
            found = migrate.state(database)
            checks = [Check("database", "ok", f"{database.label}, PostgreSQL {number // 10000}")]
            database.require_server_version()
            if found.fits:
                checks.append(Check("schema", "ok", f"revision {found.current}"))
            else:
                migrate.require_current(database)
            return checks
    except MlffdbError as error:
        message, _, remedy = str(error).partition("; ")
        missing = "no mlffdb schema" in message
        return [Check("database", "note" if missing else "problem", message, remedy)]


def _listening(settings: Settings) -> list[Check]:
    """Say whether other machines can reach the embedded server."""
    if not settings.embedded:
        return []
    try:
        url = EmbeddedServer(settings.data_dir, version=settings.postgres_version).listening()
    except MlffdbError:
        return []  # said by the check before
    return [] if url is None else [Check("database", "ok", f"takes TCP connections as {url}")]


def _teachers(settings: Settings) -> list[Check]:
    found = families(settings)
    ready = [family.label for family in found if family.readiness.ready]
    checks = [Check("teacher", "ok", f"ready: {', '.join(ready)}")] if ready else []
    return checks + [
        Check("teacher", "note", f"{family.label}: {family.readiness.reason}",
              family.readiness.remedy)
        for family in found if not family.readiness.ready
    ]  # fmt: skip


def _devices() -> list[Check]:
    cores = len(os.sched_getaffinity(0))
    checks = [Check("device", "ok", f"{cores} CPU cores")]
    program = shutil.which("nvidia-smi")
    if program is None:
        return [*checks, Check("device", "note", "no NVIDIA GPU is seen (no nvidia-smi)")]
    listed = subprocess.run(
        [program, "--query-gpu=index,name,memory.total", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    lines = listed.stdout.strip().splitlines() if listed.returncode == 0 else []
    if not lines:
        problem = (listed.stderr or listed.stdout).strip().splitlines()
        reason = problem[0] if problem else f"status {listed.returncode}"
        return [
            *checks,
            Check("device", "problem", f"nvidia-smi fails: {reason}", "mend the driver"),
        ]
    return [*checks, *(Check("device", "ok", f"GPU {line}") for line in lines)]
