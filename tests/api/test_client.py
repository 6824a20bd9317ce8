"""The HTTP client over real HTTP: timeouts, retries, and how it handles each response."""

from __future__ import annotations

import base64
import dataclasses
import email.utils
import logging
import shutil
import socket
import ssl
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tap_sequence.api.byte_budget import MAX_AHEAD_BYTES
from tap_sequence.api.client import SequenceClient
from tap_sequence.api.decoder import PageDecoder
from tap_sequence.api.envelope import describe
from tap_sequence.api.responses import ACTIONS, Action, Response, Shape, action_for
from tap_sequence.api.schemas import ACTIVITY_LOGS_SCHEMA
from tap_sequence.catalog import ACTIVITY_LOGS
from tap_sequence.errors import BadRequestError, PrefetchBudgetError, RecordError, RequestError
from tap_sequence.settings import CONFIG_JSONSCHEMA, fill_defaults, settings_of
from tap_sequence.simulator import DEMO_CREDENTIALS, Fault, Simulator, UnknownCursor
from tap_sequence.sync.models import PageRequest, SortOrder
from tap_sequence.sync.timestamps import MICROSECONDS
from tests.support.harness import config_for, run_here

Simulate = Callable[..., Simulator]

LOGGER = logging.getLogger("tests")
FIRST = PageRequest(SortOrder.ASCENDING, None, 1)
DAY = 86_400.0
BASIC = "Basic " + base64.b64encode(":".join(DEMO_CREDENTIALS).encode()).decode()


