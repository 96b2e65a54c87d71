"""Reading a .fnx file: what the model is, in which units, and what it takes notice of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlffdb.errors import TeacherError
from mlffdb.teachers.units import HARTREE

#: eV per unit of energy that a file may name. 1 kcal = 4184 J, and 1 eV per particle is
#: 96,485.33212 J/mol (CODATA 2018).
ENERGY_UNITS = {
    "ha": HARTREE,
    "hartree": HARTREE,
    "au": HARTREE,
    "ev": 1.0,
    "kcalpermol": 4184 / 96485.33212,
    "kcal/mol": 4184 / 96485.33212,
    "kjpermol": 1000 / 96485.33212,
    "kj/mol": 1000 / 96485.33212,
}
#: Names of what a module may read the total charge from.
CHARGE_FIELD = "total_charge_key"
CHARGE_INPUT = "total_charge"


@dataclass(frozen=True, slots=True)
class Model:
    """A model as its file has it."""

    fennix: Any
    #: eV per unit of energy of the model.
    unit: float
    #: Names of the outputs that add up to the energy.
    terms: tuple[str, ...]
    #: Atomic numbers that the file names; empty where it names none.
    elements: frozenset[int]
    #: Whether the total charge changes the energy.
    charged: bool
    #: Whether crystals can be computed in batches.
    periodic: bool
    #: Type of number that the file holds: ``float32`` or, rounded to it in use, ``float64``.
    dtype: str


def read_model(path: Path) -> Model:
    """Return the model in *path*.

    Raises TeacherError where the file is none, needs a package that is missing, or computes
    no energy in a known unit.
    """
    fennix = _load(path)
    terms = fennix.energy_terms
    terms = (terms,) if isinstance(terms, str) else tuple(terms or ())
    if not terms:
        raise TeacherError(f"{path} names no energy terms, so it computes no energy")
    elements = _elements(fennix)
    return Model(
        fennix=fennix,
        unit=_unit(fennix.energy_unit, path),
        terms=terms,
        elements=elements,
        charged=_charged(fennix, elements),
        # lists of k-points are of another length for each cell
        periodic=not any(getattr(layer, "k_space", False) for layer in fennix.preprocessing.layers),
        dtype=_dtype(path),
    )


def stacked_variables(models: Sequence[Model], paths: Sequence[Path]) -> Any:
    """Return the weights of *models* with one more axis in front, (n_models, …).

    Raises TeacherError where the models differ in anything but their weights.
    """
    import jax
    import jax.numpy as jnp

    first = models[0].fennix
    for model, path in zip(models[1:], paths[1:], strict=True):
        if (
            model.fennix._input_args != first._input_args
            or model.terms != models[0].terms
            or _shapes(model.fennix.variables) != _shapes(first.variables)
        ):
            raise TeacherError(
                f"{path} and {paths[0]} are models of different kinds, so they make no ensemble"
            )
    return jax.tree_util.tree_map(
        lambda *leaves: jnp.stack(leaves), *[model.fennix.variables for model in models]
    )


def _load(path: Path) -> Any:
    from fennol import FENNIX

    try:
        return FENNIX.load(path, use_atom_padding=False)
    except ModuleNotFoundError as error:
        package = (error.name or "").replace("_", "-")
        raise TeacherError(f"{path} needs {package}; pip install {package}") from None
    except Exception as error:
        raise TeacherError(
            f"{path} cannot be read as a FeNNol model: {type(error).__name__}: {error}"
        ) from None


def _unit(unit: str, path: Path) -> float:
    if unit.lower() not in ENERGY_UNITS:
        raise TeacherError(
            f"{path}: unit of energy {unit!r} is not supported; known: {', '.join(ENERGY_UNITS)}"
        )
    return ENERGY_UNITS[unit.lower()]


def _elements(fennix: Any) -> frozenset[int]:
    """Return the elements that every module with a list of them names."""
    from ase.data import atomic_numbers

    named = [
        set(parameters[key])
        for parameters in fennix._input_args["modules"].values()
        for key in ("species_order", "hidden_neurons")
        if isinstance(parameters.get(key), Mapping | list | tuple) and parameters[key]
        # hidden_neurons is a plain list of widths where all elements share a network
        if all(isinstance(symbol, str) for symbol in parameters[key])
    ]
    symbols = set.intersection(*named) if named else set()
    return frozenset(atomic_numbers[symbol] for symbol in symbols)


def _charged(fennix: Any, elements: frozenset[int]) -> bool:
    """Return whether the energy of two atoms changes with the total charge.

    Only models with a module that can read it are computed; all others ignore it.
    """
    if not any(hasattr(module, CHARGE_FIELD) for module, _ in fennix.modules.layers):
        return False
    numbers = (sorted(elements) * 2)[:2] or [6, 8]
    pair = {
        "species": np.array(numbers, np.int32),
        "coordinates": np.array([[0, 0, 0], [1.2, 0, 0]], np.float32),
        "natoms": np.array([2], np.int32),
        "batch_index": np.zeros(2, np.int32),
    }
    _, data = fennix.preprocessing.init_with_output(pair)
    neutral, cation = (
        float(_energy(fennix, {**data, CHARGE_INPUT: np.array([charge])})) for charge in (0, 1)
    )
    return abs(cation - neutral) > 1e-6 * max(1.0, abs(neutral))


def _energy(fennix: Any, data: Mapping[str, Any]) -> Any:
    """Return the energy of the one system in *data*, in the model's unit."""
    energies, _ = fennix._total_energy(fennix.variables, data)
    return energies[0]


def _dtype(path: Path) -> str:
    """Return the widest type among the weights of the file, which jax rounds to float32."""
    from flax import serialization

    content = serialization.msgpack_restore(path.read_bytes())
    kinds = set(_dtypes(content["variables"]))
    return "float64" if "float64" in kinds else "float32"


def _dtypes(tree: Any) -> list[str]:
    if isinstance(tree, Mapping):
        return [kind for value in tree.values() for kind in _dtypes(value)]
    return [str(tree.dtype)] if hasattr(tree, "dtype") else []


def _shapes(variables: Any) -> Any:
    import jax

    return jax.tree_util.tree_map(lambda leaf: leaf.shape, variables)
