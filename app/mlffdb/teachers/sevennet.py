"""SevenNet-0: a universal model for molecules and crystals whose weights are in its package.

Through its ASE calculator, one structure at a time. Its model: Park et al., J. Chem. Theory Comput.
20 (2024) 4857; trained on MPtrj (PBE and PBE+U), so it knows neither charge nor spin.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path

from mlffdb.config import Settings
from mlffdb.declarations import DeclaredTeacher
from mlffdb.teachers.base import Teacher
from mlffdb.teachers.device import claim_backend, parse_device, torch_device
from mlffdb.teachers.entries import require
from mlffdb.teachers.from_ase import capabilities, load_declared
from mlffdb.teachers.registry import Entry, TeacherInfo, packages_ready

NAME = "sevennet-0"
#: The weights of 11 July 2024, inside the package.
CHECKPOINT = "pretrained_potentials/SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth"

DECLARED = DeclaredTeacher(
    calculator="sevenn.calculator:SevenNetCalculator",
    device_argument="device",
    elements=("H-Bi", "Ac-Pu"),
    periodicity=(0, 3),
    stress=True,
    precision="float32",
    packages=("torch",),
    max_atoms=5000,
    energy_tolerance=1e-4,
    force_tolerance=1e-3,
    licence="MIT",
)


def entry() -> Entry:
    """Return the registry's entry."""
    info = TeacherInfo(
        NAME,
        "SevenNet-0 (11Jul2024): PBE, MPtrj, 89 elements, weights in its package",
        DECLARED.licence,
        capabilities(DECLARED),
        extra="sevenn",
    )
    return Entry(info, lambda _: packages_ready("sevenn", "sevenn", "torch"), _load)


def _load(device: str, _settings: Settings) -> Teacher:
    require(packages_ready("sevenn", "sevenn", "torch"), NAME)
    torch_device(parse_device(device))
    claim_backend("torch")
    found = find_spec("sevenn")
    assert found is not None
    assert found.origin is not None
    weights = Path(found.origin).parent / CHECKPOINT
    declared = DECLARED.model_copy(update={"arguments": {"model": str(weights)}})
    with warnings.catch_warnings():
        # of torch.jit, and of accelerators that are not installed
        warnings.simplefilter("ignore")
        return load_declared(NAME, declared, device=device)
