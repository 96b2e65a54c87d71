"""Which process serves a data folder."""

from __future__ import annotations

import os
from pathlib import Path


def running(pid: int) -> bool:
    """Whether *pid* is a process that can still do something; a zombie is not."""
    try:
        # pid (comm) state …; comm may hold spaces and parentheses
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in "ZX"


def live_postmaster(data: Path) -> int | None:
    """Return the process id of the server that serves *data*, or None.

    The number in ``postmaster.pid`` is believed only where that process is a running postgres
    that does not belong to another data folder; in doubt it counts as alive.
    """
    pid = _recorded_pid(data)
    if pid is None or not running(pid) or not _is_postgres(pid):
        return None
    return pid if _may_serve(pid, data) else None


def remove_stale_lock(data: Path) -> bool:
    """Remove ``postmaster.pid`` if no server of *data* lives; say whether one was removed.

    PostgreSQL itself does so only when the number is unused: a zombie or a foreign program
    with that number makes it refuse to start, and so does an empty file. The file stays while
    orphans of the server live, since it also names the shared memory that betrays them.
    """
    path = data / "postmaster.pid"
    if not path.exists() or live_postmaster(data) is not None or orphans(data):
        return False
    path.unlink(missing_ok=True)
    return True


def orphans(data: Path) -> list[int]:
    """Return the running postgres processes in *data*, left over by a server that was killed."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return sorted(
        pid for pid in pids if running(pid) and _is_postgres(pid) and _works_in(pid, data)
    )


def is_ready(data: Path) -> bool:
    """Whether the server of *data* wrote to its lock file that it takes connections."""
    try:
        lines = (data / "postmaster.pid").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return False
    return len(lines) > 7 and lines[7].strip() == "ready"


def _recorded_pid(data: Path) -> int | None:
    try:
        first = (data / "postmaster.pid").read_text(errors="replace").splitlines()[0]
        return abs(int(first))  # single-user mode writes its number with a minus
    except (FileNotFoundError, IndexError, ValueError):
        return None


def _is_postgres(pid: int) -> bool:
    """Whether the program is postgres; one whose name cannot be read counts as such."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return name == "postgres"


def _works_in(pid: int, data: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").samefile(data)
    except OSError:
        return False


def _may_serve(pid: int, data: Path) -> bool:
    """Whether a postgres can be the server of *data*, by its working folder or its ``-D``."""
    try:
        return Path(f"/proc/{pid}/cwd").samefile(data)  # a server works in its data folder
    except OSError:
        pass  # not ours to look at: a container's root, or another user's process
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        folder = Path(os.fsdecode(words[words.index(b"-D") + 1]))
        return not folder.is_absolute() or folder.samefile(data)
    except (OSError, ValueError, IndexError):
        return True
