"""What a trainer wants to know before the first step: energies per element, scales, counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

_CHUNK = 16_384  # structures worked on at a time
_DIGITS = 9  # significant; beyond them the order of a sum decides
#: Upper ends (inclusive) of the classes of size, atoms.
SIZE_CLASSES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 65_535)
#: Weight of an element in a direction that the fit leaves open, above which it is named.
_OPEN_WEIGHT = 1e-6


def training_statistics(arrays: Arrays) -> dict[str, Any]:
    """Return what normalises a model, from the arrays of the training split alone.

    ``atomic_energies``: E0 per element, eV: least squares of total energy on element counts
    (minimum norm where counts do not determine it; ``undetermined`` names those elements).
    ``energy_per_atom``: mean and standard deviation of (energy - Σ E0) / n_atoms, eV.
    ``force_rms``: root mean square of a force component, eV/Å, overall and per element.
    ``stress_rms``: the same over the six Voigt components, eV/Å³, or None.
    """
    elements = np.flatnonzero(np.bincount(arrays["numbers"], minlength=1))
    energies, rank, undetermined = _atomic_energies(arrays, elements)
    mean, deviation = _residual(arrays, elements, energies)
    return {
        "structures": len(arrays["energy"]),
        "atoms": len(arrays["numbers"]),
        "atomic_energies": {
            chemical_symbols[z]: _round(e) for z, e in zip(elements, energies, strict=True)
        },
        "atomic_energies_fit": {
            "method": "least squares of total energies on element counts",
            "elements": len(elements),
            "rank": rank,
            "undetermined": [chemical_symbols[z] for z in undetermined],
        },
        "energy_per_atom": {"mean": _round(mean), "std": _round(deviation)},
        "force_rms": _force_rms(arrays, elements),
        "stress_rms": _stress_rms(arrays),
        "units": {"energy": "eV", "force": "eV/Å", "stress": "eV/Å³"},
    }


def composition(arrays: Arrays, domain_names: Sequence[str]) -> dict[str, Any]:
    """Return how many structures there are by domain, element, size and periodic axes."""
    sizes = np.diff(arrays["offsets"])
    domains = np.bincount(arrays["domains"], minlength=len(domain_names))
    axes = np.bincount(arrays["pbc"].sum(axis=1), minlength=4)
    classes = np.bincount(np.searchsorted(SIZE_CLASSES, sizes), minlength=len(SIZE_CLASSES))
    return {
        "structures": len(sizes),
        "atoms": int(sizes.sum()),
        "components": len(np.unique(np.ascontiguousarray(arrays["components"]).view("S16"))),
        "with_stress": int(arrays["stress_mask"].sum()),
        "charged": int((arrays["charges"] != 0).sum()),
        "domains": _named(domain_names, domains),
        "elements": _elements(arrays),
        "atoms_per_structure": _named(_size_names(), classes),
        "periodic_axes": _named([str(n) for n in range(4)], axes),
    }


def _chunks(arrays: Arrays) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Yield slices of structures, each with the atoms' structure within it."""
    offsets = arrays["offsets"]
    for start in range(0, len(offsets) - 1, _CHUNK):
        rows = slice(start, min(start + _CHUNK, len(offsets) - 1))
        sizes = np.diff(offsets[rows.start : rows.stop + 1])
        yield rows, np.repeat(np.arange(len(sizes)), sizes)


