"""The wheel holds what it should and nothing else, and works without any extra."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {
    "mlffdb": ROOT / "app" / "mlffdb",
    "mlffdb_cli": ROOT / "cli" / "mlffdb_cli",
    "mlffdb_workers": ROOT / "workers" / "mlffdb_workers",
    "mlffdb/migrations": ROOT / "migrations",
    "mlffdb/configs": ROOT / "configs",
}
DATA = {".yaml", ".sql", ".mako", ".typed", ".sh"}
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"

#: A stand-in for an environment in which the extras are not installed: found by every process
#: whose PYTHONPATH holds it, before anything else is imported.
WITHOUT_EXTRAS = """
from importlib.machinery import PathFinder

MISSING = {"torch", "jax", "jaxlib", "tblite", "fennol", "orb_models"}
find = PathFinder.find_spec.__func__

def find_installed(cls, name, path=None, target=None):
    return None if name.partition(".")[0] in MISSING else find(cls, name, path, target)

PathFinder.find_spec = classmethod(find_installed)
"""
IMPORT_ALL = """
import importlib, pkgutil, sys
import mlffdb, mlffdb_cli, mlffdb_workers

assert importlib.util.find_spec("torch") is None
for package in (mlffdb, mlffdb_cli, mlffdb_workers):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.startswith("mlffdb.migrations."):  # alembic loads these itself
            importlib.import_module(module.name)
            print(module.name)
print(mlffdb.__file__)
"""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the working tree, built once in a copy for all processes of a test run."""
    if int(version("setuptools").partition(".")[0]) < 77:
        pytest.skip("needs setuptools 77 or newer to build the wheel")
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with FileLock(folder / "wheel.lock"):
        done = list(folder.glob("wheel/*.whl"))
        return done[0] if done else _build(folder)


def _build(folder: Path) -> Path:
    copy = folder / "wheel-source"
    for name in ("app", "cli", "workers", "migrations", "configs"):
        for path in _files(ROOT / name):
            _copy(path, copy / path.relative_to(ROOT))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        _copy(ROOT / name, copy / name)
    out = folder / "wheel"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BUILD, str(out)],
        cwd=copy,
        check=True,
        capture_output=True,
    )
    [found] = out.glob("*.whl")
    return found


def _files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())


@pytest.fixture(scope="session")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture
def base_install(wheel: Path, open_folder: Path) -> dict[str, str]:
    """The environment of a process that has the wheel and none of the extras."""
    site = open_folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "sitecustomize.py").write_text(WITHOUT_EXTRAS)
    return {
        **os.environ,
        "PYTHONPATH": str(site),
        "PYTHONWARNINGS": "error",
        "MLFFDB_DATA_DIR": str(open_folder / "data"),
    }


def test_the_wheel_holds_every_module_and_data_file(names: set[str]) -> None:
    for place, folder in SOURCES.items():
        for path in _files(folder):
            if path.suffix == ".py" or path.suffix in DATA:
                inside = f"{place}/{path.relative_to(folder).as_posix()}"
                assert inside in names, f"{path.relative_to(ROOT)} is not in the wheel"


@pytest.mark.parametrize(
    "name",
    [
        "mlffdb/py.typed",
        "mlffdb/configs/quickstart.yaml",
        "mlffdb/configs/thresholds.yaml",
        "mlffdb/migrations/env.py",
        "mlffdb/migrations/versions/0001_initial.py",
        "mlffdb/migrations/versions/0001_initial.sql",
        "mlffdb/migrations/versions/0002_pausing.py",
        "mlffdb/migrations/versions/0002_pausing.up.sql",
        "mlffdb/migrations/versions/0002_pausing.down.sql",
        "mlffdb/store/schema/structures.py",
        "mlffdb/sampling/methods/md.py",
        "mlffdb_cli/commands/run.py",
        "mlffdb_workers/__main__.py",
    ],
)
def test_the_wheel_holds(names: set[str], name: str) -> None:
    assert name in names


def test_nothing_else_lands_in_site_packages(names: set[str]) -> None:
    tops = {name.partition("/")[0] for name in names}
    info = f"mlffdb-{version('mlffdb')}.dist-info"
    assert tops == {"mlffdb", "mlffdb_cli", "mlffdb_workers", info}
    assert f"{info}/licenses/LICENSE" in names


def test_every_folder_with_modules_is_a_package() -> None:
    for folder in SOURCES.values():
        for path in _files(folder):
            if path.suffix == ".py":
                assert (path.parent / "__init__.py").exists(), path.parent


def test_every_module_can_be_imported_without_the_extras(base_install: dict[str, str]) -> None:
    done = _python(base_install, "-c", IMPORT_ALL)
    assert done.returncode == 0, done.stderr
    *modules, place = done.stdout.split()
    assert place.startswith(base_install["PYTHONPATH"]), "the wheel is what was tested"
    assert {"mlffdb.teachers.orb", "mlffdb.teachers.fennol", "mlffdb.teachers.xtb"} <= set(modules)


def test_the_commands_work_without_the_extras(base_install: dict[str, str]) -> None:
    """From help to a query, by the wheel: its migrations and its plans are found."""
    steps = {
        ("--help",): "mlffdb run quickstart",
        ("--version",): version("mlffdb"),
        ("init",): "Created schema",
        ("init", "--json"): '"before"',
        ("status",): "0 structures",
        ("sql", "--csv", "SELECT count(*) AS n FROM structures"): "n",
        ("sample", "crystals", "--dry-run"): "structures if nothing is rejected",
        ("teachers",): "pip install 'mlffdb[xtb]'",
        ("validate", "--checks"): "min_distance",
        ("stats",): "No structures yet",
    }
    for arguments, said in steps.items():
        done = _mlffdb(base_install, *arguments)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        assert said in done.stdout, arguments


def test_a_command_that_needs_an_extra_names_it(base_install: dict[str, str]) -> None:
    _mlffdb(base_install, "init")
    done = _mlffdb(base_install, "label", "--teacher", "gfn2-xtb")
    assert done.returncode == 2
    assert "pip install 'mlffdb[xtb]'" in done.stderr
    assert "Traceback" not in done.stderr


def _mlffdb(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return _python(environment, "-m", "mlffdb_cli.main", *arguments)


def _python(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
