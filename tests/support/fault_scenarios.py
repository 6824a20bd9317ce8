"""The fault matrix as data: faults and expected outcomes. tests/faults.py runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import Any, Literal

from tap_sequence.simulator import CursorKind, UnknownCursor

CLIENT_ID = "matrix-client-5d1e"
CLIENT_SECRET = "matrix/s3cret+0b97"


class Walk(Enum):
    """What the run under faults starts with. Each account holds 1,000 logs, the last 100 younger than the lookback."""

    FRESH = auto()
    """No state: forward, ten pages."""
    RESUMED = auto()
    """The state of a run that read 500 logs: forward from its cursor, five pages."""
    SINCE = auto()
    """`start_date` and no state: one page to look, then backward to log 400, which stands on the seventh page."""
    REFUSED = auto()
    """The state of a run that read 500 logs, whose cursor the API refuses: one request, then backward, six pages."""


class Outcome(StrEnum):
    """The expected outcome. Each run is followed by one without faults, from the last STATE."""

    COMPLETE = "complete"
    """Every log once, in order, exit 0; the run after it has nothing to add."""
    FAILS = "fails, the next run brings the rest"
    """Exit 1 with one line; what was emitted comes first in the list, and the run after it brings exactly the rest."""
    FAILS_WHOLE = "fails, the next run begins anew"
    """The same on a backward walk, which has to begin anew: logs after the last STATE that moved come again."""
    CLOSED = "stops quietly, exit 1"
    """Standard output was closed: exit 1 without an error; what is behind the last STATE comes again."""


@dataclass(frozen=True, slots=True)
class Outage:
    """The API off the network.

    Attributes:
        at: The request that takes it down with itself; 0 for down from the start.
        seconds: For how long; None for ever.
        kind: Whether connections are refused, or nobody answers them.
    """

    at: int
    seconds: float | None
    kind: Literal["refused", "silent"] = "refused"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row of the matrix.

    Attributes:
        name: What goes wrong.
        outcome: What has to come out.
        requests: Fewest and most requests that the run under faults may send.
        faults: Faults by request number. Braces are filled in: `{after[N]}` is the cursor that stands for log N (from 1)
            in the ascending list, `{gap[N]}` one that leads to the same place as log N's, `{other}` another host.
        words: What the error line has to say, or else a warning.
        walk: What it starts with.
        options: Options of the simulated API.
        settings: Settings of the tap.
        outage: When the API is off the network.
        seconds: Most seconds that the run may take; alone on the machine, so that it is not the others' time.
        old_logs: How many logs are older than the lookback, the 500 of a run that went before included.
    """

    name: str
    outcome: Outcome
    requests: tuple[int, int]
    faults: Sequence[str] = ()
    words: Sequence[str] = ()
    walk: Walk = Walk.FRESH
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    outage: Outage | None = None
    seconds: float | None = None
    old_logs: int = 900


COMPLETE, FAILS, FAILS_WHOLE = Outcome.COMPLETE, Outcome.FAILS, Outcome.FAILS_WHOLE
SHORT = {"retry_budget_seconds": 5}
IMPATIENT = {"request_timeout_seconds": 1}
EXHAUSTED = ("Gave up after", "retry_budget_seconds", "Run again")

# Transient faults: the fault, its name, and what the error says if it does not pass.
PASSING: Sequence[tuple[str, str, str]] = (
    *((str(status), str(status), f"status {status}") for status in (500, 502, 503, 504)),
    ("reset", "connection reset", "failed or was cut"),
    ("reset-midway", "reset in mid body", "was cut"),
    ("cut", "body cut short", "was cut"),
    ("bad-gzip", "bad gzip", "compression is broken"),
    ("html", "HTML with status 200", "text/html"),
    ("half-json", "half a JSON", "application/json"),
    ("list", "a list for a body", "status 200"),
)

