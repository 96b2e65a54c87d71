"""Orb models through orb-models 0.5 (Python 3.11) and 0.7 (3.12 and later), on torch.

Orb-v2 predicts forces and stress directly: they are no gradients of its energy, and a rotated
structure gives rotated forces only approximately. It knows neither charge nor spin.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mlffdb.errors import TeacherError
from mlffdb.structures import Structure
from mlffdb.teachers.base import Capabilities, Identity, Prediction, Result, Teacher
from mlffdb.teachers.checks import wrapped
from mlffdb.teachers.device import claim_backend, parse_device, torch_device

#: Raised when a change of this file changes numbers.
ADAPTER = 1
PRECISION = "float32-highest"  # Orb's own default, float32-high, turns on TF32
CUTOFF = 6.0  # Å, of orb-v2
MAX_NEIGHBOURS = 20  # of orb-v2
BYTES_PER_EDGE = 12_000  # measured, inference in float32
CPU_BUDGET = 6_000.0  # edges; larger batches are no faster on a CPU, which is compute-bound
GPU_SHARE = 0.6  # of the free memory

#: Elements of its training data (MPtrj and Alexandria): 1–94 without Po, At, Rn, Fr and Ra, which
#: are the elements that orb_models' own reference energies fitted to MPtrj have values for.
ELEMENTS = frozenset(range(1, 95)) - frozenset(range(84, 89))

CAPABILITIES = Capabilities(
    elements=ELEMENTS,
    periodicity=frozenset({0, 3}),
    charged=False,
    open_shell=False,
    stress=True,
    conservative=False,
    equivariant=False,
    spread=False,
    max_atoms=20_000,
    cost_unit="edges",
    energy_tolerance=2e-3,
    force_tolerance=5e-2,
    licence="Apache-2.0",
)

#: Key in a state dict's metadata that marks random weights; it stays in the file.
UNTRAINED = "mlffdb.untrained"


class OrbTeacher(Teacher):
    """Orb-v2 on one device; ``load_orb`` makes one."""

    capabilities = CAPABILITIES
    reasons: ClassVar[dict[str, str]] = {
        "periodicity": "Orb takes structures periodic in all three directions or in none",
        "unsupported_element": "Orb computes it all the same, but was never trained on it",
    }

    def __init__(self, name: str, path: Path, sha256: str, device: Any) -> None:
        self.name = name
        self.device = str(device)
        self._torch_device = device
        self._model, untrained = _load_model(path)
        self._model.to(device)
        self._graphs = _GraphsSince07(device) if _since_07() else _Graphs05(device)
        self.budget = _budget(device)
        self.identity = Identity(
            name=name,
            versions={"orb-models": version("orb-models"), "torch": version("torch")},
            weights_sha256=sha256,
            precision=PRECISION,
            settings={
                "adapter": ADAPTER,
                "cutoff": CUTOFF,
                "max_neighbours": MAX_NEIGHBOURS,
                "edge_method": self._graphs.edge_method,
            },
            untrained=untrained,
        )

    def cost(self, structure: Structure) -> float:
        """Return the number of edges at most."""
        neighbours = MAX_NEIGHBOURS
        if structure.n_periodic == 0:
            neighbours = min(neighbours, structure.n_atoms - 1)
        return float(max(structure.n_atoms * neighbours, 1))

    def compute(self, batch: Sequence[Structure]) -> list[Result]:
        """Return one result per structure from one call of the model."""
        import torch

        with torch.inference_mode():
            out = self._model.predict(self._graphs(batch))
            energies = out["energy"].reshape(-1).double().cpu().numpy()
            forces = out["forces"].float().cpu().numpy()
            stresses = out["stress"].reshape(-1, 6).double().cpu().numpy()
        stops = np.cumsum([structure.n_atoms for structure in batch])
        results: list[Result] = []
        for i, structure in enumerate(batch):
            results.append(
                Prediction(
                    energy=float(energies[i]),
                    forces=forces[stops[i] - structure.n_atoms : stops[i]],
                    stress=stresses[i] if structure.n_periodic == 3 else None,
                    charge=0,
                    multiplicity=structure.spin_multiplicity,
                    details={"edge_method": self._graphs.edge_method},
                )
            )
        return results

    def reset(self) -> None:
        """Give cached device memory back."""
        import torch

        if self._torch_device.type == "cuda":
            torch.cuda.empty_cache()

    def close(self) -> None:
        """Free the model's memory."""
        self._model = None
        self.reset()


class _Graphs05:
    """Graphs as orb-models 0.5 makes them: one structure at a time, on the host."""

    #: The one that returns NaN for NaN; the default on GPUs does not.
    edge_method = "knn_scipy"

    def __init__(self, device: Any) -> None:
        self._device = device

    def __call__(self, batch: Sequence[Structure]) -> Any:
        import torch
        from orb_models.forcefield import base
        from orb_models.forcefield.atomic_system import SystemConfig, ase_atoms_to_atom_graphs

        config = SystemConfig(radius=CUTOFF, max_num_neighbors=MAX_NEIGHBOURS)
        with warnings.catch_warnings():  # it hands a torch tensor to ASE, which numpy 2 deprecates
            warnings.simplefilter("ignore", DeprecationWarning)
            graphs = [
                ase_atoms_to_atom_graphs(
                    _bare_atoms(structure),
                    config,
                    wrap=False,
                    edge_method=self.edge_method,
                    device=torch.device("cpu"),
                    output_dtype=torch.float32,
                    graph_construction_dtype=torch.float32,
                )
                for structure in batch
            ]
        return base.batch_graphs(graphs).to(self._device)


