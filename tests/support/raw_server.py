"""Servers for tests of bytes: one that responds with given bytes, and receivers of log records."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Respond = Callable[[dict[str, str]], bytes]
"""Makes the bytes of a response from the headers of a request, in lower case."""


def response(status: int, body: bytes, *headers: str) -> bytes:
    """Return a response that ends its connection."""
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*head, "\r\n"]).encode() + body


@contextmanager
def answering(respond: Respond) -> Iterator[str]:
    """Answer each request with what `respond` makes; yield the base URL."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            headers = {}
            while (line := self.rfile.readline().decode("latin-1").strip()) != "":
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            self.wfile.write(respond(headers))

    with _serving(socketserver.ThreadingTCPServer, Handler) as address:
        yield f"http://127.0.0.1:{address[1]}/api"


@contextmanager
def collecting(kind: type[socketserver.BaseServer], got: bytearray, reply: bytes = b"") -> Iterator[int]:
    """Keep all bytes that arrive at a port; yield the port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if isinstance(self.request, tuple):
                got.extend(self.request[0])
                return
            self.request.settimeout(10)
            while data := self.request.recv(2**16):
                got.extend(data)
                if reply:
                    self.request.sendall(reply)
                    break

    with _serving(kind, Handler) as address:
        yield address[1]


@contextmanager
def _serving(kind: type[Any], handler: type[socketserver.BaseRequestHandler]) -> Iterator[tuple[str, int]]:
    class Server(kind):  # type: ignore[misc]  # of whichever kind is asked for
        daemon_threads = True
        block_on_close = False
        request_queue_size = 64

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Clients hang up."""

    with Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server.server_address
        server.shutdown()
        thread.join()
