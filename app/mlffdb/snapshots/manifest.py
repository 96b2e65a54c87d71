"""manifest.json and card.md: what a snapshot is, for machines and for people."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mlffdb.config import package_version
from mlffdb.snapshots.freeze import Version
from mlffdb.snapshots.layout import FORMAT, FORMAT_VERSION
from mlffdb.snapshots.selection import TeacherInfo

MANIFEST = "manifest.json"
STATISTICS = "statistics.json"
CARD = "card.md"

SPLIT_RULE = (
    "whole components (shared parent, group key or near-duplicate) by SHA-256(seed, component), "
    "each into the split furthest below its target in its domain; earlier versions of the name "
    "keep their structures"
)


def describe(
    version: Version,
    teacher: TeacherInfo,
    *,
    counts: Mapping[str, int],
    left_out: Mapping[str, int],
    warnings: tuple[str, ...],
    rule_versions: tuple[str, ...],
) -> dict[str, Any]:
    """Return the manifest without its files: all that was decided when the version was frozen."""
    described = asdict(teacher)
    described.pop("teacher_id")
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": version.name,
        "version": version.version,
        "root_hash": version.root_hash,
        "query": {"teacher": teacher.name, "condition": version.condition},
        "teachers": [described],
        "split": {"asked": version.split, "seed": version.seed, "rule": SPLIT_RULE},
        "counts": {name: count for name, count in counts.items() if count},
        "left_out": dict(left_out),
        "warnings": list(warnings),
        "rule_versions": list(rule_versions),
    }


def software() -> dict[str, str]:
    """Return the versions that decide the bytes of the files."""
    return {
        "mlffdb": package_version(),
        "h5py": h5py.__version__,
        "hdf5": h5py.version.hdf5_version,
        "numpy": np.__version__,
    }


def dump(path: Path, content: Mapping[str, Any]) -> None:
    """Write *content* as JSON, keys sorted."""
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def entry(path: Path) -> dict[str, Any]:
    """Return size and SHA-256 of a file for the manifest."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def read(folder: Path) -> dict[str, Any] | None:
    """Return the manifest in *folder*, or None where there is none that can be read."""
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and content.get("format") == FORMAT else None


def is_complete(folder: Path, root_hash: str, *, thorough: bool = False) -> bool:
    """Whether *folder* holds all files of the version with *root_hash*, of the right size.

    thorough: compare their SHA-256 too
    """
    content = read(folder)
    if content is None or content.get("root_hash") != root_hash:
        return False
    for name, known in content["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != known["bytes"]:
            return False
        if thorough and entry(path) != {key: known[key] for key in ("bytes", "sha256")}:
            return False
    return True


def card(manifest: Mapping[str, Any], statistics: Mapping[str, Any]) -> str:
    """Return the page for people, Markdown."""
    teacher = manifest["teachers"][0]
    composition = statistics["composition"]
    splits = list(composition)
    query = manifest["query"]
    lines = [
        f"# {manifest['name']} v{manifest['version']}",
        "",
        f"{sum(manifest['counts'].values()):,} structures with energies and forces by "
        f"{teacher['name']}, checked, and split so that no molecule, trajectory or parent is in "
        "two splits.",
        "",
        f"- Teacher: {teacher['name']}, fingerprint `{teacher['fingerprint']}`, "
        f"{teacher['precision']}; "
        + ", ".join(f"{package} {v}" for package, v in sorted(teacher["versions"].items())),
        f"- Licence of the teacher: {teacher['licence']}",
        f"- Condition: {'`' + query['condition'] + '`' if query['condition'] else 'none'}",
        f"- Split asked for: {_split(manifest['split']['asked'])}, seed "
        f"{manifest['split']['seed']}",
        f"- Root hash: `{manifest['root_hash']}`",
        "",
        "## Composition",
        "",
        *_table("", splits, {"structures": [composition[s]["structures"] for s in splits]}),
        *_rows("components", splits, composition),
        *_rows("atoms", splits, composition),
        *_rows("with_stress", splits, composition),
        *_rows("charged", splits, composition),
        "",
        *_breakdown("Domain", "domains", splits, composition),
        *_breakdown("Atoms per structure", "atoms_per_structure", splits, composition),
        *_breakdown("Periodic axes", "periodic_axes", splits, composition),
        *_breakdown("Structures with element", "elements", splits, composition),
        "## Scales (train only)",
        "",
        *_scales(statistics["train"]),
        "",
        "## Left out",
        "",
        *(_counted(manifest["left_out"]) or ["Nothing."]),
        "",
        *_section("Worth knowing", [f"- {line}" for line in manifest["warnings"]]),
        "## Units",
        "",
        "Energies eV, positions Å, forces eV/Å, stress eV/Å³ (tensile positive, Voigt xx yy zz yz "
        "xz xy; NaN where there is none), charge e. Atoms are in the order of their source.",
        "",
        "## Loading",
        "",
        "```python",
        "import mlffdb",
        "",
        'train = mlffdb.load("train.h5")',
        "atoms = train[0]  # ASE Atoms with energy, forces and stress",
        "```",
        "",
        "h5py alone is enough too: every dataset says its unit and meaning in its attributes.",
    ]
    return "\n".join(lines) + "\n"


def _split(asked: Mapping[str, float]) -> str:
    return ", ".join(
        f"{name} {asked[name]:g}" for name in ("train", "val", "test") if name in asked
    )


def _table(title: str, columns: list[str], rows: Mapping[str, list[int]]) -> list[str]:
    head = [f"| {title} | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    return head + [_row(name, values) for name, values in rows.items()]


def _row(name: str, values: list[int]) -> str:
    return f"| {name} | {' | '.join(f'{value:,}' for value in values)} |"


def _rows(key: str, splits: list[str], composition: Mapping[str, Any]) -> list[str]:
    return [_row(key.replace("_", " "), [composition[split][key] for split in splits])]


def _breakdown(
    title: str, key: str, splits: list[str], composition: Mapping[str, Any]
) -> list[str]:
    names = list(dict.fromkeys(name for split in splits for name in composition[split][key]))
    rows = {name: [composition[split][key].get(name, 0) for split in splits] for name in names}
    return [*_table(title, splits, rows), ""]


def _scales(train: Mapping[str, Any]) -> list[str]:
    fit = train["atomic_energies_fit"]
    energies = ", ".join(f"{symbol} {e:.4f}" for symbol, e in train["atomic_energies"].items())
    per_atom, stress = train["energy_per_atom"], train["stress_rms"]
    lines = [
        f"- Energies of atoms by least squares, eV: {energies}",
        f"- Energy per atom beyond those: mean {per_atom['mean']:.4g}, "
        f"standard deviation {per_atom['std']:.4g} eV",
        f"- Root mean square of a force component: {train['force_rms']['overall']:.4g} eV/Å",
    ]
    if fit["undetermined"]:
        lines.append(
            f"- The compositions do not determine the energies of {', '.join(fit['undetermined'])} "
            f"one by one (rank {fit['rank']} of {fit['elements']})"
        )
    if stress is not None:
        lines.append(f"- Root mean square of a stress component: {stress:.4g} eV/Å³")
    return lines


def _counted(counts: Mapping[str, int]) -> list[str]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [f"- {reason}: {count:,}" for reason, count in ordered]


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"## {title}", "", *lines, ""] if lines else []
