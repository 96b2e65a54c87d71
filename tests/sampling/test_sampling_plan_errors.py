"""Wrong plans: one clear line with file, line, key and what is allowed."""

from __future__ import annotations

import pytest

from mlffdb.errors import PlanError
from mlffdb.sampling import load_plan, packaged_plans, restore_plan, tasks

GOOD = """\
name: mine
seed: 1
blocks:
  - name: organic
    source:
      type: smiles
      smiles: [CCO, NO]
    methods:
      - {type: etkdg, count: 2}
      - type: normal_modes
        engine: mmff
        temperatures: [300]
        count: 2
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("seed: 1", "sed: 1", 2, ["unknown key 'sed'", "'seed'", "blocks"]),
        ("        count: 2", "        cuont: 2", 13, ["'cuont'", "'count'", "max_amplitude"]),
        ("type: smiles", "type: smile", 6, ["unknown source 'smile'", "'smiles'", "prototypes"]),
        ("type: etkdg", "type: etkg", 9, ["unknown method 'etkg'", "'etkdg'", "rattle"]),
        ("engine: mmff", "engine: mmf", 11, ["unknown engine 'mmf'", "'mmff'", "gfn2-xtb"]),
        ("engine: mmff", "engine: no.such:Thing", 11, ["no module 'no.such'"]),
        ("        engine: mmff\n", "", 10, ["'engine' is missing"]),
        ("[300]", "[-300]", 12, ["greater than 0", "-300"]),
        ("[300]", "[hot]", 12, ["'hot'"]),
        ("smiles: [CCO, NO]", "file: none.smi", 7, ["no file 'none.smi'"]),
        ("      smiles: [CCO, NO]\n", "", 5, ["needs 'smiles' (a list) or 'file'"]),
        ("type: smiles", "kind: smiles", 5, ["the source needs a 'type'", "peptides"]),
        ("seed: 1", "seed: 1\nseed: 2", 3, ["'seed' is given twice"]),
        ("[300]", "[300", 13, ["not YAML"]),
        ("name: mine\n", "", 1, ["'name' is missing"]),
        ("seed: 1", "label: {teachers: [gfn3]}", 2, ["unknown teacher 'gfn3'", "gfn2-xtb"]),
        ("seed: 1", "export: {split: [0.5, 0.1, 0.1]}", 2, ["sum to 1"]),
        (
            "type: etkdg, count: 2",
            "type: strain, count: 2",
            9,
            ["strain is for crystals, and smiles gives isolated structures"],
        ),
    ],
)
def test_one_line_says_what_and_where(write, old, new, line, words):
    assert GOOD.count(old) == 1
    path = write("mine.yaml", GOOD.replace(old, new))
    with pytest.raises(PlanError) as caught:
        load_plan(path)
    message = str(caught.value)
    first = message.splitlines()[0]
    if "'name' is missing" not in words[0]:
        assert first.startswith(f"mine.yaml, line {line}: "), message
    for word in words:
        assert word in message


def test_every_mistake_is_told(write):
    text = GOOD.replace("seed: 1", "sed: 1").replace("count: 2}", "count: none}")
    with pytest.raises(PlanError) as caught:
        load_plan(write("mine.yaml", text))
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert {line.split(":")[0] for line in lines} == {"mine.yaml, line 2", "mine.yaml, line 9"}


def test_unknown_element_names_the_line(write):
    text = (
        "name: m\nblocks:\n  - name: c\n    source:\n      type: prototypes\n      crystals:\n"
        "        - {prototype: fcc, A: [Al, Xx]}\n        - {prototype: fc, A: [Al]}\n"
        "        - {prototype: rocksalt, A: [Na], X: [O]}\n"
    )
    with pytest.raises(PlanError) as caught:
        load_plan(write("m.yaml", text))
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("m.yaml, line 7:")
    assert "'Xx' is no element" in lines[0]
    assert lines[1].startswith("m.yaml, line 8:")
    assert "did you mean 'fcc'" in lines[1]
    assert lines[2].startswith("m.yaml, line 9:")
    assert "neutral as rocksalt" in lines[2]


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text\n"])
def test_not_a_plan_at_all(write, text):
    with pytest.raises(PlanError, match="a plan is a mapping"):
        load_plan(write("p.yaml", text))


def test_unknown_plan_names_the_packaged_ones():
    with pytest.raises(PlanError, match="did you mean 'quickstart'"):
        load_plan("quickstrat")


def test_missing_file(tmp_path):
    with pytest.raises(PlanError, match="cannot be read"):
        load_plan(tmp_path / "absent.yaml")


def test_binary_file(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(PlanError, match="not UTF-8"):
        load_plan(path)


def test_deep_nesting_is_refused(write):
    with pytest.raises(PlanError, match="nested too deeply"):
        load_plan(write("p.yaml", "name: " + "[" * 60 + "]" * 60 + "\n"))


def test_molecules_named_like_booleans(write):
    plan = load_plan(write("p.yaml", GOOD))
    assert [task.payload["smiles"] for task in tasks(plan)] == ["CCO", "NO"]


def test_two_blocks_with_one_name(write):
    block = GOOD[GOOD.index("  - name: organic") :]
    with pytest.raises(PlanError, match="two blocks are named 'organic'"):
        load_plan(write("p.yaml", GOOD + block))


def test_digest_follows_the_meaning(write, tmp_path):
    plan = load_plan(write("a.yaml", GOOD))
    same = load_plan(write("b.yaml", "# a comment\ndescription: other words\n" + GOOD))
    other = load_plan(write("c.yaml", GOOD.replace("seed: 1", "seed: 2")))
    relabelled = load_plan(write("d.yaml", GOOD + "label: {teachers: [gfn2-xtb]}\n"))
    assert plan.digest == same.digest
    assert plan.digest != other.digest
    assert plan.digest != relabelled.digest
    assert plan.sampling_digest == relabelled.sampling_digest
    assert plan.sampling_digest != other.sampling_digest
    assert plan.source == str(tmp_path / "a.yaml")


def test_digest_follows_the_contents_of_files(write, tmp_path):
    text = GOOD.replace("smiles: [CCO, NO]", "file: some.smi")
    (tmp_path / "some.smi").write_text("C\n# no molecule\n\nCC ethane\nC again\n")
    plan = load_plan(write("a.yaml", text))
    assert [task.payload["smiles"] for task in tasks(plan)] == ["C", "CC"]
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "some.smi").write_text((tmp_path / "some.smi").read_text())
    moved = load_plan(write("moved/a.yaml", text))
    assert plan.digest == moved.digest
    (tmp_path / "some.smi").write_text("C\nCCC\n")
    assert load_plan(write("a.yaml", text)).digest != moved.digest


def test_a_plan_comes_back_from_its_dump(write, tmp_path):
    (tmp_path / "some.smi").write_text("C\n")
    plan = load_plan(write("a.yaml", GOOD.replace("smiles: [CCO, NO]", "file: some.smi")))
    dumped = plan.model_dump(mode="json")
    assert restore_plan(dumped, plan.source).digest == plan.digest
    (tmp_path / "some.smi").unlink()
    with pytest.raises(PlanError, match=r"no file .*some\.smi"):
        restore_plan(dumped, plan.source)


def test_packaged_plans_load_and_say_what_they_make():
    plans = {plan.name: plan for plan in packaged_plans()}
    assert plans["quickstart"].expected == 1000
    assert all(plan.description for plan in plans.values())
    for name in plans:
        assert load_plan(name).name == name
        assert load_plan(name).source == f"packaged:{name}"
