"""One loaded Orb model as a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mlffdb.structures import Structure
from mlffdb.teachers.base import Identity, Prediction, Result, Teacher
from mlffdb.teachers.device import claim_backend, parse_device, torch_device, torch_precision
from mlffdb.teachers.orb.checkpoint import load_model
from mlffdb.teachers.orb.graphs import edges_at_most, in_order
from mlffdb.teachers.orb.models import OrbModel, full_name, parse_name
from mlffdb.teachers.orb.torque import without_net_torque

#: Raised when a change of this package changes numbers.
ADAPTER = 2
#: Memory of one edge in float32, measured: without and with what a gradient keeps.
BYTES_PER_EDGE = 14_000
BYTES_PER_EDGE_WITH_GRADIENT = 85_000
CPU_BUDGET = 6_000.0  # edges; larger batches are no faster on a CPU, which is compute-bound
GPU_SHARE = 0.6  # of the free memory


class OrbTeacher(Teacher):
    """An Orb model on one device; ``load_orb`` makes one."""

    reasons: ClassVar[dict[str, str]] = {
        "periodicity": "Orb models take structures periodic in all three directions or in none, "
        "the omol ones molecules only",
        "unsupported_element": "Orb computes it all the same, but was never trained on it",
    }

    def __init__(
        self, model: OrbModel, precision: str, path: Path, sha256: str, device: Any
    ) -> None:
        self.name = full_name(model, precision)
        self.device = str(device)
        self.capabilities = model.capabilities
        self._precision = precision
        self._torch_device = device
        self._network, self._graphs, untrained = load_model(model, path, precision, device)
        self._gradient = model.gradient
        self.budget = _budget(device, model.gradient, precision)
        self.identity = Identity(
            name=self.name,
            versions={"orb-models": version("orb-models"), "torch": version("torch")},
            weights_sha256=sha256,
            precision=precision,
            settings={
                "adapter": ADAPTER,
                "cutoff": self._graphs.cutoff,
                "max_neighbours": self._graphs.neighbours,
                "edge_method": self._graphs.edge_method,
            },
            untrained=untrained,
        )

    def cost(self, structure: Structure) -> float:
        """Return the number of edges, about."""
        return edges_at_most(structure, self._graphs.cutoff, self._graphs.neighbours)

    def compute(self, batch: Sequence[Structure]) -> list[Result]:
        """Return one result per structure from one call of the network."""
        ordered = in_order(batch)
        energies, forces, stresses = self._predict(ordered)
        stops = np.cumsum([structure.n_atoms for structure in batch])
        results: list[Result] = []
        for i, (structure, order) in enumerate(ordered):
            own = np.empty((structure.n_atoms, 3), dtype=forces.dtype)
            own[order] = forces[stops[i] - structure.n_atoms : stops[i]]
            if structure.n_periodic == 0 and not self._gradient:
                own = without_net_torque(structure.positions, own).astype(forces.dtype)
            crystal = structure.n_periodic == 3
            results.append(
                Prediction(
                    energy=float(energies[i]),
                    forces=own,
                    stress=stresses[i] if crystal and stresses is not None else None,
                    charge=structure.charge,
                    multiplicity=structure.spin_multiplicity,
                    details={"edge_method": self._graphs.edge_method},
                )
            )
        return results

    def _predict(
        self, ordered: Any
    ) -> tuple[NDArray[np.float64], NDArray[Any], NDArray[np.float64] | None]:
        """Return energies (n,) in eV, forces (n_atoms, 3) in eV/Å, stresses (n, 6) in eV/Å³."""
        import torch

        mode = torch.enable_grad() if self._gradient else torch.inference_mode()
        with torch_precision(self._precision):
            graphs = self._graphs(ordered)
            with mode:
                out = self._network.predict(graphs)
            prefix = "grad_" if self._gradient else ""
            energies = out["energy"].detach().reshape(-1).double().cpu().numpy()
            forces = out[f"{prefix}forces"].detach().cpu().numpy()
            if not self.capabilities.stress:
                return energies, forces, None
            stresses = out[f"{prefix}stress"].detach().reshape(-1, 6).double().cpu().numpy()
        return energies, forces, stresses

    def reset(self) -> None:
        """Give cached device memory back."""
        import torch

        if self._torch_device.type == "cuda":
            torch.cuda.empty_cache()

    def close(self) -> None:
        """Free the network's memory."""
        self._network = None
        self.reset()


def load_orb(name: str, path: Path, sha256: str, *, device: str) -> OrbTeacher:
    """Return the Orb model *name* (``NAME`` or ``NAME@PRECISION``) with the checkpoint *path*.

    Raises TeacherError where the name is unknown, the device is missing, the process runs another
    backend, or the checkpoint is not one of this model.
    """
    model, precision = parse_name(name)
    claim_backend("torch")
    return OrbTeacher(model, precision, path, sha256, torch_device(parse_device(device)))


def _budget(device: Any, gradient: bool, precision: str) -> float:
    """Return the edges that fit into the device's free memory."""
    if device.type != "cuda":
        return CPU_BUDGET
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    size = BYTES_PER_EDGE_WITH_GRADIENT if gradient else BYTES_PER_EDGE
    if precision == "float64":
        size *= 2
    return float(int(GPU_SHARE * free / size))
