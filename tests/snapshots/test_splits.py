"""Splits: no key in two of them, the same in any order, nothing ever moves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlffdb.errors import ExportError
from mlffdb.snapshots.grouping import ID
from mlffdb.snapshots.splits import BRIDGE, SURPLUS, Placed, assign, parse_split

NOTHING_PLACED = Placed(np.zeros(0, ID), np.zeros(0, ID), np.zeros(0, np.int8))
DOMAINS = ("inorganic", "organic")


def ids(numbers: np.ndarray) -> np.ndarray:
    """Return ids that look as random as hashes do."""
    rng = np.random.default_rng(1)
    table = np.frombuffer(rng.bytes(16 * 5000), dtype=ID)
    return table[numbers]


def split_of(groups, domains, text="0.8/0.1/0.1", seed=0, placed=NOTHING_PLACED, numbers=None):
    groups = np.asarray(groups)
    numbers = np.arange(len(groups)) if numbers is None else numbers
    return assign(
        ids(numbers),
        ids(groups),
        domains=np.asarray(domains, dtype=np.int32),
        domain_names=DOMAINS,
        request=parse_split(text),
        seed=seed,
        placed=placed,
    )


@st.composite
def datasets(draw):
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=60))
    groups = np.repeat(np.arange(len(sizes)) + 2000, sizes)
    domains = np.repeat(
        draw(st.lists(st.integers(0, 1), min_size=len(sizes), max_size=len(sizes))), sizes
    )
    return groups, domains


@given(datasets(), st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter_and_groups_stay_whole(data, seed, random):
    groups, domains = data
    order = list(range(len(groups)))
    random.shuffle(order)
    first = split_of(groups, domains, seed=seed).split
    again = split_of(groups[order], domains[order], seed=seed, numbers=np.array(order)).split
    assert (first[order] == again).all()
    assert (first >= 0).all()
    for group in np.unique(groups):
        assert len(np.unique(first[groups == group])) == 1


@given(datasets(), st.data())
def test_growing_never_moves_a_structure(data, more):
    groups, domains = data
    known = np.array(more.draw(st.lists(st.booleans(), min_size=len(groups), max_size=len(groups))))
    numbers = np.arange(len(groups))
    before = split_of(groups[known], domains[known], numbers=numbers[known]).split
    placed = Placed(ids(numbers[known]), ids(groups[known]), before)
    after = split_of(groups, domains, placed=placed).split
    assert (after[known] == before).all()
    assert (after >= 0).all()


@given(datasets())
def test_shares_are_met_within_the_largest_component(data):
    groups, domains = data
    split = split_of(groups, domains).split
    for domain in range(2):
        inside = domains == domain
        sizes = np.unique(groups[inside], return_counts=True)[1]
        if len(sizes) < 20:
            continue  # an empty split may have been filled from here
        shares = np.bincount(split[inside], minlength=3)
        wanted = np.array([0.8, 0.1, 0.1]) * inside.sum()
        assert (np.abs(shares - wanted) <= 2 * sizes.max()).all()


@pytest.mark.parametrize("count", [3, 4, 5, 12])
def test_no_split_is_empty_if_there_are_components_enough(count):
    for seed in range(20):
        split = split_of(np.arange(count) + 100, np.zeros(count, int), seed=seed).split
        assert set(split) == {0, 1, 2}


def test_one_huge_component_goes_to_train():
    groups = np.array([7] * 100 + [8] * 2 + [9] * 2)
    for seed in range(20):
        split = split_of(groups, np.zeros(104, int), seed=seed).split
        assert set(split[:100]) == {0}
        assert set(split) == {0, 1, 2}


def test_a_new_structure_that_bridges_two_splits_is_quarantined():
    # 0 and 1 were in train and test; 2 is new and ties them together
    placed = Placed(ids(np.array([0, 1])), ids(np.array([0, 0])), np.array([0, 2], np.int8))
    result = split_of([0, 0, 0, 3], [0, 0, 0, 0], placed=placed)
    assert list(result.split[:3]) == [0, 2, BRIDGE]
    assert result.split[3] >= 0
    assert any("quarantined" in line for line in result.warnings)


def test_a_new_member_joins_the_split_of_its_component_though_the_old_one_is_not_selected():
    placed = Placed(ids(np.array([500])), ids(np.array([50])), np.array([2], np.int8))
    assert split_of([50, 50], [0, 0], placed=placed).split.tolist() == [2, 2]


def test_counts_are_kept_exactly_for_single_structures():
    groups = np.arange(1000)
    domains = np.arange(1000) % 3 % 2
    result = split_of(groups, domains, "301/33/7")
    assert np.bincount(result.split[result.split >= 0]).tolist() == [301, 33, 7]
    assert (result.split == SURPLUS).sum() == 1000 - 341


def test_counts_beyond_what_is_there_become_shares_and_are_reported():
    result = split_of(np.arange(100), np.zeros(100, int), "800/100/100")
    assert np.bincount(result.split).tolist() == [80, 10, 10]
    assert any("1000 structures were asked for, 100 are there" in w for w in result.warnings)


def test_what_looks_like_percent_is_pointed_out():
    result = split_of(np.arange(300), np.zeros(300, int), "80/10/10")
    assert any("for shares write 0.8/0.1/0.1" in line for line in result.warnings)


def test_few_components_are_reported():
    warnings = split_of(np.arange(5), np.zeros(5, int)).warnings
    assert warnings == (
        "domain inorganic has only 5 independent components; "
        "its shares can be far from those asked for",
    )


@pytest.mark.parametrize(
    "text", ["", "a/b", "0.8/0.1/0.1/0", "0.8/0.3", "-1/2", "0/1", "nan/1", "inf"]
)
def test_a_bad_split_is_one_clear_line(text):
    with pytest.raises(ExportError, match=r"^split .* write train/val/test as shares .*$") as error:
        parse_split(text)
    assert "\n" not in str(error.value)


def test_two_parts_are_train_and_val():
    assert parse_split("0.9/0.1").as_json() == {"train": 0.9, "val": 0.1}
    assert parse_split("9000/1000/500").as_json() == {"train": 9000, "val": 1000, "test": 500}
