"""Reading a snapshot for training: as ASE Atoms, or as memory-mapped arrays."""

from mlffdb.training.reader import Snapshot, load

__all__ = ["Snapshot", "load"]
