"""Logs of the processes that work: one line for each event, as text or JSON.

Only mlffdb's own loggers are given a handler, and only while `writing` is open; what the program
around it or another library has set up stays as it is. Credentials in messages are hidden.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any, Literal

from mlffdb.errors import ConfigError
from mlffdb_workers.observer import Observer

LOGGERS = ("mlffdb", "mlffdb_cli", "mlffdb_workers")
LEVELS = ("debug", "info", "warning", "error")
Format = Literal["text", "json"]

#: Passwords in URLs and in libpq's key=value form.
_SECRETS = (
    (re.compile(r"(\w+://[^\s:/@]*):[^\s@]+@"), r"\1:***@"),
    (re.compile(r"\b((?:ssl)?password|passwd|token)(\s*[=:]\s*)\S+", re.I), r"\1\2***"),
)

log = logging.getLogger(__name__)


def hidden(message: str) -> str:
    """Return *message* without credentials."""
    for pattern, shown in _SECRETS:
        message = pattern.sub(shown, message)
    return message


class LineFormatter(logging.Formatter):
    """One line per record: time (UTC), level, event, and facts; those of *context* are in each."""

    def __init__(self, style: Format, context: dict[str, Any]) -> None:
        super().__init__()
        self.line_style = style
        self.context = context

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        event = getattr(record, "event", None)
        message = None if event else record.getMessage()
        if record.exc_info:
            message = f"{message or ''}\n{self.formatException(record.exc_info)}".strip()
        facts = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": event or "message",
            **({"message": message} if message else {}),
            **getattr(record, "facts", {}),
            **self.context,
        }
        shown = {
            key: hidden(value) if isinstance(value, str) else value
            for key, value in facts.items()
            if value is not None
        }
        if self.line_style == "json":
            return json.dumps(shown, ensure_ascii=False, default=str)
        head = [str(shown.pop(key)) for key in ("time", "level", "event")]
        return " ".join([*head, *(f"{key}={_word(value)}" for key, value in shown.items())])


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r'[\s"=]', text) or not text else text


@contextmanager
def writing(
    *, level: str = "warning", style: Format = "text", file: Path | None = None
) -> Iterator[dict[str, Any]]:
    """Write mlffdb's log while inside, to *file* (appended to; may be rotated) or standard error.

    Gives a dictionary whose facts are in every line: host and pid, to which a worker adds what it
    is. Raises ConfigError if the file cannot be written.
    """
    context: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid()}
    handler = _handler(file)
    handler.setFormatter(LineFormatter(style, context))
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(level.upper())
        logger.propagate = False  # or the root's handlers would write everything again
    try:
        yield context
    finally:
        for logger, (old_level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(old_level)
            logger.propagate = propagate
        handler.close()


def _handler(file: Path | None) -> logging.Handler:
    if file is None:
        return logging.StreamHandler()
    try:
        return WatchedFileHandler(file, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"--log-file {file} cannot be written: {error.strerror}; name another file"
        ) from None


#: Event → level, where it is not INFO.
_LEVEL = {
    "claimed": logging.DEBUG,
    "prepared": logging.DEBUG,
    "computed": logging.DEBUG,
    "away": logging.WARNING,
    "back": logging.WARNING,
    "paused": logging.WARNING,
    "late": logging.WARNING,
    "stopping": logging.ERROR,
}
#: Phases that are told as events when they end, if they had tasks.
_ENDED = {"claim": "claimed", "prepare": "prepared", "compute": "computed", "write": "wrote"}


class LogObserver(Observer):
    """Logs what a worker does.

    Of failures and retries the first for each reason is logged with its message, then the 10th,
    the 100th and so on; all are counted in the line of the end.
    """

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        self._budget: float | None = None
        self._lock = threading.Lock()

    def phase(self, name: str, started: float, ended: float, facts: dict[str, Any]) -> None:
        """Log batches, late results and a lower budget."""
        budget = facts.get("budget")
        if budget is not None:
            if self._budget is not None and budget < self._budget:
                self._log("budget_lowered", {"budget": budget, "before": self._budget})
            self._budget = budget
        if name in _ENDED and facts.get("tasks") and "error" not in facts:
            self._log(_ENDED[name], {"seconds": round(ended - started, 6), **facts})
        if facts.get("late"):
            self._log("late", {"tasks": facts["late"]})

    def event(self, name: str, **facts: Any) -> None:
        """Log an event; of failures the first of each kind."""
        if name == "failed":
            self._failed(**facts)
        elif name == "stopped":
            self._log(name, {**facts, "reasons": dict(self.reasons) or None})
        else:
            self._log(name, facts)

    def _failed(self, *, code: str, message: str, key: str, retry: bool) -> None:
        with self._lock:
            self.reasons[code] += 1
            count = self.reasons[code]
        if str(count).strip("0") == "1":  # 1, 10, 100 …
            facts = {"code": code, "count": count, "task": key, "message": message}
            self._log("retry" if retry else "failed", facts)

    @staticmethod
    def _log(name: str, facts: dict[str, Any]) -> None:
        log.log(_LEVEL.get(name, logging.INFO), "", extra={"event": name, "facts": facts})
