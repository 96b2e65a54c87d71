"""Small FeNNol models with random weights: they mean nothing, but how they compute is real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

ELEMENTS = ("H", "C", "N", "O")


def ani_like(seed: int, elements: tuple[str, ...] = ELEMENTS, **changes: Any) -> Any:
    """Return a model of ANI's kind: symmetry functions, a network for each element, constants."""
    constants = {"H": -0.6, "C": -38.0, "N": -54.7, "O": -75.2}
    return build(
        seed,
        cutoff=4.0,
        preprocessing={
            "graph_filter": {"graph_key": "graph_angle", "parent_graph": "graph", "cutoff": 3.0},
            "graph_angular_extension": {"graph_key": "graph_angle"},
            "species_indexer": {"output_key": "species_index"},
        },
        modules={
            "embedding": {
                "module_name": "ANI_AEV",
                "embedding_key": "ani_aev",
                "graph_angle_key": "graph_angle",
                "graph_key": "graph",
                "species_order": list(elements),
                "radial_dist_divisions": 4,
                "angular_dist_divisions": 2,
                "angle_sections": 2,
                "zeta": 8.0,
                "angular_eta": 4.0,
                "radial_eta": 8.0,
                "angular_start": 0.5,
                "radial_start": 0.5,
            },
            "energy": {
                "module_name": "SPECIES_INDEX_NET",
                "input_key": "ani_aev",
                "species_index_key": "species_index",
                "hidden_neurons": {element: [16, 16] for element in elements},
                "output_dim": 1,
                "use_bias": True,
            },
            "self_energy": {
                "module_name": "CHEMICAL_CONSTANT",
                "value": {element: constants[element] for element in elements},
            },
        },
        energy_terms=["energy", "self_energy"],
        **changes,
    )


def charged(seed: int, **changes: Any) -> Any:
    """Return a model in eV whose atoms share the total charge as FeNNix-Bio1's do, and repel.

    Like those it names no elements.
    """
    settings = {
        "cutoff": 4.0,
        "preprocessing": {},
        "modules": {
            "species_encoding": {"encoding": "electronic_structure", "zmax": 86},
            "charges": {
                "module_name": "CHARGE_HYPOTHESIS",
                "embedding_key": "species_encoding",
                "total_charge_key": "total_charge",
                "ncharges": 4,
            },
            "energy": {"module_name": "NEURAL_NET", "neurons": [8, 1], "input_key": "charges"},
            "repulsion": {"module_name": "REPULSION_NLH"},
        },
        "energy_terms": ["energy", "repulsion"],
        "energy_unit": "ev",
    }
    return build(seed, **{**settings, **changes})


def mace(seed: int) -> Any:
    """Return a small MACE, which names no elements; needs e3nn-jax."""
    return build(
        seed,
        cutoff=4.0,
        preprocessing={
            "graph": {"switch_params": {"switch_type": "polynomial", "p": 5.0}},
        },
        modules={
            "nn_energy": {
                "module_name": "MACE",
                "output_irreps": "1x0e",
                "hidden_irreps": "4x0e",
                "readout_mlp_irreps": "4x0e",
                "ninteractions": 2,
                "radial_basis": {"basis": "bessel", "dim": 4, "trainable": False},
                "avg_num_neighbors": 5.0,
                "scalar_output": True,
                "lmax": 1,
                "correlation": 2,
                "zmax": 20,
            },
            "sum_layers": {"module_name": "SUM_AXIS", "axis": [1, 2], "key": "nn_energy"},
        },
        energy_terms=["nn_energy"],
        energy_unit="ev",
    )


def save_alike(model: Any, path: Path, factor: float) -> None:
    """Save *model* with all weights of its network times *factor*, as another of its kind."""
    from flax import serialization

    model.save(path)
    content = serialization.msgpack_restore(path.read_bytes())
    for element in content["variables"]["params"]["energy"].values():
        for layer in element.values():
            layer["kernel"] = layer["kernel"] * np.float32(factor)
    path.write_bytes(serialization.msgpack_serialize(content))


def build(seed: int, **arguments: Any) -> Any:
    """Return a FENNIX model with random weights."""
    import jax
    from fennol import FENNIX

    return FENNIX(rng_key=jax.random.PRNGKey(seed), **arguments)
