"""Each request has one deadline, whatever the server does, and releases its resources at the end."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from tap_sequence.api.client import SequenceClient
from tap_sequence.api.connections import MAX_INTERIM_RESPONSES, Deadline, DeadlineError
from tap_sequence.errors import RequestError
from tap_sequence.simulator import Simulator
from tests.api.test_client import FIRST, Clock, client_for, never, self_signed, tls_client
from tests.support.sockets import HEAD_END, open_sockets, response, serving, tunnel_to, wait_for_hang_up

__all__ = ["self_signed"]

Simulate = Callable[..., Simulator]

PAGE = msgspec.json.encode({"items": [], "pagination": {}})
CONTINUE = b"HTTP/1.1 100 Continue" + HEAD_END
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x.css>; rel=preload" + HEAD_END


@pytest.fixture
def client_of(simulate: Simulate) -> Callable[..., SequenceClient]:
    def build(port: int, **settings: object) -> SequenceClient:
        return client_for(simulate(), base_url=f"http://127.0.0.1:{port}/api", **settings)

    return build


def keep_sending(connection: socket.socket, piece: bytes) -> None:
    """Send a few bytes now and then until the client disconnects, and return at once then."""
    connection.settimeout(0.05)
    while True:
        connection.sendall(piece)
        with suppress(TimeoutError):
            if not connection.recv(1):
                return


def continue_slowly(connection: socket.socket) -> None:
    keep_sending(connection, CONTINUE)


def drip_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked" + HEAD_END)
    keep_sending(connection, b"1\r\n \r\n")


SLOW = {
    "silence": wait_for_hang_up,
    "100 Continue now and then": continue_slowly,
    "a dripping body": drip_body,
}


@pytest.mark.parametrize("behaviour", SLOW)
def test_timeout_leaves_no_thread_and_no_socket(
    client_of: Callable[..., SequenceClient], behaviour: str
) -> None:
    with serving(SLOW[behaviour]) as server:
        client = client_of(
            server.port,
            request_timeout_seconds=0.2,
            retry_budget_seconds=2.5,
            sleep=lambda _: None,
            jitter=lambda: 0.0,
        )
        threads, sockets = threading.active_count(), open_sockets()
        with pytest.raises(
            RequestError, match=r"no complete response within 0\.2 s .request_timeout_seconds"
        ):
            client.fetch(FIRST)
        attempts = client.traffic.requests
        assert attempts >= 3
        # Those of the server, one of each, last until it has noticed.
        deadline = time.monotonic() + 5
        # Fewer than before is fine: sockets of earlier tests may have been collected meanwhile.
        while threading.active_count() > threads or open_sockets() > sockets:
            assert time.monotonic() < deadline, (threading.active_count() - threads, open_sockets() - sockets)
            time.sleep(0.01)


def test_timeout_frees_its_slot_only_when_the_request_has_ended(
    client_of: Callable[..., SequenceClient],
) -> None:
    with serving(continue_slowly) as server:
        client = client_of(
            server.port,
            request_timeout_seconds=0.1,
            retry_budget_seconds=1,
            max_in_flight_requests=2,
            sleep=lambda _: None,
        )

        def fetch() -> None:
            with pytest.raises(RequestError):
                client.fetch(FIRST)

        threads = [threading.Thread(target=fetch) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.connections >= 6
        # A new connection may arrive before the server has noticed that another is closed.
        assert server.most_at_once <= 2 + 1


def test_request_starts_no_thread(client_of: Callable[..., SequenceClient]) -> None:
    seen: list[int] = []

    def handle(connection: socket.socket) -> None:
        seen.append(threading.active_count())
        connection.sendall(response(PAGE))

    with serving(handle) as server:
        client = client_of(server.port)
        before = threading.active_count()
        client.fetch(FIRST)
    # The additional thread is the server's.
    assert seen == [before + 1]


def test_endless_interim_responses_fail_at_once_without_cpu(
    client_of: Callable[..., SequenceClient],
) -> None:
    def handle(connection: socket.socket) -> None:
        while True:
            connection.sendall(CONTINUE * 100)

    with serving(handle) as server:
        client = client_of(server.port, request_timeout_seconds=30, retry_budget_seconds=0, sleep=never)
        began, worked = time.monotonic(), time.thread_time()
        with pytest.raises(
            RequestError, match=r"connection to 127\.0\.0\.1 failed or was cut .InterimResponses"
        ):
            client.fetch(FIRST)
        assert time.monotonic() - began < 5
        assert time.thread_time() - worked < 1


@pytest.mark.parametrize(
    "interim",
    [EARLY_HINTS, CONTINUE, EARLY_HINTS + CONTINUE + EARLY_HINTS, EARLY_HINTS * (MAX_INTERIM_RESPONSES - 1)],
)
def test_interim_responses_are_skipped(client_of: Callable[..., SequenceClient], interim: bytes) -> None:
    def handle(connection: socket.socket) -> None:
        connection.sendall(interim + response(PAGE))
        wait_for_hang_up(connection)

    with serving(handle) as server:
        client = client_of(server.port)
        assert client.fetch(FIRST).records == ()
        assert client.traffic.requests == 1


@pytest.mark.parametrize(
    "status", [b"101 Switching Protocols", b"199 What", b"204 No Content", b"600 Beyond"]
)
def test_unexpected_status_is_named_in_the_error(
    client_of: Callable[..., SequenceClient], status: bytes
) -> None:
    def handle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 " + status + b"\r\nConnection: close" + HEAD_END)

    with serving(handle) as server:
        client = client_of(server.port, retry_budget_seconds=0, sleep=never, request_timeout_seconds=1)
        with pytest.raises(RequestError) as error:
            client.fetch(FIRST)
        assert status.split()[0].decode() in str(error.value) or "was cut" in str(error.value)


def test_host_with_many_silent_addresses_has_one_deadline(
    client_of: Callable[..., SequenceClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A listener with a full queue accepts no connection.
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.settimeout(0)
            one.connect_ex(address)
        found = (socket.AF_INET, socket.SOCK_STREAM, 0, "", address)
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [found] * 10)
        client = client_of(address[1], request_timeout_seconds=0.3, retry_budget_seconds=0, sleep=never)
        began = time.monotonic()
        with pytest.raises(RequestError, match="no complete response within"):
            client.fetch(FIRST)
        assert time.monotonic() - began < 1.5
        for one in waiting:
            one.close()


# Proxies


@pytest.fixture
def through(simulate: Simulate, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], SequenceClient]:
    """Return a client that connects through a proxy, and fails the test if it waits for a retry."""

    def build(proxy: str) -> SequenceClient:
        for name in (
            "NO_PROXY",
            "no_proxy",
            "ALL_PROXY",
            "https_proxy",
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
        ):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        return client_for(simulate(), base_url="https://sequence.invalid/api", sleep=never)

    return build


def test_untrusted_certificate_through_proxy_fails_at_once(
    through: Callable[[str], SequenceClient], self_signed: tuple[str, Path]
) -> None:
    port = urlsplit(self_signed[0]).port
    assert port is not None
    with serving(tunnel_to(port)) as proxy, pytest.raises(RequestError) as error:
        through(f"http://127.0.0.1:{proxy.port}").fetch(FIRST)
    assert "certificate of sequence.invalid is not trusted" in str(error.value)
    assert "REQUESTS_CA_BUNDLE" in str(error.value)


def test_private_authority_through_proxy_is_trusted(
    simulate: Simulate, self_signed: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    base_url, certificate = self_signed
    port = urlsplit(base_url).port
    assert port is not None
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    # requests bypasses the proxy for loopback only if NO_PROXY names it.
    with serving(tunnel_to(port)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        assert tls_client(simulate(), base_url).fetch(FIRST).records
        assert proxy.connections == 1


def test_untrusted_certificate_of_proxy_fails_at_once(
    through: Callable[[str], SequenceClient], self_signed: tuple[str, Path]
) -> None:
    with pytest.raises(
        RequestError, match="certificate of the proxy in HTTPS_PROXY or ALL_PROXY is not trusted"
    ):
        through(self_signed[0].removesuffix("/api")).fetch(FIRST)


@pytest.mark.parametrize(
    "status", [b"407 Proxy Authentication Required", b"403 Forbidden", b"401 Unauthorized"]
)
def test_proxy_that_refuses_fails_at_once(through: Callable[[str], SequenceClient], status: bytes) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 " + status + HEAD_END)

    with serving(refuse) as proxy, pytest.raises(RequestError) as error:
        through(f"http://me:pw@127.0.0.1:{proxy.port}").fetch(FIRST)
    words = f"refused to connect to sequence.invalid (status {status[:3].decode()}). Gave up after 1 attempt"
    assert words in str(error.value)
    assert "Check the user and password" in str(error.value)
    assert "pw" not in str(error.value)


def test_proxy_that_fails_is_retried_and_its_status_named(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 503 Service Unavailable" + HEAD_END)

    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    clock = Clock()
    with serving(fail) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        client = client_for(
            simulate(), base_url="https://sequence.invalid/api", sleep=clock.advance, monotonic=clock
        )
        words = r"the proxy set in HTTPS_PROXY or ALL_PROXY failed .status 503.*Gave up after 1[0-9] attempts"
        with pytest.raises(RequestError, match=words):
            client.fetch(FIRST)


@pytest.mark.parametrize(
    "proxy",
    [
        *("http://u:p@", "http://:80", "http://u:p@:80", "http://", "http://[::1", "u:p@proxy.invalid:3128"),
        *("http://u:p@h:99999", "http://h h:9", "http://a..b:9", f"http://{'a' * 70}.b:9", "http://u:p@/x"),
    ],
)
def test_invalid_proxy_address_fails_at_once_and_names_the_variable(
    through: Callable[[str], SequenceClient], proxy: str
) -> None:
    with pytest.raises(RequestError, match="Check HTTPS_PROXY and ALL_PROXY") as error:
        through(proxy).fetch(FIRST)
    assert "u:p" not in str(error.value)


def test_deadline_that_has_passed_raises() -> None:
    clock = Clock()
    deadline = Deadline(2, clock)
    assert deadline.remaining() == 2
    clock.advance(1.5)
    assert deadline.remaining() == 0.5
    clock.advance(0.5)
    with pytest.raises(DeadlineError):
        deadline.remaining()
