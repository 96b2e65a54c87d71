"""A downloader for pooch that goes on where an earlier one was interrupted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHUNK = 1 << 16  # bytes
TIMEOUT = 30.0  # s without an answer or a byte
#: Times that a connection may break in one go, if each brought something.
BREAKS = 20
#: Beginnings of what servers send in place of weights: pages, and Git LFS's pointers.
NOT_WEIGHTS = (b"<!doctype", b"<html", b"version https://git-lfs")


class NotWeightsError(Exception):
    """What came is no file of weights."""


class Download:
    """Fetches into *part*, which stays when it is interrupted, and then to where pooch wants it.

    The server's mark of the version (ETag or date) is kept beside it, so that two versions are
    never joined; a server that cannot continue sends the file from its beginning.
    """

    def __init__(self, part: Path) -> None:
        self._part = part
        self._mark = part.with_name(part.name + ".version")

    def __call__(self, url: str, output_file: str, _pooch: Any) -> None:
        """Fetch *url* to *output_file*.

        Raises requests.RequestException, or NotWeightsError for a page or a pointer.
        """
        from requests import ConnectionError as Refused
        from requests import Timeout
        from requests.exceptions import ChunkedEncodingError

        for breaks in range(BREAKS + 1):
            before = self._have()
            try:
                self._continue(url)
                break
            except (Refused, Timeout, ChunkedEncodingError):
                if breaks == BREAKS or self._have() <= before:
                    raise
        self._finish(Path(output_file))

    def _have(self) -> int:
        """Return the bytes at hand of a version that can be continued."""
        return self._part.stat().st_size if self._part.is_file() and self._mark.is_file() else 0

    def _continue(self, url: str) -> None:
        """Fetch what is missing; raises requests.RequestException when it breaks off."""
        import requests

        have = self._have()
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": self._mark.read_text()}
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                self._clear()
                raise requests.ConnectionError("the file is shorter than what was fetched of it")
            response.raise_for_status()
            if response.status_code != requests.codes.partial_content:
                have = 0
                self._remember(response.headers)
            rest = response.headers.get("Content-Length")
            total = None if rest is None else have + int(rest)
            with (
                self._part.open("ab" if have else "wb") as file,
                _progress(self._part.stem, have, total) as advance,
            ):
                for chunk in response.iter_content(CHUNK):
                    file.write(chunk)
                    advance(len(chunk))
        if total is not None and self._part.stat().st_size < total:
            raise requests.ConnectionError(f"ended after {self._part.stat().st_size} bytes")

    def _remember(self, headers: Any) -> None:
        """Note the version of the file, where the server names one and can continue it."""
        mark = headers.get("ETag") or headers.get("Last-Modified") or ""
        self._mark.unlink(missing_ok=True)
        if mark and not mark.startswith("W/"):  # a weak mark does not promise the same bytes
            self._mark.write_text(mark)

    def _finish(self, target: Path) -> None:
        with self._part.open("rb") as file:
            head = file.read(32).lstrip().lower()
        if head.startswith(NOT_WEIGHTS):
            self._clear()
            raise NotWeightsError("the server sent a page or a pointer, not the file")
        self._part.replace(target)
        self._clear()

    def _clear(self) -> None:
        self._part.unlink(missing_ok=True)
        self._mark.unlink(missing_ok=True)


@contextlib.contextmanager
def _progress(name: str, have: int, total: int | None) -> Iterator[Any]:
    """Show a bar on the terminal, if there is one; gives the function that moves it."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(name, total=total, completed=have)
        yield lambda count: bar.advance(task, count)
