"""FeNNol models as a teacher: one network, or an ensemble of networks in one compiled function."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlffdb.errors import TeacherError
from mlffdb.structures import Structure
from mlffdb.teachers.base import Capabilities, Identity, Prediction, Result, Teacher
from mlffdb.teachers.device import claim_backend, jax_device, parse_device
from mlffdb.teachers.fennol.inputs import padded
from mlffdb.teachers.fennol.model import Model, read_model, stacked_variables
from mlffdb.teachers.fennol.sizes import SINGLE_SYSTEMS, SMALLEST_SHAPE, Shape, Sizes
from mlffdb.teachers.units import HARTREE

log = logging.getLogger(__name__)

#: Raised when a change of this package changes numbers.
ADAPTER = 1
BUDGET = 1024.0  # atoms of a batch
ATOMS_PER_SLOT = 16  # a smaller structure counts as so many atoms: slots are as fixed as atoms
#: The host lists all pairs of a structure, images included, before it filters them: 3 GB here.
MAX_ATOMS = 2000
#: How the spread of an ensemble is estimated: squares over n - 1, as FeNNol does itself.
SPREAD = "sample standard deviation"

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


@dataclass(frozen=True, slots=True)
class Member:
    """A file of weights and its SHA-256 (hex)."""

    path: Path
    sha256: str


class FennolTeacher(Teacher):
    """One .fnx model, or several that differ in their weights only.

    Energy and forces of several are their means, and come with their spread. Made by
    ``load_fennol`` and ``load_ensemble``.
    """

    def __init__(
        self,
        name: str,
        members: Sequence[Member],
        licence: str,
        device: Any,
        cache_dir: Path,
        elements: frozenset[int] = frozenset(),
    ) -> None:
        self.name = name
        self.device = str(device)
        self.budget = BUDGET
        self.first_batch = 2 * int(BUDGET) // ATOMS_PER_SLOT  # small batches are padded to full
        #: Compilations so far: one for each new shape and each growth of it.
        self.compiles = 0
        self._jax_device = device
        self._n_members = len(members)
        models = [read_model(member.path) for member in members]
        self._model = models[0]
        elements = self._model.elements or elements
        if not elements:
            raise TeacherError(
                f"{members[0].path} does not say which elements it knows, so it is not used; "
                "a published model is known by its name"
            )
        self.capabilities = _capabilities(self._model, elements, len(members), licence)
        self.identity = _identity(name, members, self._model)
        self._sizes = Sizes(self._model.fennix.preprocessing, _sizes_path(cache_dir, self.identity))
        self._run = self._compiled(stacked_variables(models, [member.path for member in members]))

    def cost(self, structure: Structure) -> float:
        """Return the atoms it occupies: its own, or the share of a slot."""
        return float(max(structure.n_atoms, ATOMS_PER_SLOT))

    def compute(self, batch: Sequence[Structure]) -> list[Result]:
        """Return one result per structure from one call of the compiled model."""
        import jax

        shape = self._shape(batch)
        inputs = padded(batch, shape, self._model.charged)
        with jax.default_device(self._jax_device):
            state, data = self._sizes.prepare(shape, inputs)
            before = self.compiles
            outputs = jax.device_get(self._run(data, shape.periodic))
        if self.compiles > before:
            log.info("%s: compilation %d, for %s", self.name, self.compiles, shape)
        self._sizes.accept(shape, state)
        return self._split(batch, *outputs)

    def reset(self) -> None:
        """Forget lengths that were not tried here yet; a batch that failed left none behind."""
        self._sizes.forget()

    def _shape(self, batch: Sequence[Structure]) -> Shape:
        periodic = batch[0].n_periodic == 3
        n_atoms = sum(structure.n_atoms for structure in batch)
        if len(batch) == 1:
            return Shape(max(SMALLEST_SHAPE, _power_of_two(n_atoms)), SINGLE_SYSTEMS, periodic)
        atoms = max(int(self.budget), SMALLEST_SHAPE)
        return Shape(atoms, atoms // ATOMS_PER_SLOT + 1, periodic)

    def _split(
        self,
        batch: Sequence[Structure],
        atomic: NDArray[np.float32],
        system: NDArray[np.float32],
        forces: NDArray[np.float32],
        virial: NDArray[np.float32] | None,
    ) -> list[Result]:
        """Cut the padded arrays into predictions, in eV.

        atomic (members, terms, atoms), system (members, terms, systems), forces (members, atoms,
        3), virial (members, systems, 3, 3), in the model's unit. Energies are added in float64: in
        float32 a sum is off by up to a meV.
        """
        stops = np.cumsum([structure.n_atoms for structure in batch])
        starts = stops - [structure.n_atoms for structure in batch]
        energies = _energies(atomic, system, starts, stops[-1]) * self._model.unit
        energy = energies.mean(axis=0)
        mean, spreads = self._mean_forces(forces[:, : stops[-1]], starts)
        results: list[Result] = []
        for i, structure in enumerate(batch):
            results.append(
                Prediction(
                    energy=float(energy[i]),
                    forces=mean[starts[i] : stops[i]],
                    stress=None if virial is None else self._stress(virial[:, i], structure),
                    energy_spread=None if spreads is None else float(energies[:, i].std(ddof=1)),
                    forces_spread=None if spreads is None else float(spreads[i]),
                    charge=structure.charge,
                    multiplicity=structure.spin_multiplicity,
                )
            )
        return results

    def _mean_forces(
        self, forces: NDArray[np.float32], starts: NDArray[np.intp]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64] | None]:
        """Return forces (atoms, 3), and of each structure the largest spread of a component."""
        unit = np.float32(self._model.unit)
        if self._n_members == 1:
            return forces[0] * unit, None
        scaled = forces.astype(np.float64) * self._model.unit
        spread = scaled.std(axis=0, ddof=1).max(axis=1)
        return scaled.mean(axis=0).astype(np.float32), np.maximum.reduceat(spread, starts)

    def _stress(self, virial: NDArray[np.float32], structure: Structure) -> NDArray[np.float64]:
        volume = structure.volume
        assert volume is not None
        tensor = virial.astype(np.float64).mean(axis=0) * (self._model.unit / volume)
        tensor = (tensor + tensor.T) / 2
        return np.asarray(tensor[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]])

    def _compiled(self, variables: Any) -> Any:
        """Return the jitted (data, periodic) → energies of atoms and systems, forces, virial.

        Members take turns inside one compiled function (`jax.lax.map`), which computes what has
        no weights, such as ANI's symmetry functions, once for all: on two cores 2.5 times as fast
        as `jax.vmap` over the members, and 3.5 times as fast as one call for each.
        """
        import jax

        fennix, terms = self._model.fennix, self._model.terms
        held = jax.device_put(variables, self._jax_device)

        def one(weights: Any, data: Any, periodic: bool) -> tuple[Any, Any, Any, Any]:
            virial = None
            if periodic:
                _, forces, virial, out = fennix._energy_and_forces_and_virial(weights, data)
            else:
                _, forces, out = fennix._energy_and_forces(weights, data)
            return *_energy_terms(out, terms), forces, virial

        @partial(jax.jit, static_argnums=2)
        def run(weights: Any, data: Any, periodic: bool) -> Any:
            if self._n_members > 1:
                found = jax.lax.map(lambda member: one(member, data, periodic), weights)
            else:
                alone = one(jax.tree_util.tree_map(lambda leaf: leaf[0], weights), data, periodic)
                found = jax.tree_util.tree_map(lambda leaf: leaf[None], alone)
            self.compiles += 1  # this body runs once per compilation
            return found

        return lambda data, periodic: run(held, data, periodic)


def load_fennol(
    name: str,
    path: Path,
    sha256: str,
    licence: str,
    *,
    device: str,
    cache_dir: Path,
    elements: frozenset[int] = frozenset(),
) -> FennolTeacher:
    """Return the model in the file *path*; see ``load_ensemble``."""
    member = Member(path, sha256)
    return load_ensemble(
        name, [member], licence, device=device, cache_dir=cache_dir, elements=elements
    )


def load_ensemble(
    name: str,
    members: Sequence[Member],
    licence: str,
    *,
    device: str,
    cache_dir: Path,
    elements: frozenset[int] = frozenset(),
) -> FennolTeacher:
    """Return the ensemble of *members*, or the one model.

    *elements* are the atomic numbers that the publisher states, for a file that names none.
    Raises TeacherError where the device is missing, the process runs another backend, or a file
    is no model that can be used.
    """
    claim_backend("jax", "float32")
    target = jax_device(parse_device(device))
    _configure_jax(cache_dir)
    teacher = FennolTeacher(name, members, licence, target, cache_dir, elements)
    teacher.device = str(parse_device(device))
    return teacher


def _configure_jax(cache_dir: Path) -> None:
    import jax

    jax.config.update("jax_enable_x64", False)
    jax.config.update("jax_default_matmul_precision", "highest")  # no TF32
    jax.config.update("jax_compilation_cache_dir", str(cache_dir / "jax" / _processor()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _processor() -> str:
    """Return a name for this kind of processor: code compiled for another one may not run."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    kind = [line for line in lines if line.startswith(("model name", "flags", "Features"))][:2]
    digest = hashlib.sha256("\n".join(kind).encode()).hexdigest()[:12]
    return f"{platform.machine()}-{digest}"


