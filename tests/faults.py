"""The fault matrix: every scenario of tests/support/fault_scenarios.py through real processes of the tap, over HTTP.

`python -m tests.faults` prints it as a table; tests/end_to_end/test_faults.py runs the same.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeAlias
from urllib.parse import quote
from uuid import UUID

from tap_sequence.simulator import Fault, Options, RetryAfter, SimulatedApi, Simulator, Timeline
from tap_sequence.simulator.faults import Response
from tap_sequence.sync.timestamps import parse_timestamp
from tests.support.fault_scenarios import CLIENT_ID, CLIENT_SECRET, SCENARIOS, Outage, Outcome, Scenario, Walk
from tests.support.forks import HUNG, SECONDS_TO_HANG
from tests.support.harness import (
    TAP,
    Run,
    command_arguments,
    config_for,
    environment,
    parse_lines,
    run_new_process,
    run_process,
    start_tap,
)

Launch: TypeAlias = Callable[..., Run]
"""Runs the tap: `launch(folder, config, state=..., env=...)`."""

AUTHORIZATION = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
DEBUG = {"TAP_SEQUENCE_LOGLEVEL": "debug"}
# Nothing here is for a proxy, the name that does not exist included.
ENVIRONMENT = {"NO_PROXY": "*", "no_proxy": "*"}

FIRST_LOGS, YOUNG_LOGS = 500, 100
SINCE_LOG = 400
JOBS = 6
_SECOND = 1_000_000


class Account(SimulatedApi):
    """A simulated account with a callback before each response."""

    def __init__(self, options: Options, timeline: Timeline | None = None) -> None:
        super().__init__(options, credentials=(CLIENT_ID, CLIENT_SECRET), timeline=timeline)
        self.on_request: Callable[[int], None] = lambda _number: None
        self.times: list[tuple[float, int]] = []
        """When each request was answered, and with which status."""

    def become(self, options: Options) -> None:
        """Behave in another way from now on, and count requests anew."""
        self.options = options
        self.on_request = lambda _number: None
        self.forget_requests()
        self.times.clear()

    def respond(self, path: str, query: dict[str, str], headers: dict[str, str]) -> Response:
        self.on_request(len(self.times) + 1)
        response = super().respond(path, query, headers)
        self.times.append((time.monotonic(), response.status))
        return response


class Host:
    """Where the account is found: always at the same address, on the network or off it."""

    def __init__(self, account: Account) -> None:
        self.account = account
        # Bound all the time, so that the port is nobody else's while nobody listens there.
        self._reserved = _bound(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._reserved.getsockname()
        self.simulator = Simulator(account, port=self.address[1])
        self._in_its_place = ExitStack()
        self._is_up = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self.simulator.start()
        self._is_up = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_up:
            self.simulator.stop()
        self._in_its_place.close()
        self._reserved.close()

    def await_outage(self, outage: Outage) -> None:
        """Take it down at the request that the outage names."""
        if outage.at == 0:
            self.take_down(outage)
        else:
            self.account.on_request = lambda number: self.take_down(outage) if number == outage.at else None

    def take_down(self, outage: Outage) -> None:
        """Close all connections and stop responding."""
        self.simulator.stop()
        self._is_up = False
        if outage.kind == "silent":
            self._in_its_place.enter_context(_bound(self.address)).listen(0)
            # The queue of those who wait is full then: who comes after them gets no answer at all.
            for _ in range(3):
                waiting = self._in_its_place.enter_context(socket.socket())
                waiting.setblocking(False)  # noqa: FBT003  # its only way
                waiting.connect_ex(self.address)
        if outage.seconds is not None:
            timer = threading.Timer(outage.seconds, self.put_back)
            timer.daemon = True
            timer.start()

    def put_back(self) -> None:
        """Respond again."""
        with self._lock:
            if not self._is_up:
                self._in_its_place.close()
                self.simulator = Simulator(self.account, port=self.address[1])
                self.simulator.start()
                self._is_up = True


def _bound(address: tuple[str, int]) -> socket.socket:
    """Return a socket that does not listen, and shares its address with one that does."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(address)
    return bound


