"""FeNNol models in the registry: by published name, as an ensemble, and any file by its path."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

from mlffdb.config import Settings
from mlffdb.teachers.base import Capabilities, Teacher
from mlffdb.teachers.device import jax_device, parse_device
from mlffdb.teachers.entries import require, weights_ready
from mlffdb.teachers.fennol.published import (
    ENSEMBLES,
    SINGLE_MODELS,
    Collection,
    PublishedModel,
    published_models,
)
from mlffdb.teachers.fennol.teacher import CAPABILITIES, Member, load_ensemble, load_fennol
from mlffdb.teachers.registry import Entry, Readiness, TeacherInfo, packages_ready
from mlffdb.teachers.weights import Weights, obtain_weights, sha256_of

PREFIX = "fennol:"
EXTRA = "fennol"
PACKAGES = ("fennol", "jax")


def entries() -> list[Entry]:
    """Return the published ensembles and models."""
    ensembles = [_ensemble_entry(ensemble) for ensemble in ENSEMBLES]
    members = [_model_entry(model) for ensemble in ENSEMBLES for model in ensemble.members]
    return [*ensembles, *members, *map(_model_entry, SINGLE_MODELS)]


def of_file(name: str) -> Entry | None:
    """Return the entry of ``fennol:PATH``, PATH ending in .fnx; None for any other name."""
    if not (name.startswith(PREFIX) and name.endswith(".fnx")):
        return None
    path = Path(name.removeprefix(PREFIX)).expanduser()
    info = TeacherInfo(
        name, "FeNNol model from a file", "as the file's publisher says", extra=EXTRA
    )
    return Entry(
        info,
        lambda _: _file_ready(path),
        lambda device, settings: _load_file(path, device, settings),
    )


def _model_entry(model: PublishedModel) -> Entry:
    name = PREFIX + model.stem
    weights = (model.weights,)

    def load(device: str, settings: Settings) -> Teacher:
        [member] = _obtain(name, weights, model.needs, device, settings)
        return load_ensemble(
            name,
            [member],
            model.weights.licence,
            device=device,
            cache_dir=settings.cache_dir,
            elements=model.elements,
        )

    info = _info(name, model.description, model, _capabilities(model, spread=False))
    return Entry(info, _readiness(weights, model.needs), load, weights)


def _ensemble_entry(ensemble: Collection) -> Entry:
    name, first = ensemble.name, ensemble.members[0]
    weights = tuple(member.weights for member in ensemble.members)

    def load(device: str, settings: Settings) -> Teacher:
        members = _obtain(name, weights, first.needs, device, settings)
        return load_ensemble(
            name,
            members,
            first.weights.licence,
            device=device,
            cache_dir=settings.cache_dir,
            elements=first.elements,
        )

    info = _info(name, ensemble.description, first, _capabilities(first, spread=True))
    return Entry(info, _readiness(weights, first.needs), load, weights)


def _info(
    name: str, description: str, model: PublishedModel, capabilities: Capabilities
) -> TeacherInfo:
    licence = model.weights.licence
    return TeacherInfo(name, description, licence, capabilities, model.weights.url, EXTRA)


def _capabilities(model: PublishedModel, *, spread: bool) -> Capabilities:
    return dataclasses.replace(
        CAPABILITIES,
        elements=model.elements,
        charged=model.charged,
        spread=spread,
        licence=model.weights.licence,
    )


def _readiness(weights: tuple[Weights, ...], needs: tuple[str, ...]) -> partial[Readiness]:
    return partial(weights_ready, weights, EXTRA, (*PACKAGES, *needs))


def _obtain(
    name: str, weights: tuple[Weights, ...], needs: tuple[str, ...], device: str, settings: Settings
) -> list[Member]:
    """Return the files; a package or GPU that is missing is said before anything is fetched."""
    require(packages_ready(EXTRA, *PACKAGES, *needs), name)
    jax_device(parse_device(device))
    return [Member(*obtain_weights(file, settings)) for file in weights]


def _load_file(path: Path, device: str, settings: Settings) -> Teacher:
    """Load a .fnx of the user's; one that is published goes by its published name."""
    require(_file_ready(path), f"{PREFIX}{path}")
    digest = sha256_of(path)
    known = {model.weights.sha256: model for model in published_models().values()}
    model = known.get(digest)
    return load_fennol(
        PREFIX + (model.stem if model else path.stem),
        path,
        digest,
        model.weights.licence if model else "unknown",
        device=device,
        cache_dir=settings.cache_dir,
    )


def _file_ready(path: Path) -> Readiness:
    if not path.is_file():
        return Readiness(False, f"no such file: {path}", "check the path after fennol:")
    return packages_ready(EXTRA, *PACKAGES)
