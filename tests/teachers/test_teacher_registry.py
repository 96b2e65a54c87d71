"""Names, readiness, loading, plug-ins, devices and backends."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from mlffdb.config import Settings
from mlffdb.errors import TeacherError
from mlffdb.teachers import catalogue, registry
from mlffdb.teachers.device import claim_backend, parse_device
from mlffdb.teachers.registry import Entry, Readiness, TeacherInfo
from tests.teachers.analytic import PairTeacher

pair_entry = Entry(
    TeacherInfo("pair", "pairs", "none"),
    lambda settings: Readiness(True),
    lambda device, settings: PairTeacher(),
)


def broken_entry():
    raise RuntimeError("half installed")


@pytest.fixture
def plugins(monkeypatch):
    points = [
        EntryPoint("pair", "tests.teachers.test_teacher_registry:pair_entry", registry.GROUP),
        EntryPoint("broken", "tests.teachers.test_teacher_registry:broken_entry", registry.GROUP),
        EntryPoint("gone", "no_such_module:entry", registry.GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)


def test_the_teachers_of_this_version():
    names = registry.names()
    assert {"gfn2-xtb", "gfn1-xtb", "orb-v2", "ani1x", "ani1ccx", "ani2x"} <= set(names)
    assert sum(name.startswith("fennol:ani") for name in names) == 24
    assert {"fennol:fennix-bio1S", "fennol:mace_off_small", "fennol:mace_mp_large"} <= set(names)


def test_every_teacher_is_described_without_loading_it(settings):
    for name in registry.names():
        info = registry.describe(name)
        assert info.name == name
        assert info.description
        assert info.licence
        assert info.capabilities is not None
        state = registry.readiness(name, settings)
        assert state.ready or (state.reason and state.remedy)


def test_listing_imports_no_backend():
    code = (
        "import sys\n"
        "from mlffdb.config import Settings\n"
        "from mlffdb.teachers.registry import describe, names, readiness\n"
        "for name in names(): describe(name); readiness(name, Settings())\n"
        "heavy = {'torch', 'jax', 'fennol', 'orb_models', 'tblite'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_suggests_the_nearest(settings):
    with pytest.raises(TeacherError, match=r"unknown teacher 'gfn2xtb'; did you mean gfn2-xtb\?"):
        registry.load("gfn2xtb", settings=settings)
    with pytest.raises(TeacherError, match="`mlffdb teachers` lists all"):
        registry.describe("nothing like it")
    with pytest.raises(TeacherError, match="did you mean fennol:ani1x_model0"):
        registry.describe("fennol:ani1x_modle0")


@pytest.mark.parametrize("name", ["gfn2-xtb", "ani1x", "sevennet-0", "fennol:/some/where.fnx"])
def test_a_precision_that_cannot_be_chosen(settings, name):
    with pytest.raises(TeacherError, match=rf"{name} computes in one precision only, .*@float64;"):
        registry.load(f"{name}@float64", settings=settings)


def test_missing_weights_are_told_with_the_remedy(settings):
    state = registry.readiness("orb-v2", settings)
    assert not state.ready
    if "not installed" not in state.reason:
        assert "orb-v2-20241011.ckpt" in state.reason
        assert "MLFFDB_WEIGHTS_DIR" in state.remedy


def test_a_missing_package_is_told_with_its_extra(settings, monkeypatch):
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    state = registry.readiness("gfn2-xtb", settings)
    assert state == Readiness(False, "not installed: tblite", "pip install 'mlffdb[xtb]'")
    monkeypatch.setitem(sys.modules, "tblite.interface", None)
    with pytest.raises(TeacherError, match=re.escape("pip install 'mlffdb[xtb]'")):
        registry.load("gfn2-xtb", settings=settings)


def test_a_path_that_does_not_exist(settings):
    with pytest.raises(TeacherError, match=r"no such file: /nowhere/x\.fnx"):
        registry.load("fennol:/nowhere/x.fnx", settings=settings)


def test_a_file_of_ones_own(tiny_fnx, settings):
    teacher = registry.load(f"fennol:{tiny_fnx}", settings=settings)
    assert teacher.name == "fennol:tiny"
    assert teacher.device == "cpu"


def test_published_weights_by_name_and_by_path_are_one_teacher(ani_path, settings):
    found = Settings(cache_dir=settings.cache_dir, weights_dir=ani_path.parent)
    assert registry.readiness("fennol:ani1x_model0", found).ready
    by_name = registry.load("fennol:ani1x_model0", settings=found)
    by_path = registry.load(f"fennol:{ani_path}", settings=settings)
    assert by_name.identity.fingerprint == by_path.identity.fingerprint
    assert by_name.capabilities.licence == "MIT"
    assert registry.describe("fennol:ani1x_model0").capabilities == by_name.capabilities


def test_orb_by_name(orb_checkpoint, settings):
    found = Settings(cache_dir=settings.cache_dir, weights_dir=orb_checkpoint.parent)
    teacher = registry.load("orb-v2", settings=found)
    assert teacher.identity.untrained


def test_a_plugin_brings_a_teacher(plugins, settings):
    assert "pair" in registry.names()
    assert registry.describe("pair").description == "pairs"
    assert registry.load("pair", settings=settings).name == "pair"


@pytest.mark.parametrize("name", ["broken", "gone"])
def test_a_broken_plugin_is_told_and_stops_nothing_else(plugins, settings, name):
    state = registry.readiness(name, settings)
    assert not state.ready
    assert name in state.reason
    with pytest.raises(TeacherError, match=name):
        registry.load(name, settings=settings)
    assert registry.readiness("pair", settings).ready


@pytest.mark.parametrize(
    ("text", "parsed"), [("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:3", "cuda:3")]
)
def test_devices(text, parsed):
    assert str(parse_device(text)) == parsed


@pytest.mark.parametrize("text", ["gpu", "cuda:-1", "cuda:x", "", "mps"])
def test_unknown_devices(text):
    with pytest.raises(TeacherError, match="use cpu or cuda:N"):
        parse_device(text)


def test_torch_and_jax_never_share_a_process():
    claim_backend("torch", "float32")
    claim_backend("torch", "float32")
    with pytest.raises(TeacherError, match="needs a process of its own"):
        claim_backend("jax", "float32")
    with pytest.raises(TeacherError, match="needs a process of its own"):
        claim_backend("torch", "float64")


def test_the_second_backend_is_refused_on_loading(orb_checkpoint, tiny_fnx, settings):
    registry.load(f"fennol:{tiny_fnx}", settings=settings)
    found = Settings(cache_dir=settings.cache_dir, weights_dir=orb_checkpoint.parent)
    with pytest.raises(TeacherError, match="already runs a teacher on jax"):
        registry.load("orb-v2", settings=found)


def test_a_missing_libgomp_is_told_with_its_remedy(monkeypatch, settings):
    pytest.importorskip("tblite", reason="needs the extra xtb")
    monkeypatch.setattr(catalogue, "LIBGOMP", "libgomp-that-is-not-there.so.1")
    state = registry.readiness("gfn2-xtb", settings)
    assert not state.ready
    assert "apt-get install libgomp1" in state.remedy
    with pytest.raises(TeacherError, match="libgomp-that-is-not-there"):
        registry.load("gfn2-xtb", settings=settings)
