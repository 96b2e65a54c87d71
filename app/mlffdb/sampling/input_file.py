"""A file that a plan names."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, PlainSerializer, SerializationInfo, ValidationInfo

#: Key of the validation context: the folder that relative paths start from.
FOLDER = "folder"
#: Serialisation context in which a file stands for its contents.
MEANING = "meaning"


def _resolved(path: Path, info: ValidationInfo) -> Path:
    folder: Path = (info.context or {}).get(FOLDER, Path())
    full = (folder / path).expanduser().resolve()
    if not full.is_file():
        raise ValueError(f"no file {str(path)!r} (looked for {full})")
    return full


def _serialised(path: Path, info: SerializationInfo) -> str:
    if info.context != MEANING:
        return str(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


#: Relative paths start at the plan's folder; the file must exist.
InputFile = Annotated[Path, AfterValidator(_resolved), PlainSerializer(_serialised)]