@dataclass
class Result:
    """The result of a scenario, and its problems."""

    scenario: Scenario
    status: int = 0
    records: int = 0
    lost: int = 0
    repeated: int = 0
    again: int = 0
    """Records that the next run wrote again, as it may."""
    tracebacks: int = 0
    requests: int = 0
    seconds: float = 0.0
    hangs: int = 0
    leaks: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    stderr: str = ""


def run_scenario(scenario: Scenario, launch: Launch, launch_next: Launch, *, debug: bool = False) -> Result:
    """Run a scenario: what goes before, the run under faults, and a run of the healed API.

    Args:
        scenario: The scenario.
        launch: Starts the run under faults.
        launch_next: Starts the others.
        debug: Whether the run under faults logs at debug level.
    """
    options = Options(**scenario.options)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        other = stack.enter_context(listener())
        host = stack.enter_context(Host(Account(options)))
        account = host.account
        settings = dict(config_for(host.simulator, client_id=CLIENT_ID, client_secret=CLIENT_SECRET))
        account.store.grow(FIRST_LOGS)
        state: Mapping[str, Any] | None = None
        known: set[str] = set()
        if scenario.walk in {Walk.RESUMED, Walk.REFUSED}:
            first = launch_next(_folder(folder, "first"), settings, env=ENVIRONMENT)
            assert first.status == 0, first.stderr
            state, known = first.state, set(first.ids)
        account.store.grow(scenario.old_logs - FIRST_LOGS)
        account.store.add_at([int((time.time() - 2 * second) * _SECOND) for second in range(YOUNG_LOGS)])
        if scenario.walk is Walk.REFUSED:
            options = dataclasses.replace(options, cursor_key="another key")
        if scenario.walk is Walk.SINCE:
            settings["start_date"] = account.store.log(account.store.ids()[SINCE_LOG - 1])["createdAt"]
        expected = expected_ids(account, scenario.walk, settings.get("start_date"), known)

        faults = [Fault.parse(fault) for fault in fill_in(scenario.faults, account, other.url)]
        account.become(dataclasses.replace(options, faults=faults))
        if scenario.outage is not None:
            host.await_outage(scenario.outage)
        began = time.monotonic()
        if scenario.outcome is Outcome.CLOSED:
            launch = run_until_closed
        env = {**ENVIRONMENT, **(DEBUG if debug else {})}
        run = launch(_folder(folder, "faults"), {**settings, **scenario.settings}, state=state, env=env)
        result = Result(scenario, run.status, seconds=time.monotonic() - began, stderr=run.stderr)
        result.requests = len(account.times)

        host.put_back()
        account.become(options)
        state = run.state if run.of_type("STATE") else state
        healed = launch_next(_folder(folder, "healed"), settings, state=state, env=ENVIRONMENT)
        check_process(result, run, debug=debug)
        check_records(result, run, healed, expected, account)
        if other.connections:
            result.problems.append(f"{other.connections} connections to the other host")
        if healed.status != 0:
            result.problems.append(f"the healed run: status {healed.status}: {healed.errors}")
        if scenario.outcome is Outcome.COMPLETE and len(account.times) > _MOST_REQUESTS_FOR_NOTHING:
            result.problems.append(f"{len(account.times)} requests with nothing new")
        result.leaks = find_leaks([run, healed], account)
        result.problems += [f"{what} on standard error or in the state" for what in result.leaks]
    return result


_MOST_REQUESTS_FOR_NOTHING = 4
"""Two, and two pages of the lookback's overlap."""


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


class Listener:
    """Another host, which only counts connections."""

    def __init__(self, socket_: socket.socket) -> None:
        self.url = f"http://127.0.0.1:{socket_.getsockname()[1]}/activity-logs"
        self.connections = 0
        self._socket = socket_

    def listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()


