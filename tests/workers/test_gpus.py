"""Which GPUs workers get. The listing is nvidia-smi's, by a script of that name."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlffdb.errors import TeacherError
from mlffdb_workers import campaign
from mlffdb_workers.gpus import Gpu, choose_gpus, find_gpus

LISTING = """GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaaaaaa-0000-0000-0000-000000000000)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbbbbbb-1111-1111-1111-111111111111)
  MIG 3g.40gb     Device  0: (UUID: MIG-cccccccc-2222-2222-2222-222222222222)
  MIG 3g.40gb     Device  1: (UUID: MIG-dddddddd-3333-3333-3333-333333333333)
GPU 2: NVIDIA H100 80GB HBM3 (UUID: GPU-eeeeeeee-4444-4444-4444-444444444444)
"""
A, E = "GPU-aaaaaaaa-0000-0000-0000-000000000000", "GPU-eeeeeeee-4444-4444-4444-444444444444"
C, D = "MIG-cccccccc-2222-2222-2222-222222222222", "MIG-dddddddd-3333-3333-3333-333333333333"


@pytest.fixture
def listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A nvidia-smi that lists three GPUs, of which one is divided."""
    script = tmp_path / "nvidia-smi"
    script.write_text(f"#!/bin/sh\n/bin/cat <<'END'\n{LISTING}END\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return script


def test_all_are_found_and_a_divided_one_counts_as_its_parts(listing: Path) -> None:
    expected = [Gpu(A, "cuda:0"), Gpu(C, f"cuda:{C}"), Gpu(D, f"cuda:{D}"), Gpu(E, "cuda:2")]
    assert find_gpus() == choose_gpus("all") == expected
    assert choose_gpus("0,3") == [expected[0], expected[3]]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("2,0", [Gpu("2", "cuda:2"), Gpu("0", "cuda:0")]),
        (E, [Gpu(E, "cuda:2")]),
        ("1,-1,0", [Gpu("1", "cuda:1")]),
        ("", []),
    ],
)
def test_what_a_batch_system_gave_is_respected(
    listing: Path, monkeypatch: pytest.MonkeyPatch, visible: str, expected: list[Gpu]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert find_gpus() == expected


def test_numbers_count_among_the_visible(listing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert choose_gpus("1") == [Gpu("7", "cuda:7")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4", "there is no GPU 4 here; there are 0 to 3"),
        ("0,0", "names a GPU twice"),
        ("first", "write all, or 0,1,3"),
    ],
)
def test_a_mistake_is_told(listing: Path, text: str, message: str) -> None:
    with pytest.raises(TeacherError, match=message):
        choose_gpus(text)


def test_no_gpu_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(TeacherError, match="nvidia-smi lists none"):
        choose_gpus("all")


def test_each_worker_sees_its_own_gpu_alone_and_labels_name_the_physical_one() -> None:
    specs = campaign._specs(("label",), "cuda:0", [Gpu(A, "cuda:0"), Gpu("7", "cuda:7")], 1)
    assert [spec.environment["CUDA_VISIBLE_DEVICES"] for spec in specs] == [A, "7"]
    for spec, name in zip(specs, ("cuda:0", "cuda:7"), strict=True):
        assert spec.arguments[-4:] == ("--device", "cuda:0", "--device-name", name)
    assert len(campaign._specs(("label",), "cuda:0", [Gpu(A, "cuda:0")], 3)) == 3


def test_a_list_that_is_none_is_told_where_there_is_no_gpu_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(TeacherError, match="write all, or 0,1,3"):
        choose_gpus("x")
