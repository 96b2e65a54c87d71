"""mlffdb: training data for machine-learned force fields, in PostgreSQL.

The public names are loaded when they are used, so that importing the package is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlffdb.pipeline.exporting import export
    from mlffdb.pipeline.importing import import_files
    from mlffdb.pipeline.setup import connect, init
    from mlffdb.pipeline.validating import validate
    from mlffdb.structures import Structure, structure_id
    from mlffdb.training import load

_PUBLIC = {
    "Structure": "mlffdb.structures",
    "connect": "mlffdb.pipeline.setup",
    "export": "mlffdb.pipeline.exporting",
    "import_files": "mlffdb.pipeline.importing",
    "init": "mlffdb.pipeline.setup",
    "load": "mlffdb.training",
    "structure_id": "mlffdb.structures",
    "validate": "mlffdb.pipeline.validating",
}

__all__ = [
    "Structure",
    "__version__",
    "connect",
    "export",
    "import_files",
    "init",
    "load",
    "structure_id",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from mlffdb.config import package_version

        return package_version()
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'mlffdb' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
