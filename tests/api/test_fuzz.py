"""Random bytes and random changes of valid pages never cause a traceback, a hang, or a wrong or lost record."""

from __future__ import annotations

import copy
import gzip
import json
import logging
import os
import socketserver
import sys
import threading
import time
import zlib
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tap_sequence.api.client import SequenceClient
from tap_sequence.api.decoder import PageDecoder
from tap_sequence.api.headers import parse_http_date
from tap_sequence.api.lenient_json import MAX_DEPTH, NonFinite, Value, read_json, to_plain, to_text
from tap_sequence.api.schemas import ACTIVITY_LOGS_SCHEMA
from tap_sequence.catalog import ACTIVITY_LOGS
from tap_sequence.errors import TapSequenceError
from tap_sequence.runtime.signals import StopSignals
from tap_sequence.simulator import Options, SimulatedApi
from tap_sequence.simulator.faults import Response
from tap_sequence.singer.tap import SequenceTap
from tap_sequence.sync.models import Page
from tap_sequence.sync.timestamps import parse_timestamp
from tap_sequence.text.redaction import clean
from tests.support.harness import Recorder, Run, command_arguments, parse_lines

LOGGER = logging.getLogger("tests.fuzz")
LOGGER.propagate = False
ENCODER = msgspec.json.Encoder(decimal_format="number")
LONGEST_MESSAGE = 2000
ADDRESS = "ada@example.com"
TIMES = int(os.environ.get("FUZZ_TIMES", "1"))
"""`FUZZ_TIMES=20 uv run pytest tests/api/test_fuzz.py` runs twenty times as many examples, different ones each time."""
VALIDATOR = Draft202012Validator(ACTIVITY_LOGS_SCHEMA)


