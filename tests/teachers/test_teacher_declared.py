"""ASE calculators that are declared as teachers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator, PropertyNotImplementedError
from ase.calculators.emt import EMT

from mlffdb.config import Settings, load_settings
from mlffdb.declarations import DeclaredTeacher, atomic_numbers_of
from mlffdb.errors import ConfigError, PlanError, TeacherError
from mlffdb.sampling import load_plan
from mlffdb.structures import Structure
from mlffdb.teachers import registry
from mlffdb.teachers.contract import built_in_structures, run_suite
from mlffdb.teachers.label import label

EMT_DECLARED = {
    "calculator": "ase.calculators.emt:EMT",
    "elements": ["Al", "Ni-Cu", "Pd-Ag", "Pt-Au"],
    "periodicity": [0, 3],
    "stress": True,
    "precision": "float64",
}
PLAN = """name: metals
teachers:
  my-emt:
    calculator: ase.calculators.emt:EMT
    elements: [Al, Cu, Au]
    periodicity: [0, 3]
    stress: true
    precision: float64
blocks:
  - name: a
    source: {type: prototypes, crystals: [{prototype: fcc, A: [Cu, Al]}], min_atoms: 4}
    methods: [{type: rattle, std: 0.05, count: 2}]
label: {teachers: [my-emt]}
export: {name: metals}
"""


class Electrons(Calculator):
    """Says which charge and multiplicity it was given, where each calculator may read them."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, weights: str | None = None, device: str = "cpu") -> None:
        super().__init__()
        self.weights = weights
        self.device = device

    def calculate(self, atoms=None, properties=None, system_changes=None):
        super().calculate(atoms, properties or [], system_changes or [])
        charge = atoms.info.get("q", 0) + atoms.get_initial_charges().sum()
        spin = atoms.info.get("s", 0) + atoms.get_initial_magnetic_moments().sum()
        energy = float(charge + 10 * spin)
        if (atoms.numbers == 9).any():
            energy = float("nan")
        if (atoms.numbers == 8).any() and len(atoms) == 1:
            raise PropertyNotImplementedError("energy of a lone oxygen")
        self.results = {"energy": energy, "forces": np.zeros((len(atoms), 3))}


def declared(name: str = "mine", **changes) -> Settings:
    found = {
        "calculator": f"{__name__}:Electrons", "elements": ["H-Ne"], **changes,
    }  # fmt: skip
    return Settings(teachers={name: DeclaredTeacher.model_validate(found)})


def load(**changes):
    return registry.load("mine", settings=declared(**changes))


def test_the_contract_holds_for_a_declared_calculator() -> None:
    settings = Settings(teachers={"my-emt": DeclaredTeacher.model_validate(EMT_DECLARED)})
    teacher = registry.load("my-emt", settings=settings)
    outcomes = run_suite(teacher, built_in_structures(teacher.capabilities))
    assert {one.check: one.status for one in outcomes} == dict.fromkeys(
        [one.check for one in outcomes], "passed"
    )


def test_numbers_are_those_of_ase_with_its_sign_of_stress() -> None:
    settings = Settings(teachers={"my-emt": DeclaredTeacher.model_validate(EMT_DECLARED)})
    teacher = registry.load("my-emt", settings=settings)
    atoms = bulk("Cu", a=3.9, cubic=True)  # stretched: tensile, so positive
    atoms.rattle(0.05, seed=1)
    [result] = label(teacher, [Structure.from_atoms(atoms)])
    atoms.calc = EMT()
    assert result.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
    assert np.allclose(result.forces, atoms.get_forces(), atol=1e-10)
    assert np.allclose(result.stress, atoms.get_stress(), atol=1e-12)
    assert result.stress[:3].min() > 0
    assert result.batch_size == 1


@pytest.mark.parametrize(
    ("charge", "multiplicity"), [("info.q", "info.s"), ("initial_charges", "initial_magmoms")]
)
def test_charge_and_multiplicity_go_where_the_calculator_reads_them(charge, multiplicity) -> None:
    teacher = load(charge=charge, multiplicity=multiplicity)
    oh = Structure([8, 1], [[0, 0, 0], [0, 0, 1]], charge=-2, multiplicity=2)
    [result] = label(teacher, [oh])
    spin = 2 if multiplicity == "info.s" else 1  # 2S+1, or unpaired electrons
    assert result.energy == pytest.approx(-2 + 10 * spin)
    assert (result.charge, result.multiplicity) == (-2, 2)


def test_what_is_not_declared_is_refused() -> None:
    water = [[0.0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]]
    structures = [
        Structure([8, 1, 1], water, charge=2),
        Structure([8, 1, 1], water, multiplicity=3),
        Structure([8, 1, 1], water, np.eye(3) * 9, (True,) * 3),
        Structure([16, 1, 1], water),
    ]
    codes = [failure.code for failure in label(load(), structures)]
    assert codes == ["charge", "multiplicity", "periodicity", "unsupported_element"]


def test_nan_and_missing_properties_fail_alone() -> None:
    apart = [[0, 0, 0], [0, 0, 1.0]]
    structures = [
        Structure([1, 1], apart),
        Structure([9, 1], apart),
        Structure([8], [[0, 0, 0]]),
        Structure([2], [[0, 0, 0]]),
    ]
    good, nan, missing, other = label(load(), structures)
    assert (good.energy, nan.code, missing.code) == (0.0, "not_finite_result", "missing_property")
    assert other.energy == 0.0


