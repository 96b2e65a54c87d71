"""A TCP proxy before a server's socket, whose connections can be cut or frozen: a bad network."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

CHUNK = 1 << 16


class Proxy:
    """Passes bytes between 127.0.0.1:*port* and a Unix socket until it is closed."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._peers: dict[socket.socket, socket.socket] = {}
        self._lock = threading.Lock()
        self._frozen = threading.Event()
        self._closing = False
        threading.Thread(target=self._run, daemon=True).start()

    def cut(self) -> int:
        """End all connections, as a firewall that restarts does; returns how many."""
        with self._lock:
            ends = list(self._peers)
            for end in ends:
                self._drop(end)
        return len(ends) // 2

    def freeze(self, seconds: float) -> None:
        """Pass nothing on for *seconds*, and tell nobody, as a broken cable does."""
        self._frozen.set()
        time.sleep(seconds)
        self._frozen.clear()

    def close(self) -> None:
        """End all connections and take no more."""
        self._closing = True
        self.cut()
        self._listener.close()

    def _run(self) -> None:
        while not self._closing:
            if self._frozen.is_set():
                time.sleep(0.05)
                continue
            with suppress(OSError, ValueError):
                for key, _ in self._selector.select(0.2):
                    self._serve(key.fileobj)  # type: ignore[arg-type]

    def _serve(self, end: socket.socket) -> None:
        if end is self._listener:
            self._accept()
            return
        with self._lock:
            peer = self._peers.get(end)
            if peer is None:
                return
            try:
                data = end.recv(CHUNK)
                if data:
                    peer.sendall(data)
                    return
            except OSError:
                pass
            self._drop(end)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(self.target)
        except OSError:
            client.close()  # the server is away
            server.close()
            return
        with self._lock:
            for one, other in ((client, server), (server, client)):
                self._peers[one] = other
                self._selector.register(one, selectors.EVENT_READ)

    def _drop(self, end: socket.socket) -> None:
        peer = self._peers.pop(end, None)
        for one in filter(None, (end, peer)):
            self._peers.pop(one, None)
            with suppress(KeyError, ValueError):
                self._selector.unregister(one)
            one.close()