@contextmanager
def listener() -> Iterator[Listener]:
    """Listen at another address until the end."""
    with socket.create_server(("127.0.0.1", 0)) as socket_:
        result = Listener(socket_)
        thread = threading.Thread(target=result.listen, daemon=True)
        thread.start()
        yield result
        socket_.shutdown(socket.SHUT_RDWR)
        thread.join()


def expected_ids(account: Account, walk: Walk, start_date: str | None, known: set[str]) -> list[str]:
    """Return the ids that the run under faults would emit without faults, in order."""
    since = parse_timestamp(start_date) if start_date else 0
    ids = [
        log["id"]
        for log in account.store.logs()
        if log["id"] not in known and parse_timestamp(log["createdAt"]) >= since
    ]
    return ids[::-1] if walk in {Walk.SINCE, Walk.REFUSED} else ids


def fill_in(faults: Sequence[str], account: Account, other: str) -> list[str]:
    """Return the faults with cursors and addresses in the place of what stands in braces."""
    ids = ["", *account.store.ids()]

    def cursors(distance: int) -> list[str]:
        shifted = [str(UUID(int=UUID(id_).int + distance)) if id_ else "" for id_ in ids]
        return [base64.b64encode(id_.encode()).decode() for id_ in shifted]

    after, gap, gap_below = (cursors(distance) for distance in (0, 1, -1))
    return [fault.format(after=after, gap=gap, gap_below=gap_below, other=other) for fault in faults]


def run_until_closed(
    folder: Path,
    config: Mapping[str, Any],
    *,
    state: Mapping[str, Any] | None,
    env: Mapping[str, str],
    lines: int = 1500,
) -> Run:
    """Run the tap, read some lines of its output, and close it."""
    with (folder / "stderr").open("wb") as stderr:
        arguments = command_arguments(folder, config, state=state)
        process = start_tap(folder, *arguments, stderr=stderr, env=env)
    with process:
        assert process.stdout is not None
        text = b"".join(process.stdout.readline() for _ in range(lines)).decode()
    return Run(process.wait(SECONDS_TO_HANG), parse_lines(text), (folder / "stderr").read_text())


# What is looked at


def check_process(result: Result, run: Run, *, debug: bool) -> None:
    """Look at exit status, standard error, requests and time."""
    scenario, problems = result.scenario, result.problems
    result.tracebacks = run.stderr.count("Traceback (most recent call last)")
    result.hangs = int(run.status == HUNG)
    is_failure = scenario.outcome in {Outcome.FAILS, Outcome.FAILS_WHOLE}
    status = int(is_failure or scenario.outcome is Outcome.CLOSED)
    if run.status != status:
        problems.append(f"exit status {run.status} in place of {status}")
    if len(run.errors) != is_failure:
        problems.append(f"{len(run.errors)} error lines: {run.errors}")
    lines = run.errors if is_failure else run.warnings
    problems += [
        f"no line with {word!r} in {lines}"
        for word in scenario.words
        if not any(word in line for line in lines)
    ]
    if not debug:
        # At debug level, a failure's traceback is wanted.
        strays = [line for line in run.stderr.splitlines() if not re.match(r"\d{4}-\d\d-\d\d .* \| ", line)]
        problems += [f"a line without a time: {line!r}" for line in strays]
        problems += ["a traceback"] * bool(result.tracebacks)
    fewest, most = scenario.requests
    if not fewest <= result.requests <= most:
        problems.append(f"{result.requests} requests in place of {fewest} to {most}")
    if scenario.seconds is not None and result.seconds > scenario.seconds:
        problems.append(f"{result.seconds:.1f} seconds in place of {scenario.seconds}")


