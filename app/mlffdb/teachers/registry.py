"""Which teachers there are, whether they are ready here, and loading one by name.

A plug-in adds teachers through the entry point group ``mlffdb.teachers``: the entry point's name
is the teacher's, its object an Entry or a function that returns one. Users declare ASE calculators
in the settings or in a plan (`mlffdb.declarations`).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec

from mlffdb.config import Settings, load_settings
from mlffdb.declarations import DeclaredTeacher
from mlffdb.errors import MlffdbError, TeacherError
from mlffdb.teachers.base import Capabilities, Teacher
from mlffdb.teachers.device import parse_device
from mlffdb.teachers.weights import Weights

GROUP = "mlffdb.teachers"


@dataclass(frozen=True, slots=True)
class TeacherInfo:
    """What is known of a teacher without loading it."""

    name: str
    description: str
    licence: str
    #: None where only the loaded model can tell.
    capabilities: Capabilities | None = None
    #: Address of its weights; None for a method without any, or a file of the user's.
    weights_url: str | None = None
    #: Extra of mlffdb that installs what it needs; None for plug-ins.
    extra: str | None = None
    #: Whether there is no version of it for a GPU.
    cpu_only: bool = False


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a teacher can be loaded here without further ado, and else what to do."""

    ready: bool
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One teacher of the registry, built in or from a plug-in."""

    info: TeacherInfo
    readiness: Callable[[Settings], Readiness]
    #: (device, settings) → teacher
    load: Callable[[str, Settings], Teacher]
    #: Published files that ``load`` fetches where they are missing.
    weights: tuple[Weights, ...] = ()


def names(settings: Settings | None = None) -> list[str]:
    """Return the names of all teachers; ``fennol:PATH`` takes any .fnx file besides.

    settings: where teachers are declared; those in force if not given
    """
    from mlffdb.teachers.catalogue import built_in

    plugins = [point.name for point in entry_points(group=GROUP)]
    return sorted({*built_in(), *plugins, *_declared(settings)})


def describe(name: str, settings: Settings | None = None) -> TeacherInfo:
    """Return what is known of the teacher *name*; raises TeacherError for an unknown one."""
    return _entry(name, settings).info


def published_weights(name: str) -> tuple[Weights, ...]:
    """Return the files that the teacher *name* fetches; raises TeacherError for an unknown one."""
    return _entry(name).weights


def readiness(name: str, settings: Settings) -> Readiness:
    """Return whether *name* can be loaded: packages installed, weights at hand.

    Raises TeacherError for an unknown name; a broken plug-in is not ready, and says why.
    """
    try:
        return _entry(name, settings).readiness(settings)
    except PluginError as error:
        return Readiness(False, str(error), "update or uninstall the plug-in")


def check_device(name: str, device: str) -> None:
    """Raise TeacherError where *name* is unknown, *device* is no device, or the two do not fit.

    Whether the device is there is seen when the teacher is loaded.
    """
    info = describe(name)
    if parse_device(device).index is not None and info.cpu_only:
        raise TeacherError(f"{name} runs on the CPU only; use --device cpu")


def load(name: str, *, device: str = "cpu", settings: Settings) -> Teacher:
    """Return the teacher *name* on *device* (``cpu`` or ``cuda:N``).

    Weights that are not at hand are fetched. Raises TeacherError with what to do where the name
    is unknown, a package or weights are missing, or the device is.
    """
    entry = _entry(name, settings)
    try:
        return entry.load(device, settings)
    except ImportError as error:
        extra = entry.info.extra
        remedy = f"pip install 'mlffdb[{extra}]'" if extra else "see the plug-in's documentation"
        raise TeacherError(f"{name} cannot be loaded: {error}; {remedy}") from None


class PluginError(TeacherError):
    """A plug-in is broken."""


def packages_ready(extra: str, *modules: str) -> Readiness:
    """Return whether *modules* are installed, and else which extra installs them."""
    missing = [module for module in modules if find_spec(module) is None]
    if not missing:
        return Readiness(True)
    return Readiness(
        False, f"not installed: {', '.join(missing)}", f"pip install 'mlffdb[{extra}]'"
    )


def _entry(name: str, settings: Settings | None = None) -> Entry:
    from mlffdb.teachers.catalogue import built_in, from_name
    from mlffdb.teachers.from_ase import declared_entry

    entry = built_in().get(name) or from_name(name)
    if entry is not None:
        return entry
    declared = _declared(settings)
    if name in declared:
        return declared_entry(name, declared[name])
    for point in entry_points(group=GROUP):
        if point.name == name:
            return _plugin(point)
    stem, at, precision = name.rpartition("@")
    if at and (stem in names(settings) or from_name(stem) is not None):
        raise TeacherError(
            f"{stem} computes in one precision only, so there is no @{precision}; leave it out"
        )
    close = difflib.get_close_matches(name, names(settings), n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}? " if close else ""
    raise TeacherError(
        f"unknown teacher {name!r}; {hint}`mlffdb teachers` lists all; --plan names "
        "the plan that declares others"
    )


def _declared(settings: Settings | None) -> dict[str, DeclaredTeacher]:
    """Return what the user declared; a name that is taken already is an error."""
    from mlffdb.teachers.catalogue import built_in

    declared = (settings or load_settings()).teachers
    taken = next((name for name in declared if name in built_in()), None)
    if taken is not None:
        raise TeacherError(f"teacher {taken} is declared, but mlffdb has one; choose another name")
    return declared


def _plugin(point: EntryPoint) -> Entry:
    try:
        found = point.load()
        entry = found() if callable(found) else found
    except MlffdbError:
        raise
    except Exception as error:
        raise PluginError(
            f"plug-in {point.value} of teacher {point.name} fails: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(entry, Entry):
        raise PluginError(f"plug-in {point.value} gives no Entry but a {type(entry).__name__}")
    return entry
