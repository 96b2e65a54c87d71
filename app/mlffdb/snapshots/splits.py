"""Splits without leakage: whole components, placed once, never moved.

New components come in the order of a salted hash of their smallest structure id; each goes into
the split that is furthest below its target in the component's domain. So the same set gives the
same split in whatever order it was filled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlffdb.errors import ExportError
from mlffdb.snapshots.grouping import Ids

SPLITS = ("train", "val", "test")
#: In place of a split: in no split because the counts asked for are reached.
SURPLUS = -1
#: In place of a split: tied to structures in two splits of an earlier version.
BRIDGE = -2
#: A domain with fewer components than this cannot be split finely; users are told.
FEW_COMPONENTS = 20


@dataclass(frozen=True, slots=True)
class SplitRequest:
    """How many structures each split shall have."""

    #: Shares of the whole that add up to 1, or numbers of structures; train, val, test.
    amounts: tuple[float, float, float]
    #: Whether *amounts* are numbers of structures.
    counts: bool

    def as_json(self) -> dict[str, float]:
        """Return split name → share or number, those above 0 only."""
        return {
            name: int(amount) if self.counts else amount
            for name, amount in zip(SPLITS, self.amounts, strict=True)
            if amount
        }

    def targets(self, sizes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return (n_domains, 3) structures wanted, for domains of (n_domains,) *sizes*."""
        amounts = np.array(self.amounts)
        if not self.counts:
            return np.outer(sizes, amounts)
        shares = np.outer(sizes, amounts / max(amounts.sum(), float(sizes.sum())))
        return np.stack([_whole(column) for column in shares.T], axis=1)


