"""The drift matrix: every difference from the API's documentation, through three runs in a row of the tap.

The first run reads everything, the second finds nothing new, the third finds 120 more logs. `python -m tests.drift`
prints it as a table, with `--template` for a tap from the SDK's template; tests/end_to_end/test_drift.py runs the same.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any
from uuid import UUID

from jsonschema import Draft202012Validator

from tap_sequence.simulator import CursorKind, Drift, EndOfList, Fault, Options, Simulator, Timeline
from tap_sequence.simulator.drift import DRIFTS
from tap_sequence.sync.timestamps import parse_timestamp
from tests.faults import ENVIRONMENT, JOBS, Account, Launch, find_leaks
from tests.support.fault_scenarios import CLIENT_ID, CLIENT_SECRET
from tests.support.forks import HUNG, ForkServer
from tests.support.harness import STREAMS, Run, config_for, discover, environment, run_process, select

TEMPLATE_MAIN = "benchmarks.peers.template_tap:TemplateTap.cli"
RUNS = ("all", "nothing new", "120 more")
LOGS, OLD_LOGS, MORE_LOGS = 650, 549, 120
SINCE_LOG = 400
_SECOND = 1_000_000
_MIDNIGHT = 1_760_054_400 * _SECOND
_LATE = 150 * _SECOND
"""How late one of the logs of the third run becomes visible: far less than the lookback."""

REQUESTS = (9, 5, 8)
"""Most requests of each run: its pages, the pages of the lookback's overlap, and two to four more."""
LOGS_VALIDATED = 25
BUDGET_SECONDS = 10

