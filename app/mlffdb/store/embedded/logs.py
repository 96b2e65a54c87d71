"""What the programs said: the reason of a failure out of their output."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_TROUBLE = re.compile(r"(?:FATAL|PANIC|ERROR|error): +(.*)")
_COULD_NOT = re.compile(r"(?:LOG|WARNING|warning): +(could not .*)")
#: "… is starting up", "… is in recovery mode", "… is not yet accepting connections", and so on.
NOT_YET = "the database system is"
_IN_USE = "is still in use"  # "pre-existing shared memory block (key …, ID …) is still in use"


def still_in_use(log: str) -> bool:
    """Whether *log* says that processes of a killed server still hold its shared memory."""
    return _IN_USE in log


def last_words(text: str) -> str:
    """Return the line of a program's output that says why it failed: its first complaint.

    What follows is mostly the consequence. Answers to clients that came too early do not count.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    complaints = [match[1] for line in lines if (match := _TROUBLE.search(line))]
    reasons = [complaint for complaint in complaints if NOT_YET not in complaint]
    causes = [match[1] for line in lines if (match := _COULD_NOT.search(line))]
    if reasons and causes:
        return f"{reasons[0]} ({causes[0]})"
    return (reasons or causes or lines[-1:] or ["no message"])[0]


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
        """Return what was added, its last MiB at most."""
        try:
            with self.path.open("rb") as file:
                size = self.size()
                begin = self.start if self.start <= size else 0
                file.seek(max(begin, size - 2**20))
                return file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def progress(self) -> str:
        """Return the server's newest line about its own work.

        Refused connections, our own questions among them, are written too; they are no progress.
        """
        lines = [line for line in self.text().splitlines() if " LOG: " in line]
        return lines[-1] if lines else "no message yet"
