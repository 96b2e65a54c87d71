"""The published Orb models, and what each can do.

Names, addresses and neighbours are those of orb_models' own loaders (`ORB_PRETRAINED_MODELS`); the
licence is that of its repository, which names no other for the weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mlffdb.errors import TeacherError
from mlffdb.teachers.base import Capabilities
from mlffdb.teachers.weights import Weights

LICENCE = "Apache-2.0"
_BUCKET = "https://orbitalmaterials-public-models.s3.us-west-1.amazonaws.com/forcefields"

#: A name may end in ``@`` and one of these; Orb's own default, float32-high, turns on TF32.
PRECISIONS = ("float32-highest", "float32-high", "float64")
DEFAULT_PRECISION = PRECISIONS[0]

#: Neighbours per atom that stand for "all within the cutoff" in models named inf.
ALL_NEIGHBOURS = 120

#: Elements of MPtrj, Alexandria and OMat24: 1–94 without Po, At, Rn, Fr and Ra.
MATERIALS = frozenset(range(1, 95)) - frozenset(range(84, 89))
#: Elements of OMol25 (arXiv 2505.08762): the first 83.
MOLECULES = frozenset(range(1, 84))


@dataclass(frozen=True, slots=True)
class OrbModel:
    """One published model."""

    name: str
    description: str
    weights: Weights
    #: Whether forces and stress are computed as gradients of the energy, not by heads of their own.
    gradient: bool
    #: Neighbours per atom at most.
    neighbours: int
    #: Whether it was trained on molecules with charge and spin, which it then needs.
    molecular: bool = False
    #: Function of ``orb_models.forcefield.pretrained`` that builds the network.
    builder: str = "orb_v2_architecture"
    builder_options: dict[str, Any] = field(default_factory=dict)

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do; molecular models know no stress and saw no crystals."""
        tied = self.neighbours < ALL_NEIGHBOURS
        return Capabilities(
            elements=MOLECULES if self.molecular else MATERIALS,
            periodicity=frozenset({0}) if self.molecular else frozenset({0, 3}),
            charged=self.molecular,
            open_shell=self.molecular,
            stress=not self.molecular,
            # where a nearer atom takes another's place among 20, the energy has a step
            conservative=self.gradient and not tied,
            equivariant=False,
            spread=False,
            max_atoms=20_000 if tied else 5_000,
            cost_unit="edges",
            # which of equally near neighbours are kept moves perfect crystals by about 0.5 meV/atom
            energy_tolerance=2e-3 if tied else 2e-4,
            force_tolerance=5e-2 if tied else 5e-3,
            licence=LICENCE,
        )


def _v3(kind: str, reach: str, data: str) -> OrbModel:
    name = f"orb-v3-{kind}-{reach}-{data}"
    trained = {"omat": "OMat24", "mpa": "MPtrj and Alexandria"}[data]
    file = f"{name}-20250404.ckpt"
    return OrbModel(
        name,
        f"Orb-v3: PBE, {trained}; {_forces(kind, reach)}",
        Weights(file, f"{_BUCKET}/orb-v3/{file}", None, LICENCE),
        gradient=kind == "conservative",
        neighbours=20 if reach == "20" else ALL_NEIGHBOURS,
        builder=f"orb_v3_{kind}_architecture",
    )


def _omol(kind: str) -> OrbModel:
    name = f"orb-v3-{kind}-omol"
    file = f"{name}-20250820.ckpt"
    return OrbModel(
        name,
        f"OrbMol: ωB97M-V/def2-TZVPD, OMol25; {_forces(kind, 'inf')}",
        Weights(file, f"{_BUCKET}/{file}", None, LICENCE),
        gradient=kind == "conservative",
        neighbours=ALL_NEIGHBOURS,
        molecular=True,
        builder=f"orb_v3_{kind}_architecture",
        builder_options={"has_charge_spin_cond": True, "has_stress": False},
    )


def _forces(kind: str, reach: str) -> str:
    forces = "forces by gradient" if kind == "conservative" else "direct forces"
    return f"{forces}, {'20' if reach == '20' else 'all'} neighbours"


def _all() -> list[OrbModel]:
    file = "orb-v2-20241011.ckpt"
    weights = Weights(file, f"{_BUCKET}/{file}", None, LICENCE)
    v2 = OrbModel(
        "orb-v2",
        "Orb-v2: PBE, MPtrj and Alexandria; direct forces, 20 neighbours",
        weights,
        gradient=False,
        neighbours=20,
    )
    kinds = ("conservative", "direct")
    v3 = [_v3(k, n, data) for data in ("omat", "mpa") for k in kinds for n in ("20", "inf")]
    return [v2, *v3, *(_omol(kind) for kind in kinds)]


#: All models by name.
MODELS: dict[str, OrbModel] = {model.name: model for model in _all()}


def parse_name(name: str) -> tuple[OrbModel, str]:
    """Return model and precision of ``NAME`` or ``NAME@PRECISION``.

    Raises TeacherError for an unknown model or precision.
    """
    stem, at, precision = name.partition("@")
    if stem not in MODELS:
        raise TeacherError(f"unknown Orb model {stem!r}; known are {', '.join(MODELS)}")
    if at and precision not in PRECISIONS:
        raise TeacherError(
            f"unknown precision {precision!r} of {stem}; use one of {', '.join(PRECISIONS)}"
        )
    return MODELS[stem], precision or DEFAULT_PRECISION


def full_name(model: OrbModel, precision: str) -> str:
    """Return the name that stands for *model* at *precision*, the shortest one."""
    return model.name if precision == DEFAULT_PRECISION else f"{model.name}@{precision}"
