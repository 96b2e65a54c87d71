"""Exports and kills itself at a given step: ``killed_export.py OUT STEP``; see test_atomicity."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlffdb.config import load_settings
from mlffdb.snapshots import export, files, freeze, writer
from mlffdb.store.database import Database
from tests.snapshots import filling

#: Step → module, function, and whether the process dies before or after it.
STEPS = {
    "after freezing": (export, "_describe", "before"),
    "while writing": (writer.SnapshotWriter, "append", "after"),
    "while reading back": (files, "read_back", "after"),
    "with only the manifest missing": (files.manifests, "software", "before"),
    "before the move": (files, "move_into_place", "before"),
    "after the move": (freeze, "publish", "before"),
    "after publishing": (export, "_report", "before"),
}


def main() -> None:
    """Export; die at the step asked for."""
    out, step = Path(sys.argv[1]), sys.argv[2]
    with Database(load_settings()) as database:
        run_id = filling.new_run(database)
        if step in STEPS:
            owner, name, when = STEPS[step]
            setattr(owner, name, _deadly(getattr(owner, name), when))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        export.export_snapshot(database, "set", run_id=run_id, teacher="emt", out=out)


def _deadly(function: Callable[..., Any], when: str) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        if when == "after":
            function(*args, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    return call


if __name__ == "__main__":
    main()