NAMES_THE_SETTING = ("invalid_logs",)
SKIP = {"invalid_logs": "skip"}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the matrix.

    Attributes:
        name: What differs.
        drifts: Names that `--drift` takes.
        statuses: Exit status of each run.
        words: What a warning of the first run says, or the error line if that run fails.
        runs: Which runs the differences are there for, from 0.
        options: Options of the simulated API.
        settings: Settings of the tap.
        later_settings: Settings of the runs after the first.
        faults: Faults by request number, in the first run.
        requests: Most requests of each run.
        since: Whether `start_date` is the time of log 400.
        new_key: Whether opaque cursors are refused after the first run.
        most_warnings: Most warnings of a run: one for each kind of difference, never one for each log.
        is_old: Whether all logs are older than the lookback, those of the third run too.
    """

    name: str
    drifts: Sequence[str] = ()
    statuses: tuple[int, int, int] = (0, 0, 0)
    words: Sequence[str] = ()
    runs: Sequence[int] = (0, 1, 2)
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    later_settings: Mapping[str, Any] = field(default_factory=dict)
    faults: Sequence[str] = ()
    requests: tuple[int, int, int] = REQUESTS
    since: bool = False
    new_key: bool = False
    is_old: bool = False
    most_warnings: int = 6

    @property
    def drift(self) -> list[Drift]:
        """The differences."""
        return [Drift.parse(text) for text in self.drifts]


def _rows_of(*names: str, **details: Any) -> Iterator[Row]:
    for name in names:
        yield Row(name, [name], **details)


def _fields(kind: str, *, of: Callable[[str], bool] = lambda _: True) -> list[str]:
    """Return the names of one kind of value in every field where that is a difference."""
    return [
        name
        for name in DRIFTS
        if name.endswith(f"-{kind}") and name.removesuffix(f"-{kind}") in _FIELDS and of(name)
    ]


_FIELDS = {name.removesuffix("-number") for name in DRIFTS if name.endswith("-number")} - {
    "long", "endless", "precise", "id", "created-at", "after",
}  # fmt: skip
_HOLDERS = {"items", "item", "actor", "object", "target", "metadata"}


def _is_leaf(name: str) -> bool:
    return name.rpartition("-")[0] not in _HOLDERS


OPAQUE = {"cursor_kind": CursorKind.OPAQUE}
FEWER = (14, 7, 10)
BACKWARD = (13, 8, 10)
ALL_IN_THE_SECOND = (9, 11, 8)
NEWEST_FIRST = ("newest log first", "sortOrder=ASC")
OLDEST_FIRST = ("oldest log first", "sortOrder=DESC")

ROWS: Sequence[Row] = (
    Row("as documented"),
    Row("as documented, no recent logs", is_old=True),
    # Totals
    *_rows_of("total-one-too-many", words=("651", "650")),
    *_rows_of("total-capped", words=("1000", "650")),
    *_rows_of(
        "total-one-too-few",
        "total-of-page",
        "total-zero",
        "total-huge",
        "total-negative",
        "total-text",
        "total-words",
        "total-float",
        "total-fraction",
        "total-boolean",
        "total-object",
    ),
    Row("no total", options={"with_total": False}),
    # Fields
    *_rows_of(
        *(
            f"{place}-{kind}"
            for place in ("actor", "object", "summary", "name", "origin", "activity-type", "items")
            for kind in ("null", "absent")
        ),
        *("item-null", "items-empty", "items-text", "items-object", "item-text", "item-list"),
        *("api-version-number", "email-object", "email-list"),
        *("metadata-object", "metadata-text", "metadata-number"),
        *("actor-text", "actor-list", "object-text", "target-text"),
    ),
    Row("every field of a log null", _fields("null", of=_is_leaf)),
    Row("every field of a log absent", _fields("absent", of=_is_leaf)),
    *(
        # Each field is a kind of its own.
        Row(f"every text: {kind}", fields, most_warnings=len(fields))
        for kind in ("number", "boolean", "list", "object")
        for fields in [_fields(kind, of=_is_leaf)]
    ),
    Row("every log has a null", ["actor-null:1"]),
    # JSON that no other API sends
    *_rows_of(
        *("metadata-deep:25", "metadata-nearly-deep:25"),
        *("nan", "infinity", "minus-infinity", "nan-in-place-of-text"),
        *("long-number", "long-number-in-place-of-text", "endless-number", "precise-number"),
        *("half-surrogate", "nul"),
    ),
    # The API grows
    *_rows_of(
        *("unknown-field", "unknown-field:1", "unknown-field-item", "unknown-field-actor", "unknown-field-object"),
        *("unknown-field-null", "unknown-field-unmapped", "unknown-field-odd-name"),
        *("unknown-field-page", "unknown-field-pagination"),
    ),
    # What a log is known by
    *_rows_of(
        *("id-number", "created-at-without-zone", "created-at-offset", "created-at-space"),
        *("created-at-lower-case", "created-at-nanoseconds", "leap-second:1", "hour-24:1"),
    ),
    *(
        row
        for name in (
            *("id-absent", "id-null", "id-empty"),
            *("created-at-absent", "created-at-null", "created-at-empty", "created-at-no-time"),
            *("created-at-number", "created-at-object"),
        )
        for row in (
            Row(
                f"{name}, invalid_logs fail",
                [name],
                (1, 0, 0),
                NAMES_THE_SETTING,
                later_settings=SKIP,
                requests=ALL_IN_THE_SECOND,
            ),
            Row(f"{name}, invalid_logs skip", [name], settings=SKIP, later_settings=SKIP),
        )
    ),
    # Responses
    *_rows_of(
        *(name for name in DRIFTS if name.startswith("content-type-")),
        *("byte-order-mark", "white-space", "date-ahead", "date-behind", "date-none", "version-none"),
    ),
    # The end of the list
    *(
        Row(name, [name], options={"end_of_list": EndOfList.EMPTY_PAGE}, requests=requests)
        # A list that never ends is read ahead beyond its end; how far depends on the machine.
        for name, requests in (("items-null-at-end", (11, 7, 10)), ("after-repeats-at-end", (14, 10, 13)))
    ),
    *_rows_of("after-empty-at-end", "after-false-at-end"),
    *_rows_of(
        *("no-pagination-at-end", "pagination-null-at-end", "pagination-list-at-end"),
        requests=(13, 9, 12),
    ),
    Row("after-number", ["after-number"]),
    Row("list-ends-early", ["list-ends-early"], (1, 0, 0), runs=[0], requests=(20, 12, 8)),
    Row(
        "list-ends-early, no total",
        ["list-ends-early"],
        (1, 0, 0),
        runs=[0],
        requests=(20, 12, 8),
        options={"with_total": False},
    ),
    Row("an empty page with after, once", faults=["4=empty-page"], requests=(12, 5, 8)),
    # Order and size
    *_rows_of("fewer-logs", "limit-ignored", requests=FEWER),
    *_rows_of("log-twice"),
    *(
        Row(f"newest-first, cursors {kind}", ["newest-first"], words=NEWEST_FIRST, options={"cursor_kind": kind}, requests=BACKWARD)
        for kind in CursorKind
    ),
    Row("newest-first, no recent logs", ["newest-first"], words=NEWEST_FIRST, is_old=True, requests=BACKWARD),
    Row("newest-first, from the second run on", ["newest-first"], runs=[1, 2], requests=BACKWARD),
    Row("newest-first, in the second run", ["newest-first"], runs=[1], requests=BACKWARD),
    Row("newest-first, with start_date", ["newest-first"], words=NEWEST_FIRST, since=True, requests=BACKWARD),
    Row("newest-first, no total", ["newest-first"], words=NEWEST_FIRST, options={"with_total": False}, requests=BACKWARD),
    Row("oldest-first", ["oldest-first"]),
    Row("oldest-first, with start_date", ["oldest-first"], words=OLDEST_FIRST, since=True, requests=BACKWARD),
    Row(
        "oldest-first, cursor refused",
        ["oldest-first"],
        options=OPAQUE,
        new_key=True,
        requests=(13, 15, 10),
    ),
    # Several at once
    Row(
        "several at once",
        [
            *("total-one-too-many", "actor-null", "unknown-field:1", "content-type-text-plain", "byte-order-mark"),
            *("metadata-text:3", "api-version-number:2", "fewer-logs", "no-pagination-at-end"),
        ],
        requests=(20, 11, 15),
    ),
)  # fmt: skip


@dataclass
class Result:
    """The result of three runs, and its problems."""

    row: Row
    statuses: list[int] = field(default_factory=list)
    emitted: int = 0
    twice: int = 0
    lost: int = 0
    new_in_third: int = 0
    requests: list[int] = field(default_factory=list)
    warnings: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    @property
    def stderr(self) -> str:
        return "\n".join(run.stderr for run in self.runs)

    @property
    def has_delivered(self) -> bool:
        """Whether every run ended well and every log came out."""
        return not any(self.statuses) and self.lost == 0


class DriftingAccount(Account):
    """An account with logs old and young, over midnight."""

    def __init__(self, row: Row) -> None:
        # Over midnight, for the differences that write it in another way.
        super().__init__(Options(**row.options), Timeline(_MIDNIGHT - 30 * 60 * _SECOND))
        self._row = row
        self.store.add_at([_MIDNIGHT])
        self.store.grow(LOGS - 1 if row.is_old else OLD_LOGS)
        self._begun = time.time_ns() // 1000
        if not row.is_old:
            self.store.add_at([self._begun - 2 * second * _SECOND for second in range(LOGS - OLD_LOGS - 1)])

    def begin_run(self, number: int) -> None:
        """Behave as in a run, from 0; before the last one, logs are added, one of them late."""
        row = self._row
        options: dict[str, Any] = {**row.options}
        if row.new_key and number:
            options["cursor_key"] = "another key"
        if number in row.runs:
            options["drift"] = row.drift
        if number == 0:
            options["faults"] = [Fault.parse(fault) for fault in row.faults]
        if number == len(RUNS) - 1 and row.is_old:
            self.store.grow(MORE_LOGS)
        elif number == len(RUNS) - 1:
            now = time.time_ns() // 1000
            self.store.add_at([self._begun - _LATE - 1, *(now + place for place in range(MORE_LOGS - 1))])
        self.become(Options(**options))


def run_row(row: Row, launch: Launch, *, is_peer: bool = False) -> Result:
    """Make three runs under a row's differences.

    Args:
        row: The row.
        launch: Starts a run.
        is_peer: Whether that is another tap, which knows neither the settings nor the second stream.
    """
    result = Result(row)
    account = DriftingAccount(row)
    credentials = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    state: Mapping[str, Any] | None = None
    expected: list[str] = []
    emitted: Counter[str] = Counter()
    with Simulator(account) as simulator, tempfile.TemporaryDirectory() as folder:
        config = config_for(simulator, **credentials, retry_budget_seconds=BUDGET_SECONDS)
        since = account.store.log(account.store.ids()[SINCE_LOG - 1])["createdAt"] if row.since else None
        if is_peer:
            config = {"api_url": simulator.base_url, **credentials}
        elif since:
            config["start_date"] = since
        for number in range(len(RUNS)):
            known = set(expected)
            account.begin_run(number)
            expected = expected_ids(account, row, since)
            here = Path(folder, str(number))
            here.mkdir()
            settings = {} if is_peer else row.later_settings if number else row.settings
            catalog = {} if is_peer else {"catalog": _both_streams()}
            run = launch(here, {**config, **settings}, state=state, env=ENVIRONMENT, **catalog)
            state = run.state if run.of_type("STATE") else state
            result.runs.append(run)
            result.statuses.append(run.status)
            result.requests.append(len(account.times))
            result.warnings.append(len(run.warnings))
            result.new_in_third = len(set(_ids(run)) - emitted.keys())
            emitted.update(_ids(run))
    result.emitted = len(emitted.keys() & set(expected))
    result.lost = len(set(expected) - emitted.keys())
    result.twice = sum(times - 1 for times in emitted.values())
    if not is_peer:
        for number, run in enumerate(result.runs):
            _check_run(result, number, run)
        _check_all(result, emitted, expected, known)
        leaks = find_leaks(result.runs, account)
        result.problems += [f"{what} on standard error or in the state" for what in leaks]
    return result


@cache
def _both_streams() -> dict[str, Any]:
    return select(discover({"environment": "demo"}), streams=STREAMS)


def _ids(run: Run) -> list[str]:
    # The template lets an id through that is null or absent.
    return [
        str(message["record"].get("id"))
        for message in run.of_type("RECORD")
        if message["stream"] == STREAMS[0]
    ]


def expected_ids(account: Account, row: Row, start_date: str | None) -> list[str]:
    """Return what the records' ids are to be: what a log is not known by is left out, a number becomes a text."""
    since = parse_timestamp(start_date) if start_date else 0
    found = []
    for log in account.store.logs():
        if parse_timestamp(log["createdAt"]) < since:
            continue
        names = {one.name for one in row.drift if one.applies_to(log["id"])}
        if "id-number" in names:
            found.append(str(UUID(log["id"]).int % 2**53))
        elif not (row.later_settings and names):
            found.append(log["id"])
    return found


