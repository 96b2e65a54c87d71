"""A real teacher (GFN2-xTB) with two flaws: fluorine kills its process, and chlorine hangs it."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Sequence

from mlffdb.structures import Structure
from mlffdb.teachers.base import Result
from mlffdb.teachers.registry import Entry, Readiness, TeacherInfo
from mlffdb.teachers.xtb import CAPABILITIES, XtbTeacher

NAME = "chaos"
KILLS, HANGS = 9, 17  # atomic numbers


class ChaosTeacher(XtbTeacher):
    """GFN2-xTB, but for what it does on fluorine and chlorine."""

    def __init__(self) -> None:
        super().__init__("gfn2-xtb")
        self.name = NAME
        self.identity = dataclasses.replace(self.identity, name=NAME)

    def compute(self, batch: Sequence[Structure]) -> list[Result]:
        """Return the labels, or do not return."""
        numbers = {int(z) for structure in batch for z in structure.numbers}
        if KILLS in numbers:
            os.kill(os.getpid(), signal.SIGKILL)
        if HANGS in numbers:
            time.sleep(24 * 3600)
        return super().compute(batch)


def entry() -> Entry:
    """Return the registry's entry."""
    info = TeacherInfo(NAME, "GFN2-xTB that dies on F and hangs on Cl", CAPABILITIES.licence,
                       CAPABILITIES, cpu_only=True)  # fmt: skip
    return Entry(info, lambda _: Readiness(True), lambda _device, _settings: ChaosTeacher())
