"""Fetching weights from a real server on this machine, and refusing wrong ones."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mlffdb.config import Settings
from mlffdb.errors import TeacherError
from mlffdb.teachers import download
from mlffdb.teachers.weights import Weights, find_weights, obtain_weights, sha256_of

CONTENT = b"weights" * 40_000
CUT = 2 * download.CHUNK  # bytes, of which nothing is lost when the connection breaks
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves files with ETag and ranges, and breaks off after ``server.limit`` bytes of each."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.requests += 1
        path = self.server.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        mark = f'"{hashlib.sha256(content).hexdigest()}"'
        start = self.first_byte(mark, len(content))
        self.server.starts.append(start)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if self.server.marks:
            self.send_header("ETag", mark)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(content[start:][: self.server.limit])
        self.close_connection = True

    def first_byte(self, mark, size):
        """Return where the client asks to go on, if it means this version of the file."""
        asked = self.headers.get("Range", "")
        if not asked or self.headers.get("If-Range") != mark or not self.server.marks:
            return 0
        return min(int(asked.removeprefix("bytes=").partition("-")[0]), size)


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "upstream"
    folder.mkdir()
    (folder / "model.bin").write_bytes(CONTENT)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.folder, running.requests, running.starts = folder, 0, []
        running.limit, running.marks = None, True
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def settings(tmp_path):
    return Settings(data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")


def published(server, sha256):
    url = f"http://127.0.0.1:{server.server_port}/model.bin"
    return Weights("model.bin", url, sha256, "MIT")


@pytest.mark.parametrize("pinned", [DIGEST, None])
def test_fetched_once(server, settings, pinned):
    weights = published(server, pinned)
    assert find_weights("model.bin", settings) is None
    path, digest = obtain_weights(weights, settings)
    assert (path.read_bytes(), digest) == (CONTENT, DIGEST)
    assert obtain_weights(weights, settings) == (path, digest)
    assert server.requests == 1


def test_a_download_that_is_not_the_pinned_file(server, settings):
    with pytest.raises(TeacherError, match="cannot fetch"):
        obtain_weights(published(server, "0" * 64), settings)
    assert find_weights("model.bin", settings) is None


def test_a_file_that_changed_in_the_cache(server, settings):
    for pinned in (DIGEST, None):
        weights = published(server, pinned)
        path, _ = obtain_weights(weights, settings)
        path.write_bytes(CONTENT + b"!")
        with pytest.raises(TeacherError, match=r"is not model\.bin as published"):
            obtain_weights(weights, settings)
        path.unlink()


def test_the_folder_of_the_user_comes_first(server, settings, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "model.bin").write_bytes(b"other")
    there = Settings(cache_dir=settings.cache_dir, weights_dir=own)
    path, digest = obtain_weights(published(server, None), there)
    assert (path, digest) == (own / "model.bin", sha256_of(own / "model.bin"))
    with pytest.raises(TeacherError, match="is not model"):
        obtain_weights(published(server, DIGEST), there)
    assert server.requests == 0


def test_without_network_the_message_says_where_to_put_the_file(settings):
    weights = Weights("model.bin", "http://127.0.0.1:9/model.bin", None, "MIT")
    with pytest.raises(TeacherError) as caught:
        obtain_weights(weights, settings)
    message = str(caught.value)
    assert "\n" not in message
    assert "http://127.0.0.1:9/model.bin" in message
    assert str(settings.cache_dir / "weights" / "model.bin") in message
    assert "MLFFDB_WEIGHTS_DIR" in message


def test_a_missing_file_upstream(server, settings):
    (server.folder / "model.bin").unlink()
    with pytest.raises(TeacherError, match=r"cannot fetch .*404"):
        obtain_weights(published(server, None), settings)


def test_a_broken_download_goes_on_where_it_ended(server, settings):
    server.limit = CUT
    path, digest = obtain_weights(published(server, DIGEST), settings)
    assert (path.read_bytes(), digest) == (CONTENT, DIGEST)
    assert server.starts == [0, CUT, 2 * CUT]


def test_a_later_process_goes_on_too(server, settings):
    """The first one gets something and is cut off for good."""
    server.limit = CUT
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "BREAKS", 0)
        with pytest.raises(TeacherError, match="cannot fetch"):
            obtain_weights(published(server, None), settings)
    assert find_weights("model.bin", settings) is None
    server.limit = None
    path, _ = obtain_weights(published(server, None), settings)
    assert path.read_bytes() == CONTENT
    assert server.starts == [0, CUT]
    assert sorted(file.name for file in path.parent.iterdir() if file.suffix != ".lock") == [
        "model.bin",
        "model.bin.sha256",
    ]


@pytest.mark.parametrize("marks", [True, False])
def test_parts_of_two_versions_are_never_joined(server, settings, marks):
    """The file changes between two attempts, or the server cannot tell whether it did."""
    server.limit, server.marks = CUT, marks
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "BREAKS", 0)
        with pytest.raises(TeacherError):
            obtain_weights(published(server, None), settings)
    later = CONTENT[::-1]
    (server.folder / "model.bin").write_bytes(later)
    server.limit = None
    path, _ = obtain_weights(published(server, None), settings)
    assert path.read_bytes() == later
    assert server.starts == [0, 0]


def test_a_truncated_download_is_no_file(server, settings):
    """Of a server that always ends early and cannot go on nothing is taken."""
    server.limit, server.marks = CUT, False
    with pytest.raises(TeacherError, match="cannot fetch"):
        obtain_weights(published(server, None), settings)
    assert find_weights("model.bin", settings) is None


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html>sign in</html>",
        b"version https://git-lfs.github.com/spec/v1\noid 1\n",
    ],
)
def test_a_page_or_a_pointer_is_no_file_of_weights(server, settings, content):
    (server.folder / "model.bin").write_bytes(content)
    with pytest.raises(TeacherError, match="sent a page or a pointer, not the file"):
        obtain_weights(published(server, None), settings)
    assert find_weights("model.bin", settings) is None


def test_restricted_licences_are_said_before_fetching(server, settings, caplog):
    weights = dataclasses.replace(published(server, DIGEST), terms="academic use only")
    obtain_weights(weights, settings)
    [record] = [record for record in caplog.records if "academic use only" in record.message]
    assert record.levelname == "WARNING"
    caplog.clear()
    obtain_weights(weights, settings)
    assert not caplog.records


def test_two_at_once_fetch_once(server, settings):
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: obtain_weights(published(server, DIGEST), settings), "ab"))
    assert both[0] == both[1]
    assert server.requests == 1
