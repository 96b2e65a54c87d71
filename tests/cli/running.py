"""Running commands: in this process where nothing but their result matters, else as a process."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from click.testing import CliRunner, Result

from mlffdb.store.database import Database
from mlffdb_cli.main import main

#: A control sequence, an end of line, a return, or plain text.
PIECE = re.compile(r"\x1b\[([\d;?]*)([A-Za-z])|(\n)|(\r)|([^\x1b\n\r]+)")


def mlffdb(*arguments: str, stdin: str | None = None) -> Result:
    """Run a command in this process; an exception that is not meant for users is raised."""
    result = CliRunner().invoke(main, list(arguments), input=stdin, prog_name="mlffdb")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def done(*arguments: str, stdin: str | None = None) -> str:
    """Run a command that must succeed, and return what it printed as its result."""
    result = mlffdb(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


def done_json(*arguments: str) -> Any:
    """Run a command with --json; its whole standard output must be JSON."""
    return json.loads(done(*arguments, "--json"))


def refused(*arguments: str, stdin: str | None = None) -> str:
    """Run a command that must end with 2 and one line on standard error; return the line."""
    result = mlffdb(*arguments, stdin=stdin)
    return the_line(result.exit_code, result.stderr, result.output)


def the_line(status: int, stderr: str, output: str = "") -> str:
    """Assert that a command ended as one does that a user can mend; return its message."""
    assert status == 2, f"{status}: {output or stderr}"
    lines = stderr.strip().splitlines()
    assert len(lines) == 1, stderr
    assert lines[0].startswith("error: "), stderr
    return lines[0].removeprefix("error: ")


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a process; what its workers say is in its output too."""
    return subprocess.run(
        [sys.executable, "-m", "mlffdb_cli.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a command as a process of its own session, and end all of it at the end."""
    running = subprocess.Popen(
        [sys.executable, "-m", "mlffdb_cli.main", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield running
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.communicate()


def in_terminal(*arguments: str, columns: int = 80) -> list[str]:
    """Run a command in a terminal of so many columns; return its lines as a person sees them."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    running = subprocess.Popen(
        [sys.executable, "-m", "mlffdb_cli.main", *arguments],
        stdin=its,
        stdout=its,
        stderr=its,
        env={**environment, "TERM": "xterm"},
    )
    os.close(its)
    text = b""
    with suppress(OSError):  # the end of a terminal
        while piece := os.read(ours, 65536):
            text += piece
    os.close(ours)
    assert running.wait() == 0, text.decode()
    return _as_seen(text.decode())


def _as_seen(text: str) -> list[str]:
    """Return the lines that stay on the screen, of what rich writes to a terminal."""
    lines, row, column = [""], 0, 0
    for number, letter, newline, back, plain in PIECE.findall(text):
        if newline:
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif back:
            column = 0
        elif letter == "A":
            row = max(0, row - int(number or 1))
        elif letter == "K":
            lines[row] = ""
        elif plain:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + plain + line[column + len(plain) :]
            column += len(plain)
    return [line.rstrip() for line in lines]


def wait_until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until *condition* holds, or fail."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def value(db: Database, query: str) -> Any:
    """Return the one value that *query*, SQL of the owner, gives."""
    with db.begin() as connection:
        return connection.exec_driver_sql(query).scalar()


def column(db: Database, query: str) -> list[Any]:
    """Return the first column that *query*, SQL of the owner, gives."""
    with db.begin() as connection:
        return list(connection.exec_driver_sql(query).scalars())