def _check_run(result: Result, number: int, run: Run) -> None:
    row, problems, what = result.row, result.problems, RUNS[number]
    if run.status != row.statuses[number]:
        how = "it hung" if run.status == HUNG else f"exit status {run.status}"
        problems.append(f"{what}: {how} in place of {row.statuses[number]}: {run.errors}")
    if result.requests[number] > row.requests[number]:
        problems.append(f"{what}: {result.requests[number]} requests, more than {row.requests[number]}")
    if len(run.warnings) > row.most_warnings:
        problems.append(f"{what}: {len(run.warnings)} warnings")
    if "Traceback" in run.stderr:
        problems.append(f"{what}: a traceback")
    if len(run.errors) != row.statuses[number]:
        problems.append(f"{what}: {len(run.errors)} error lines")
    if number == 0:
        lines = run.errors if row.statuses[0] else run.warnings
        problems += [
            f"{what}: no line with {word!r} in {lines}"
            for word in row.words
            if not any(word in line for line in lines)
        ]
    problems += [f"{what}: {problem}" for problem in _misfits(run)]


def _misfits(run: Run) -> Iterator[str]:
    """Yield how records do not fit the SCHEMA before them: some of each stream."""
    for schema in run.of_type("SCHEMA"):
        # Without formats: createdAt is as the API wrote it.
        validator = Draft202012Validator(schema["schema"])
        records = [
            message["record"] for message in run.of_type("RECORD") if message["stream"] == schema["stream"]
        ]
        for record in records[:LOGS_VALIDATED]:
            if error := next(validator.iter_errors(record), None):
                yield f"a record of {schema['stream']} does not fit the SCHEMA at {error.json_path}: {error.message[:200]}"
                break


