"""The teachers that come with mlffdb."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

from mlffdb.config import Settings
from mlffdb.teachers import sevennet, xtb
from mlffdb.teachers.base import Teacher
from mlffdb.teachers.entries import require
from mlffdb.teachers.fennol import catalogue as fennol
from mlffdb.teachers.orb import catalogue as orb
from mlffdb.teachers.registry import Entry, Readiness, TeacherInfo, packages_ready

LIBGOMP = "libgomp.so.1"


@cache
def built_in() -> dict[str, Entry]:
    """Return the teachers with a name of their own."""
    entries = [_xtb_entry(name) for name in xtb.METHODS]
    entries.extend(orb.entries())
    entries.extend(fennol.entries())
    entries.append(sevennet.entry())
    return {entry.info.name: entry for entry in entries}


def from_name(name: str) -> Entry | None:
    """Return the entry of a name that says more than which teacher; None for any other name.

    ``fennol:PATH`` with PATH ending in .fnx; an Orb model's ``NAME@PRECISION``.
    """
    return fennol.of_file(name) or orb.at_precision(name)


def _xtb_entry(name: str) -> Entry:
    method = xtb.METHODS[name]
    able = xtb.capabilities(name)
    kind = "spin-polarised, isolated, any spin," if able.open_shell else "isolated singlets"
    info = TeacherInfo(
        name,
        f"{method} by tblite, {kind} of H–Rn",
        able.licence,
        able,
        extra="xtb",
        cpu_only=True,
    )

    def load(device: str, _: Settings) -> Teacher:
        require(xtb_ready(), name)
        return xtb.load_xtb(name, device)

    return Entry(info, lambda _: xtb_ready(), load)


def xtb_ready() -> Readiness:
    """Return whether tblite can be loaded; its wheel takes libgomp from the system."""
    state = packages_ready("xtb", "tblite")
    if state.ready and sys.platform == "linux":
        try:
            ctypes.CDLL(LIBGOMP)
        except OSError:
            return Readiness(
                False,
                f"tblite needs the system's {LIBGOMP}, which is not there",
                "install it (Debian and Ubuntu: apt-get install libgomp1)",
            )
    return state