class Clock:
    """A clock that moves only when it is advanced."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def never(seconds: float) -> None:
    pytest.fail(f"waited for {seconds} seconds")


def client_for(simulator: Simulator, **given: Any) -> SequenceClient:
    """Return a client of a simulator; arguments that are not settings are passed to the client."""
    names = {"now", "monotonic", "sleep", "jitter"}
    base_url = given.pop("base_url", simulator.base_url)
    config = config_for(simulator, **{name: value for name, value in given.items() if name not in names})
    fill_defaults(config, CONFIG_JSONSCHEMA)
    return SequenceClient(
        base_url=base_url,
        credentials=DEMO_CREDENTIALS,
        settings=settings_of(config),
        endpoint=ACTIVITY_LOGS,
        decoder=PageDecoder(ACTIVITY_LOGS_SCHEMA, LOGGER),
        logger=LOGGER,
        **{name: given[name] for name in names & given.keys()},
    )


# asked_at


@pytest.mark.parametrize(
    ("own", "apis"), [(0, 0), (DAY, 0), (-DAY, 0), (0, 250), (0, DAY), (0, -DAY), (DAY, 250)]
)
def test_asked_at_with_two_clocks_is_by_the_earlier_one(simulate: Simulate, own: float, apis: float) -> None:
    """With a clock that is ahead, a log that becomes visible later would count as already read."""
    before = time.time()
    date = email.utils.formatdate(before + apis, usegmt=True)
    client = client_for(simulate(1, faults=[Fault.parse(f"1-=date:{date}")]), now=lambda: time.time() + own)
    asked_at = client.fetch(FIRST).asked_at / MICROSECONDS
    # Date is truncated to the second, and was made before the request.
    assert before + min(own, apis) - 1.5 <= asked_at <= time.time() + min(own, apis)


def test_asked_at_of_slow_response_is_when_it_was_requested(simulate: Simulate) -> None:
    client = client_for(simulate(1, latency=(1.2, 1.2)), now=lambda: time.time() + DAY)
    asked_at = time.time()
    assert asked_at - 1.5 <= client.fetch(FIRST).asked_at / MICROSECONDS <= asked_at


@pytest.mark.parametrize(
    "date", ["", "soon", "Sun, 06 Nov 99999 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 +9999"]
)
def test_asked_at_without_valid_date_header_is_by_own_clock(simulate: Simulate, date: str) -> None:
    client = client_for(simulate(1, faults=[Fault.parse(f"1-=date:{date}")]), now=lambda: 1000.5)
    assert client.fetch(FIRST).asked_at == 1000.5 * MICROSECONDS


def test_date_header_without_known_zone_is_utc(simulate: Simulate) -> None:
    fault = Fault.parse("1-=date:Sun, 06 Nov 1994 08:49:37 -0000")
    asked_at = client_for(simulate(1, faults=[fault])).fetch(FIRST).asked_at / MICROSECONDS
    assert 784_111_776 <= asked_at <= 784_111_777


# Retries


@pytest.mark.parametrize("fault", ["500", "429:1", "html", "reset"])
def test_optional_request_that_fails_is_not_retried(simulate: Simulate, fault: str) -> None:
    simulator = simulate(1, faults=[Fault.parse(f"1={fault}")])
    client = client_for(simulator)
    with pytest.raises(RequestError):
        client.fetch(dataclasses.replace(FIRST, is_optional=True))
    assert client.traffic.requests == 1
    assert client.fetch(FIRST).records


@pytest.mark.parametrize(
    "fault", ["500", "502", "503", "504", "520", "error:206:part", "html", "half-json", "list"]
)
def test_temporary_failure_is_retried_with_backoff(simulate: Simulate, fault: str) -> None:
    waits: list[float] = []
    client = client_for(
        simulate(1, faults=[Fault.parse(f"1-4={fault}")]),
        sleep=waits.append,
        jitter=lambda: 0.25,
        monotonic=lambda: 0.0,
    )
    assert client.fetch(FIRST).records
    assert waits == [0.75, 1.25, 2.25, 4.25]


@pytest.mark.parametrize("fault", ["reset", "reset-midway", "cut", "bad-gzip", "short-gzip", "no-pagination"])
def test_response_damaged_in_transit_is_retried(simulate: Simulate, fault: str) -> None:
    client = client_for(
        simulate(1, faults=[Fault.parse(f"1-2={fault}")]), sleep=lambda _: None, monotonic=lambda: 0.0
    )
    assert client.fetch(FIRST).records
    assert client.traffic.requests == 3


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("401", "refused the credentials"),
        ("403", "refused the credentials"),
        ("404", "status 404, SimulatedFault: simulated status 404"),
        ("405", "status 405"),
        ("408", "status 408"),
        ("304", "status 304"),
        ("redirect:http://[::1/x", "redirected to somewhere that is not a URL.*api_url"),
        ("redirect:mailto:me", "redirected to somewhere that is not a URL.*api_url"),
        ("redirect:https://me:pw@elsewhere.example/x?y=z", "redirected to elsewhere.example\\..*api_url"),
        (r"redirect:https://evil.example\@127.0.0.1/x", "redirected to evil.example\\..*api_url"),
        ("redirect://evil.example/", "redirected to evil.example\\."),
        ("redirect:http://127.0.0.1:1/", "redirected to 127.0.0.1\\..*Redirects are not followed"),
        ("redirect:/api/activity-logs", "redirected to 127.0.0.1\\."),
        ("redirect:", "redirected to 127.0.0.1\\."),
        ("huge:17", "more than 16 MiB.*page_size"),
    ],
)
def test_lasting_failure_fails_at_once_and_names_the_page(simulate: Simulate, fault: str, words: str) -> None:
    simulator = simulate(1, faults=[Fault.parse(f"1-={fault}")])
    with pytest.raises(RequestError, match=words) as error:
        client_for(simulator).fetch(FIRST)
    assert "page 1 (ASC from the start)" in str(error.value)
    assert "pw" not in str(error.value)
    assert len(simulator.requests) == 1


def test_unknown_cursor_raises_bad_request_error(simulate: Simulate) -> None:
    client = client_for(simulate(1))
    with pytest.raises(
        BadRequestError, match=r"after cursor nonsense.*BadRequest: after is not a valid cursor"
    ):
        client.fetch(PageRequest(SortOrder.ASCENDING, "nonsense", 3))


def test_version_warning_with_odd_version_stays_on_one_line(
    simulate: Simulate, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_for(
        simulate(1, faults=[Fault.parse("1=other-version:2\x85 ada@example.com " + "x" * 5000)])
    )
    client.fetch(FIRST)
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert line.startswith(
        "Requested API version 2024-07-30, but the API responded with version 2  <e-mail> xxx"
    )
    assert len(line) < 500


def test_actions_rows_are_all_reached_and_have_a_reason() -> None:
    reached = {
        next(row for row in ACTIONS if status in row.statuses and row.shape in {None, shape})
        for status in range(100, 600)
        for shape in Shape
    }
    assert reached == set(ACTIONS)
    assert all(row.reason for row in ACTIONS)
    assert action_for(999, Shape.PAGE) is Action.FAIL
    redirects = [
        status for status in range(100, 600) if action_for(status, Shape.PAGE) is Action.FAIL_REDIRECT
    ]
    assert redirects == [301, 302, 303, 307, 308]


# Waiting


def test_retry_after_in_seconds_or_as_date_is_honored(simulate: Simulate) -> None:
    waits: list[float] = []
    clock = Clock()

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        clock.advance(seconds)

    faults = [
        Fault.parse("1=429:7"),
        Fault.parse("2=503"),
        Fault.parse("3=429:date:30"),
        Fault.parse("4=429:0"),
    ]
    client = client_for(
        simulate(1, faults=faults),
        sleep=sleep,
        jitter=lambda: 0.0,
        # The clock is a day off: the API's clock decides about the date.
        now=lambda: time.time() - DAY,
        monotonic=clock,
    )
    assert client.fetch(FIRST).records
    assert waits[:2] == [7.0, 1.0]
    assert 29 <= waits[2] <= 31
    # A Retry-After of zero does not permit hammering.
    assert waits[3] == 4.0


def test_retry_after_beyond_the_budget_fails_at_once(simulate: Simulate) -> None:
    client = client_for(simulate(1, faults=[Fault.parse("1-=429:601")]), sleep=never)
    with pytest.raises(
        RequestError, match=r"1 attempt in .*asks to wait 601 s, .*retry_budget_seconds \(600\)"
    ):
        client.fetch(FIRST)
    # The next page does not wait for it either.
    with pytest.raises(RequestError, match=r"pause of all requests.*asks to wait 60[01] s"):
        client.fetch(FIRST)
    assert client.traffic.requests == 1


def test_retry_budget_used_up_fails_with_attempts_and_seconds(simulate: Simulate) -> None:
    clock = Clock()
    client = client_for(
        simulate(1, faults=[Fault.parse("1-=500")]), sleep=clock.advance, monotonic=clock, jitter=lambda: 0.0
    )
    with pytest.raises(
        RequestError, match=r"for page 1 .*status 500, SimulatedFault.*after 16 attempts in 543.5 s"
    ):
        client.fetch(FIRST)


def test_retry_after_of_one_request_pauses_all_requests(simulate: Simulate) -> None:
    simulator = simulate(1, faults=[Fault.parse("1=429:1")])
    client = client_for(simulator)
    began = time.monotonic()
    times: list[float] = []

    def fetch() -> None:
        client.fetch(FIRST)
        times.append(time.monotonic() - began)

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    threads[0].start()
    while not simulator.requests:
        time.sleep(0.01)
    time.sleep(0.1)
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(simulator.requests) == 5
    assert min(times) >= 1


def test_sequential_requests_share_one_connection(simulate: Simulate) -> None:
    client = client_for(simulate(1))
    for _ in range(50):
        client.fetch(FIRST)
    assert client._transport._idle.qsize() == 1


def test_client_shared_by_threads_reuses_connections(simulate: Simulate) -> None:
    simulator = simulate(300, latency=(0.0, 0.01))
    client = client_for(simulator)
    results: list[int] = []

    def fetch() -> None:
        results.extend(len(client.fetch(FIRST).records) for _ in range(20))

    threads = [threading.Thread(target=fetch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [100] * 160
    assert client.traffic.requests == len(simulator.requests) == 160
    assert client._transport._idle.qsize() <= 8


# Time and size


@pytest.mark.parametrize("fault", ["drip:0.05", "drip-head:0.05", "slow:30"])
def test_timeout_with_dripping_response_ends_the_attempt(simulate: Simulate, fault: str) -> None:
    client = client_for(simulate(5, faults=[Fault.parse(f"1={fault}")]), request_timeout_seconds=0.5)
    began = time.monotonic()
    assert client.fetch(FIRST).records
    assert 0.5 <= time.monotonic() - began < 4
    assert client.traffic.requests == 2


def test_body_that_decompresses_endlessly_is_cut_off(simulate: Simulate) -> None:
    client = client_for(simulate(1, faults=[Fault.parse("1=huge:400")]))
    tracemalloc.start()
    try:
        with pytest.raises(RequestError, match="more than 16 MiB"):
            client.fetch(FIRST)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert client.traffic.requests == 1
    # The body, and a copy of it.
    assert 16 * 2**20 < peak < 50 * 2**20


def test_body_just_below_the_limit_is_read(simulate: Simulate) -> None:
    assert client_for(simulate(5, faults=[Fault.parse("1=huge:15")])).fetch(FIRST).records


def test_error_with_long_body_is_classified_by_status(simulate: Simulate) -> None:
    client = client_for(simulate(1, faults=[Fault.parse("1=error:404:" + "x" * 2**21)]))
    with pytest.raises(RequestError, match=r"Sequence refused the request for page 1 .*: status 404\. Check"):
        client.fetch(FIRST)


def test_error_with_truncated_body_is_classified_by_status(simulate: Simulate) -> None:
    client = client_for(simulate(1, faults=[Fault.parse("1=401"), Fault.parse("1=cut")]))
    with pytest.raises(
        RequestError, match=r"refused the credentials in the request for page 1 .*: status 401\. Check"
    ):
        client.fetch(FIRST)


# Prefetching


AHEAD = dataclasses.replace(FIRST, number=None)


def test_prefetched_page_beyond_byte_budget_is_read_when_needed(simulate: Simulate) -> None:
    client = client_for(simulate(5, faults=[Fault.parse("1-=huge:13")]), sleep=never)
    for _ in range(3):
        with pytest.raises(PrefetchBudgetError):
            client.fetch(AHEAD)
    assert client.traffic.requests == 3
    # The budget is released.
    assert client.fetch(FIRST).records
    assert client._byte_budget._left == MAX_AHEAD_BYTES


def test_byte_budget_is_shared_and_released(simulate: Simulate) -> None:
    client = client_for(simulate(5, faults=[Fault.parse("1-=huge:5")]), max_in_flight_requests=16)
    outcomes: list[bool] = []
    ready = threading.Barrier(16)

    def fetch() -> None:
        ready.wait()
        try:
            outcomes.append(bool(client.fetch(AHEAD).records))
        except PrefetchBudgetError:
            outcomes.append(False)

    threads = [threading.Thread(target=fetch) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 16
    assert False in outcomes
    assert client._byte_budget._left == MAX_AHEAD_BYTES
    assert client.fetch(AHEAD).records


@pytest.mark.parametrize("size", [2, 5, 13])
def test_run_with_pages_beyond_byte_budget_emits_all_logs_once(simulate: Simulate, size: int) -> None:
    simulator = simulate(
        400, unknown_cursor=UnknownCursor.RIGHT_PAGE, faults=[Fault.parse(f"3-=huge:{size}")]
    )
    run = run_here(config_for(simulator, page_size=20, max_in_flight_requests=16))
    assert run.ids == simulator.store.ids()


# Logs


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("no-id", "it has no id"),
        ("null-created-at", "it has no createdAt"),
    ],
)
def test_invalid_log_fails_at_once_and_names_log_and_page(simulate: Simulate, fault: str, words: str) -> None:
    simulator = simulate(150, faults=[Fault.parse(f"2-={fault}")])
    client = client_for(simulator, page_size=10)
    cursor = client.fetch(FIRST).after
    with pytest.raises(RecordError, match=words) as error:
        client.fetch(PageRequest(SortOrder.ASCENDING, cursor, 2))
    named = "number 10 on page 2" if fault == "no-id" else simulator.store.ids()[19]
    assert named in str(error.value)
    assert f"page 2 (ASC after cursor {cursor})" in str(error.value)
    assert client.traffic.requests == 2


@pytest.mark.parametrize("fault", ["surrogate", "endless-number", "wrong-type", "deep"])
def test_log_that_differs_from_documentation_is_read(simulate: Simulate, fault: str) -> None:
    simulator = simulate(5, faults=[Fault.parse(f"1-={fault}")])
    page = client_for(simulator).fetch(FIRST)
    assert [log.id for log in page.records] == simulator.store.ids()


@pytest.mark.parametrize("content_type", ["text/html", "text/json", "application/vnd.api+json", "", "\xff"])
def test_page_with_any_content_type_is_recognized_by_its_body(simulate: Simulate, content_type: str) -> None:
    body = b'\xef\xbb\xbf{"items": [], "pagination": {"after": "c"}}\n'
    headers = {"Content-Type": content_type} if content_type else {}
    response = Response(200, headers, body, is_too_large=False, asked_at=0)
    page, shape, problem = client_for(simulate(1))._read(response, 1)
    assert page is not None
    assert (page.after, shape, problem) == ("c", Shape.PAGE, "")
    response = dataclasses.replace(response, body=b'{"data": []}')
    page, shape, problem = client_for(simulate(1))._read(response, 1)
    assert (page, shape) == (None, Shape.NO_PAGE)
    assert problem.startswith(
        f"status 200 with content type {content_type!r}, but the response is not a page"
    )


def test_page_with_too_many_values_is_too_large(simulate: Simulate) -> None:
    body = b'{"items": [' + b"[]," * 1_000_000 + b"[]]}"
    response = Response(200, {}, body, is_too_large=False, asked_at=0)
    page, shape, problem = client_for(simulate(1))._read(response, 1)
    assert (page, shape) == (None, Shape.TOO_LARGE)
    assert "JSON values" in problem


def test_page_without_pagination_is_the_last_one_after_three_attempts(simulate: Simulate) -> None:
    client = client_for(simulate(5, faults=[Fault.parse("1-=no-pagination")]))
    page = client.fetch(FIRST)
    assert (page.after, page.has_pagination, len(page.records), client.traffic.requests) == (
        None,
        False,
        5,
        3,
    )
    # A problem that passes is not the end of the list.
    client = client_for(simulate(5, faults=[Fault.parse("1-2=no-pagination")]), page_size=2)
    assert client.fetch(FIRST).after is not None


def test_error_with_odd_cursor_stays_on_one_line(simulate: Simulate) -> None:
    with pytest.raises(BadRequestError, match=r"page 2 \(ASC after cursor a b <e-mail>\)"):
        client_for(simulate(1)).fetch(PageRequest(SortOrder.ASCENDING, "a\nb ada@example.com", 2))


def test_error_with_deeply_nested_body_is_described_by_status() -> None:
    body = b'{"error":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert describe(Response(500, {}, body, is_too_large=False, asked_at=0)) == "status 500"


# Proxies, certificates and other environment


def test_netrc_does_not_replace_the_credentials(
    simulate: Simulate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    simulator = simulate(1)
    client = client_for(simulator)
    client._transport._trusts_environment = True
    monkeypatch.setenv("NO_PROXY", "*")
    assert client.fetch(FIRST).records
    assert simulator.requests[0].headers["authorization"] == BASIC


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("HTTPS_PROXY", "foo://me:pw@proxy.example", "HTTPS_PROXY"),
        ("HTTPS_PROXY", "http://[::1", "HTTPS_PROXY"),
        ("HTTPS_PROXY", "http://", "HTTPS_PROXY"),
        ("ALL_PROXY", "socks5://127.0.0.1:1", "ALL_PROXY"),
        ("REQUESTS_CA_BUNDLE", "/nowhere", "REQUESTS_CA_BUNDLE"),
        ("CURL_CA_BUNDLE", "/nowhere", "CURL_CA_BUNDLE"),
    ],
)
def test_invalid_environment_variable_fails_at_once_and_is_named(
    monkeypatch: pytest.MonkeyPatch, simulate: Simulate, variable: str, value: str, words: str
) -> None:
    for name in ("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv(variable, value)
    client = client_for(simulate(), base_url="https://sequence.invalid/api", sleep=never)
    with pytest.raises(RequestError, match=f"for page 1 .*Check .*{words}") as error:
        client.fetch(FIRST)
    assert "pw" not in str(error.value)


@pytest.mark.parametrize(
    ("base_url", "environment", "words"),
    [
        ("http://127.0.0.1:1/api", {}, "connection to 127.0.0.1 failed or was cut .Connection refused"),
        (
            "https://sequence.invalid/api",
            {"HTTPS_PROXY": "http://me:pw@127.0.0.1:1"},
            "the proxy .*Connection refused",
        ),
    ],
)
def test_failed_connection_is_retried(
    simulate: Simulate,
    monkeypatch: pytest.MonkeyPatch,
    base_url: str,
    environment: dict[str, str],
    words: str,
) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    clock = Clock()
    client = client_for(simulate(), base_url=base_url, sleep=clock.advance, monotonic=clock)
    with pytest.raises(RequestError, match=f"{words}.*Gave up after 1[0-9] attempts") as error:
        client.fetch(FIRST)
    assert "pw" not in str(error.value)


def test_unresolved_host_in_no_proxy_is_retried_without_proxy(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "sequence.invalid")
    clock = Clock()
    client = client_for(
        simulate(), base_url="https://sequence.invalid/api", sleep=clock.advance, monotonic=clock
    )
    words = "connection to sequence.invalid failed or was cut .Name or service not known.* Gave up after 1[0-9] attempts"
    with pytest.raises(RequestError, match=words):
        client.fetch(FIRST)


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Yield the base URL of a TLS server with a self-signed certificate, and the certificate's path."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("makes its certificate with openssl")
    folder = tmp_path_factory.mktemp("tls")
    command = f"{openssl} req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost"
    command += " -addext subjectAltName=DNS:localhost"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    simulator = Simulator()
    simulator.store.grow(5)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    simulator._server.socket = context.wrap_socket(simulator._server.socket, server_side=True)
    with simulator:
        yield simulator.base_url.replace("http://127.0.0.1", "https://localhost"), folder / "cert.pem"


def tls_client(simulator: Simulator, base_url: str) -> SequenceClient:
    client = client_for(simulator, base_url=base_url, sleep=never)
    # As for any host that is not loopback.
    client._transport._trusts_environment = True
    return client


def test_untrusted_certificate_fails_at_once(
    simulate: Simulate, self_signed: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(RequestError, match=r"certificate of localhost is not trusted.*REQUESTS_CA_BUNDLE"):
        tls_client(simulate(), self_signed[0]).fetch(FIRST)


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_private_authority_in_environment_is_trusted(
    simulate: Simulate, self_signed: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv(variable, str(self_signed[1]))
    assert tls_client(simulate(), self_signed[0]).fetch(FIRST).records


def test_bundle_without_certificates_fails_at_once(
    simulate: Simulate, self_signed: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(self_signed[1].with_name("key.pem")))
    with pytest.raises(RequestError, match=r"trusted certificates cannot be read.*REQUESTS_CA_BUNDLE"):
        tls_client(simulate(), self_signed[0]).fetch(FIRST)
