"""Fetching weights from a real server on this machine, and refusing wrong ones."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading

import pytest

from mlffdb.config import Settings
from mlffdb.errors import TeacherError
from mlffdb.teachers.weights import Weights, find_weights, obtain_weights, sha256_of

CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.requests += 1
        super().do_GET()


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "upstream"
    folder.mkdir()
    (folder / "model.bin").write_bytes(CONTENT)
    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.requests = 0
        running.folder = folder
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