# Permanent faults: the fault, its name, and what the error says.
LASTING: Sequence[tuple[str, str, Sequence[str]]] = (
    ("no-id", "a log without id", ("id",)),
    ("null-created-at", "a log with createdAt null", ("createdAt",)),
    ("400", "400", ("api_version", "status 400, SimulatedFault: simulated status 400")),
    ("401", "401", ("credentials", "client_id", "client_secret")),
    ("403", "403", ("credentials", "client_id", "client_secret")),
    ("404", "404", ("status 404, SimulatedFault: simulated status 404",)),
    ("redirect:{other}", "redirect to another host", ("redirected to 127.0.0.1", "api_url")),
    ("redirect:/api/activity-logs", "redirect to the same host", ("redirected to 127.0.0.1", "api_url")),
    ("huge:70", "a body of 70 MiB", ("16 MiB", "page_size")),
)

ECHO = f"{CLIENT_ID} {CLIENT_SECRET} ada@example.com"

AHEAD = 20
"""Requests that may have been sent ahead, in a circle, until the walk gets there and notices."""

FORWARD: Sequence[Scenario] = (
    Scenario("500 at the first request, once", COMPLETE, (11, 11), ["1=500"], ["status 500"]),
    # The slowest early: 429s without a word double the wait each time.
    Scenario("429 six times in a row", COMPLETE, (16, 16), ["4-9=429:1"], ["status 429"]),
    Scenario(
        "500 for ever, timed",
        FAILS,
        (6, 9),
        ["4-=500"],
        ["status 500", *EXHAUSTED],
        settings=SHORT,
        seconds=30,
    ),
    *(
        scenario
        for fault, name, words in PASSING
        for scenario in (
            Scenario(f"{name}, once", COMPLETE, (11, 11), [f"4={fault}"], [words]),
            Scenario(f"{name}, twice", COMPLETE, (12, 12), [f"4-5={fault}"], [words]),
            Scenario(
                f"{name}, for ever", FAILS, (6, 9), [f"4-={fault}"], [words, *EXHAUSTED], settings=SHORT
            ),
        )
        if fault.isdecimal() or not scenario.name.endswith("twice")
    ),
    Scenario("no pagination object, once", COMPLETE, (11, 11), ["4=no-pagination"], ["no pagination"]),
    Scenario("no pagination object, twice", COMPLETE, (12, 12), ["4-5=no-pagination"], ["no pagination"]),
    Scenario("500 at every third request", COMPLETE, (13, 14), ["3=500", "6=500", "9=500"], ["status 500"]),
    Scenario(
        "an error that quotes secrets and an address",
        FAILS,
        (6, 9),
        [f"4-=error:503:{ECHO}"],
        ["status 503"],
        settings=SHORT,
    ),
    # Too many requests
    Scenario("429 with seconds", COMPLETE, (11, 11), ["4=429:2"], ["status 429"]),
    Scenario("429 with a date", COMPLETE, (11, 11), ["4=429:date:2"], ["status 429"]),
    Scenario("429 with nothing", COMPLETE, (11, 11), ["4=429"], ["status 429"]),
    Scenario(
        "429 for ever",
        FAILS,
        (6, 9),
        ["4-=429"],
        ["status 429", "Gave up after", "retry_budget_seconds"],
        settings=SHORT,
    ),
    Scenario(
        "429 with more seconds than the budget",
        FAILS,
        (4, 4),
        ["4=429:3600"],
        ["asks to wait 3600 s", "retry_budget_seconds"],
        settings=SHORT,
    ),
    # The network
    Scenario("connections refused at first", COMPLETE, (11, 11), (), ["refused"], outage=Outage(1, 3)),
    Scenario(
        "connections refused from the start, for ever",
        FAILS,
        (0, 0),
        (),
        ["refused", *EXHAUSTED],
        settings=SHORT,
        outage=Outage(0, None),
    ),
    Scenario("connections refused midway", COMPLETE, (11, 11), (), ["refused"], outage=Outage(4, 3)),
    Scenario(
        "connections refused midway, for ever",
        FAILS,
        (4, 4),
        (),
        ["refused", *EXHAUSTED],
        settings=SHORT,
        outage=Outage(4, None),
    ),
    Scenario(
        "connections timed out at first",
        COMPLETE,
        (11, 15),
        (),
        ["within 1 s (request_timeout_seconds)"],
        settings=IMPATIENT,
        outage=Outage(1, 3, "silent"),
    ),
    Scenario(
        "connections timed out midway, for ever",
        FAILS,
        (4, 4),
        (),
        ["within 1 s (request_timeout_seconds)", *EXHAUSTED],
        settings={**SHORT, **IMPATIENT},
        outage=Outage(4, None, "silent"),
    ),
    Scenario(
        "a host name that does not exist",
        FAILS,
        (0, 0),
        (),
        ["api.matrix.invalid", "Gave up after"],
        settings={**SHORT, "api_url": "https://api.matrix.invalid/api"},
    ),
    Scenario(
        "a page slower than the timeout, once",
        COMPLETE,
        (11, 14),
        ["4=slow:5"],
        ["within 1 s (request_timeout_seconds)"],
        settings=IMPATIENT,
    ),
    Scenario(
        "a page slower than the timeout, for ever",
        FAILS,
        (5, 9),
        ["4-=slow:5"],
        ["within 1 s (request_timeout_seconds)", *EXHAUSTED],
        settings={**SHORT, **IMPATIENT},
    ),
    Scenario(
        "a body byte by byte, once",
        COMPLETE,
        (11, 14),
        ["4=drip:0.05"],
        ["within 1 s (request_timeout_seconds)"],
        settings=IMPATIENT,
    ),
    Scenario(
        "a head byte by byte, for ever",
        FAILS,
        (5, 9),
        ["4-=drip-head:0.05"],
        ["within 1 s (request_timeout_seconds)", *EXHAUSTED],
        settings={**SHORT, **IMPATIENT},
    ),
    # Refusals and logs that do not fit
    *(Scenario(name, FAILS, (4, 4), [f"4-={fault}"], words) for fault, name, words in LASTING),
    Scenario("a log with a field that is new", COMPLETE, (10, 10), ["4-=unknown-field"], ["brandNew"]),
    Scenario("a page behind 3 MiB of white space", COMPLETE, (10, 10), ["4=huge:3"]),
    Scenario(
        "an unknown API version",
        FAILS,
        (1, 1),
        (),
        ["UnrecognisedApiVersion", "api_version"],
        settings={"api_version": "1999-01-01"},
    ),
    Scenario(
        "a response version other than asked",
        COMPLETE,
        (10, 10),
        ["4-=other-version:2031-01-01"],
        ["Requested API version 2024-07-30, but the API responded with version 2031-01-01"],
    ),
    # The walk
    Scenario("after missing midway, once", COMPLETE, (13, 13), ["4=no-after"]),
    Scenario(
        "after missing midway, for ever",
        FAILS,
        (15, 15),
        ["4-=no-after"],
        ["before its newest log", "logs listed: 400", "totalResultSize: 1000"],
    ),
    Scenario(
        "after missing midway, without a total",
        COMPLETE,
        (13, 14),
        ["4=no-after"],
        options={"with_total": False},
    ),
    Scenario("pagination without after and total, once", COMPLETE, (13, 13), ["4=empty-pagination"]),
    Scenario(
        "after that repeats at once", FAILS, (2, 2 + AHEAD), ["2=after:{after[100]}"], ["Pagination loop"]
    ),
    Scenario(
        "after that repeats after several pages",
        FAILS,
        (7, 7 + AHEAD),
        ["7=after:{after[300]}"],
        ["Pagination loop"],
    ),
    Scenario(
        "after that leads to the first page",
        FAILS,
        (5, 5 + AHEAD),
        ["4=after:nonsense"],
        ["Pagination loop", "first page"],
        options={"unknown_cursor": UnknownCursor.FIRST_PAGE},
    ),
    Scenario(
        "an empty page with after",
        COMPLETE,
        (11, 11),
        ["4=empty-page", "4=after:{gap[300]}"],
        options={"unknown_cursor": UnknownCursor.RIGHT_PAGE},
    ),
    Scenario("an empty page whose after leads past logs, once", COMPLETE, (11, 11), ["4=empty-page"]),
    # All of the 29 pages may have been read ahead, and a hint refused.
    Scenario("standard output closed by the target", Outcome.CLOSED, (15, 32), old_logs=2900),
)

