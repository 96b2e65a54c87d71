"""Frozen, leakage-free versions of the data: grouping, splits, statistics, files."""