def check_records(result: Result, run: Run, healed: Run, expected: Sequence[str], account: Account) -> None:
    """Compare the records of both runs with what the account holds."""
    outcome, problems = result.scenario.outcome, result.problems
    result.records = len(run.ids)
    both = Counter(run.ids) + Counter(healed.ids)
    may_come_again: set[str] = set()
    if outcome is Outcome.FAILS_WHOLE:
        may_come_again = set(run.ids)
    elif outcome is Outcome.CLOSED:
        types = [message["type"] for message in run.messages]
        described = types[: len(types) - types[::-1].index("STATE")].count("RECORD")
        may_come_again = set(run.ids[described:])
    result.again = len(may_come_again & set(healed.ids))
    result.lost = len(set(expected) - both.keys())
    result.repeated = sum(times - 1 for id_, times in both.items() if times > 1 + (id_ in may_come_again))
    if result.lost:
        problems.append(f"{result.lost} logs lost")
    if result.repeated:
        problems.append(f"{result.repeated} logs repeated")
    if strangers := both.keys() - set(expected):
        problems.append(f"{len(strangers)} logs that were not asked for")
    if outcome is Outcome.COMPLETE and run.ids != expected:
        problems.append(f"{len(run.ids)} logs in place of {len(expected)}, or in another order")
    if run.ids != list(expected[: len(run.ids)]):
        problems.append("what was emitted does not stand first in the list")
    if wrong := [
        record["id"]
        for record in run.records
        # Here are only fields that a fault added.
        if {**record, "unmapped": None} != {**account.store.log(record["id"]), "unmapped": None}
    ]:
        problems.append(f"{len(wrong)} records differ from the logs")


def find_leaks(runs: Sequence[Run], account: Account) -> list[str]:
    """Return which credentials and people's addresses are in what is no record."""
    addresses = {
        item["activityLogActor"].get("email")
        for log in account.store.logs()
        for item in log["activityLogItems"]
    }
    hidden = [CLIENT_ID, CLIENT_SECRET, quote(CLIENT_SECRET, safe=""), AUTHORIZATION, "ada@example.com"]
    text = "".join(f"{run.stderr}{run.of_type('STATE')}" for run in runs)
    return [what for what in (*hidden, *sorted(filter(None, addresses))) if what in text]


# All of them


def launch_process(
    folder: Path,
    config: Mapping[str, Any],
    *,
    state: Mapping[str, Any] | None = None,
    catalog: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
) -> Run:
    """Run `python -m tap_sequence`."""
    try:
        return run_new_process(folder, config, state=state, catalog=catalog, env=env)
    except subprocess.TimeoutExpired as error:
        stdout, stderr = ((text or b"").decode() for text in (error.stdout, error.stderr))
        return Run(HUNG, parse_lines(stdout[: stdout.rfind("\n") + 1]), stderr)


def run_matrix(
    scenarios: Sequence[Scenario],
    *,
    debug: bool = False,
    is_forked: bool = False,
    jobs: int = JOBS,
    front: Launch = run_process,
) -> list[Result]:
    """Run scenarios, several at a time; those that are timed alone.

    Args:
        scenarios: The scenarios.
        debug: Whether the taps log at debug level.
        is_forked: Whether the runs under faults are forked too, in place of started with Python's start.
        jobs: How many at a time.
        front: Runs a forked front of the source; the tap's by default.
    """
    with ThreadPoolExecutor(jobs) as pool:
        launch: Launch = front if is_forked else launch_process

        def run(scenario: Scenario) -> Result:
            try:
                return run_scenario(scenario, launch, front, debug=debug)
            except Exception as error:
                error.add_note(scenario.name)
                raise

        timed = {scenario.name: run(scenario) for scenario in scenarios if scenario.seconds is not None}
        others = [scenario for scenario in scenarios if scenario.seconds is None]
        results = {result.scenario.name: result for result in pool.map(run, others)}
    for name, result in results.items():
        # The others may have delayed it past a time limit. What was lost or repeated stays what it is.
        if result.problems and not (result.lost or result.repeated or result.leaks):
            results[name] = run(result.scenario)
    return [{**timed, **results}[scenario.name] for scenario in scenarios]