def examples(number: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Try so many examples."""
    return settings(max_examples=number * TIMES, derandomize=TIMES == 1)


# What is drawn


class Dice:
    """Choices, made from drawn numbers, so that what fails can be made smaller."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = numbers
        self._next = 0

    def roll(self, sides: int) -> int:
        number = self._numbers[self._next % len(self._numbers)] + self._next // len(self._numbers)
        self._next += 1
        return number % max(1, sides)

    def pick(self, options: Sequence[Any]) -> Any:
        return options[self.roll(len(options))]


NUMBERS = st.lists(st.integers(0, 2**16), min_size=8, max_size=24)


@dataclass(frozen=True)
class Raw:
    """Raw JSON text, not necessarily valid."""

    text: bytes


@dataclass(frozen=True)
class Twice:
    """A value with a duplicate key, and the value of the first occurrence."""

    first: Any
    second: Any


JUNK: Sequence[Any] = (
    *(None, True, False, 0, -1, 7, 2**63, -(2**64), 1.5, "", "x", "null", [], {}, [[]], {"id": None}, [None]),
    *("a" * 5000, "\u202e\u0000\u2028\ufeff\U0001f9fe", ADDRESS, "0000-00-00T00:00:00Z"),
    *("2026-02-30T00:00:00Z", "2026-01-01", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+23:59"),
    *(Raw(b"NaN"), Raw(b"-Infinity"), Raw(b"1e400"), Raw(b"-0"), Raw(b"0.1e-999999"), Raw(b"00"), Raw(b"")),
    *(
        Raw(b"1e9999999999999999999"),
        Raw(b"9" * 5000),
        Raw(b"9" * 4300),
        Raw(b"9" * 5000 + b".5"),
        Raw(b"1.0"),
    ),
    *(
        Raw(rb'"\ud800"'),
        Raw(rb'"\udc00\ud800"'),
        Raw(rb'"\u0040"'),
        Raw(b'"\xff"'),
        Raw(b'"\t"'),
        Raw(b"'x'"),
    ),
    *(Raw(b"[" * depth + b"]" * depth) for depth in (100, 5_000, 100_000)),
    *(Raw(b'{"a":' * depth + b"1" + b"}" * depth) for depth in (100, 100_000)),
    *(Raw(b'"' + rb"\\" * 50_000 + b'"'), Raw(b"/**/1"), Raw(b"tru"), Raw(b'"\xed\xa0\x80"')),
)


def write(value: Any) -> bytes:
    """Write JSON, with raw text and duplicate keys."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, dict):
        pairs = []
        for key, inner in value.items():
            both = [inner.first, inner.second] if isinstance(inner, Twice) else [inner]
            pairs += [json.dumps(key).encode() + b":" + write(each) for each in both]
        return b"{" + b",".join(pairs) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(write, value)) + b"]"
    if isinstance(value, Twice):
        return write(value.second)
    return msgspec.json.encode(value)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place in a value: what holds it, and its key or index."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from places(inner)


def change_value(page: dict[str, Any], dice: Dice) -> None:
    """Change something, at any depth."""
    holder, key = dice.pick(list(places(page)))
    match dice.roll(7):
        case 0:
            del holder[key]
        case 1:
            holder[key] = dice.pick(JUNK)
        case 2:
            holder[key] = [holder[key]]
        case 3:
            other, other_key = dice.pick(list(places(page)))
            holder[key] = copy.deepcopy(other[other_key])
        case 4 if isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        case 4:
            holder[key] = Twice(dice.pick(JUNK), holder[key])
        case 5 if isinstance(holder, dict):
            holder[str(key) + dice.pick(["x", "\u0000", "é"])] = holder.pop(key)
        case 5:
            holder.reverse()
        case _ if isinstance(holder, dict):
            holder[dice.pick(["brandNew", "", "a@b.c", "x" * 3000, "\n"])] = dice.pick(JUNK)
        case _:
            holder.append(dice.pick(JUNK))


def change_bytes(body: bytes, dice: Dice) -> bytes:
    """Change a body below what JSON knows."""
    at = dice.roll(256) * (len(body) + 1) // 256 + dice.roll(50)
    byte = bytes([dice.roll(256)])
    text = body.decode(errors="replace")
    changed: list[bytes] = [
        *(body[:at], body[at:], body[at:] + body[:at], body + body),
        *(body[:at] + byte * number + body[at:] for number in (1, 2, 3)),
        *(body[:at] + body[at + number :] for number in (1, 2, 40)),
        *(body[:at] + byte + body[at + 1 :], bytes(dice.roll(256) for _ in range(dice.roll(60)))),
        text.encode(dice.pick(["utf-16", "utf-32", "latin-1", "utf-7", "utf-8-sig"]), errors="replace"),
        *(before + body for before in (b" \n", b"\0", b",")),
        *(body + after for after in (b" ", b"\0", b"}", b",", b"\n\n")),
    ]
    return changed[dice.roll(len(changed))]


def change_body(body: bytes, dice: Dice) -> bytes:
    page = json.loads(body)
    if dice.roll(4) and page.get("items") is not None:
        for _ in range(1 + dice.roll(3)):
            change_value(page, dice)
            if not (isinstance(page, dict) and list(places(page))):
                break
        body = write(page)
        return body if dice.roll(5) else change_bytes(body, dice)
    return change_bytes(body, dice)


# The meaning of a body, read independently of the tap


@dataclass(frozen=True)
class Reading:
    """The meaning of a body.

    Attributes:
        logs: The logs. Of one that does not fit the schema, the id alone.
        after: The next page's cursor.
        total: How many logs there are.
    """

    logs: list[dict[str, Any]]
    after: str | None
    total: int | None

    @property
    def ids(self) -> list[str]:
        return [log["id"] for log in self.logs]


def without_unknown(value: Any, schema: Mapping[str, Any]) -> Any:
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"].keys() - {"unmapped"}
        return {
            key: without_unknown(inner, schema["properties"][key])
            for key, inner in value.items()
            if key in known
        }
    if isinstance(value, list) and "items" in schema:
        return [without_unknown(inner, schema["items"]) for inner in value]
    return value


def read(body: bytes) -> Reading | None:
    """Return the meaning of a body; None if it is not a page, or has an invalid log."""
    try:
        body.decode()
        page = read_json(body).content
        assert isinstance(page, dict)
        items, pagination = page["items"].content, page["pagination"].content
        assert isinstance(items, list | None)
        assert isinstance(pagination, dict)
        after = pagination["after"] if "after" in pagination else read_json(b"null")
        assert after.content is False or isinstance(after.content, str | None)
        assert not isinstance(after.content, NonFinite)
        assert not after.is_oversized
        logs = [read_log(item) for item in items or ()]
    except (ValueError, LookupError, AssertionError):
        return None
    return Reading(
        logs, str(after.content) if after.content else None, read_total(pagination.get("totalResultSize"))
    )


def read_log(log: Value) -> dict[str, Any]:
    assert isinstance(log.content, dict)
    log_id, created_at = log.content["id"].content, log.content["createdAt"].content
    assert log_id not in {None, ""} if isinstance(log_id, str | None) else True
    assert not isinstance(log_id, NonFinite)
    assert type(created_at) is str
    try:
        parse_timestamp(created_at)
    except OverflowError:
        raise ValueError from None
    if log.is_exact and not log.is_oversized and log.depth <= MAX_DEPTH:
        plain = without_unknown(to_plain(log), ACTIVITY_LOGS_SCHEMA)
        if VALIDATOR.is_valid(plain):
            fitting: dict[str, Any] = plain
            return fitting
    return {"id": log_id if type(log_id) is str else to_text(log.content["id"])}


def read_total(total: Value | None) -> int | None:
    if total is None or not isinstance(total.content, str):
        return None
    with suppress(ValueError, ArithmeticError):
        number = float(total.content)
        if number.is_integer() and 0 <= number < 10**16:
            return int(Decimal(total.content))
    return None


def text(value: Any) -> str:
    """Return a value as text that tells any two apart: 1 and 1.0, "1" and 1, true and 1."""
    return json.dumps(
        value, sort_keys=True, ensure_ascii=False, default=lambda number: {"": repr(number.as_tuple())}
    )


def decoded(record: Any) -> dict[str, Any]:
    """Return a record as it would be written, without what the tap adds."""
    result: dict[str, Any] = json.loads(ENCODER.encode(record), parse_float=Decimal)
    del result["unmapped"]
    return result


def is_said(record: Mapping[str, Any], said: Container[str]) -> bool:
    """Whether one of some logs is what a record says, or has its id alone."""
    return text(record) in said or text({"id": record["id"]}) in said


def assert_is_one_line(message: str) -> None:
    assert message.isprintable(), message
    assert len(message) <= LONGEST_MESSAGE, message
    assert ADDRESS not in message


# The decoder alone


@cache
def good_page() -> bytes:
    api = SimulatedApi()
    api.store.grow(3)
    pagination = {"after": "a-cursor", "totalResultSize": 3}
    return msgspec.json.encode({"items": api.store.logs(), "pagination": pagination})


class Lines(logging.Handler):
    """Looks at every line that is logged."""

    def emit(self, record: logging.LogRecord) -> None:
        assert_is_one_line(record.getMessage())


LOGGER.addHandler(Lines())
DECODER = PageDecoder(ACTIVITY_LOGS_SCHEMA, LOGGER, metadata_as_text=False)


def check_decoder(body: bytes) -> None:
    expected = read(body)
    try:
        page = DECODER.decode(body, asked_at=0)
    except TapSequenceError as error:
        assert_is_one_line(str(error))
        assert expected is None  # It may fail, but then the body has to be no page.
    else:
        for log in page.records:
            VALIDATOR.validate(json.loads(ENCODER.encode(log.data)))
        if expected is None:
            assert not page.has_pagination
        else:
            assert_equal(page, expected)


def assert_equal(page: Page, expected: Reading) -> None:
    assert [log.id for log in page.records] == expected.ids
    for log, said in zip(page.records, expected.logs, strict=True):
        assert is_said(decoded(log.data), {text(said)})
    assert (page.after, page.total) == (expected.after, expected.total)


@pytest.mark.long
@given(NUMBERS)
@examples(1000)
def test_decode_changed_page_is_read_correctly_or_rejected_in_one_line(numbers: list[int]) -> None:
    check_decoder(change_body(good_page(), Dice(numbers)))


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
@examples(500)
def test_decode_random_bytes_is_rejected_in_one_line(body: bytes) -> None:
    check_decoder(body)
    check_decoder(b'{"items":[' + body + b'],"pagination":{}}')


# Headers alone


@given(
    st.text(max_size=60)
    | st.text(st.sampled_from('SunMon, 0123456789NovGMT:+-()\\" '), max_size=60)
    | NUMBERS.map(
        lambda numbers: change_bytes(b"Sun, 06 Nov 1994 08:49:37 GMT", Dice(numbers)).decode("latin-1")
    )
)
@examples(500)
def test_parse_http_date_returns_time_or_none(value: str) -> None:
    assert isinstance(parse_http_date(value), float | None)


@pytest.mark.parametrize(
    "unit", ["\\", '"', "%", "&#", "a\\", '\\"', "a@", "\\u004", "%25", "a.", " ", "é", '"a']
)
def test_clean_long_text_is_fast(unit: str) -> None:
    began = time.monotonic()
    clean(unit * 100_000)
    assert time.monotonic() - began < 5


# The client and the tap, over real HTTP


@dataclass(frozen=True)
class Wire:
    """A response as sent over the wire, and its body before compression."""

    body: bytes
    meant: bytes
    status: int = 200
    headers: Sequence[tuple[bytes, bytes]] = ()
    cut_at: int | None = None
    before: bytes = b""
    length: int | None = None
    version: bytes = b"HTTP/1.1"

    def to_bytes(self) -> bytes:
        length = len(self.body) if self.length is None else self.length
        headers = [*self.headers, (b"Content-Length", b"%d" % length)]
        head = self.before + b"%s %d Answer\r\n" % (self.version, self.status)
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        return (head + lines + b"Connection: close\r\n\r\n" + self.body)[: self.cut_at]


ODD = (
    *(
        b"",
        b" ",
        b"0",
        b"-1",
        b"1e999",
        b"9" * 400,
        b"nan",
        b"\xb2",
        b"\xd9\xa3",
        b"3.5",
        b"1, 2",
        b"7;q=1",
        b"null",
    ),
    *(
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 9999 23:59:59 +2359",
        b"Fri, 31 Dec 99999 00:00:00 GMT",
    ),
    *(
        b"Mon, 01 Jan 0001 00:00:00 +2359",
        b"Sun Nov  6 08:49:37 1994",
        b"Sun, 99 Nov 1994 99:99:99 -0000",
        b"::",
    ),
    *(
        b"x" * 8000,
        b"\\" * 8000,
        b"\x00",
        b"\xff\xfe",
        b"\xe2\x80\xa8",
        ADDRESS.encode(),
        b"a\tb",
        b"\x1b[31m",
    ),
    *(
        b"http://[::1/",
        b"//",
        b"?",
        b"#",
        b"/api/activity-logs",
        b"http://127.0.0.1:99999/",
        b"https:///",
        b"//\xff",
    ),
    *(b"http://me:pw@elsewhere.example/", b"javascript:1", b"/../../x y", b"\\\\elsewhere.example"),
)
CONTENT_TYPES = (
    b"text/html",
    b"application/json; charset=utf-16",
    b"APPLICATION/JSON",
    b"application/jsonx",
    *ODD,
)
ENCODINGS = (b"gzip", b"deflate", b"br", b"zstd", b"gzip, gzip", b"x-unknown", b"identity", b"chunked", *ODD)
STATUSES: Sequence[int] = (
    *(200, 200, 200, 201, 204, 206, 299, 300, 301, 302, 304, 307, 308, 400, 401, 403, 404, 408, 429, 429),
    *(500, 502, 503, 504, 520, 599, 600, 999, 100, 101, 0),
)
NAMES = (
    b"Retry-After",
    b"Date",
    b"Sequence-Version",
    b"Location",
    b"Set-Cookie",
    b"Content-Length",
    b"X-\xff",
    b"",
)


def change_wire(wire: Wire, dice: Dice) -> Wire:  # noqa: C901  # a list of what can be changed
    """Change a response: its body, its headers, or how it is sent."""
    values = dict(vars(wire))
    headers = list(wire.headers)
    match dice.roll(10):
        case 0 | 1 | 2:
            values["body"] = values["meant"] = change_body(wire.body, dice)
        case 3:
            headers = [(name, dice.pick(CONTENT_TYPES)) for name, _ in headers]
        case 4:
            encoding = dice.pick(ENCODINGS)
            headers.append((b"Content-Encoding", encoding))
            if encoding in {b"gzip", b"deflate"} and dice.roll(2):
                packed = gzip.compress(wire.body) if encoding == b"gzip" else zlib.compress(wire.body)
                values["body"] = change_bytes(packed, dice) if dice.roll(3) else packed
        case 5:
            values["status"] = dice.pick(STATUSES)
            headers += [(dice.pick(NAMES[:4]), dice.pick(ODD)) for _ in range(dice.roll(3))]
            if dice.roll(2):
                values["body"] = write({"error": {"type": dice.pick(JUNK), "message": dice.pick(JUNK)}})
        case 6:
            headers += [(dice.pick(NAMES), dice.pick(ODD)) for _ in range(1 + dice.roll(3))]
        case 7:
            values["cut_at"] = dice.roll(len(wire.to_bytes()))
        case 8:
            values["before"] = dice.pick(
                [b"\r\n", b"\0", b"HTTP/1.1 100 Continue\r\n\r\n", b"garbage\r\n", b"{}"]
            )
            values["version"] = dice.pick([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/9.9", b"ICY", b""])
        case _:
            if dice.roll(2):
                headers.append((b"Transfer-Encoding", dice.pick([b"chunked", b"gzip, chunked", b"x"])))
                values["body"] = b"%x\r\n" % dice.roll(9999) + wire.body + dice.pick([b"\r\n0\r\n\r\n", b""])
            else:
                values["length"] = dice.pick([0, 1, len(wire.body) - 1, len(wire.body) + 1])
    return Wire(**{**values, "headers": headers})


@dataclass(frozen=True)
class Served:
    """A response that was sent."""

    order: str
    is_changed: bool
    status: int
    original: Reading | None
    reading: Reading | None

    @property
    def is_other_page(self) -> bool:
        """Whether it was a valid page, but not the one that the API would have sent."""
        if self.status != 200 or self.reading is None or self.original is None:
            return False
        return (self.reading.ids, self.reading.after, self.reading.total) != (
            self.original.ids,
            self.original.after,
            self.original.total,
        )


@dataclass
class FuzzedApi:
    """The simulated API behind a server that damages responses by their number, from 1."""

    api: SimulatedApi
    changes: Mapping[int, Sequence[Dice]] = field(default_factory=dict)
    served: list[Served] = field(default_factory=list)
    base_url: str = ""

    def respond(self, target: str, headers: dict[str, str]) -> bytes:
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query))
        response: Response = self.api.respond(parts.path, query, headers)
        items = tuple((name.encode(), value.encode()) for name, value in response.headers.items())
        wire = Wire(response.body, response.body, response.status, items)
        original = read(wire.body)
        dice = self.changes.get(len(self.served) + 1, ())
        for each in dice:
            with_page = read(wire.body) is not None
            wire = change_wire(wire, each) if with_page else wire
        # Packed or cut, the tap may read what was meant, or refuse it.
        reading = read(wire.meant) if response.status == 200 else None
        self.served.append(Served(query.get("sortOrder", ""), bool(dice), wire.status, original, reading))
        return wire.to_bytes()


@contextmanager
def serving(fuzzed: FuzzedApi) -> Iterator[FuzzedApi]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            line = self.rfile.readline().decode("latin-1").split()
            headers: dict[str, str] = {}
            while (header := self.rfile.readline().decode("latin-1").strip()) != "":
                name, _, value = header.partition(":")
                headers[name.lower()] = value.strip()
            if len(line) > 1:
                self.wfile.write(fuzzed.respond(line[1], headers))

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 64

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.005,), daemon=True).start()
        fuzzed.base_url = f"http://127.0.0.1:{server.server_address[1]}/api"
        yield fuzzed
        server.shutdown()


class Clock:
    """A clock that moves only during sleep."""

    def __init__(self) -> None:
        self._now = 1000.0

    def __call__(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        assert 0 <= seconds <= 3600
        self._now += seconds


@dataclass(frozen=True)
class FuzzedRun:
    """The results of a run."""

    records: list[dict[str, Any]]
    state: dict[str, Any] | None
    error: TapSequenceError | None
    served: list[Served]

    @property
    def ids(self) -> list[str]:
        return [record["id"] for record in self.records]


def run(
    api: SimulatedApi,
    state: dict[str, Any] | None = None,
    changes: Mapping[int, Sequence[Dice]] | None = None,
    **config: Any,
) -> FuzzedRun:
    """Run the tap against the API, with some responses damaged."""
    clock = Clock()
    recorder = Recorder(parse_float=Decimal)
    error = None
    with serving(FuzzedApi(api, changes or {})) as fuzzed:
        client_id, client_secret = api.credentials
        tap = SequenceTap(
            config={
                "api_url": "http://localhost/api",
                "client_id": client_id,
                "client_secret": client_secret,
                "page_size": 5,
                "metadata": "json",
                **config,
            },
            state=copy.deepcopy(state),
            message_writer=recorder,
        )
        setattr(tap.stop_signals, "pause", clock.sleep)  # noqa: B010
        tap.source.connection._clients[ACTIVITY_LOGS.path] = SequenceClient(
            base_url=fuzzed.base_url,
            credentials=api.credentials,
            settings=tap.settings,
            endpoint=ACTIVITY_LOGS,
            decoder=PageDecoder(ACTIVITY_LOGS_SCHEMA, LOGGER, metadata_as_text=False),
            logger=LOGGER,
            monotonic=clock,
            sleep=clock.sleep,
            jitter=lambda: 0.5,
        )
        try:
            tap.sync_all()
        except TapSequenceError as caught:
            error = caught
            assert_is_one_line(str(error))
    states = [message["value"] for message in recorder.messages if message["type"] == "STATE"]
    records = [message["record"] for message in recorder.messages if message["type"] == "RECORD"]
    for record in records:
        del record["unmapped"]
    return FuzzedRun(records, states[-1] if states else None, error, fuzzed.served)


def check_runs(
    api: SimulatedApi,
    state: dict[str, Any] | None,
    changes: Mapping[int, Sequence[Dice]],
    **config: Any,
) -> None:
    """Make a run with damaged responses, and one after it without."""
    expected = run(api, state, **config)
    assert expected.error is None
    assert len(expected.ids) == len(set(expected.ids))
    damaged = run(api, state, changes, **config)
    next_run = run(api, damaged.state, **config) if damaged.state else run(api, state, **config)
    assert next_run.error is None
    for each in (damaged, next_run):
        assert len(each.ids) == len(set(each.ids))
        said = {text(log) for response in each.served if response.reading for log in response.reading.logs}
        assert all(is_said(record, said) for record in each.records)
    if any(response.is_other_page for response in damaged.served):
        return
    if damaged.error is None:
        assert sorted(damaged.ids) == sorted(expected.ids)
        assert next_run.ids == []
    else:
        # A backward walk that did not come to its end starts anew.
        is_forward = all(response.order == "ASC" for response in damaged.served)
        assert set(damaged.ids) | set(next_run.ids) == set(expected.ids)
        assert not is_forward or not set(damaged.ids) & set(next_run.ids)


CHANGES = st.dictionaries(
    st.integers(1, 12), st.lists(NUMBERS.map(Dice), min_size=1, max_size=2), min_size=1, max_size=4
)


def test_run_without_faults_is_complete() -> None:
    api = SimulatedApi()
    api.store.grow(23)
    assert run(api).ids == api.store.ids()


# Without a total, nothing but the pages themselves tells where the list ends.
@pytest.mark.long
@given(CHANGES, st.booleans())
@examples(80)
def test_full_run_with_damaged_responses_loses_nothing(
    changes: dict[int, list[Dice]],
    with_total: bool,  # noqa: FBT001
) -> None:
    api = SimulatedApi(Options(with_total=with_total))
    api.store.grow(23)
    check_runs(api, None, changes)


@pytest.mark.long
@given(CHANGES, st.sampled_from(["cursor", "anchor", "time", "start_date"]), st.booleans())
@examples(80)
def test_resumed_run_with_damaged_responses_loses_nothing(
    changes: dict[int, list[Dice]],
    start: str,
    with_total: bool,  # noqa: FBT001
) -> None:
    api = SimulatedApi(Options(with_total=with_total))
    api.store.grow(14)
    config: dict[str, Any] = {}
    state = run(api).state
    assert state is not None
    bookmark = state["bookmarks"]["activity_logs"]
    match start:
        case "anchor":
            bookmark["cursor"] = None
        case "time":
            state = {
                "bookmarks": {"activity_logs": {"replication_key_value": bookmark["replication_key_value"]}}
            }
        case "start_date":
            config["start_date"] = bookmark["replication_key_value"]
            state = None
    api.store.grow(13)
    check_runs(api, state, changes, **config)


@pytest.mark.sample(6)
@pytest.mark.parametrize("seed", range(20))
def test_command_with_damaged_responses_loses_nothing(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    defaults = SequenceClient.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "sleep", clock.sleep)
    monkeypatch.setitem(defaults, "monotonic", clock)
    monkeypatch.setattr(StopSignals, "pause", lambda _, seconds: clock.sleep(seconds))
    api = SimulatedApi()
    api.store.grow(23)
    random = Random(seed)
    changes = {
        number: [Dice([random.randrange(2**16) for _ in range(16)])]
        for number in random.sample(range(1, 6), 1 + seed % 3)
    }

    def command(changes: Mapping[int, Sequence[Dice]], state: dict[str, Any] | None) -> Run:
        with serving(FuzzedApi(api, changes)) as fuzzed:
            config = {
                "api_url": fuzzed.base_url,
                "client_id": "demo",
                "client_secret": "demo",
                "page_size": 5,
            }
            if state:
                # The port is another one each time.
                host = fuzzed.base_url.partition("://")[2]
                state["bookmarks"]["activity_logs"]["query"]["host"] = host
            arguments = command_arguments(tmp_path, config, state=state)
            # The command line adds a handler for this test's standard error, and has to take it along.
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("sys.excepthook", sys.excepthook)
                patch.setattr(logging.getLogger(), "handlers", [])
                with pytest.raises(SystemExit) as stopped:
                    SequenceTap.cli(arguments)
            served.extend(fuzzed.served)
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        run = Run(int(stopped.value.code or 0), parse_lines(out), err)
        assert len(run.errors) == run.status
        # No line is torn.
        assert all(" | " in line for line in err.split("\n")[:-1])
        assert ADDRESS not in err
        return run

    served: list[Served] = []
    damaged = command(changes, None)
    state = damaged.state if damaged.of_type("STATE") else None
    if state and not state["bookmarks"]["activity_logs"].get("query"):
        state = None
    next_run = command({}, state)
    assert next_run.status == 0
    if not any(response.is_other_page for response in served):
        assert [*damaged.ids, *next_run.ids] == api.store.ids()
