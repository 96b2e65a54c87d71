"""Energies that do not fit the set: reference energies of elements, a charge term, robust z.

Model of one teacher and domain: E = Σ n_Z E_Z + (cation charge) c₊ + (anion charge) c₋, fitted by
`mlffdb.validation.robust`. Cations and anions have a term each, since an ionisation energy is
several times an electron affinity.

A residual is held against the set's spread twice: per atom, and per square root of atoms, as
thermal energies and independent errors of bonds grow. The smaller z-score counts, so that neither
small molecules of unusual bonding nor large cells stand out for their size. Where a composition
has `GROUP` labels or more, they are also held against their own median, per square root of atoms.

An energy is rejected where it is an outlier among labels of its own composition, or an outlier of
the set by more than `CHEMISTRY`. Smaller outliers whose composition has few labels, or whose
labels agree with each other, can be chemistry (radicals, acetylene) and are suspect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import ArrayLike, NDArray

from mlffdb.structures import StructureArrays
from mlffdb.validation import robust
from mlffdb.validation.batch import LabelArrays, Tags, aligned, finding, value_of
from mlffdb.validation.finding import Finding
from mlffdb.validation.registry import set_check
from mlffdb.validation.thresholds import Threshold, Thresholds

MIN_ROWS = 20  # fewer rows, or fewer than three per fitted term, say nothing
GROUP = 5  # labels of one composition, for their median to be trusted
#: eV; of GFN2-xTB, the worst misfit of a sound label among des-monomers and ASE's g2 is 10.5.
CHEMISTRY = 12.0
#: eV; PH₃, H₂O₂ and acetylene among organic molecules are up to 5 off: no reason to look.
ORDINARY = 6.0

set_check(
    "energy_outlier",
    "The energy does not fit the reference energies of its teacher and domain",
    "energy_outlier",
    "energy_unusual",
)


def element_counts(structures: StructureArrays, elements: Sequence[int]) -> NDArray[np.uint16]:
    """Return (B, n_elements) uint16, how many atoms of each of *elements* each structure has.

    Raises ValueError where a structure has an element that is not among them.
    """
    column = np.full(256, -1)
    column[list(elements)] = np.arange(len(elements))
    columns = column[structures.numbers]
    if (columns < 0).any():
        number = int(structures.numbers[columns < 0][0])
        raise ValueError(f"element {chemical_symbols[number]} is not among those counted")
    flat = structures.owner() * len(elements) + columns
    counts = np.bincount(flat, minlength=len(structures) * len(elements))
    return counts.reshape(len(structures), len(elements)).astype(np.uint16)


@dataclass(frozen=True, eq=False, slots=True)
class EnergyFit:
    """What the energies of one teacher and domain are made of.

    elements: atomic numbers, in the order of the columns of counts
    coefficients: (n_elements + 2,) eV: energy of each element, per positive and per negative charge
    basis: (rank, n_elements + 2), orthonormal rows that span the compositions fitted
    per_atom, per_root_atom: robust standard deviations of the residuals, eV/atom and eV/√atom
    groups: median residual, eV, of each composition and charge with at least `GROUP` labels
    judged: whether outliers can be told; `notes` say why not, and what else is to be known
    """

    elements: tuple[int, ...]
    coefficients: NDArray[np.float64]
    basis: NDArray[np.float64]
    per_atom: float
    per_root_atom: float
    groups: Mapping[bytes, float]
    n_rows: int
    judged: bool
    notes: tuple[str, ...]

    @property
    def rank(self) -> int:
        """Number of terms that the data can tell apart."""
        return len(self.basis)

    def residuals(
        self, counts: ArrayLike, charges: ArrayLike, energies: ArrayLike
    ) -> NDArray[np.float64]:
        """Return (B,) energies minus the model, eV.

        NaN where the energy is not finite or the composition is outside what was fitted.
        """
        rows = _rows(counts, charges)
        energies = np.asarray(energies, dtype=np.float64)
        inside = (rows @ self.basis.T) @ self.basis
        known = np.abs(rows - inside).max(axis=1, initial=0.0) <= 1e-6 * _sizes(rows)
        residuals = energies - rows @ self.coefficients
        result: NDArray[np.float64] = np.where(known & np.isfinite(residuals), residuals, np.nan)
        return result

    def z_scores(
        self, counts: ArrayLike, charges: ArrayLike, energies: ArrayLike
    ) -> NDArray[np.float64]:
        """Return (B,) robust z-scores against the set; NaN where nothing can be said."""
        residuals = self.residuals(counts, charges, energies)
        if not self.judged:
            return residuals * np.nan
        sizes = _sizes(_rows(counts, charges))
        spread = np.maximum(self.per_atom * sizes, self.per_root_atom * np.sqrt(sizes))
        scores: NDArray[np.float64] = residuals / spread
        return scores

    def z_in_group(
        self, counts: ArrayLike, charges: ArrayLike, energies: ArrayLike
    ) -> NDArray[np.float64]:
        """Return (B,) robust z-scores against the labels of the same composition and charge.

        NaN where these are fewer than `GROUP`.
        """
        residuals = self.residuals(counts, charges, energies)
        if not self.judged:
            return residuals * np.nan
        keys, kind = np.unique(_keys(counts, charges), axis=0, return_inverse=True)
        medians = np.array([self.groups.get(key.tobytes(), np.nan) for key in keys])
        roots = np.sqrt(_sizes(_rows(counts, charges)))
        off = residuals - medians[kind.reshape(-1)]
        scores: NDArray[np.float64] = off / (self.per_root_atom * roots)
        return scores

    def findings(
        self,
        counts: ArrayLike,
        charges: ArrayLike,
        energies: ArrayLike,
        thresholds: Thresholds,
        tags: Tags = (),
    ) -> list[Finding]:
        """Return the energy outliers among B labels; exempt tags are let pass.

        counts: (B, n_elements), of the fit's elements; charges: (B,) e; energies: (B,) eV
        """
        if not self.judged:
            return []
        residuals = self.residuals(counts, charges, energies)
        overall = np.nan_to_num(self.z_scores(counts, charges, energies))
        grouped = np.nan_to_num(self.z_in_group(counts, charges, energies))
        wrong, unusual = (thresholds.active(f"energy_{name}") for name in ("outlier", "unusual"))
        marks = aligned(tags, len(residuals), ())
        gross = np.abs(residuals) > CHEMISTRY

        def limits(index: int) -> Iterator[tuple[Threshold, float]]:
            """Yield each limit that an energy can cross with the score it is held to."""
            if wrong is not None:
                yield wrong, float(grouped[index])
                yield wrong, float(overall[index]) if gross[index] else 0.0
            if unusual is not None and abs(residuals[index]) > ORDINARY:
                yield unusual, float(overall[index])

        found = []
        for index in np.flatnonzero(np.isfinite(residuals)).tolist():
            for limit, score in limits(index):
                if abs(score) > value_of(limit) and not set(limit.exempt_tags) & set(marks[index]):
                    message = (
                        f"the energy is {residuals[index]:+.2f} eV off what elements and charge "
                        f"give, {abs(score):.1f} times the spread"
                    )
                    found.append(finding("energy_outlier", limit, index, score, message))
                    break
        return found

    def summary(self) -> dict[str, Any]:
        """Return the fit as plain values, for reports and the database."""
        return {
            "rows": self.n_rows,
            "rank": self.rank,
            "judged": self.judged,
            "spread_ev_per_atom": self.per_atom,
            "spread_ev_per_root_atom": self.per_root_atom,
            "reference_energies_ev": {
                chemical_symbols[number]: float(value)
                for number, value in zip(self.elements, self.coefficients[:-2], strict=True)
            },
            "cation_term_ev_per_e": float(self.coefficients[-2]),
            "anion_term_ev_per_e": float(self.coefficients[-1]),
            "notes": list(self.notes),
        }


class EnergyReference:
    """Collects compositions and energies of one teacher and domain, then fits them.

    Keep structures tagged ``reference`` (isolated atoms, dimers) and labels already rejected out.
    Rows are kept as 16-bit counts: a million structures of twenty elements take 60 MB.
    """

    def __init__(self, elements: Sequence[int]) -> None:
        """Take atomic numbers *elements*, in the order of the columns to come."""
        self.elements = tuple(int(number) for number in elements)
        self._counts: list[NDArray[np.uint16]] = []
        self._charges: list[NDArray[np.int16]] = []
        self._energies: list[NDArray[np.float64]] = []

    def accumulate(self, counts: ArrayLike, charges: ArrayLike, energies: ArrayLike) -> None:
        """Add B rows: counts (B, n_elements), charges (B,) e, energies (B,) eV.

        Rows whose energy is not finite are left out. Raises ValueError for other shapes.
        """
        block = np.asarray(counts, dtype=np.uint16)
        charge = np.asarray(charges, dtype=np.int16)
        energy = np.asarray(energies, dtype=np.float64)
        if block.shape != (len(energy), len(self.elements)) or charge.shape != energy.shape:
            raise ValueError(
                f"counts {block.shape}, charges {charge.shape} and energies {energy.shape} "
                f"do not belong together, for {len(self.elements)} elements"
            )
        kept = np.isfinite(energy) & (block.any(axis=1))
        self._counts.append(block[kept])
        self._charges.append(charge[kept])
        self._energies.append(energy[kept])

    def solve(self) -> EnergyFit:
        """Fit what was added. Too little data gives a fit that judges nothing and says so."""
        empty = np.zeros((0, len(self.elements)), np.uint16)
        counts = np.concatenate([empty, *self._counts])
        charges = np.concatenate([np.zeros(0, np.int16), *self._charges])
        energies = np.concatenate([np.zeros(0), *self._energies])
        return _fit(self.elements, counts, charges, energies)


def check_energies(
    structures: StructureArrays, labels: LabelArrays, thresholds: Thresholds
) -> tuple[list[Finding], dict[str, EnergyFit]]:
    """Fit and judge all labels of one teacher at once, by domain.

    Returns the findings in the order of structures, and the fit of each domain.
    """
    domains = np.array(aligned(labels.domains, len(structures), ""), dtype=object)
    tags = aligned(labels.tags, len(structures), ())
    limit = thresholds["energy_outlier"]
    ordinary = np.array([set(limit.exempt_tags).isdisjoint(marks) for marks in tags], dtype=bool)
    elements = [int(number) for number in np.unique(structures.numbers)]
    counts = element_counts(structures, elements)
    findings: list[Finding] = []
    fits: dict[str, EnergyFit] = {}
    for domain in sorted(set(domains)):
        fit_rows = np.flatnonzero((domains == domain) & ordinary)
        reference = EnergyReference(elements)
        reference.accumulate(
            counts[fit_rows], structures.charges[fit_rows], labels.energies[fit_rows]
        )
        fits[domain] = fit = reference.solve()
        own = fit.findings(
            counts[fit_rows], structures.charges[fit_rows], labels.energies[fit_rows], thresholds
        )
        findings.extend(replace(one, index=int(fit_rows[one.index])) for one in own)
    return sorted(findings, key=lambda one: one.index), fits


def _rows(counts: ArrayLike, charges: ArrayLike) -> NDArray[np.float64]:
    """(B, n_elements + 2) counts, positive charge, negative charge."""
    charge = np.asarray(charges, dtype=np.float64)
    columns = [np.maximum(charge, 0.0)[:, None], np.maximum(-charge, 0.0)[:, None]]
    return np.hstack([np.asarray(counts, dtype=np.float64), *columns])


def _sizes(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(B,) atoms of rows of the model."""
    sizes: NDArray[np.float64] = rows[:, :-2].sum(axis=1)
    return sizes


