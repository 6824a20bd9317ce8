"""Servers that send HTTP byte by byte, valid or not, and proxies."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

Handler: TypeAlias = Callable[[socket.socket], None]

HEAD_END = b"\r\n\r\n"


class Server:
    """Handles each connection in a thread of its own, once its head was read.

    Attributes:
        port: Where it listens on 127.0.0.1.
        most_at_once: How many connections were open at the same time at most.
        connections: How many there were.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._lock = threading.Lock()
        self._open = 0
        self.port: int = self._listener.getsockname()[1]
        self.most_at_once = 0
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept nothing more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self.connections += 1
            self._open += 1
            self.most_at_once = max(self.most_at_once, self._open)
        with connection, contextlib.suppress(OSError):
            read_head(connection)
            self._handler(connection)
        with self._lock:
            self._open -= 1


@contextmanager
def serving(handler: Handler) -> Iterator[Server]:
    """Run a server meanwhile."""
    server = Server(handler)
    try:
        yield server
    finally:
        server.close()


def read_head(connection: socket.socket) -> bytes:
    """Return what comes up to the end of a request's head, or of the connection."""
    head = b""
    while HEAD_END not in head and (data := connection.recv(4096)):
        head += data
    return head


def wait_for_hang_up(connection: socket.socket) -> None:
    """Answer nothing, and return once the client has gone."""
    while connection.recv(4096):
        pass


def response(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """Return a response after which the connection stays open."""
    lines = [b"HTTP/1.1 " + status, b"Content-Type: application/json", *headers]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body])


def tunnel_to(port: int) -> Handler:
    """Return what makes a server an HTTP proxy that leads to one port of 127.0.0.1, whatever host is asked for."""

    def handle(connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", port)) as upstream:
            connection.sendall(b"HTTP/1.1 200 Connection established" + HEAD_END)
            threading.Thread(target=_pump, args=(connection, upstream), daemon=True).start()
            _pump(upstream, connection)

    return handle


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(4096):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


def over_tls(server: Any, certificate: Path, key: Path) -> None:
    """Let a socketserver speak TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)


def open_sockets() -> int:
    """Return how many sockets this process holds open."""
    links = []
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(str(path.readlink()))
    return sum(link.startswith("socket:") for link in links)
