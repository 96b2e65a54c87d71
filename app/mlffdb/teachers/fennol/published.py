"""Published FeNNol models: addresses, hashes, licences and elements.

From the Pre-trained Models Collection of FeNNol's authors, github.com/FeNNol-tools/FeNNol-PMC, and
the README of each of its folders. A SHA-256 is here only where it was taken from the file itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlffdb.teachers.weights import Weights

#: Addresses of this form give the file itself where the collection keeps it in Git LFS too.
_COLLECTION = "https://github.com/FeNNol-tools/FeNNol-PMC/raw/refs/heads/main"
ACADEMIC = "ASL (academic, non-commercial)"
_ACADEMIC_TERMS = (
    "Academic Software License: free for academic purposes, not for commercial ones; "
    "https://github.com/gabor1/ASL"
)

#: SHA-256 of the eight networks, taken from the files themselves.
_ANI1X = (
    "7d1b256b383041db11b0d448873b61e5e58eb76f8d60d416e0e89b4686a27e86",
    "03aacd04d46d3a20d15e0dfcb14056a464073ddea8399598e501e4a58e737504",
    "7425c078e966ace366f8c37de2517297d2be9c3479eab564e6f6ac42dd2c5a33",
    "92f6c523fc7bc6c613e27bcfbafbb39044267fcf6ae34e2847453f26ca6c3ba5",
    "b9a8291eb7c92e4a4212578bf263d30ee690ce724bccd17548bad47e6967a166",
    "87cc2415ef448a0534aa3e4cced3f9338721245b5921d2c92e3202ba525be562",
    "9213ed8136cdfc7f3116ebe6ed3678dc0b9d1fdc5eb4180ac90a8c54b31d59f3",
    "17799e691c9395a9899e0d743083e6ac9e9c616561bbda86e9c33ae31200af73",
)
_ANI1CCX = (
    "f27afaa2fc235c92579806806c85e3d2cad5a8baca3093be5150b2ab188ce69b",
    "b5ce059731156da9eeef8f76133f827bbb04880df2a2345839466445003f36ed",
    "2d86a61ac3c0b8eefafdef55fe585597df2914f936746510847cb29deb0413d3",
    "a26f9fe37b9dbf4854751df9383e366c8206efa77b5249d823aadc58955700fd",
    "8e1ae6031e257c2aa378a38a01fe2346ccf737b5b317dc5ff847845e0b54f6dc",
    "8a9e6cbb39624e86fb45a0a890f68026625449f8a7a204a20358606bc43712a8",
    "4fb826e121556c9fe88487da4e1a23943b981e5232a635d8d7b18f8f45900281",
    "48b7e2786d9a669a109b35e365cc0ff334cf6e8f8c1a08782f702bac143fac99",
)
_UNSEEN = (None,) * 8

_HCNO = frozenset({1, 6, 7, 8})
_ANI2 = _HCNO | {9, 16, 17}
#: Elements with reference energies in FENNIX-BIO1/v1.0/energy_references.py.
_BIO1 = frozenset({1, 3, 5, 6, 7, 8, 9, 11, 12, 14, 15, 16, 17, 19, 20, 30, 35, 53})
#: arXiv:2312.15211.
_MACE_OFF = frozenset({1, 6, 7, 8, 9, 15, 16, 17, 35, 53})
#: The 89 elements of its training data, MPtrj (arXiv:2401.00096): H–Bi and Ac–Pu.
_MACE_MP = frozenset(range(1, 95)) - frozenset(range(84, 89))


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A file of the collection; ``fennol:STEM`` is its name as a teacher."""

    weights: Weights
    description: str
    #: Atomic numbers, as the publisher states them; what the file says comes first.
    elements: frozenset[int]
    #: Whether it takes the total charge, as the publisher's training input says.
    charged: bool = False
    #: Packages that it needs besides fennol and jax.
    needs: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """The file's name without its ending."""
        return self.weights.file.removesuffix(".fnx")


@dataclass(frozen=True, slots=True)
class Collection:
    """Networks that make an ensemble, which goes by ``name``."""

    name: str
    description: str
    members: tuple[PublishedModel, ...]


def _ani(
    stem: str, folder: str, digests: Sequence[str | None], what: str, elements: frozenset[int]
) -> Collection:
    members = tuple(
        PublishedModel(
            Weights(
                f"{stem}_model{i}.fnx",
                f"{_COLLECTION}/ANI/{folder}/{stem}_model{i}.fnx",
                digest,
                "MIT",
            ),
            what,
            elements,
        )
        for i, digest in enumerate(digests)
    )
    return Collection(stem, f"{what}; mean and spread of eight networks", members)


ENSEMBLES = (
    _ani("ani1x", "ANI1X", _ANI1X, "ANI-1x: wB97X/6-31G(d), H C N O", _HCNO),
    _ani("ani1ccx", "ANI1CCX", _ANI1CCX, "ANI-1ccx: CCSD(T)*/CBS, H C N O", _HCNO),
    _ani("ani2x", "ANI2X", _UNSEEN, "ANI-2x: wB97X/6-31G(d), H C N O F S Cl", _ANI2),
)


def _bio1(size: str, word: str) -> PublishedModel:
    file = f"fennix-bio1{size}.fnx"
    return PublishedModel(
        Weights(file, f"{_COLLECTION}/FENNIX-BIO1/v1.0/{file}", None, ACADEMIC, _ACADEMIC_TERMS),
        f"FeNNix-Bio1 {word}: wB97M-D3BJ/aug-cc-pVTZ with ccECP, 18 elements, charged too",
        _BIO1,
        charged=True,
    )


def _mace(size: str, kind: str) -> PublishedModel:
    file = f"mace_{kind}_{size}.fnx"
    if kind == "off":
        weights = Weights(file, f"{_COLLECTION}/MACE-OFF23/{file}", None, ACADEMIC, _ACADEMIC_TERMS)
        what, elements = f"MACE-OFF23 {size}: wB97M-D3(BJ)/def2-TZVPPD, 10 elements", _MACE_OFF
    else:
        weights = Weights(file, f"{_COLLECTION}/MACE-MP/{file}", None, "MIT")
        what, elements = f"MACE-MP {size}: PBE, MPtrj, 89 elements", _MACE_MP
    return PublishedModel(weights, what, elements, needs=("e3nn_jax",))


_SIZES = ("small", "medium", "large")
SINGLE_MODELS = (
    _bio1("S", "small"),
    _bio1("M", "medium"),
    *(_mace(size, kind) for kind in ("off", "mp") for size in _SIZES),
)


def published_models() -> dict[str, PublishedModel]:
    """Return all files of the collection by the stem of their names."""
    members = [member for ensemble in ENSEMBLES for member in ensemble.members]
    return {model.stem: model for model in (*members, *SINGLE_MODELS)}