def summary(results: Sequence[Result]) -> str:
    """Return the line that says it all."""
    right = sum(not result.problems for result in results)
    return (
        f"{len(results)} scenarios, {right} as the contract says; "
        f"silent losses {sum(result.lost for result in results)}, "
        f"repeats {sum(result.repeated for result in results)}, "
        f"tracebacks {sum(result.tracebacks for result in results)}, "
        f"hangs {sum(result.hangs for result in results)}, "
        f"secrets and addresses written {sum(len(result.leaks) for result in results)}"
    )


def print_table(results: Sequence[Result]) -> None:
    """Print a line for each scenario, and under it what is wrong."""
    width = max(len(result.scenario.name) for result in results)
    print(
        f"{'scenario':{width}}  {'expected':42} {'exit':>4} {'records':>7} {'lost':>4} {'repeated':>8} {'again':>5} "
        f"{'tracebacks':>10} {'requests':>8} {'seconds':>7}"
    )
    for result in results:
        print(
            f"{result.scenario.name:{width}}  {result.scenario.outcome:42} {result.status:4} {result.records:7} "
            f"{result.lost:4} {result.repeated:8} {result.again:5} {result.tracebacks:10} {result.requests:8} "
            f"{result.seconds:7.1f}{'  WRONG' if result.problems else ''}"
        )
        for problem in result.problems:
            print(f"    {problem}")


# A limit lower than configured


def run_limit(kind: RetryAfter) -> tuple[str, bool]:
    """Read 300 pages from a key that may send 100 requests a minute, with a pace of 1,200."""
    account = Account(Options(rate_limit=100, retry_after=kind))
    account.store.grow(300)
    with tempfile.TemporaryDirectory() as folder, Simulator(account) as simulator:
        settings = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "page_size": 1}
        config = config_for(simulator, **settings, requests_per_minute=1200)
        with subprocess.Popen(
            [*TAP, *command_arguments(Path(folder), config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment(**ENVIRONMENT),
        ) as process:
            stdout, _ = process.communicate(timeout=600)
    began = account.times[0][0]
    later = [status for at, status in account.times if at > began + 60]
    refused = later.count(429)
    is_right = (
        process.returncode == 0
        and Run(0, parse_lines(stdout)).ids == account.store.ids()
        and refused < 0.05 * len(later)
    )
    seconds = account.times[-1][0] - began
    line = (
        f"100 requests a minute, Retry-After: {kind}: exit {process.returncode}, {len(account.times)} requests in "
        f"{seconds:.0f} seconds; after the first minute {refused} of {len(later)} refused"
        f"{'' if is_right else '  WRONG'}"
    )
    return line, is_right


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the matrix; return 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--debug", action="store_true", help="let the taps log at debug level")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="only scenarios whose name holds this text"
    )
    parser.add_argument("--jobs", type=int, default=JOBS, help="scenarios at a time")
    parser.add_argument("--stderr", action="store_true", help="print standard error of those that are wrong")
    parser.add_argument(
        "--limit",
        action="store_true",
        help="instead, meet a limit of 100 requests a minute with a pace of 1,200: takes some minutes",
    )
    options = parser.parse_args(arguments)
    if options.limit:
        with ThreadPoolExecutor() as pool:
            limits = list(pool.map(run_limit, RetryAfter))
        print(*(line for line, _ in limits), sep="\n")
        return int(not all(is_right for _, is_right in limits))
    scenarios = [scenario for scenario in SCENARIOS if options.only in scenario.name]
    results = run_matrix(scenarios, debug=options.debug, jobs=options.jobs)
    print_table(results)
    if options.stderr:
        for result in results:
            if result.problems:
                print(f"\n--- {result.scenario.name}\n{result.stderr}")
    print(summary(results))
    return int(any(result.problems for result in results))


if __name__ == "__main__":
    sys.exit(main())
