"""FeNNol models (.fnx): ANI and others, on jax, in batches of fixed shape.

Every new array shape costs a compilation of seconds, so structures go through the model in
batches padded to a fixed number of atoms and slots, and the lists of neighbours, angles and
elements only grow. Energies of atoms are added in float64 on the host: in float32 the sum is off
by up to a meV.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlffdb.errors import TeacherError
from mlffdb.structures import Structure
from mlffdb.teachers.base import Capabilities, Identity, Prediction, Result, Teacher
from mlffdb.teachers.checks import wrapped
from mlffdb.teachers.device import claim_backend, jax_device, parse_device
from mlffdb.teachers.units import HARTREE

#: Raised when a change of this file changes numbers.
ADAPTER = 1
BUDGET = 1024.0  # atoms of a batch
ATOMS_PER_SLOT = 16  # a smaller structure counts as so many atoms: slots are as fixed as atoms
SMALLEST_SHAPE = 32  # atoms
SINGLE_SYSTEMS = 2  # a structure alone, and the system that takes the padding
#: Room above the need, as (factor for pairs and angles, share of the atoms for each element).
#: Little for the first batch, since a run of similar structures needs no more, and plenty when
#: that proves too small, since each further growth is a compilation.
FIRST_ROOM = (1.05, 1 / 64)
GROWTH_ROOM = (1.3, 1 / 16)
#: A structure alone costs next to nothing, and the next one alone is likely another.
SINGLE_ROOM = (2.0, 1 / 4)
PADDING_CELL = 1000.0  # Å
#: The host lists all pairs of a structure, images included, before it filters them: 3 GB here.
MAX_ATOMS = 2000

#: What ANI models can do; their elements and licence come with the weights.
CAPABILITIES = Capabilities(
    elements=frozenset({1, 6, 7, 8}),
    periodicity=frozenset({0, 3}),
    charged=False,
    open_shell=False,
    stress=True,
    conservative=True,
    equivariant=True,
    spread=False,
    max_atoms=MAX_ATOMS,
    cost_unit="atoms",
    energy_tolerance=1e-4,
    force_tolerance=1e-3,
    licence="unknown",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """The fixed shape of a batch: atoms, systems (the last takes the padding), periodic or not."""

    atoms: int
    systems: int
    periodic: bool


class FennolTeacher(Teacher):
    """One .fnx model on one device; ``load_fennol`` makes one."""

    def __init__(self, name: str, path: Path, sha256: str, licence: str, device: Any) -> None:
        self.name = name
        self.device = str(device)
        self.budget = BUDGET
        self.first_batch = 2 * int(BUDGET) // ATOMS_PER_SLOT  # small batches are padded to full
        #: Compilations so far: one for each new shape and each growth of it.
        self.compiles = 0
        self._model = _load_model(path)
        self._jax_device = device
        self._unit = _model_unit(self._model.energy_unit, path)
        self._terms = tuple(self._model.energy_terms or ())
        self._states: dict[Shape, Any] = {}
        self._run = self._compiled()
        self.capabilities = dataclasses.replace(
            CAPABILITIES, elements=_elements(self._model, path), licence=licence
        )
        self.identity = Identity(
            name=name,
            versions={package: version(package) for package in ("fennol", "jax", "jaxlib")},
            weights_sha256=sha256,
            precision="float32",
            settings={
                "adapter": ADAPTER,
                "energy_terms": list(self._terms),
                "energy_sum": "float64",
                "matmul": "highest",
                "hartree_in_ev": HARTREE,
            },
        )

    def cost(self, structure: Structure) -> float:
        """Return the atoms it occupies: its own, or the share of a slot."""
        return float(max(structure.n_atoms, ATOMS_PER_SLOT))

    def compute(self, batch: Sequence[Structure]) -> list[Result]:
        """Return one result per structure from one call of the compiled model."""
        import jax

        shape = self._shape(batch)
        with jax.default_device(self._jax_device):
            state, data = self._prepare(shape, _padded(batch, shape))
            atomic, system, forces, virial = jax.device_get(self._run(data, shape.periodic))
        self._states[shape] = state  # only now: a batch that fails must not spoil the next one
        return self._split(batch, atomic, system, forces, virial)

    def reset(self) -> None:
        """Forget the sizes grown so far; a failed batch may have grown them beyond memory."""
        self._states.clear()

    def _prepare(self, shape: Shape, inputs: Mapping[str, NDArray[Any]]) -> tuple[Any, Any]:
        """Return the sizes of all lists and the model's data, padded to these sizes."""
        preprocess = self._model.preprocessing
        single = shape.systems == SINGLE_SYSTEMS
        known = self._states.get(shape)
        if known is None:
            room = SINGLE_ROOM if single else FIRST_ROOM
            state, data = preprocess(_with_room(preprocess.init(), room, shape), inputs)
            return state, data
        state, data = preprocess(known, inputs)
        if state == known:
            return state, data
        # one list was too short; all grow now, or each would cost a compilation of its own
        room = SINGLE_ROOM if single else GROWTH_ROOM
        roomy, _ = preprocess(_with_room(preprocess.init(), room, shape), inputs)
        state, data = preprocess(_larger(state, roomy), inputs)
        return state, data

    def _shape(self, batch: Sequence[Structure]) -> Shape:
        periodic = batch[0].n_periodic == 3
        n_atoms = sum(structure.n_atoms for structure in batch)
        if len(batch) == 1:
            return Shape(max(SMALLEST_SHAPE, _power_of_two(n_atoms)), SINGLE_SYSTEMS, periodic)
        slots = max(int(self.budget) // ATOMS_PER_SLOT, 2)
        return Shape(int(self.budget), slots + 1, periodic)

    def _split(
        self,
        batch: Sequence[Structure],
        atomic: NDArray[np.float32],
        system: NDArray[np.float32],
        forces: NDArray[np.float32],
        virial: NDArray[np.float32] | None,
    ) -> list[Result]:
        """Cut the padded arrays into predictions, in eV."""
        stops = np.cumsum([structure.n_atoms for structure in batch])
        starts = stops - [structure.n_atoms for structure in batch]
        per_atom = atomic.astype(np.float64).sum(axis=0)[: stops[-1]]
        energies = np.add.reduceat(per_atom, starts)
        energies += system.astype(np.float64).sum(axis=0)[: len(batch)]
        energies *= self._unit
        scaled = forces[: stops[-1]] * np.float32(self._unit)
        results: list[Result] = []
        for i, structure in enumerate(batch):
            results.append(
                Prediction(
                    energy=float(energies[i]),
                    forces=scaled[starts[i] : stops[i]],
                    stress=None if virial is None else self._stress(virial[i], structure),
                    charge=0,
                    multiplicity=structure.spin_multiplicity,
                )
            )
        return results

    def _stress(self, virial: NDArray[np.float32], structure: Structure) -> NDArray[np.float64]:
        volume = structure.volume
        assert volume is not None
        tensor = virial.astype(np.float64) * (self._unit / volume)
        tensor = (tensor + tensor.T) / 2
        return np.asarray(tensor[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]])

    def _compiled(self) -> Any:
        """Return the jitted (data, periodic) → energies of atoms and systems, forces, virial."""
        import jax

        variables = jax.device_put(self._model.variables, self._jax_device)

        @partial(jax.jit, static_argnums=2)
        def run(variables: Any, data: Any, periodic: bool) -> tuple[Any, Any, Any, Any]:
            self.compiles += 1  # this body runs once per compilation
            virial = None
            if periodic:
                _, forces, virial, out = self._model._energy_and_forces_and_virial(variables, data)
            else:
                _, forces, out = self._model._energy_and_forces(variables, data)
            atomic, system = _energy_terms(out, self._terms)
            return atomic, system, forces, virial

        return lambda data, periodic: run(variables, data, periodic)


