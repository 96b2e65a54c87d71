"""Tasks: independent, reproducible, counted right; what fails is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from mlffdb.errors import TeacherError
from mlffdb.sampling import Task, describe, load_plan, restore_plan, run_task, tasks
from mlffdb.sampling.engines import EngineCache
from mlffdb.sampling.plan import Plan
from mlffdb.structures import Candidate, Rejection, structure_id
from tests.sampling.sampling_helpers import make_plan, sample

MIXED = {
    "name": "mixed",
    "seed": 5,
    "blocks": [
        {
            "name": "molecules",
            "source": {"type": "smiles", "smiles": ["CCO", "CC(=O)[O-]", "NO"]},
            "methods": [
                {"type": "etkdg", "count": 3},
                {"type": "rattle", "std": 0.05, "count": 2, "parents": 2},
                {"type": "normal_modes", "engine": "mmff", "temperatures": [300, 900], "count": 2},
                {"type": "md", "engine": "mmff", "temperature": 400, "frames": 2, "spacing_fs": 5},
            ],
        },
        {
            "name": "crystals",
            "source": {
                "type": "prototypes",
                "crystals": [{"prototype": "fcc", "A": ["Al", "Cu"]}],
            },
            "methods": [
                {"type": "strain", "count": 2},
                {"type": "rattle", "std": 0.1, "count": 2},
                {"type": "md", "engine": "emt", "temperature": 300, "frames": 2, "spacing_fs": 20},
            ],
        },
        {
            "name": "dimers",
            "source": {
                "type": "dimers",
                "elements": [["He", "Ne"]],
                "molecules": [["O", "CO"]],
                "count": 3,
            },
        },
        {"name": "peptides", "source": {"type": "peptides", "sequences": ["AG"]}},
        {"name": "g2", "source": {"type": "g2", "names": ["CH4", "O2"], "open_shell": True}},
    ],
}


def hashes(plan: Plan, order=1) -> dict[int, list[str]]:
    engines = EngineCache()
    return {
        task.index: [
            f"{structure_id(entry.structure)} {entry.origin.key()}"
            for entry in run_task(plan, task, engines=engines)
            if isinstance(entry, Candidate)
        ]
        for task in list(tasks(plan))[::order]
    }


def test_same_structures_whatever_the_order_and_the_worker():
    plan = Plan.model_validate(MIXED)
    forward = hashes(plan)
    assert forward == hashes(plan, order=-1)
    task = list(tasks(plan))[3]
    alone = [
        f"{structure_id(entry.structure)} {entry.origin.key()}"
        for entry in run_task(plan, task, engines=EngineCache())
    ]
    assert alone == forward[3]


def test_same_structures_in_another_process_and_through_json():
    plan = Plan.model_validate(MIXED)
    code = (
        "import json, sys\n"
        "from mlffdb.sampling import restore_plan, tasks, run_task\n"
        "from mlffdb.sampling.engines import EngineCache\n"
        "from mlffdb.structures import structure_id\n"
        "plan = restore_plan(json.loads(sys.stdin.read()))\n"
        "task = list(tasks(plan))[1]\n"
        "out = run_task(plan, task, engines=EngineCache())\n"
        "print(json.dumps([str(structure_id(entry.structure)) for entry in out]))\n"
    )
    env = {**os.environ, "PYTHONHASHSEED": "77"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(plan.model_dump(mode="json")),
        capture_output=True,
        text=True,
        env=env,
        check=True,
    )
    here = [line.split()[0] for line in hashes(plan)[1]]
    assert json.loads(done.stdout) == here


@pytest.mark.skipif(find_spec("tblite") is None, reason="tblite is not installed")
def test_a_teacher_as_engine_forgets_what_came_before(smiles):
    methods = [{"type": "md", "engine": "gfn2-xtb", "temperature": 300, "frames": 2}]
    both = make_plan(smiles("O", "CO"), methods)
    alone = make_plan(smiles("CO"), methods)
    assert hashes(both)[1] == hashes(alone)[0]


def test_other_seed_other_structures():
    one, two = Plan.model_validate(MIXED), Plan.model_validate({**MIXED, "seed": 6})
    first, second = (
        {line.split()[0] for lines in hashes(plan).values() for line in lines}
        for plan in (one, two)
    )
    common = first & second
    assert len(common) == 3 + 2 + 2  # only the ideal dimers, crystals and g2 molecules


def test_expected_counts_are_what_comes_out():
    plan = Plan.model_validate(MIXED)
    engines = EngineCache()
    for task in tasks(plan):
        made = [e for e in run_task(plan, task, engines=engines) if isinstance(e, Candidate)]
        assert len(made) == task.expected, task
    rows = describe(plan)
    assert [row.expected for row in rows] == [
        3 * (3 + 4 + 1 + 4 + 2),
        2 * (1 + 2 + 2 + 2),
        6,
        1,
        2,
    ]
    assert [row.items for row in rows] == [3, 2, 2, 1, 2]
    assert rows[0].engines == "mmff"
    assert rows[1].methods == "strain, rattle, md"
    assert rows[3].methods == "etkdg"


def test_parents_are_among_the_structures_and_come_first():
    plan = Plan.model_validate(MIXED)
    engines = EngineCache()
    for task in tasks(plan):
        seen = set()
        for entry in run_task(plan, task, engines=engines):
            assert isinstance(entry, Candidate)
            assert entry.origin.parent is None or entry.origin.parent in seen
            seen.add(structure_id(entry.structure))


def test_normal_modes_and_md_start_from_the_minimum(smiles):
    modes = {"type": "normal_modes", "engine": "mmff", "temperatures": [300], "count": 2}
    again = {**modes, "temperatures": [900]}
    md = {"type": "md", "engine": "mmff", "temperature": 300, "frames": 1}
    plan = make_plan(smiles("CO"), [modes, again, md])
    made, rejected = sample(plan)
    assert [c.origin.method for c in made] == [
        "etkdg",
        "relax",
        *["normal_modes"] * 4,
        "md",
    ]
    minimum = structure_id(made[1].structure)
    assert {c.origin.parent for c in made[2:]} == {minimum}
    assert next(tasks(plan)).expected == len(made)
    assert not rejected


def test_adding_a_method_leaves_the_others_alone(smiles):
    rattle = {"type": "rattle", "std": 0.1, "count": 2}
    before, _ = sample(make_plan(smiles("CO"), [rattle]))
    md = {"type": "md", "engine": "mmff", "temperature": 300, "frames": 1}
    after, _ = sample(make_plan(smiles("CO"), [md, rattle]))
    ids = [structure_id(c.structure) for c in before if c.origin.method == "rattle"]
    assert ids == [structure_id(c.structure) for c in after if c.origin.method == "rattle"]


def test_two_methods_of_one_type_draw_differently(smiles):
    rattle = {"type": "rattle", "std": 0.1, "count": 2}
    made, _ = sample(make_plan(smiles("CO"), [rattle, rattle]))
    assert len({structure_id(c.structure) for c in made}) == len(made) == 5


def test_origins_tell_the_story(smiles):
    modes = {"type": "normal_modes", "engine": "mmff", "temperatures": [300], "count": 1}
    made, _ = sample(make_plan(smiles("CC(=O)[O-]"), [modes], domain="ions"))
    drawn = made[-1]
    assert drawn.domain == "ions"
    assert drawn.structure.charge == -1
    assert drawn.structure.spin_multiplicity == 1
    assert drawn.origin.source == "smiles"
    assert drawn.origin.group_keys == ("inchikey:QTBSBXVTEAMEQO",)
    assert drawn.origin.smiles.count(":") == 7  # every atom explicit and numbered
    assert drawn.origin.seed is not None
    assert drawn.origin.parameters["temperature_K"] == 300
    assert drawn.origin.parameters["engine"] == "mmff"
    assert drawn.origin.parameters["modes"] == 15


def test_bad_smiles_are_counted_and_the_rest_goes_on(smiles):
    plan = make_plan(smiles("CCx", "C(C)(C)(C)(C)C", "[*]C", "CO"), [{"type": "etkdg"}])
    made, rejected = sample(plan)
    assert len(made) == 1
    assert [r.code for r in rejected] == ["smiles", "smiles", "element"]
    assert "CCx" in rejected[0].reason
    assert len(describe(plan)[0].problems) == 3


def test_a_molecule_that_will_not_embed_is_told(smiles):
    rattle = {"type": "rattle", "std": 0.1}
    made, rejected = sample(
        make_plan(smiles("C1#CC1", "CO"), [{"type": "etkdg", "count": 2}, rattle])
    )
    assert {r.code for r in rejected} == {"not_embedded"}
    assert len(rejected) == 2
    assert all(r.reason.startswith("C1#CC1: ") for r in rejected)
    assert len(made) == 3


def test_engines_that_fail_end_one_method_only(smiles):
    failing = {"type": "relax", "engine": "tests.sampling.sampling_engines:NotANumber"}
    rattle = {"type": "rattle", "std": 0.1, "count": 2}
    made, rejected = sample(make_plan(smiles("CO"), [failing, rattle]))
    assert [c.origin.method for c in made] == ["etkdg", "rattle", "rattle"]
    assert [r.code for r in rejected] == ["engine_failed"]
    assert "not finite" in rejected[0].reason
    assert "CO" in rejected[0].reason


def test_an_element_that_the_engine_lacks(smiles):
    relax = {"type": "relax", "engine": "mmff"}
    made, rejected = sample(make_plan(smiles("[Ar]", "CO"), [relax]))
    assert len(made) == 3
    assert [r.code for r in rejected] == ["engine_failed"]


def test_relaxing_in_too_few_steps_is_told(smiles):
    relax = {"type": "relax", "engine": "mmff", "max_steps": 2, "fmax": 0.001}
    made, rejected = sample(make_plan(smiles("CCO"), [relax]))
    assert len(made) == 1
    assert [r.code for r in rejected] == ["not_converged"]
    assert "2 steps" in rejected[0].reason


def test_a_teacher_that_cannot_be_loaded_ends_the_task(smiles):
    relax = {"type": "relax", "engine": "fennol:no_such_file.fnx"}
    plan = make_plan(smiles("CO"), [relax])
    with pytest.raises(TeacherError, match=r"no_such_file\.fnx"):
        sample(plan)


def test_tasks_are_small_json():
    for name in ("quickstart", "crystals"):
        found = list(tasks(load_plan(name)))
        assert [task.index for task in found] == list(range(len(found)))
        for task in found:
            text = json.dumps(task.payload)
            assert len(text) < 300
            assert json.loads(text) == task.payload


def test_quickstart_expects_a_thousand_of_many_molecules():
    plan = load_plan("quickstart")
    engines = EngineCache()
    keys = set()
    for task in tasks(plan):
        first = next(run_task(plan, task, engines=engines))
        assert not isinstance(first, Rejection), first
        assert 2 <= first.structure.n_atoms <= 40
        assert first.structure.spin_multiplicity == 1
        keys.add(first.origin.group_keys)
    assert sum(task.expected for task in tasks(plan)) == 1000
    assert len(keys) >= 60
    restored = restore_plan(plan.model_dump(mode="json"), plan.source)
    assert list(tasks(restored)) == list(tasks(plan))


def test_a_task_can_be_made_again_from_what_the_queue_keeps():
    plan = Plan.model_validate(MIXED)
    task = list(tasks(plan))[3]
    shuffled = json.loads(json.dumps(task.payload, sort_keys=True))
    stored = Task(99, task.block, shuffled, 0)
    ids = [structure_id(e.structure) for e in run_task(plan, stored, engines=EngineCache())]
    assert ids == [structure_id(e.structure) for e in run_task(plan, task, engines=EngineCache())]
