"""What the programs said: the reason of a failure out of their output."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_TROUBLE = re.compile(r"(?:FATAL|PANIC|ERROR|error): +(.*)")
_COULD_NOT = re.compile(r"(?:LOG|WARNING|warning): +(could not .*)")
_IN_USE = "is still in use"  # "pre-existing shared memory block (key …, ID …) is still in use"


def still_in_use(log: str) -> bool:
    """Whether *log* says that processes of a killed server still hold its shared memory."""
    return _IN_USE in log


def last_words(text: str) -> str:
    """Return the line of a program's output that says why it failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    reasons = [match[1] for line in lines if (match := _TROUBLE.search(line))]
    causes = [match[1] for line in lines if (match := _COULD_NOT.search(line))]
    if reasons and causes and causes[-1] != reasons[-1]:
        return f"{reasons[-1]} ({causes[-1]})"
    return (reasons or causes or lines or ["no message"])[-1]


@dataclass
class Tail:
    """What a log gained since this was made."""

    path: Path
    start: int = 0

    def __post_init__(self) -> None:
        self.start = self.size()

    def size(self) -> int:
        """Return the size of the whole log."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def text(self) -> str:
        """Return what was added, a MiB at most."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.start if self.start <= self.size() else 0)
                return file.read(2**20).decode(errors="replace")
        except FileNotFoundError:
            return ""

    def last_line(self) -> str:
        """Return the newest line."""
        lines = self.text().strip().splitlines()
        return lines[-1] if lines else "no message yet"
