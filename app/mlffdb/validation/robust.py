"""Linear models of many rows that share few distinct lines, fitted so that outliers do not count.

Iteratively reweighted least squares: first towards least absolute deviations, then with Tukey's
bisquare (Beaton & Tukey 1974), which gives gross outliers no weight at all. Rows of one kind share
a line of the normal equations, so a million conformers of a thousand molecules cost a thousand
lines.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Smallest spread assumed, eV/√atom: the thermal energy of 3N vibrations at 300 K spreads as much,
#: k_BT·√(3/2) for each √atom. It stands for eV/atom too, where it is generous.
MIN_SPREAD = 0.03
MIN_FREEDOM = 10  # kinds beyond the terms, for their spread to be known
TO_SIGMA = 1.4826  # median absolute deviation → standard deviation of a normal distribution
TUKEY = 4.685  # tuning constant: 95 % efficiency for normal errors
ITERATIONS = 60


def row_space(lines: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (rank, n_terms) orthonormal rows that span *lines* (K, n_terms)."""
    if len(lines) == 0:
        return np.zeros((0, lines.shape[1]))
    triangle = np.linalg.qr(lines, mode="r")
    _, values, vectors = np.linalg.svd(triangle)
    basis: NDArray[np.float64] = vectors[: int((values > 1e-9 * values[0]).sum())]
    return basis


def solve(
    lines: NDArray[np.float64],
    kind: NDArray[np.intp],
    targets: NDArray[np.float64],
    basis: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the (n_terms,) coefficients, within the span of *basis*, that fit most targets.

    lines: (K, n_terms), the distinct rows of the model; kind: (N,) the line of each target
    """
    coefficients = np.zeros(lines.shape[1])
    if len(targets) == 0:
        return coefficients
    # absurd numbers would drown the others in rounding before the weights can take them out
    middle = float(np.median(targets))
    reach = 1e3 * max(float(np.median(np.abs(targets - middle))), 1.0)
    targets = np.clip(targets, middle - reach, middle + reach)
    weights = np.ones(len(targets))
    for iteration in range(ITERATIONS):
        before = coefficients
        coefficients = _weighted(lines, kind, targets, weights, basis)
        residuals = targets - (lines @ coefficients)[kind]
        scale = max(TO_SIGMA * float(np.median(np.abs(residuals))), MIN_SPREAD)
        if iteration < ITERATIONS // 2:  # towards least absolute deviations
            weights = 1.0 / np.maximum(np.abs(residuals), 0.1 * scale)
        else:
            ratios = np.minimum(np.abs(residuals) / (TUKEY * scale), 1.0)
            weights = np.maximum(1.0 - ratios**2, 1e-9) ** 2
        if np.abs(coefficients - before).max() < 1e-9 and iteration > ITERATIONS // 2:
            break
    return coefficients


def _weighted(
    lines: NDArray[np.float64],
    kind: NDArray[np.intp],
    targets: NDArray[np.float64],
    weights: NDArray[np.float64],
    basis: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the weighted least-squares solution within the span of *basis*."""
    total = np.bincount(kind, weights, minlength=len(lines))
    mean = np.bincount(kind, weights * targets, minlength=len(lines)) / np.maximum(total, 1e-300)
    root = np.sqrt(total / total.max())
    reduced = lines @ basis.T
    solution = np.linalg.lstsq(reduced * root[:, None], mean * root, rcond=None)[0]
    result: NDArray[np.float64] = solution @ basis
    return result


def spread(
    residuals: NDArray[np.float64], kind: NDArray[np.intp], n_kinds: int, rank: int
) -> float:
    """Return the robust standard deviation to hold residuals against, MIN_SPREAD at least.

    The larger of the spread of rows and that of kinds: where most rows are conformers of one
    molecule, the spread of rows alone would call every other molecule an outlier.
    """
    if len(residuals) == 0:
        return MIN_SPREAD
    rows = TO_SIGMA * float(np.median(np.abs(residuals)))
    middles = np.abs(medians(residuals, kind, n_kinds))
    freedom = n_kinds - rank
    if freedom >= MIN_FREEDOM:
        kinds = TO_SIGMA * float(np.median(middles)) * float(np.sqrt(n_kinds / freedom))
    else:  # too few kinds to know their spread: none of them is held to be an outlier
        kinds = float(middles.max()) if freedom > 0 else 0.0
    return max(rows, kinds, MIN_SPREAD)


def medians(
    values: NDArray[np.float64], kind: NDArray[np.intp], n_kinds: int
) -> NDArray[np.float64]:
    """Return (n_kinds,) the median of the values (N,) of each kind; each kind has one at least."""
    order = np.lexsort((values, kind))
    sizes = np.bincount(kind, minlength=n_kinds)
    starts = np.cumsum(sizes) - sizes
    low, high = values[order[starts + (sizes - 1) // 2]], values[order[starts + sizes // 2]]
    middle: NDArray[np.float64] = (low + high) / 2
    return middle