def test_the_fingerprint_follows_declaration_and_files(tmp_path: Path) -> None:
    def fingerprint(**changes) -> str:
        return load(**changes).identity.fingerprint

    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"one")
    first = fingerprint(arguments={"weights": str(weights)})
    moved = tmp_path / "elsewhere.bin"
    moved.write_bytes(b"one")
    assert fingerprint(arguments={"weights": str(moved)}) == first
    weights.write_bytes(b"two")
    others = [
        fingerprint(arguments={"weights": str(weights)}),
        fingerprint(),
        fingerprint(precision="float64"),
        fingerprint(charge="info.q"),
        fingerprint(packages=["numpy", "click"]),
    ]
    assert len({first, *others}) == 6
    listed = fingerprint(arguments={"weights": [str(weights), {"also": str(moved)}]})
    weights.write_bytes(b"three")
    assert fingerprint(arguments={"weights": [str(weights), {"also": str(moved)}]}) != listed
    assert load().identity.settings["source_sha256"]  # no package holds this file


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"calculator": "no_such_module:X"}, "no_such_module:X cannot be imported"),
        ({"calculator": "ase.calculators.emt:NoSuch"}, "has no 'NoSuch'"),
        ({"arguments": {"colour": 1}}, "cannot be made with {'colour': 1}: TypeError"),
        ({"packages": ["no-such-package"]}, "'no-such-package' is declared but not installed"),
    ],
)
def test_mistakes_are_one_line(changes, said) -> None:
    with pytest.raises(TeacherError) as caught:
        load(**changes)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_module_that_raises_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raising_module.py").write_text("raise RuntimeError('no driver\\nline two')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TeacherError, match=r"cannot be imported \(RuntimeError: no driver\); in"):
        load(calculator="raising_module:X")
    found = registry.readiness("mine", declared(calculator="raising_module.inner:X"))
    assert not found.ready
    assert found.reason.endswith("RuntimeError: no driver")


def test_precision_is_what_is_declared_and_stays_inside() -> None:
    """MACE's calculator, for one, sets torch's dtype for the process."""
    torch = pytest.importorskip("torch", reason="torch is not installed")

    class Leaking(Electrons):
        def __init__(self) -> None:
            super().__init__()
            torch.set_default_dtype(torch.float64)

        def calculate(self, *arguments, **keywords):
            super().calculate(*arguments, **keywords)
            self.results["energy"] = float(torch.finfo(torch.get_default_dtype()).bits)
            torch.set_float32_matmul_precision("high")

    globals()["Leaking"] = Leaking
    before = (torch.get_default_dtype(), torch.get_float32_matmul_precision())
    hydrogen = Structure([1, 1], [[0, 0, 0], [0, 0, 1.0]])
    for precision, bits in (("float64", 64), ("float32", 32)):
        [result] = label(load(calculator=f"{__name__}:Leaking", precision=precision), [hydrogen])
        assert result.energy == bits
        assert (torch.get_default_dtype(), torch.get_float32_matmul_precision()) == before


def test_a_device_goes_to_the_calculator_or_is_refused() -> None:
    with pytest.raises(TeacherError, match="device_argument"):
        registry.load("mine", device="cuda:0", settings=declared())
    found = registry.load("mine", device="cuda:1", settings=declared(device_argument="device"))
    assert (found.device, found._calculator.device) == ("cuda:1", "cuda:1")


def test_a_name_that_is_taken() -> None:
    with pytest.raises(TeacherError, match="choose another name"):
        registry.describe("mine2", declared("gfn2-xtb"))


def test_settings_reach_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    found = declared(arguments={"weights": "a b"}, energy_tolerance=1e-7)
    for name, value in found.variables().items():
        monkeypatch.setenv(name, value)
    assert load_settings().teachers == found.teachers


def test_a_table_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "mlffdb.toml").write_text(
        '[teachers.my-emt]\ncalculator = "ase.calculators.emt:EMT"\nelements = ["Cu"]\n'
    )
    assert "my-emt" in registry.names()
    assert registry.describe("my-emt").capabilities.elements == {29}
    (tmp_path / "mlffdb.toml").write_text('[teachers.my-emt]\ncalculator = "EMT"\n')
    with pytest.raises(ConfigError, match=r"mlffdb\.toml: teachers\.my-emt\.calculator: "):
        load_settings()


def test_mistakes_in_a_plan_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN.replace("stress: true", "sterss: true"))
    with pytest.raises(PlanError, match=r"line \d+: teachers\.my-emt\.sterss: .*sterss"):
        load_plan(path)
    path.write_text(PLAN.replace("[my-emt]", "[my-amt]"))
    with pytest.raises(PlanError, match=r"label\.teachers: unknown teacher 'my-amt'"):
        load_plan(path)


def test_elements_by_symbol_and_range() -> None:
    assert atomic_numbers_of(("H", "Li-B")) == {1, 3, 4, 5}
    for wrong in (("Xx",), ("B-Li",)):
        with pytest.raises(ValueError, match="element"):
            atomic_numbers_of(wrong)


def test_a_plan_runs_from_sampling_to_files_by_its_own_teacher(
    db, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.cli.running import done, done_json, refused

    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    report = done_json("run", str(path), "--workers", "1")
    assert report["label"][0]["progress"]["done"] == 6
    assert report["validate"]
    assert "agree" in done("audit", "--plan", str(path), "--fraction", "1")
    assert refused("label", "--teacher", "my-emt").startswith("unknown teacher 'my-emt'")
    assert "nothing to label" not in done("label", "--teacher", "my-emt", "--plan", str(path))
