"""The simulated API over real HTTP on loopback."""

from __future__ import annotations

import io
import socket
import struct
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tap_sequence.simulator.api import BASE_PATH, VERSION, ReceivedRequest, SimulatedApi
from tap_sequence.simulator.faults import Response, error_response
from tap_sequence.simulator.options import Options
from tap_sequence.simulator.store import LogStore


class Simulator:
    """An HTTP server on 127.0.0.1 in front of a simulated account.

    Use it as a context manager, or call `start` and `stop`.

    Args:
        api: The account, or options for a new one.
        port: Port to listen on; 0 chooses a free one.
    """

    def __init__(self, api: SimulatedApi | Options | None = None, *, port: int = 0) -> None:
        self.api = api if isinstance(api, SimulatedApi) else SimulatedApi(api)
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.api = self.api
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def start(self) -> None:
        """Start serving, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving, close all connections, and close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._server.close_connections()
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        """Base URL of the API, for the tap's setting `api_url`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{BASE_PATH}"

    @property
    def store(self) -> LogStore:
        """The account's logs."""
        return self.api.store

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The requests received so far."""
        return self.api.requests


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    api: SimulatedApi

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections: set[Any] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """Close the connections that clients keep open: their threads would continue to respond."""
        for connection in self._connections.copy():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect: tests and users do it all the time."""


def _drip(file: io.BufferedIOBase, data: bytes, seconds: float) -> None:
    """Write one byte at a time, with a pause after each."""
    for byte in data:
        file.write(bytes([byte]))
        time.sleep(seconds)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "SequenceSimulator"
    sys_version = ""
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:  # http.server looks for this name
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._send(self.server.api.respond(parts.path, query, headers))

    def _refuse(self) -> None:
        # An unread body would be parsed as the connection's next request.
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {"Sequence-Version": VERSION, "Allow": "GET"}
        self._send(
            error_response(HTTPStatus.METHOD_NOT_ALLOWED, "MethodNotAllowed", "Only GET is served", **headers)
        )

    do_POST = do_PUT = do_PATCH = do_DELETE = _refuse

    def _send(self, response: Response) -> None:
        if response.delay:
            time.sleep(response.delay)
        if response.reset:
            # Linger of zero seconds: closing sends RST.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if response.cut_at != 0:
            self.send_response_only(response.status)
            headers = {"Server": self.version_string(), "Date": self.date_time_string(), **response.headers}
            for name, value in headers.items():
                if value:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(response.body)))
            head, body = self._head(), response.body[: response.cut_at]
            if response.drip_head:
                _drip(self.wfile, head, response.drip_head)
                head = b""
            if response.drip:
                self.wfile.write(head)
                _drip(self.wfile, body, response.drip)
            else:
                # One segment for head and body.
                self.wfile.write(head + body)
        if response.cut_at is not None:
            self.close_connection = True
            if not response.reset:
                return
            self.connection.close()

    def _head(self) -> bytes:
        """Return the status line and headers that http.server has buffered."""
        file, self.wfile = self.wfile, io.BytesIO()
        self.end_headers()
        head, self.wfile = self.wfile.getvalue(), file
        return head

    def log_message(self, *_: Any) -> None:
        """Write nothing: standard error is the tap's."""