def _capabilities(
    model: Model, elements: frozenset[int], n_members: int, licence: str
) -> Capabilities:
    return dataclasses.replace(
        CAPABILITIES,
        elements=elements,
        periodicity=frozenset({0, 3} if model.periodic else {0}),
        charged=model.charged,
        stress=model.periodic,
        spread=n_members > 1,
        licence=licence,
    )


def _identity(name: str, members: Sequence[Member], model: Model) -> Identity:
    settings: dict[str, Any] = {
        "adapter": ADAPTER,
        "energy_terms": list(model.terms),
        "energy_sum": "float64",
        "matmul": "highest",
        "hartree_in_ev": HARTREE,
    }
    if len(members) > 1:
        settings["members"] = {member.path.stem: member.sha256 for member in members}
        settings["spread"] = SPREAD
    if model.dtype != "float32":
        settings["weights"] = f"{model.dtype}, rounded to float32"
    return Identity(
        name=name,
        versions={package: version(package) for package in ("fennol", "jax", "jaxlib")},
        weights_sha256=ensemble_sha256([member.sha256 for member in members]),
        precision="float32",
        settings=settings,
    )


def ensemble_sha256(digests: Sequence[str]) -> str:
    """Return one SHA-256 (hex) for several files: their own, one a line, hashed; one stays."""
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(f"{digest}\n" for digest in digests).encode()).hexdigest()