def load_fennol(
    name: str, path: Path, sha256: str, licence: str, *, device: str, cache_dir: Path
) -> FennolTeacher:
    """Return the model in the file *path*.

    Raises TeacherError where the device is missing, the process runs another backend, or the file
    is no model that can be used.
    """
    claim_backend("jax", "float32")
    target = jax_device(parse_device(device))
    _configure_jax(cache_dir)
    teacher = FennolTeacher(name, path, sha256, licence, target)
    teacher.device = str(parse_device(device))
    return teacher


def _configure_jax(cache_dir: Path) -> None:
    import jax

    jax.config.update("jax_enable_x64", False)
    jax.config.update("jax_default_matmul_precision", "highest")  # no TF32
    jax.config.update("jax_compilation_cache_dir", str(cache_dir / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _load_model(path: Path) -> Any:
    from fennol import FENNIX

    try:
        return FENNIX.load(path, use_atom_padding=False)
    except Exception as error:
        raise TeacherError(
            f"{path} cannot be read as a FeNNol model: {type(error).__name__}: {error}"
        ) from None


def _model_unit(unit: str, path: Path) -> float:
    """Return the model's unit of energy in eV."""
    known = {"ha": HARTREE, "hartree": HARTREE, "ev": 1.0}
    if unit.lower() not in known:
        raise TeacherError(f"{path}: unit of energy {unit!r} is not supported; use Ha or eV")
    return known[unit.lower()]


def _elements(model: Any, path: Path) -> frozenset[int]:
    """Return the elements that every module of the model names; raises TeacherError if none."""
    from ase.data import atomic_numbers

    named = [
        set(parameters[key])
        for parameters in model._input_args["modules"].values()
        for key in ("species_order", "hidden_neurons")
        if isinstance(parameters.get(key), (Mapping, list, tuple)) and parameters[key]
        # hidden_neurons is a plain list of widths where all elements share a network
        if all(isinstance(symbol, str) for symbol in parameters[key])
    ]
    symbols = set.intersection(*named) if named else set()
    if not symbols:
        raise TeacherError(f"{path} does not say which elements it knows, so it is not used")
    return frozenset(atomic_numbers[symbol] for symbol in symbols)


def _with_room(state: Any, room: tuple[float, float], shape: Shape) -> Any:
    """Return the preprocessing state with other *room* for growth (see FIRST_ROOM)."""
    factor, spare = room
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
    """Return two preprocessing states merged, the larger of each size."""
    if isinstance(one, Mapping):
        # flax's FrozenDict, which has no other way to be changed
        return one.copy(  # type: ignore[attr-defined]
            {key: _larger(one[key], value) if key in one else value for key, value in other.items()}
        )
    if isinstance(one, tuple):
        return tuple(_larger(a, b) for a, b in zip(one, other, strict=True))
    return max(one, other)


def _padded(batch: Sequence[Structure], shape: Shape) -> dict[str, NDArray[Any]]:
    """Return the model's flat inputs, padded to *shape*; padding belongs to the last system."""
    natoms = np.zeros(shape.systems, dtype=np.int32)
    natoms[: len(batch)] = [structure.n_atoms for structure in batch]
    total = int(natoms.sum())
    species = np.full(shape.atoms, -1, dtype=np.int32)
    species[:total] = np.concatenate([structure.numbers for structure in batch])
    coordinates = np.zeros((shape.atoms, 3), dtype=np.float32)
    coordinates[:total] = _near_origin(batch, natoms[: len(batch)])
    owner = np.full(shape.atoms, shape.systems - 1, dtype=np.int32)
    owner[:total] = np.repeat(np.arange(shape.systems, dtype=np.int32), natoms)
    inputs: dict[str, NDArray[Any]] = {
        "species": species,
        "coordinates": coordinates,
        "natoms": natoms,
        "batch_index": owner,
        "true_atoms": species > 0,
        "true_sys": np.arange(shape.systems) < len(batch),
    }
    if shape.periodic:
        cells = np.tile(np.eye(3) * PADDING_CELL, (shape.systems, 1, 1))
        cells[: len(batch)] = [structure.cell for structure in batch]
        inputs["cells"] = cells.astype(np.float32)
        inputs["reciprocal_cells"] = np.linalg.inv(cells).astype(np.float32)
    return inputs


def _near_origin(batch: Sequence[Structure], natoms: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return what `wrapped` gives for each structure, concatenated; all at once for molecules."""
    if batch[0].n_periodic:
        return np.concatenate([wrapped(structure) for structure in batch])
    positions = np.concatenate([structure.positions for structure in batch])
    sums = np.add.reduceat(positions, np.cumsum(natoms) - natoms)
    return np.asarray(positions - np.repeat(sums / natoms[:, None], natoms, axis=0))


def _energy_terms(out: Mapping[str, Any], terms: Sequence[str]) -> tuple[Any, Any]:
    """Return the energies (terms, atoms) and (terms, systems) that add up to the total."""
    import jax.numpy as jnp

    n_atoms, n_systems = out["species"].shape[0], out["natoms"].shape[0]
    atomic, system = [jnp.zeros(n_atoms)], [jnp.zeros(n_systems)]
    for term in terms:
        values = out[term].reshape(-1)
        (system if values.shape[0] == n_systems else atomic).append(values)
    return jnp.stack(atomic), jnp.stack(system)


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()
