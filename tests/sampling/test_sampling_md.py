"""Molecular dynamics: frames, temperature, and trajectories that go wrong."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units

from mlffdb.errors import PlanError
from mlffdb.sampling import load_plan
from tests.sampling.sampling_helpers import make_plan, sample


def md(**more):
    return {
        "type": "md",
        "engine": "mmff",
        "temperature": 300,
        "frames": 3,
        "spacing_fs": 10,
        **more,
    }


def test_frames_are_as_far_apart_as_the_plan_says(smiles):
    made, rejected = sample(make_plan(smiles("CO"), [md(timestep_fs=0.5, start_fs=7)]))
    frames = [c for c in made if c.origin.method == "md"]
    assert not rejected
    assert [c.origin.parameters["step"] for c in frames] == [34, 54, 74]
    assert [c.origin.parameters["frame"] for c in frames] == [0, 1, 2]
    groups = {key for c in frames for key in c.origin.group_keys if key.startswith("trajectory:")}
    assert len(groups) == 1
    assert not any(key.startswith("trajectory:") for key in made[0].origin.group_keys)


def test_each_parent_has_its_own_trajectory(smiles):
    made, _ = sample(make_plan(smiles("CCO"), [{"type": "etkdg", "count": 2}, md(parents=2)]))
    frames = [c for c in made if c.origin.method == "md"]
    assert len(frames) == 6
    assert len({c.origin.group_keys for c in frames}) == 2
    assert len({c.origin.parent for c in frames}) == 2


def test_the_thermostat_holds_the_temperature():
    """Potential energy of one spring in equilibrium: ½ k (r - r0)² averages to about ½ kT."""
    engine = {"name": "tests.sampling.sampling_engines:Springs", "settings": {"k": 20.0, "r0": 1.5}}
    source = {"type": "dimers", "elements": [["C", "C"]], "scale": [0.98, 0.98], "count": 1}
    method = md(
        engine=engine, temperature=500, frames=600, spacing_fs=10, start_fs=200,
        timestep_fs=2, friction_per_fs=0.05,
    )  # fmt: skip
    made, rejected = sample(make_plan(source, [method]))
    assert not rejected
    lengths = np.array([np.linalg.norm(np.diff(c.structure.positions, axis=0)) for c in made[1:]])
    # density of r in three dimensions: r² exp(-k (r - r0)² / 2kT)
    r = np.linspace(1.0, 2.0, 4001)
    density = r**2 * np.exp(-20.0 * (r - 1.5) ** 2 / (2 * units.kB * 500))
    density /= density.sum()
    mean = (r * density).sum()
    width = np.sqrt(((r - mean) ** 2 * density).sum())
    assert lengths.mean() == pytest.approx(mean, abs=4 * width / np.sqrt(150))
    assert lengths.std() == pytest.approx(width, rel=0.2)


def test_an_explosion_ends_the_trajectory_with_its_reason(smiles):
    stiff = {"name": "tests.sampling.sampling_engines:Springs", "settings": {"k": 400.0, "r0": 1.2}}
    made, rejected = sample(make_plan(smiles("CCO"), [md(engine=stiff, timestep_fs=8)]))
    assert [r.code for r in rejected] == ["exploded"]
    assert "eV/Å" in rejected[0].reason
    assert "300 K" in rejected[0].reason
    assert [c.origin.method for c in made] == ["etkdg"]


def test_collapse_is_seen_by_distance():
    weak = {"name": "tests.sampling.sampling_engines:Springs", "settings": {"k": 1.0, "r0": 0.1}}
    source = {"type": "dimers", "elements": [["C", "C"]], "scale": [1.0, 1.0], "count": 1}
    made, rejected = sample(make_plan(source, [md(engine=weak, frames=50)]))
    assert [r.code for r in rejected] == ["exploded"]
    assert "covalent radii" in rejected[0].reason
    assert 1 <= len(made) < 51


def test_heat_is_seen_by_temperature():
    hot = {"name": "tests.sampling.sampling_engines:Springs", "settings": {"k": 4.0, "r0": 1.5}}
    source = {"type": "peptides", "sequences": ["G"]}
    _, rejected = sample(make_plan(source, [md(engine=hot, temperature=10, max_force=1e6)]))
    assert [r.code for r in rejected] == ["exploded"]
    assert " K" in rejected[0].reason


def test_good_frames_before_a_failure_stay():
    bomb = {"name": "tests.sampling.sampling_engines:Bomb", "settings": {"calls": 25}}
    source = {"type": "dimers", "elements": [["C", "C"]], "scale": [1.0, 1.0], "count": 1}
    made, rejected = sample(make_plan(source, [md(engine=bomb, frames=5)]))
    assert [c.origin.method for c in made] == ["as_is", "md", "md"]
    assert [r.code for r in rejected] == ["engine_failed"]
    assert "2 of 5 frames" in rejected[0].reason
    assert "the bomb went off" in rejected[0].reason


def test_crystals_keep_their_cell():
    source = {"type": "prototypes", "crystals": [{"prototype": "fcc", "A": ["Cu"]}]}
    made, rejected = sample(make_plan(source, [md(engine="emt")]))
    assert not rejected
    assert len(made) == 4
    for candidate in made[1:]:
        assert np.array_equal(candidate.structure.cell, made[0].structure.cell)
        assert candidate.structure.pbc == (True, True, True)
        assert candidate.structure.spin_multiplicity is None


def test_spacing_shorter_than_a_step_is_refused(write):
    text = (
        "name: m\nblocks:\n  - name: b\n    source: {type: smiles, smiles: [C]}\n    methods:\n"
        "      - {type: md, engine: mmff, temperature: 300, frames: 1, spacing_fs: 0.1}\n"
    )
    with pytest.raises(PlanError, match=r"line 6: .*shorter than timestep_fs 1"):
        load_plan(write("m.yaml", text))
