"""Credentials are sent only to the validated address, whatever a setting or a redirect contains."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from urllib.parse import urlsplit

import pytest
import requests
import urllib3

from tap_sequence.api.addresses import canonical_url, is_loopback
from tap_sequence.api.client import SequenceClient
from tap_sequence.api.decoder import PageDecoder
from tap_sequence.api.headers import redirect_host
from tap_sequence.api.schemas import ACTIVITY_LOGS_SCHEMA
from tap_sequence.catalog import ACTIVITY_LOGS
from tap_sequence.errors import RequestError
from tap_sequence.settings import CONFIG_JSONSCHEMA, fill_defaults, settings_of
from tap_sequence.settings_checks import find_problems
from tap_sequence.simulator import DEMO_CREDENTIALS, Fault, Options, Simulator
from tap_sequence.sync.models import PageRequest, SortOrder
from tests.conftest import count
from tests.support.harness import config_for

Simulate = Callable[..., Simulator]
FIRST = PageRequest(SortOrder.ASCENDING, None, 1)
QUERY = {"limit": 100, "sortOrder": "ASC"}
SEED = 20261126

PARTS = (
    *(
        "https://",
        "http://",
        "HTTPS://",
        "https:",
        "//",
        "/",
        "///",
        "\\",
        "\\\\",
        "/\\",
        "https:/\\",
        "",
        "ftp://",
    ),
    *(
        "{here}",
        "{here}",
        "{there}",
        "{there}",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f.1",
        "[::1]",
        "[::ffff:7f00:1]",
    ),
    *(
        "@",
        "%40",
        "\\@",
        "@@",
        ":",
        ":80",
        ":443",
        ":0",
        ":99999",
        ":8o",
        "#",
        "?",
        "%23",
        "%3f",
        "%5c",
        "%2f",
        "%00",
    ),
    *(
        " ",
        "\t",
        "\r\n",
        "\n",
        "\0",
        "\x1b",
        "\x7f",
        "\u2028",
        "\u202e",
        "\xa0",
        "\xad",
        "\u200b",
        "\u3002",
        "\uff0f",
    ),
    *(
        "me",
        "me:pw",
        "a",
        ".",
        "..",
        "/../",
        "/./",
        ";",
        ",",
        "&",
        "=",
        "[",
        "]",
        "%",
        "%zz",
        "xn--",
        "\u00df",
        "\u2100",
    ),
    *(
        "\uff20",
        "\uff3c",
        "\uff1a",
        "\u24db",
        "e\u0301",
        "\U0001f4a9",
        "\ud800",
        "api",
        "/api",
        "/api/activity-logs",
    ),
)
BEGINNINGS = ("https://", "https://", "http://", "", "https://{here}", "https://{there}", "http://{here}")


def addresses(number: int, here: str, there: str, *, seed: int = SEED) -> Iterator[str]:
    """Yield texts that URL parsers may read differently."""
    random = Random(seed)
    for _ in range(number):
        text = random.choice(BEGINNINGS) + "".join(random.choices(PARTS, k=random.randint(1, 6)))
        yield text.replace("{here}", here).replace("{there}", there)


def problems_with(url: str) -> list[str]:
    config = {"api_url": url, "client_id": "an-id", "client_secret": "a-secret"}
    fill_defaults(config, CONFIG_JSONSCHEMA)
    return list(find_problems(config, CONFIG_JSONSCHEMA))


def client_of(base_url: str, simulator: Simulator) -> SequenceClient:
    config = config_for(simulator, retry_budget_seconds=0, request_timeout_seconds=5)
    fill_defaults(config, CONFIG_JSONSCHEMA)
    return SequenceClient(
        base_url=base_url,
        credentials=DEMO_CREDENTIALS,
        settings=settings_of(config),
        endpoint=ACTIVITY_LOGS,
        decoder=PageDecoder(ACTIVITY_LOGS_SCHEMA, logging.getLogger("tests")),
        logger=logging.getLogger("tests"),
    )


def origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port


def connected_to(url: str) -> tuple[str | None, str | None, int | None]:
    """Return scheme, host and port that requests and urllib3 would connect to."""
    prepared = requests.Request("GET", url + ACTIVITY_LOGS.path, params=QUERY).prepare()
    parts = urllib3.util.parse_url(str(prepared.url))
    return parts.scheme, (parts.host or "").strip("[]"), parts.port


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_canonical_url_of_200_000_addresses_is_what_requests_connects_to() -> None:
    accepted = 0
    for url in addresses(200_000, "eu.example.com", "evil.example"):
        with suppress(ValueError):
            canonical = canonical_url(url)
            accepted += 1
            assert connected_to(canonical) == origin(canonical), url
            assert canonical_url(canonical) == canonical
            assert canonical.isascii()
            assert canonical.startswith("https://") or is_loopback(urlsplit(canonical).hostname), url
            assert urlsplit(url).hostname == urlsplit(canonical).hostname or not url.isascii()
    count("addresses accepted as api_url, of 200,000", accepted)
    assert accepted > 2000


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_redirect_host_of_200_000_locations_is_a_clean_word() -> None:
    nowhere = "somewhere that is not a URL"
    named = set()
    for location in addresses(200_000, "eu.example.com", "evil.example", seed=SEED + 1):
        host = redirect_host("https://eu.example.com/api/activity-logs", location)
        named.add(host)
        assert host.isprintable(), location
        assert len(host) <= 200
        assert not set(host) & set("@/\\?#"), location
        assert "me:pw" not in host
    assert {nowhere, "eu.example.com", "evil.example"} <= named


def test_client_redirected_sends_credentials_nowhere_else(simulate: Simulate) -> None:
    """Over real sockets: one request to the API, and none to the other host."""
    api, other = simulate(1), simulate(1)
    here, there = (urlsplit(simulator.base_url).netloc for simulator in (api, other))
    client = client_of(api.base_url, api)
    chosen = [
        f"http://{there}\\@{here}/api/activity-logs",
        f"http://{here}\\@{there}/api/activity-logs",
        f"http://{there}/api/activity-logs",
        f"//{there}/api/activity-logs",
        f"http://{here}/api/activity-logs",
        *addresses(400, here, there),
    ]
    sent = 0
    for location in chosen:
        if "\r" in location or "\n" in location:
            continue  # would be two headers
        with suppress(UnicodeEncodeError):
            location.encode("latin-1")
            api.api.options = Options(faults=[Fault(1, None, "redirect", location)])
            api.api.forget_requests()
            with pytest.raises(RequestError, match=r"redirected to .*Check api_url"):
                client.fetch(FIRST)
            assert len(api.requests) == 1, location
            sent += 1
    assert sent > 100
    assert other.requests == []


def test_client_with_odd_api_url_connects_only_to_the_checked_host(simulate: Simulate) -> None:
    """Over real sockets: two hosts in one setting, and only the validated one receives requests."""
    first, second = simulate(1), simulate(1)
    by_port = {urlsplit(simulator.base_url).port: simulator for simulator in (first, second)}
    here, there = (urlsplit(simulator.base_url).netloc for simulator in (first, second))
    asked = 0
    for url in (
        first.base_url,
        first.base_url.replace("http", "HTTP") + "/",
        f"http://{there}\\@{here}/api",
        f"http://{here}#@{there}/api",
        *addresses(2000, here, there, seed=SEED + 2),
    ):
        # An empty one counts as not set.
        if not url or problems_with(url):
            continue
        canonical = canonical_url(url)
        for simulator in (first, second):
            simulator.api.forget_requests()
        expected = by_port.get(urlsplit(canonical).port)
        if expected is None:
            continue
        with suppress(RequestError):
            client_of(canonical, first).fetch(FIRST)
        other = second if expected is first else first
        assert other.requests == [], url
        asked += bool(expected.requests)
    assert asked >= 20


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (r"https://evil.example\@eu.sequencehq.com/api", "a backslash"),
        ("https://eu.sequencehq.com\\.evil.example", "a backslash"),
        ("https://eu.sequencehq.com\t.evil.example", "unprintable"),
        ("https://eu.sequencehq.com/api\n", "unprintable"),
        (" https://eu.sequencehq.com/api", "a space"),
        ("https://eu.sequencehq.com@evil.example/", "not contain credentials"),
        ("https://eu.sequencehq.com/@evil.example", "not contain credentials"),
        ("https://eu.sequencehq.com?", "not contain a query"),
        ("https://eu.sequencehq.com#", "not contain a query"),
        ("https://eu.sequencehq%2ecom", "valid host"),
        ("https://eu.sequencehq.com/\u202eipa", "unprintable"),
        ("http://127.1/api", "must start with https://"),
        ("http://2130706433/api", "must start with https://"),
        ("http://0x7f000001/api", "must start with https://"),
        ("http://localhost.evil.example/api", "must start with https://"),
    ],
)
def test_api_url_that_is_ambiguous_is_rejected(url: str, words: str) -> None:
    (problem,) = problems_with(url)
    assert problem.startswith("api_url ")
    assert words in problem
    assert problem.isprintable()


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("https://Api.Example.com/api/", "https://api.example.com/api"),
        ("HTTPS://api.example.com:443", "https://api.example.com:443"),
        ("https://api.example.com/a/../b", "https://api.example.com/b"),
        ("https://m\u00fcnchen.example/api", "https://xn--mnchen-3ya.example/api"),
        ("https://api.example.com/x%2fy", "https://api.example.com/x%2Fy"),
        ("http://[::1]:8080/api", "http://[::1]:8080/api"),
    ],
)
def test_canonical_url_has_one_spelling(url: str, canonical: str) -> None:
    assert problems_with(url) == []
    assert canonical_url(url) == canonical


@pytest.mark.parametrize("name", ["user_agent", "api_version"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", " ", "\0"])
def test_setting_sent_as_header_with_trailing_character_is_rejected(name: str, end: str) -> None:
    config = {"client_id": "an-id", "client_secret": "a-secret", name: "value" + end}
    fill_defaults(config, CONFIG_JSONSCHEMA)
    (problem,) = find_problems(config, CONFIG_JSONSCHEMA)
    assert name in problem
    assert "ASCII" in problem
