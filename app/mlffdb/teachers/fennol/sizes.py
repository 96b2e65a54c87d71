"""Fixed shapes: atoms, systems and the lengths of all lists, which only grow.

Every new shape costs a compilation of seconds. Lengths that proved enough are kept in a file, so
that a later process begins with them.
"""

from __future__ import annotations

import ast
import contextlib
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

SMALLEST_SHAPE = 32  # atoms
SINGLE_SYSTEMS = 2  # a structure alone, and the system that takes the padding
#: Room above the need, as (factor for pairs and angles, share of the atoms for each element).
#: Time goes with the length of the lists (1.05: 144 ms, 1.3: 177 ms, 2: 258 ms for 53 molecules of
#: 19 atoms), so there is little for the first batch, since a run of similar structures needs no
#: more, and plenty when that proves too small, since each further growth is a compilation.
FIRST_ROOM = (1.05, 1 / 64)
GROWTH_ROOM = (1.3, 1 / 16)
#: A structure alone costs next to nothing, and the next one alone is likely another.
SINGLE_ROOM = (2.0, 1 / 4)
#: Kept lengths are used up to so many times the need of the first batch; longer ones come from
#: structures of another kind, and would slow down all batches of this one.
LONGEST_KEPT = 2.0


@dataclass(frozen=True, slots=True)
class Shape:
    """The fixed shape of a batch: atoms, systems (the last takes the padding), periodic or not."""

    atoms: int
    systems: int
    periodic: bool

    @property
    def single(self) -> bool:
        """Whether it is for one structure alone."""
        return self.systems == SINGLE_SYSTEMS


class Sizes:
    """The lengths of a model's lists by shape, in memory and in the file *path*."""

    def __init__(self, preprocessing: Any, path: Path) -> None:
        self._preprocess = preprocessing
        self._path = path
        self._states: dict[Shape, Any] = {}
        self._kept: dict[Shape, Any] = _read(path)

    def prepare(self, shape: Shape, inputs: Mapping[str, NDArray[Any]]) -> tuple[Any, Any]:
        """Return the lengths for *inputs* and the model's data, padded to them.

        They hold for later batches only after ``accept``: a batch that fails must not spoil the
        next one.
        """
        known = self._states.get(shape)
        if known is None:
            return self._begin(shape, inputs)
        state, data = self._preprocess(known, inputs)
        if state == known:
            return state, data
        # one list was too short; all grow at once, or each would cost a compilation of its own
        room = SINGLE_ROOM if shape.single else GROWTH_ROOM
        roomy, _ = self._preprocess(self._empty(room, shape), inputs)
        return self._preprocess(_larger(state, roomy), inputs)  # type: ignore[no-any-return]

    def accept(self, shape: Shape, state: Any) -> None:
        """Use *state* for later batches, and keep it for later processes."""
        if self._states.get(shape) == state:
            return
        self._states[shape] = state
        kept = self._kept.get(shape)
        if kept != state:
            self._kept[shape] = state
            _write(self._path, self._kept)

    def forget(self) -> None:
        """Use no lengths of earlier processes, which may have had more memory.

        Those accepted in this one have fitted.
        """
        self._kept.clear()

    def _begin(self, shape: Shape, inputs: Mapping[str, NDArray[Any]]) -> tuple[Any, Any]:
        """Return lengths for the first batch: those kept, where they fit, else little more."""
        room = SINGLE_ROOM if shape.single else FIRST_ROOM
        state, data = self._preprocess(self._empty(room, shape), inputs)
        kept = self._kept.get(shape)
        if kept is None or _total(kept) > LONGEST_KEPT * _total(state):
            return state, data
        again, data_again = self._preprocess(kept, inputs)
        return (again, data_again) if again == kept else (state, data)

    def _empty(self, room: tuple[float, float], shape: Shape) -> Any:
        """Return the state of a model that has seen nothing, with *room* for growth."""
        factor, spare = room
        state = self._preprocess.init()
        layers = []
        for layer in state["layers_state"]:
            if "nblist_mult_size" in layer:
                layers.append(layer.copy({"nblist_mult_size": factor}))
            elif "sizes" in layer:
                layers.append(layer.copy({"add_atoms": int(spare * shape.atoms)}))
            else:
                layers.append(layer)
        return state.copy({"layers_state": tuple(layers)})


def _larger(one: Any, other: Any) -> Any:
    """Return two states merged, the larger of each length."""
    if isinstance(one, Mapping):
        # flax's FrozenDict, which has no other way to be changed
        return one.copy(  # type: ignore[attr-defined]
            {key: _larger(one[key], value) if key in one else value for key, value in other.items()}
        )
    if isinstance(one, tuple):
        return tuple(_larger(a, b) for a, b in zip(one, other, strict=True))
    return max(one, other)


def _total(state: Any) -> float:
    """Return the sum of all lengths in a state."""
    if isinstance(state, Mapping):
        return sum(_total(value) for value in state.values())
    if isinstance(state, tuple):
        return sum(map(_total, state))
    return float(state)


def _read(path: Path) -> dict[Shape, Any]:
    """Return the lengths in *path*; none where it is missing or cannot be used."""
    try:
        content = ast.literal_eval(path.read_text(encoding="utf-8"))
        return {Shape(*shape): _frozen(state) for shape, state in content.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, SyntaxError, TypeError, AttributeError) as error:
        log.warning("%s is left out: %s", path, error)
        return {}


def _write(path: Path, states: Mapping[Shape, Any]) -> None:
    """Write the lengths to *path*, whole or not at all; a folder without room is no harm."""
    content = {
        (shape.atoms, shape.systems, shape.periodic): _plain(state)
        for shape, state in states.items()
    }
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(repr(content) + "\n")
        Path(temporary).replace(path)


def _plain(state: Any) -> Any:
    """Return *state* in Python's own types."""
    if isinstance(state, Mapping):
        return {_plain(key): _plain(value) for key, value in state.items()}
    if isinstance(state, tuple):
        return tuple(map(_plain, state))
    return state.item() if isinstance(state, np.generic) else state


def _frozen(state: Any) -> Any:
    """Return *state* as FeNNol holds it, the opposite of ``_plain``."""
    from flax.core.frozen_dict import freeze

    if isinstance(state, dict):
        return freeze({key: _frozen(value) for key, value in state.items()})
    return tuple(map(_frozen, state)) if isinstance(state, tuple) else state