def _check_all(result: Result, emitted: Counter[str], expected: Sequence[str], known: set[str]) -> None:
    problems = result.problems
    if result.lost:
        problems.append(f"{result.lost} logs lost")
    if result.twice:
        problems.append(f"{result.twice} logs repeated")
    if strangers := emitted.keys() - set(expected):
        problems.append(f"{len(strangers)} logs that the API does not hold")
    new = len(set(expected) - known)
    if result.new_in_third != new:
        problems.append(f"{result.new_in_third} new logs in the third run in place of {new}")
    if any(result.row.statuses) or result.problems:
        return
    if ids := _ids(result.runs[1]):
        problems.append(f"{len(ids)} logs in the second run, when nothing was new")


def run_matrix(rows: Sequence[Row], *, main: str | None = None, jobs: int = JOBS) -> list[Result]:
    """Run rows, several at a time.

    Args:
        rows: The rows.
        main: Another tap's command line, `MODULE:NAME`, in place of this one's.
        jobs: How many at a time.
    """
    with ExitStack() as stack:
        server = stack.enter_context(ForkServer(environment(), main)) if main else None
        launch = partial(run_process, server=server)
        pool = stack.enter_context(ThreadPoolExecutor(jobs))

        def run(row: Row) -> Result:
            try:
                return run_row(row, launch, is_peer=main is not None)
            except Exception as error:
                error.add_note(row.name)
                raise

        results = list(pool.map(run, rows))
        # The others may have delayed a row, which then costs other requests. What was lost or doubled stays what it is.
        return [
            run(result.row) if result.problems and not (result.lost or result.twice) else result
            for result in results
        ]


