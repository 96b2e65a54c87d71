"""Weights: where they come from, where they lie, and that they are the right ones.

Looked for in ``weights_dir`` first, then in ``cache_dir/weights``, then fetched once. A pinned
SHA-256 was taken from the real file. Where none is pinned, the one of the first fetch is noted
beside the file and a file that differs later is refused.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from mlffdb.config import Settings
from mlffdb.errors import TeacherError
from mlffdb.teachers.download import Download, NotWeightsError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Weights:
    """A published file of weights."""

    file: str
    url: str
    #: SHA-256 of the real file; None where nobody here has seen it.
    sha256: str | None
    licence: str
    #: What the licence asks of a user, shown before the file is fetched; empty for a free one.
    terms: str = ""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_cache(settings: Settings) -> Path:
    """Return the folder that weights are fetched to."""
    return settings.cache_dir / "weights"


def find_weights(file: str, settings: Settings) -> Path | None:
    """Return where *file* lies on this machine, unchecked, or None."""
    folders = [weights_cache(settings)]
    if settings.weights_dir is not None:
        folders.insert(0, settings.weights_dir)
    return next((folder / file for folder in folders if (folder / file).is_file()), None)


def obtain_weights(weights: Weights, settings: Settings) -> tuple[Path, str]:
    """Return path and SHA-256 of *weights*, fetched if need be.

    Raises TeacherError where they cannot be had or are not the right ones.
    """
    path = find_weights(weights.file, settings)
    if path is None:
        path = _fetch(weights, settings)
    digest = sha256_of(path)
    expected = weights.sha256 or _noted(path, settings)
    if expected is not None and digest != expected:
        raise TeacherError(
            f"{path} is not {weights.file} as published: SHA-256 {digest[:16]}…, expected "
            f"{expected[:16]}…; remove it to have it fetched again from {weights.url}"
        )
    return path, digest


def _fetch(weights: Weights, settings: Settings) -> Path:
    """Fetch the file, one process at a time; an interrupted download goes on where it ended."""
    from filelock import FileLock

    folder = weights_cache(settings)
    path = folder / weights.file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.is_file():  # another process may have fetched it meanwhile
                _say_terms(weights)
                _retrieve(weights, folder)
    except (OSError, ValueError) as error:  # requests' errors are OSErrors, a bad hash a ValueError
        raise TeacherError(
            f"cannot fetch {weights.url} ({_reason(error)}); get it by other means and put it "
            f"at {path}, or set MLFFDB_WEIGHTS_DIR to its folder"
        ) from None
    return path


def _say_terms(weights: Weights) -> None:
    terms = weights.terms or weights.licence
    level = logging.WARNING if weights.terms else logging.INFO
    log.log(level, "fetching %s from %s; licence: %s", weights.file, weights.url, terms)


def _retrieve(weights: Weights, folder: Path) -> None:
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)  # it prints addresses and hashes otherwise
    path = folder / weights.file
    download = Download(folder / f"{weights.file}.part")
    try:
        pooch.retrieve(
            weights.url,
            known_hash=None if weights.sha256 is None else f"sha256:{weights.sha256}",
            fname=weights.file,
            path=folder,
            downloader=download,
        )
    except NotWeightsError as error:
        raise ValueError(str(error)) from None
    if weights.sha256 is None:
        _note_path(path).write_text(sha256_of(path) + "\n")


def _noted(path: Path, settings: Settings) -> str | None:
    """Return the SHA-256 noted at the first fetch; files put there by a user have none."""
    note = _note_path(path)
    if path.parent != weights_cache(settings) or not note.is_file():
        return None
    return note.read_text().strip()


def _note_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _reason(error: Exception) -> str:
    """Return in a few words why a file cannot be fetched."""
    if "Max retries exceeded" in str(error):
        return "no connection"
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