def _whole(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round *values*, keeping their (rounded) sum: largest remainders go up."""
    result = np.floor(values + 1e-9)
    missing = round(float(values.sum() - result.sum()))
    result[np.argsort(result - values, kind="stable")[:missing]] += 1
    return result


@dataclass(frozen=True, eq=False, slots=True)
class Assignment:
    """Where each structure goes."""

    #: (n,) int8: index in SPLITS, or SURPLUS, or BRIDGE.
    split: NDArray[np.int8]
    #: What users should know, a line each.
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Placed:
    """Structures of earlier versions: (p,) ids, their components of today, their splits."""

    structures: Ids
    components: Ids
    split: NDArray[np.int8]


def parse_split(text: str) -> SplitRequest:
    """Return the request in *text*: ``0.8/0.1/0.1`` (train/val/test) or ``8000/1000/1000``.

    ``0.9/0.1`` is train and val alone. Raises ExportError.
    """
    example = "write train/val/test as shares (0.8/0.1/0.1) or numbers (8000/1000/1000)"
    parts = text.split("/")
    if not 1 <= len(parts) <= 3:
        raise ExportError(f"split {text!r} has {len(parts)} parts; {example}")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        raise ExportError(f"split {text!r} is not made of numbers; {example}") from None
    if not np.isfinite(values).all() or min(values) < 0:
        raise ExportError(f"split {text!r} has a part below 0 or not finite; {example}")
    if values[0] == 0:
        raise ExportError(f"split {text!r} leaves train empty; {example}")
    train, val, test = (*values, 0.0, 0.0)[:3]
    amounts = (train, val, test)
    total = sum(values)
    if abs(total - 1) < 1e-6:
        return SplitRequest(amounts, counts=False)
    if all(value.is_integer() for value in values):
        return SplitRequest(amounts, counts=True)
    raise ExportError(f"split {text!r} adds up to {total:g}, not 1; {example}")


def assign(
    structures: Ids,
    components: Ids,
    *,
    domains: NDArray[np.int32],
    domain_names: Sequence[str],
    request: SplitRequest,
    seed: int,
    placed: Placed,
) -> Assignment:
    """Return the split of each of the (n,) *structures*.

    components: (n,) ids of their components
    domains: (n,) indices into *domain_names*
    placed: structures of earlier versions, selected or not; they stay where they are, and their
        components with them. A new structure whose component is in two splits already is left
        out as BRIDGE.
    """
    table = _Components(structures, components, domains, len(domain_names), placed)
    usable = (table.split[table.of] != BRIDGE) | (table.own >= 0)
    sizes = np.bincount(domains[usable], minlength=len(domain_names))
    targets = request.targets(sizes)
    _place(table, targets, seed, counts=request.counts)
    _fill_empty(table, targets, seed)
    split = np.where(table.own >= 0, table.own, table.split[table.of]).astype(np.int8)
    return Assignment(split, _warnings(split, table, domains, domain_names, request))


class _Components:
    """Components of the selected structures as arrays, and how full each split is."""

    def __init__(
        self,
        structures: Ids,
        components: Ids,
        domains: NDArray[np.int32],
        n_domains: int,
        placed: Placed,
    ) -> None:
        #: ids: (c,) components; of: (n,) index of each structure's component
        self.ids, self.of = np.unique(components, return_inverse=True)
        #: (n,) split of a structure in an earlier version, or -1.
        self.own = _look_up(structures, placed)
        #: (c, n_domains) structures of each component, by domain.
        shape = (len(self.ids), n_domains)
        self.content = _count(self.of, domains, shape)
        self.size = self.content.sum(axis=1)
        self.domain = self.content.argmax(axis=1)
        #: (c,) split, or SURPLUS until placed.
        self.split = _placed_split(self.ids, placed)
        self.is_new = self.split == SURPLUS
        #: (n_domains, 3) structures in each split so far.
        self.filled = np.zeros((n_domains, 3), dtype=np.int64)
        split = np.where(self.own >= 0, self.own, self.split[self.of])
        kept = split >= 0
        np.add.at(self.filled, (domains[kept], split[kept]), 1)

    def put(self, component: int, split: int) -> None:
        """Move or place a whole component."""
        before = self.split[component]
        if before >= 0:
            self.filled[:, before] -= self.content[component]
        self.filled[:, split] += self.content[component]
        self.split[component] = split


def _count(
    rows: NDArray[np.intp], columns: NDArray[np.int32], shape: tuple[int, int]
) -> NDArray[np.int64]:
    flat = np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1])
    return flat.astype(np.int64).reshape(shape)


def _look_up(structures: Ids, placed: Placed) -> NDArray[np.int8]:
    """Return the split of each structure that is in *placed*, else -1."""
    result = np.full(len(structures), -1, dtype=np.int8)
    if len(placed.structures):
        order = np.argsort(placed.structures)
        known = placed.structures[order]
        at = np.minimum(np.searchsorted(known, structures), len(known) - 1)
        found = known[at] == structures
        result[found] = placed.split[order][at[found]]
    return result


def _placed_split(ids: Ids, placed: Placed) -> NDArray[np.int8]:
    """Return for each component the split that it is in, SURPLUS if new, BRIDGE if in two."""
    seen = np.zeros((len(ids), 3), dtype=bool)
    if len(ids) and len(placed.components):
        at = np.minimum(np.searchsorted(ids, placed.components), len(ids) - 1)
        found = ids[at] == placed.components
        seen[at[found], placed.split[found]] = True
    split = np.where(seen.any(axis=1), seen.argmax(axis=1), SURPLUS)
    return np.where(seen.sum(axis=1) > 1, BRIDGE, split).astype(np.int8)


def _salted_order(ids: Ids, seed: int) -> NDArray[np.intp]:
    """Return the order of SHA-256(seed ‖ id)."""
    salt = hashlib.sha256(f"mlffdb split {seed}".encode())
    data = np.ascontiguousarray(ids).tobytes()
    digests = bytearray()
    for start in range(0, len(data), 16):
        digest = salt.copy()
        digest.update(data[start : start + 16])
        digests += digest.digest()[:16]
    return np.argsort(np.frombuffer(bytes(digests), dtype="S16"), kind="stable")


def _place(table: _Components, targets: NDArray[np.float64], seed: int, *, counts: bool) -> None:
    """Place new components, each into the split furthest below its target in its domain."""
    new = np.flatnonzero(table.is_new)
    for component in new[_salted_order(table.ids[new], seed)]:
        domain = table.domain[component]
        missing = targets[domain] - table.filled[domain]
        split = int(missing.argmax())
        if counts and missing[split] < 1:
            continue  # every split has what was asked for
        table.put(component, split)


def _fill_empty(table: _Components, targets: NDArray[np.float64], seed: int) -> None:
    """Give an empty split that was asked for the new component that fits its target best."""
    order = _salted_order(table.ids, seed)
    for split in np.flatnonzero(targets.sum(axis=0) > 0):
        filled = table.filled.sum(axis=0)
        if filled[split]:
            continue
        for donor in np.argsort(-filled, kind="stable"):
            members = order[table.split[order] == donor]
            movable = members[table.is_new[members]]
            movable = movable[table.size[movable] < filled[donor]]
            if len(movable):
                misfit = np.abs(table.size[movable] - targets[:, split].sum())
                table.put(movable[int(misfit.argmin())], int(split))
                break


def _warnings(
    split: NDArray[np.int8],
    table: _Components,
    domains: NDArray[np.int32],
    domain_names: Sequence[str],
    request: SplitRequest,
) -> tuple[str, ...]:
    lines = []
    for index, name in enumerate(domain_names):
        count = len(np.unique(table.of[domains == index]))
        if 0 < count < FEW_COMPONENTS:
            lines.append(
                f"domain {name} has only {count} independent component{'s' * (count > 1)}; "
                "its shares can be far from those asked for"
            )
    wanted = request.as_json()
    got = dict(zip(SPLITS, (int((split == i).sum()) for i in range(3)), strict=True))
    empty = [name for name in wanted if not got[name]]
    if empty:
        lines.append(
            f"no structures in {' and '.join(empty)}: there are only {len(table.ids)} "
            "independent components"
        )
    if request.counts:
        lines += _count_warnings(request, got, int((split == SURPLUS).sum()))
    bridges = int((split == BRIDGE).sum())
    if bridges:
        lines.append(
            f"{bridges} new structures tie two splits of earlier versions together and were left "
            "out (quarantined)"
        )
    return tuple(lines)


def _count_warnings(request: SplitRequest, got: Mapping[str, int], surplus: int) -> list[str]:
    wanted, there = int(sum(request.amounts)), sum(got.values())
    if there < wanted and not surplus:
        return [f"{wanted} structures were asked for, {there} are there; shares are kept"]
    if surplus and wanted in (10, 100):  # looks like percent
        return [
            f"the split was read as numbers of structures, {wanted} in all; for shares write "
            "0.8/0.1/0.1"
        ]
    return []
