"""Stopping by signal, also while the main thread computes in a library.

Python runs signal handlers in the main thread, and only between two of its own instructions: not
while a library computes there. So a thread waits for the bytes that the interpreter's C handler
writes to a pipe at once (signal.set_wakeup_fd).
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: The same signal again within so many seconds is the same wish: `timeout`, a terminal or a batch
#: system may send it both to a process and to its group.
SAME_SECONDS = 0.3


class Wishes:
    """Tells a second wish to stop from an echo of the first."""

    def __init__(self) -> None:
        self._first: float | None = None

    def is_second(self) -> bool:
        """Take a signal in; returns True if there was an earlier one, a moment ago at least."""
        return not self.is_first() and self._since_first() > SAME_SECONDS

    def is_first(self) -> bool:
        """Take a signal in; returns True if there was none before."""
        if self._first is None:
            self._first = time.monotonic()
            return True
        return False

    def _since_first(self) -> float:
        return time.monotonic() - (self._first or 0.0)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let the first SIGTERM or SIGINT raise KeyboardInterrupt inside; a second ends the process.

    For what is done before and after workers run, so that a run is recorded as interrupted. Signals
    that are ignored stay so; in another thread than the main one nothing is changed.
    """
    wishes = Wishes()

    def handle(number: int, _frame: FrameType | None) -> None:
        if wishes.is_first():
            raise KeyboardInterrupt
        if wishes.is_second():
            raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.getsignal(n) for n in SIGNALS if signal.getsignal(n) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def watch_signals(stop: Callable[[], None]) -> None:
    """Call *stop*, in a thread, at the first SIGTERM or SIGINT; a second one exits at once."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in SIGNALS:
        signal.signal(number, _noted)
    # the thread holds the writer too, or the pipe would be closed
    threading.Thread(
        target=_watch, args=(reader, writer, stop), name="signals", daemon=True
    ).start()


def _watch(reader: socket.socket, _writer: socket.socket, stop: Callable[[], None]) -> None:
    wishes = Wishes()
    while data := reader.recv(64):
        for number in data:
            if number not in SIGNALS:
                continue
            if wishes.is_second():
                os._exit(128 + number)
            stop()


def _noted(_number: int, _frame: FrameType | None) -> None:
    """Take the place of the default action; the thread does what is to be done."""