def summary(results: Sequence[Result]) -> str:
    """Return the line that says it all."""
    return (
        f"{len(results)} rows, {sum(not result.problems for result in results)} as the contract says; "
        f"delivered at exit 0 in {sum(result.has_delivered for result in results)}; "
        f"logs lost {sum(result.lost for result in results)}, "
        f"twice {sum(result.twice for result in results)}"
    )


def print_table(results: Sequence[Result], peers: Sequence[Result]) -> None:
    """Print a line for each row, and under it what is wrong."""
    width = max(len(result.row.name) for result in results)
    by_name = {result.row.name: result for result in peers}
    beside = f"  {'template: exit':14} {'logs':>5} {'twice':>5}" if peers else ""
    print(
        f"{'what differs':{width}}  {'exit':7} {'logs':>5} {'lost':>4} {'twice':>5} {'new in third':>12} "
        f"{'requests':>9} {'warnings':>8}{beside}"
    )
    for result in results:
        line = (
            f"{result.row.name:{width}}  {_join(result.statuses):7} {result.emitted:5} {result.lost:4} {result.twice:5} "
            f"{result.new_in_third:12} {_join(result.requests):>9} {_join(result.warnings):>8}"
        )
        if peer := by_name.get(result.row.name):
            line += f"  {_join(peer.statuses):14} {peer.emitted:5} {peer.twice:5}"
        print(line + ("  WRONG" if result.problems else ""))
        for problem in result.problems:
            print(f"    {problem}")


def _join(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the matrix; return 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.drift", description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="only rows whose name holds this text")
    parser.add_argument("--jobs", type=int, default=JOBS, help="rows at a time")
    parser.add_argument("--template", action="store_true", help="run the SDK's template tap beside it")
    parser.add_argument("--stderr", action="store_true", help="print standard error of those that are wrong")
    options = parser.parse_args(arguments)
    rows = [row for row in ROWS if options.only in row.name]
    results = run_matrix(rows, jobs=options.jobs)
    peers = run_matrix(rows, main=TEMPLATE_MAIN, jobs=options.jobs) if options.template else []
    print_table(results, peers)
    if options.stderr:
        for result in results:
            if result.problems:
                print(f"\n--- {result.row.name}\n{result.stderr}")
    print(summary(results))
    if peers:
        delivered = sum(peer.has_delivered for peer in peers)
        print(f"SDK template: delivered at exit 0 in {delivered} of {len(peers)}")
    return int(any(result.problems for result in results))


if __name__ == "__main__":
    sys.exit(main())