def _counts(
    arrays: Arrays, rows: slice, owner: NDArray[np.int64], elements: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return (structures, elements) how many atoms of each element there are."""
    offsets = arrays["offsets"]
    numbers = arrays["numbers"][offsets[rows.start] : offsets[rows.stop]]
    column = np.searchsorted(elements, numbers)
    n = rows.stop - rows.start
    flat = np.bincount(owner * len(elements) + column, minlength=n * len(elements))
    return flat.reshape(n, len(elements)).astype(np.float64)


def _atomic_energies(
    arrays: Arrays, elements: NDArray[np.intp]
) -> tuple[NDArray[np.float64], int, list[int]]:
    """Return E0 of *elements*, the rank of the fit, and the elements it does not determine.

    The QR factor of all rows is built chunk by chunk, which is stable and needs little memory.
    """
    k = len(elements)
    factor: NDArray[np.float64] = np.zeros((0, k + 1))
    for rows, owner in _chunks(arrays):
        counts = _counts(arrays, rows, owner, elements)
        block = np.column_stack([counts, arrays["energy"][rows]])
        factor = cast("NDArray[np.float64]", np.linalg.qr(np.vstack([factor, block]), mode="r"))
    matrix, target = factor[:, :k], factor[:, k]
    _, singular, directions = np.linalg.svd(matrix, full_matrices=True)
    rank = int((singular > singular.max(initial=0.0) * k * 1e-12).sum())
    energies = np.linalg.lstsq(matrix, target, rcond=k * 1e-12)[0].astype(np.float64)
    weight = np.linalg.norm(directions[rank:], axis=0)
    return energies, rank, [int(z) for z in elements[weight > _OPEN_WEIGHT]]


def _residual(
    arrays: Arrays, elements: NDArray[np.intp], energies: NDArray[np.float64]
) -> tuple[float, float]:
    """Return mean and standard deviation of the energy per atom beyond *energies*, eV."""
    parts = []
    for rows, owner in _chunks(arrays):
        counts = _counts(arrays, rows, owner, elements)
        parts.append((arrays["energy"][rows] - counts @ energies) / counts.sum(axis=1))
    values = np.concatenate(parts) if parts else np.zeros(0)
    return (float(values.mean()), float(values.std())) if len(values) else (0.0, 0.0)


def _force_rms(arrays: Arrays, elements: NDArray[np.intp]) -> dict[str, Any]:
    squares = np.zeros(len(elements))
    counts = np.zeros(len(elements))
    offsets = arrays["offsets"]
    for rows, _ in _chunks(arrays):
        atoms = slice(offsets[rows.start], offsets[rows.stop])
        column = np.searchsorted(elements, arrays["numbers"][atoms])
        norm = (arrays["forces"][atoms].astype(np.float64) ** 2).sum(axis=1)
        squares += np.bincount(column, weights=norm, minlength=len(elements))
        counts += np.bincount(column, minlength=len(elements))
    rms = np.sqrt(squares / np.maximum(3 * counts, 1))
    overall = np.sqrt(squares.sum() / max(3 * counts.sum(), 1))
    return {
        "overall": _round(overall),
        "elements": {chemical_symbols[z]: _round(r) for z, r in zip(elements, rms, strict=True)},
    }


def _stress_rms(arrays: Arrays) -> float | None:
    total, count = 0.0, 0
    for rows, _ in _chunks(arrays):
        stress = arrays["stress"][rows][arrays["stress_mask"][rows]]
        total, count = total + float((stress**2).sum()), count + stress.size
    return _round(np.sqrt(total / count)) if count else None


def _elements(arrays: Arrays) -> dict[str, int]:
    """Return in how many structures each element occurs."""
    present = np.zeros(119, dtype=np.int64)
    offsets = arrays["offsets"]
    for rows, owner in _chunks(arrays):
        numbers = arrays["numbers"][offsets[rows.start] : offsets[rows.stop]]
        present += np.bincount(np.unique(owner * 119 + numbers) % 119, minlength=119)
    return {chemical_symbols[z]: int(present[z]) for z in np.flatnonzero(present)}


def _size_names() -> list[str]:
    lower = [1, *(end + 1 for end in SIZE_CLASSES[:-1])]
    return [
        str(low) if low == high else f"{low}-{high}"
        for low, high in zip(lower, SIZE_CLASSES, strict=True)
    ]


def _named(names: Sequence[str], counts: NDArray[np.intp]) -> dict[str, int]:
    return {name: int(n) for name, n in zip(names, counts, strict=True) if n}


def _round(value: float | np.floating[Any]) -> float:
    return float(f"{float(value):.{_DIGITS}g}")