class _GraphsSince07:
    """Graphs as orb-models 0.7 makes them, by its adapter."""

    edge_method = "knn_alchemi"

    def __init__(self, device: Any) -> None:
        from orb_models.forcefield.forcefield_adapter import ForcefieldAtomsAdapter

        self._device = device
        self._adapter = ForcefieldAtomsAdapter(CUTOFF, MAX_NEIGHBOURS)

    def __call__(self, batch: Sequence[Structure]) -> Any:
        import torch

        options = {
            "wrap": False,
            "edge_method": self.edge_method,
            "device": self._device,
            "output_dtype": torch.float32,
            "graph_construction_dtype": torch.float32,
        }
        atoms = [_bare_atoms(structure) for structure in batch]
        if all(_all_neighbours_fit(structure) for structure in batch):
            return self._adapter.from_ase_atoms_list(atoms, **options)
        # which of many equally near neighbours is kept depends on what else is in a joint graph
        graphs = [self._adapter.from_ase_atoms(one, **options) for one in atoms]
        return type(graphs[0]).batch(graphs)


def load_orb(name: str, path: Path, sha256: str, *, device: str) -> OrbTeacher:
    """Return orb-v2 with the checkpoint *path*.

    Raises TeacherError where the device is missing, the process runs another backend or
    precision, or the checkpoint is not one of this model.
    """
    claim_backend("torch", PRECISION)
    target = torch_device(parse_device(device))
    import torch

    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    return OrbTeacher(name, path, sha256, target)


def save_random_checkpoint(path: Path, seed: int = 0) -> None:
    """Write an orb-v2 checkpoint (100 MB) with random weights, for tests and speed.

    The file itself says that it is untrained: a teacher that loads it has
    ``identity.untrained``, and its labels are never exported. orb_models reads it too.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = _architecture().state_dict()
    state._metadata[UNTRAINED] = {"seed": seed}
    torch.save(state, path)


def _load_model(path: Path) -> tuple[Any, bool]:
    """Return the model with the weights of *path*, and whether these are random.

    orb_models' own loader changes torch's default dtype for the whole process, and takes a
    checkpoint without, say, a stress head by leaving that head random; neither happens here.
    """
    import pickle

    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise TeacherError(f"{path} cannot be read as a checkpoint: {error}") from None
    if not isinstance(state, Mapping):
        raise TeacherError(f"{path} holds no state dict but a {type(state).__name__}")
    untrained = UNTRAINED in getattr(state, "_metadata", {})
    model = _architecture()
    state = _modern_names(state)
    _compare_keys(set(model.state_dict()), set(state), path)
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise TeacherError(f"{path} does not fit orb-v2: {str(error).splitlines()[0]}") from None
    model = model.to(torch.float32).eval()
    for parameter in model.parameters():
        parameter.requires_grad = False
    if hasattr(model, "prepare_for_inference"):  # 0.7
        model.prepare_for_inference()
    return model, untrained


def _architecture() -> Any:
    with warnings.catch_warnings():  # orb_models calls torch.jit.script, which torch deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        from orb_models.forcefield import pretrained

    return pretrained.orb_v2_architecture(device="cpu")


def _modern_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return *state* under today's names; the published orb-v2 checkpoint has those of 2024.

    The prefixes are those that orb_models' loader renames.
    """
    renames = {
        "node_head.": "heads.forces.",
        "graph_head.": "heads.energy.",
        "stress_head.": "heads.stress.",
    }
    modern = {}
    for key, value in state.items():
        prefix = next((old for old in renames if key.startswith(old)), None)
        modern[key if prefix is None else renames[prefix] + key.removeprefix(prefix)] = value
    if any(key.startswith("model.model.") for key in modern):
        modern = {
            key.replace("model.model.", "model.", 1): value
            for key, value in modern.items()
            if key.startswith(("model.model.", "heads."))
        }
    return modern


def _compare_keys(expected: set[str], found: set[str], path: Path) -> None:
    missing, extra = sorted(expected - found), sorted(found - expected)
    if missing or extra:
        raise TeacherError(
            f"{path} is no orb-v2 checkpoint: {len(missing)} keys missing"
            f"{' (' + missing[0] + ' …)' if missing else ''}, {len(extra)} unknown"
            f"{' (' + extra[0] + ' …)' if extra else ''}"
        )


def _bare_atoms(structure: Structure) -> Any:
    """Return ASE Atoms without charge or spin, and without a cell where isolated.

    Orb tells a molecule from a crystal by its cell alone, in the removal of torque.
    """
    from ase import Atoms

    return Atoms(
        numbers=structure.numbers.astype(int),
        positions=wrapped(structure),
        cell=structure.cell if structure.n_periodic == 3 else None,
        pbc=structure.pbc,
    )


def _all_neighbours_fit(structure: Structure) -> bool:
    return structure.n_periodic == 0 and structure.n_atoms <= MAX_NEIGHBOURS + 1


def _since_07() -> bool:
    major, minor = version("orb-models").split(".")[:2]
    return (int(major), int(minor)) >= (0, 7)


def _budget(device: Any) -> float:
    """Return the edges that fit into the device's free memory."""
    if device.type != "cuda":
        return CPU_BUDGET
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return float(int(GPU_SHARE * free / BYTES_PER_EDGE))
