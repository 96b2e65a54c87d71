"""The teachers that come with mlffdb."""

from __future__ import annotations

import ctypes
import dataclasses
import sys
from functools import cache, partial
from pathlib import Path

from mlffdb.config import Settings
from mlffdb.errors import TeacherError
from mlffdb.teachers import fennol, orb, xtb
from mlffdb.teachers.base import Teacher
from mlffdb.teachers.device import jax_device, parse_device, torch_device
from mlffdb.teachers.registry import Entry, Readiness, TeacherInfo, packages_ready
from mlffdb.teachers.weights import Weights, find_weights, obtain_weights, sha256_of

FENNOL_PREFIX = "fennol:"
LIBGOMP = "libgomp.so.1"

_ANI = "https://raw.githubusercontent.com/FeNNol-tools/FeNNol-PMC/main/ANI"
#: SHA-256 of the eight networks of each collection, taken from the files themselves.
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
_COLLECTIONS = {
    "ani1x": ("ANI1X", _ANI1X, "ANI-1x: wB97X/6-31G(d), H C N O"),
    "ani1ccx": ("ANI1CCX", _ANI1CCX, "ANI-1ccx: CCSD(T)*/CBS, H C N O"),
}
#: The address is the one in orb_models' own loader; nobody here has seen the file.
ORB_V2 = Weights(
    file="orb-v2-20241011.ckpt",
    url=(
        "https://orbitalmaterials-public-models.s3.us-west-1.amazonaws.com/forcefields/"
        "orb-v2-20241011.ckpt"
    ),
    sha256=None,
    licence="Apache-2.0",
)


def fennol_weights() -> dict[str, Weights]:
    """Return the published .fnx files by the name of their model (``ani1x_model0`` …)."""
    return {
        f"{stem}_model{i}": Weights(
            f"{stem}_model{i}.fnx", f"{_ANI}/{folder}/{stem}_model{i}.fnx", digest, "MIT"
        )
        for stem, (folder, digests, _) in _COLLECTIONS.items()
        for i, digest in enumerate(digests)
    }


@cache
def built_in() -> dict[str, Entry]:
    """Return the teachers with a name of their own."""
    entries = [_xtb_entry(name) for name in xtb.METHODS]
    entries.append(_orb_entry())
    entries.extend(_ani_entry(model, weights) for model, weights in fennol_weights().items())
    return {entry.info.name: entry for entry in entries}


def from_path(name: str) -> Entry | None:
    """Return the entry of ``fennol:PATH``, PATH ending in .fnx; None for any other name."""
    if not (name.startswith(FENNOL_PREFIX) and name.endswith(".fnx")):
        return None
    path = Path(name.removeprefix(FENNOL_PREFIX)).expanduser()
    info = TeacherInfo(
        name, "FeNNol model from a file", "as the file's publisher says", extra="fennol"
    )
    return Entry(
        info,
        lambda _: _file_ready(path),
        lambda device, settings: _load_file(path, device, settings),
    )


def _xtb_entry(name: str) -> Entry:
    method = xtb.METHODS[name]
    info = TeacherInfo(
        name,
        f"{method} by tblite, isolated singlets of H–Rn",
        xtb.CAPABILITIES.licence,
        xtb.CAPABILITIES,
        extra="xtb",
        cpu_only=True,
    )

    def load(device: str, _: Settings) -> Teacher:
        _require(xtb_ready(), name)
        return xtb.load_xtb(name, device)

    return Entry(info, lambda _: xtb_ready(), load)


def xtb_ready() -> Readiness:
    """Return whether tblite can be loaded; its wheel takes libgomp from the system."""
    state = packages_ready("xtb", "tblite")
    if state.ready and sys.platform == "linux":
        try:
            ctypes.CDLL(LIBGOMP)
        except OSError:
            return Readiness(
                False,
                f"tblite needs the system's {LIBGOMP}, which is not there",
                "install it (Debian and Ubuntu: apt-get install libgomp1)",
            )
    return state


def _orb_entry() -> Entry:
    info = TeacherInfo(
        "orb-v2",
        "Orb-v2: PBE, MPtrj and Alexandria, 89 elements, direct forces",
        ORB_V2.licence,
        orb.CAPABILITIES,
        ORB_V2.url,
        "orb",
    )

    def load(device: str, settings: Settings) -> Teacher:
        _require(packages_ready("orb", "orb_models", "torch"), "orb-v2")
        torch_device(parse_device(device))  # a GPU that is missing is said before fetching
        path, digest = obtain_weights(ORB_V2, settings)
        return orb.load_orb("orb-v2", path, digest, device=device)

    return Entry(info, partial(_weights_ready, ORB_V2, "orb", ("orb_models", "torch")), load)


def _ani_entry(model: str, weights: Weights) -> Entry:
    name = FENNOL_PREFIX + model
    capabilities = dataclasses.replace(fennol.CAPABILITIES, licence=weights.licence)
    description = _COLLECTIONS[model.partition("_")[0]][2]
    info = TeacherInfo(name, description, weights.licence, capabilities, weights.url, "fennol")

    def load(device: str, settings: Settings) -> Teacher:
        _require(packages_ready("fennol", "fennol", "jax"), name)
        jax_device(parse_device(device))
        path, digest = obtain_weights(weights, settings)
        return fennol.load_fennol(
            name, path, digest, weights.licence, device=device, cache_dir=settings.cache_dir
        )

    return Entry(info, partial(_weights_ready, weights, "fennol", ("fennol", "jax")), load)


def _load_file(path: Path, device: str, settings: Settings) -> Teacher:
    """Load a .fnx of the user's; one that is published goes by its published name."""
    _require(_file_ready(path), f"{FENNOL_PREFIX}{path}")
    digest = sha256_of(path)
    known = {weights.sha256: (model, weights) for model, weights in fennol_weights().items()}
    model, licence = path.stem, "unknown"
    if digest in known:
        model, licence = known[digest][0], known[digest][1].licence
    return fennol.load_fennol(
        FENNOL_PREFIX + model, path, digest, licence, device=device, cache_dir=settings.cache_dir
    )


def _file_ready(path: Path) -> Readiness:
    if not path.is_file():
        return Readiness(False, f"no such file: {path}", "check the path after fennol:")
    return packages_ready("fennol", "fennol", "jax")


def _weights_ready(
    weights: Weights, extra: str, modules: tuple[str, ...], settings: Settings
) -> Readiness:
    packages = packages_ready(extra, *modules)
    if not packages.ready or find_weights(weights.file, settings) is not None:
        return packages
    return Readiness(
        False,
        f"weights {weights.file} are not on this machine",
        f"they are fetched at first use from {weights.url}, or put them into MLFFDB_WEIGHTS_DIR",
    )


def _require(state: Readiness, name: str) -> None:
    if not state.ready:
        raise TeacherError(f"{name} cannot be loaded: {state.reason}; {state.remedy}")