RESUMED: Sequence[Scenario] = tuple(
    Scenario(
        f"{name}, on a run that goes on", outcome, requests, [fault], words, Walk.RESUMED, settings=SHORT
    )
    for name, outcome, requests, fault, words in (
        ("500 once", COMPLETE, (6, 7), "3=500", ["status 500"]),
        ("500 for ever", FAILS, (5, 8), "3-=500", ["status 500", *EXHAUSTED]),
        ("reset in mid body, for ever", FAILS, (5, 8), "3-=reset-midway", ["was cut"]),
        ("half a JSON at the first request", COMPLETE, (6, 7), "1=half-json", ["application/json"]),
        ("after that repeats", FAILS, (4, 4 + AHEAD), "4=after:{after[600]}", ["Pagination loop"]),
        ("a log without id", FAILS, (3, 3), "3-=no-id", ["id"]),
        ("401", FAILS, (1, 1), "1-=401", ["credentials"]),
    )
)

BACKWARD: Sequence[Scenario] = tuple(
    Scenario(
        f"{name}, on a backward walk ({'start_date' if walk is Walk.SINCE else 'refused cursor'})",
        outcome,
        requests,
        [f"4{fault}"],
        words,
        walk,
        options={"cursor_kind": CursorKind.OPAQUE},
        settings=SHORT,
    )
    for walk in (Walk.SINCE, Walk.REFUSED)
    for name, outcome, requests, fault, words in (
        ("500 once", COMPLETE, (7, 11), "=500", ["status 500"]),
        ("500 for ever", FAILS_WHOLE, (6, 9), "-=500", ["status 500", *EXHAUSTED]),
        ("body cut short, once", COMPLETE, (7, 11), "=cut", ["was cut"]),
        ("429 with seconds", COMPLETE, (7, 11), "=429:1", ["status 429"]),
        ("HTML with status 200, once", COMPLETE, (7, 11), "=html", ["text/html"]),
        ("after missing midway", FAILS_WHOLE, (4, 8), "=no-after", ["300 logs", "oldest log"]),
        ("a log without id", FAILS_WHOLE, (4, 4), "-=no-id", ["id"]),
        ("403", FAILS_WHOLE, (4, 4), "-=403", ["credentials"]),
        ("redirect to another host", FAILS_WHOLE, (4, 4), "-=redirect:{other}", ["redirected to"]),
    )
) + tuple(
    Scenario(
        f"{name}, on a backward walk (start_date)",
        outcome,
        requests,
        faults,
        words,
        Walk.SINCE,
        options={"unknown_cursor": UnknownCursor.RIGHT_PAGE},
    )
    for name, outcome, requests, faults, words in (
        ("after that repeats", FAILS_WHOLE, (5, 5), ["5=after:{after[801]}"], ["Pagination loop"]),
        ("an empty page with after", COMPLETE, (7, 11), ["4=empty-page", "4=after:{gap_below[801]}"], ()),
    )
)

SCENARIOS: Sequence[Scenario] = (
    *FORWARD,
    *RESUMED,
    Scenario(
        "400 for the saved cursor",
        COMPLETE,
        (7, 9),
        ["1=400"],
        ["Saved cursor", "newest first"],
        Walk.REFUSED,
    ),
    *BACKWARD,
)
