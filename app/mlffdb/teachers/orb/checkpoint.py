"""Loading a checkpoint by orb_models' own loader, without what that loader does besides.

It changes torch's default dtype for the whole process, and takes a checkpoint without, say, a
stress head by leaving that head random; neither happens here.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from mlffdb.errors import TeacherError
from mlffdb.teachers.device import torch_precision
from mlffdb.teachers.orb.graphs import Graphs05, Graphs07, since_07
from mlffdb.teachers.orb.models import MODELS, OrbModel

#: Key in a state dict's metadata that marks random weights; it stays in the file.
UNTRAINED = "mlffdb.untrained"
#: Buffers that only training uses.
_TRAINING_ONLY = ("grad_forces_normalizer.", "grad_stress_normalizer.")


def load_model(
    model: OrbModel, path: Path, precision: str, device: Any
) -> tuple[Any, Graphs05 | Graphs07, bool]:
    """Return network, maker of its input, and whether its weights are random.

    Raises TeacherError where *path* is no checkpoint of *model*.
    """
    state = _read(path)
    mark = getattr(state, "_metadata", {}).get(UNTRAINED)
    with torch_precision(precision), builder_sizes(model, (mark or {}).get("sizes", {})):
        import torch

        dtype = torch.get_default_dtype()
        try:
            loaded = _load(model, path, precision, device)
        except RuntimeError as error:
            raise TeacherError(
                f"{path} does not fit {model.name}: {str(error).splitlines()[0]}"
            ) from None
    network, source = loaded if since_07() else (loaded, loaded.system_config)
    _compare_keys(set(network.state_dict()), set(_modern_names(state)), model, path)
    if not since_07():
        # total energies of molecules reach 1e5 eV, where float32 has steps of 0.01 eV; 0.7 does
        # this itself
        network.heads["energy"].reference.double()
    if "forces" in network.heads:
        network.heads["forces"].remove_torque_for_nonpbc_systems = False  # see torque.py
    make = Graphs07 if since_07() else Graphs05
    graphs = make(source, molecular=model.molecular, dtype=dtype, device=device)
    return network, graphs, mark is not None


def save_random_checkpoint(path: Path, name: str = "orb-v2", seed: int = 0, **sizes: int) -> None:
    """Write a checkpoint of the model *name* with random weights, for tests and speed.

    sizes: options of orb_models' builder that make the network smaller, such as
    ``num_message_passing_steps``; at full size the file has 100 MB. The file itself says that it is
    untrained: a teacher that loads it has ``identity.untrained``, and its labels are never
    exported.
    """
    import torch

    model = MODELS[name]
    with torch.random.fork_rng(devices=[]), _quiet():
        torch.manual_seed(seed)
        from orb_models.forcefield import pretrained

        build = getattr(pretrained, model.builder)
        state = build(device="cpu", **model.builder_options, **sizes).state_dict()
    state._metadata[UNTRAINED] = {"seed": seed, "sizes": sizes}
    torch.save(state, path)


@contextmanager
def builder_sizes(model: OrbModel, sizes: Mapping[str, int]) -> Iterator[None]:
    """Let orb_models' loader of *model* build a network of *sizes*, for random checkpoints."""
    with _quiet():
        from orb_models.forcefield import pretrained

    build = getattr(pretrained, model.builder)
    try:
        if sizes:
            setattr(pretrained, model.builder, partial(build, **sizes))
        yield
    finally:
        setattr(pretrained, model.builder, build)


def _load(model: OrbModel, path: Path, precision: str, device: Any) -> Any:
    from orb_models.forcefield.pretrained import ORB_PRETRAINED_MODELS

    with _quiet():
        return ORB_PRETRAINED_MODELS[model.name](
            weights_path=str(path.absolute()), device=device, precision=precision, compile=False
        )


def _read(path: Path) -> Mapping[str, Any]:
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise TeacherError(f"{path} cannot be read as a checkpoint: {error}") from None
    if not isinstance(state, Mapping):
        raise TeacherError(f"{path} holds no state dict but a {type(state).__name__}")
    return state


def _modern_names(state: Mapping[str, Any]) -> list[str]:
    """Return the keys of *state* as orb_models' loader renames them.

    The published orb-v2 checkpoint has the names of 2024.
    """
    renames = {
        "node_head.": "heads.forces.",
        "graph_head.": "heads.energy.",
        "stress_head.": "heads.stress.",
    }
    modern = []
    for key in state:
        prefix = next((old for old in renames if key.startswith(old)), None)
        modern.append(key if prefix is None else renames[prefix] + key.removeprefix(prefix))
    if any(key.startswith("model.model.") for key in modern):
        modern = [
            key.replace("model.model.", "model.", 1)
            for key in modern
            if key.startswith(("model.model.", "heads."))
        ]
    return modern


def _compare_keys(expected: set[str], found: set[str], model: OrbModel, path: Path) -> None:
    missing = sorted(key for key in expected - found if not key.startswith(_TRAINING_ONLY))
    extra = sorted(key for key in found - expected if not key.startswith(_TRAINING_ONLY))
    if missing or extra:
        raise TeacherError(
            f"{path} is no {model.name} checkpoint: {len(missing)} keys missing"
            f"{' (' + missing[0] + ' …)' if missing else ''}, {len(extra)} unknown"
            f"{' (' + extra[0] + ' …)' if extra else ''}"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without orb_models' warnings: that it sets the dtype, and torch's of what it calls."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
