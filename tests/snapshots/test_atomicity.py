"""An export killed or failing at any moment leaves all of a version, or nothing."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import h5py
import pytest
from sqlalchemy import text

from mlffdb.errors import ExportError
from mlffdb.snapshots import files, manifest
from mlffdb.snapshots.export import export_snapshot, rewrite_snapshot
from tests.snapshots import filling, killed_export

SCRIPT = Path(__file__).with_name("killed_export.py")


def export(db, out):
    return export_snapshot(db, "set", out=out, teacher="emt", run_id=filling.new_run(db))


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def statuses(db):
    with db.begin() as connection:
        return list(connection.scalars(text("SELECT status FROM snapshot ORDER BY version")))


@contextmanager
def exporting(out, step):
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), str(out), step],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[2])},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", f"ended with {process.wait(60)}"
        yield process


def check_recovery(db, out, tmp_path):
    """The folder is whole or absent; the next export ends with one published, right version."""
    target = out / "set" / "v1"
    if target.exists():
        content = manifest.read(target)
        assert content is not None
        assert manifest.is_complete(target, content["root_hash"], thorough=True)
    report = export(db, out)
    assert report.version == 1
    assert statuses(db) == ["published"]
    assert [path.name for path in (out / "set").iterdir()] == ["v1"]
    again = rewrite_snapshot(db, "set", 1, out=tmp_path / "elsewhere")
    assert contents(again.path) == contents(report.path)


@pytest.mark.parametrize("step", killed_export.STEPS)
def test_sigkill_at_each_step(db, tmp_path, step):
    filling.fill(db, filling.candidates(2))
    out = tmp_path / "out"
    with exporting(out, step) as process:
        assert process.wait(60) == -signal.SIGKILL
    is_there = (out / "set" / "v1").exists()
    assert is_there == (step in ("after the move", "after publishing"))
    assert statuses(db) == ["published" if step == "after publishing" else "building"]
    check_recovery(db, out, tmp_path)


def test_sigkill_at_random_moments(db, tmp_path):
    filling.fill(db, filling.candidates(2))
    out = tmp_path / "out"
    rng = random.Random(0)
    for _ in range(3):
        with exporting(out, "never") as process:
            time.sleep(rng.uniform(0, 0.3))
            process.kill()
    check_recovery(db, out, tmp_path)


def test_a_version_left_between_move_and_publication_is_finished(db, tmp_path):
    filling.fill(db, filling.candidates(2))
    out = tmp_path / "out"
    with exporting(out, "after the move") as process:
        assert process.wait(60) == -signal.SIGKILL
    before = contents(out / "set" / "v1")
    filling.fill(db, filling.family("C6H6", 3))  # what would be exported now is something else
    report = export(db, out)
    assert report.version == 2
    assert statuses(db) == ["published", "published"]
    assert contents(out / "set" / "v1") == before


@contextmanager
def file_size_limit(size):
    """Let no file grow beyond *size* bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def check_refusal(db, out, message):
    with pytest.raises(ExportError, match=message) as error:
        export(db, out)
    assert "\n" not in str(error.value)
    assert statuses(db) == []
    assert not (out / "set").exists()


@pytest.mark.parametrize("size", [100, 3000, 9000])
def test_a_file_that_cannot_grow_is_one_clear_line(db, tmp_path, size):
    filling.fill(db, filling.candidates(2))
    with file_size_limit(size):
        check_refusal(db, tmp_path, "cannot write .*nothing was published")
    assert export(db, tmp_path).created


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
@pytest.mark.parametrize("size", ["16k", "32k"])
def test_a_full_disk_is_one_clear_line(db, tmp_path, size, monkeypatch):
    filling.fill(db, filling.candidates(2))
    disk = Path(tempfile.mkdtemp(prefix="mlffdb-disk-"))  # pytest could not remove a mount point
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        disk.rmdir()
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        check_refusal(db, disk, "MB free; nothing was published")
        # and where the free space is not known before, or goes away meanwhile
        monkeypatch.setattr(files, "_check_space", lambda *_: None)
        check_refusal(db, disk, "No space left on device; nothing was published")
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
        disk.rmdir()
    assert export(db, tmp_path).created


def test_a_disk_that_gives_other_bytes_back_is_noticed(db, tmp_path, monkeypatch):
    filling.fill(db, filling.candidates(2))

    def spoil(path):
        with h5py.File(path, "r+") as file:
            file["labels/energy"][0] += 1e-12
        return read_back(path)

    read_back = files.read_back
    monkeypatch.setattr(files, "read_back", spoil)
    check_refusal(db, tmp_path, "does not read back as it was written")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights_is_one_clear_line(db, tmp_path):
    filling.fill(db, filling.candidates(2))
    tmp_path.chmod(0o500)
    with pytest.raises(ExportError, match="Permission denied"):
        export(db, tmp_path / "out")
    tmp_path.chmod(0o700)