def _keys(counts: ArrayLike, charges: ArrayLike) -> NDArray[np.int32]:
    """(B, n_elements + 1) what makes two labels ones of the same composition and charge."""
    charge = np.asarray(charges, dtype=np.int32)[:, None]
    return np.hstack([np.asarray(counts, dtype=np.int32), charge])


def _fit(
    elements: tuple[int, ...],
    counts: NDArray[np.uint16],
    charges: NDArray[np.int16],
    energies: NDArray[np.float64],
) -> EnergyFit:
    keys, kind = np.unique(_keys(counts, charges), axis=0, return_inverse=True)
    kind = kind.reshape(-1)
    rows = _rows(keys[:, :-1], keys[:, -1])
    sizes = _sizes(rows)
    basis = robust.row_space(rows)
    roots = np.sqrt(sizes)
    coefficients = robust.solve(rows / roots[:, None], kind, energies / roots[kind], basis)
    residuals = energies - (rows @ coefficients)[kind]
    n_labels = np.bincount(kind, minlength=len(rows))
    medians = robust.medians(residuals, kind, len(rows))
    need = max(MIN_ROWS, 3 * len(basis))
    notes = _notes(elements, rows, basis)
    if len(energies) < need:
        notes.append(f"{len(energies)} energies are too few to find outliers; {need} are needed")
    return EnergyFit(
        elements,
        coefficients,
        basis,
        robust.spread(residuals / sizes[kind], kind, len(rows), len(basis)),
        robust.spread(residuals / roots[kind], kind, len(rows), len(basis)),
        {keys[k].tobytes(): float(medians[k]) for k in np.flatnonzero(n_labels >= GROUP)},
        len(energies),
        len(energies) >= need,
        tuple(notes),
    )


def _notes(
    elements: tuple[int, ...], rows: NDArray[np.float64], basis: NDArray[np.float64]
) -> list[str]:
    used: NDArray[np.bool_] = np.any(rows, axis=0)
    if len(basis) == used.sum():
        return []
    names = [*(chemical_symbols[number] for number in elements), "positive charge"]
    names.append("negative charge")
    fixed: NDArray[np.bool_] = (basis**2).sum(axis=0) > 1.0 - 1e-9
    tied = [name for name, use, sure in zip(names, used, fixed, strict=True) if use and not sure]
    return [
        f"rank {len(basis)} of {int(used.sum())}: the energies of {', '.join(tied)} cannot be told "
        "apart, since these occur in fixed proportions; outliers can still be found"
    ]
