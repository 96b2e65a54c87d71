"""Packages of the five source roots; everything else is in pyproject.toml.

Each root holds one package, so that a folder's name is its import name; pyproject alone cannot
find subpackages in several roots.
"""

from setuptools import find_packages, setup

ROOTS = {
    "mlffdb": "app/mlffdb",
    "mlffdb_cli": "cli/mlffdb_cli",
    "mlffdb_workers": "workers/mlffdb_workers",
    "mlffdb.migrations": "migrations",
    "mlffdb.configs": "configs",
}

setup(
    package_dir=ROOTS,
    packages=[
        name
        for root, folder in ROOTS.items()
        for name in [root, *(f"{root}.{sub}" for sub in find_packages(folder))]
    ],
)