def _sizes_path(cache_dir: Path, identity: Identity) -> Path:
    key = f"{identity.weights_sha256} {identity.versions['fennol']}"
    return cache_dir / "fennol" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.sizes"


def _energies(
    atomic: NDArray[np.float32], system: NDArray[np.float32], starts: NDArray[np.intp], stop: int
) -> NDArray[np.float64]:
    """Return the energy of each member and structure, (members, structures), added in float64."""
    per_atom = atomic.astype(np.float64).sum(axis=1)[:, :stop]
    energies: NDArray[np.float64] = np.add.reduceat(per_atom, starts, axis=1)
    energies += system.astype(np.float64).sum(axis=1)[:, : len(starts)]
    return energies


def _energy_terms(out: Any, terms: Sequence[str]) -> tuple[Any, Any]:
    """Return the energies (terms, atoms) and (terms, systems) that add up to the total.

    Raises TypeError for a term that is an energy of neither.
    """
    import jax.numpy as jnp

    n_atoms, n_systems = out["species"].shape[0], out["natoms"].shape[0]
    atomic, system = [jnp.zeros(n_atoms)], [jnp.zeros(n_systems)]
    for term in terms:
        values = out[term]
        if values.size not in (n_atoms, n_systems):
            raise TypeError(f"the energy term {term} has the shape {values.shape}")
        values = values.reshape(-1)
        (system if values.shape[0] == n_systems else atomic).append(values)
    return jnp.stack(atomic), jnp.stack(system)


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()
