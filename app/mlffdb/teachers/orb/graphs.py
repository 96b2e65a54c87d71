"""Structures as Orb's graphs: atoms in canonical order, a reduced right-handed cell, edges.

What a graph is must not depend on how the structure was written down:

- Orb keeps the nearest neighbours of an atom up to a number. In a perfect crystal several are
  equally near, and the order of the atoms (or, in a graph made for several structures at once, the
  other structures) decides which; so atoms come in canonical order, and such structures get a graph
  of their own.
- Its search for neighbours looks at a fixed number of images, too few in strongly skewed cells; so
  the cell is Minkowski-reduced.
- The repulsion in orb-v3's direct models divides the stress by the determinant of the cell with its
  sign; so the cell is right-handed.
- It tells a molecule from a crystal by its cell alone; so molecules have none.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlffdb.structures import Structure
from mlffdb.structures.identity import canonical_order

Ordered = tuple[Structure, NDArray[np.intp]]

#: Fractional coordinates this close below a whole number count as that number, so that the noise of
#: a translation does not move an atom to the other side of the cell.
_WRAP_SLACK = 1e-9


class Graphs05:
    """Graphs as orb-models 0.5 makes them: one structure at a time, on the host."""

    #: The one that returns NaN for NaN; the default on GPUs does not.
    edge_method = "knn_scipy"

    def __init__(self, config: Any, *, molecular: bool, dtype: Any, device: Any) -> None:
        self.cutoff = float(config.radius)
        self.neighbours = int(config.max_num_neighbors)
        self._config = config
        self._molecular = molecular
        self._dtype = dtype
        self._device = device

    def __call__(self, batch: Sequence[Ordered]) -> Any:
        """Return the joint input of *batch*, on the device."""
        import torch
        from orb_models.forcefield import base
        from orb_models.forcefield.atomic_system import ase_atoms_to_atom_graphs

        with warnings.catch_warnings():  # it hands a torch tensor to ASE, which numpy 2 deprecates
            warnings.simplefilter("ignore", DeprecationWarning)
            graphs = [
                ase_atoms_to_atom_graphs(
                    orb_atoms(structure, order, molecular=self._molecular),
                    self._config,
                    wrap=False,
                    edge_method=self.edge_method,
                    device=torch.device("cpu"),
                    output_dtype=self._dtype,
                    graph_construction_dtype=self._dtype,
                )
                for structure, order in batch
            ]
        return base.batch_graphs(graphs).to(self._device)


class Graphs07:
    """Graphs as orb-models 0.7 makes them, by the adapter that comes with a model."""

    edge_method = "knn_alchemi"

    def __init__(self, adapter: Any, *, molecular: bool, dtype: Any, device: Any) -> None:
        self.cutoff = float(adapter.radius)
        self.neighbours = int(adapter.max_num_neighbors)
        self._adapter = adapter
        self._molecular = molecular
        self._dtype = dtype
        self._device = device

    def __call__(self, batch: Sequence[Ordered]) -> Any:
        """Return the joint input of *batch*, on the device."""
        options = {
            "wrap": False,
            "edge_method": self.edge_method,
            "device": self._device,
            "output_dtype": self._dtype,
            "graph_construction_dtype": self._dtype,
        }
        atoms = [orb_atoms(s, order, molecular=self._molecular) for s, order in batch]
        if self._joint(batch):
            return self._adapter.from_ase_atoms_list(atoms, **options)
        graphs = [self._adapter.from_ase_atoms(one, **options) for one in atoms]
        return type(graphs[0]).batch(graphs)

    def _joint(self, batch: Sequence[Ordered]) -> bool:
        """Whether one search for all gives the same edges; it is faster.

        Not where neighbours compete for places; nor in float64, since it works in float32.
        """
        import torch

        return self._dtype == torch.float32 and all(
            structure.n_periodic == 0 and structure.n_atoms <= self.neighbours + 1
            for structure, _ in batch
        )


def since_07() -> bool:
    """Return whether the installed orb-models is 0.7 or later."""
    major, minor = version("orb-models").split(".")[:2]
    return (int(major), int(minor)) >= (0, 7)


def in_order(batch: Sequence[Structure]) -> list[Ordered]:
    """Return each structure with its canonical order of atoms."""
    return [(structure, canonical_order(structure)) for structure in batch]


def orb_atoms(structure: Structure, order: NDArray[np.intp], *, molecular: bool) -> Any:
    """Return ASE Atoms as Orb should see them, its atoms in *order*.

    molecular: whether charge and multiplicity go along (Orb's ``spin`` is 2S+1)
    """
    from ase import Atoms

    cell = None
    if structure.n_periodic == 3:
        assert structure.cell is not None
        cell = standard_cell(structure.cell)
        positions = _wrap(structure.positions, cell)
    else:
        positions = structure.positions - structure.positions.mean(axis=0)
    atoms = Atoms(
        numbers=structure.numbers[order].astype(int),
        positions=positions[order],
        cell=cell,
        pbc=structure.pbc,
    )
    if molecular:
        assert structure.spin_multiplicity is not None
        atoms.info = {
            "charge": float(structure.charge),
            "spin": float(structure.spin_multiplicity),
        }
    return atoms


def standard_cell(cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (3, 3) vectors in Å of the same lattice, Minkowski-reduced and right-handed."""
    if not _is_reduced(cell):
        from ase.geometry import minkowski_reduce

        cell = np.asarray(minkowski_reduce(cell)[0])
    return cell if np.linalg.det(cell) > 0 else cell[[1, 0, 2]]


def _is_reduced(cell: NDArray[np.float64]) -> bool:
    """Whether no sum of lattice vectors is shorter than the longest vector in it."""
    squares = (cell**2).sum(axis=1)
    sums = ((_SUMS @ cell) ** 2).sum(axis=1)
    longest = np.where(_SUMS != 0, squares, 0.0).max(axis=1)
    return bool((sums >= longest * (1 - 1e-9)).all())


#: Sums and differences of two and of three lattice vectors.
_SUMS = np.array(
    [[1, s, 0] for s in (1, -1)]
    + [[1, 0, s] for s in (1, -1)]
    + [[0, 1, s] for s in (1, -1)]
    + [[1, s, t] for s in (1, -1) for t in (1, -1)]
)


def _wrap(positions: NDArray[np.float64], cell: NDArray[np.float64]) -> NDArray[np.float64]:
    fractional = np.linalg.solve(cell.T, positions.T).T
    return np.asarray((fractional - np.floor(fractional + _WRAP_SLACK)) @ cell)


def edges_at_most(structure: Structure, cutoff: float, neighbours: int) -> float:
    """Return the number of edges of *structure*, about: what limits a batch.

    Isolated: all pairs, up to *neighbours* for each atom. Crystals: as many as the mean density
    puts into the sphere of *cutoff* Å.
    """
    count = structure.n_atoms - 1.0
    if structure.volume is not None:
        count = structure.n_atoms / structure.volume * 4.0 / 3.0 * np.pi * cutoff**3
    return max(structure.n_atoms * min(count, neighbours), 1.0)
