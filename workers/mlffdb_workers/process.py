"""One worker process as its supervisor sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from mlffdb.config import Settings


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One worker process to run."""

    #: Arguments of `python -m mlffdb_workers`.
    arguments: tuple[str, ...]
    #: Further environment variables, such as CUDA_VISIBLE_DEVICES.
    environment: Mapping[str, str] = field(default_factory=dict)


class WorkerProcess:
    """A running worker and the last things that it said.

    falls: how many before it in a row ended in this place without having done anything
    """

    def __init__(self, spec: WorkerSpec, settings: Settings, *, falls: int = 0) -> None:
        self.spec = spec
        self.falls = falls
        self.ready = threading.Event()
        self.messages: dict[str, Any] = {}
        self._heard = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlffdb_workers", *spec.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **settings.variables(), **spec.environment},
            start_new_session=True,  # Ctrl-C comes to the supervisor alone
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def silent_seconds(self) -> float:
        """Seconds since it last said that it is alive; 0 as long as it loads."""
        return time.monotonic() - self._heard if "alive" in self.messages else 0.0

    def go(self) -> None:
        """Let it start."""
        self._write("go\n")

    def ask_to_stop(self) -> None:
        """Let it finish and end; by no signal, so that one sent to all processes counts once.

        As long as it loads it holds nothing, and is ended.
        """
        if self.ready.is_set():
            self._write("stop\n")
        else:
            self.process.terminate()

    def _write(self, line: str) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it died; seen when it is reaped
            self.process.stdin.write(line)
            self.process.stdin.flush()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                continue  # something that a library printed
            if isinstance(message, dict):
                self._heard = time.monotonic()
                self.messages.update(message)
                if message.keys() & {"ready", "error"}:
                    self.ready.set()
        self.ready.set()

    def reap(self) -> int | None:
        """Return its exit status, or None while it runs."""
        status = self.process.poll()
        if status is not None:
            self._reader.join(timeout=5)
        return status

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """Close the pipes of a finished process."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
