"""Frozen, leakage-free versions of the data: grouping, splits, statistics, files."""

from mlffdb.snapshots.export import (
    DEFAULT_SPLIT,
    SnapshotReport,
    export_snapshot,
    rewrite_snapshot,
)

__all__ = ["DEFAULT_SPLIT", "SnapshotReport", "export_snapshot", "rewrite_snapshot"]
