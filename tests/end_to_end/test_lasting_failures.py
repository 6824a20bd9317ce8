"""A failure that recurs in each run names what the user can change, or whom to ask about what."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tap_sequence.settings import CONFIG_JSONSCHEMA
from tap_sequence.simulator import Drift, Fault, Options, Simulator
from tap_sequence.simulator.faults import FAULTS
from tests.faults import ENVIRONMENT, JOBS, Account, fill_in, listener
from tests.support.fault_scenarios import CLIENT_ID, CLIENT_SECRET, LASTING, PASSING
from tests.support.harness import ROOT, Run, config_for, free_port, run_process

# A name without an underscore could be an ordinary word.
SETTINGS = sorted(name for name in CONFIG_JSONSCHEMA["properties"] if "_" in name)
VARIABLES = ("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
CHANGEABLE = re.compile(rf"\b({'|'.join((*SETTINGS, *VARIABLES))})\b|(^| )--(state|config|catalog)\b")
STATE_KEY = re.compile(
    r"^The state .*\b(bookmarks|cursor|query|replication_key_value|anchor_\w+|recent_ids)\b"
)
ASK = re.compile(r"(page \d+|cursor|\bid\b|totalResultSize).*Sequence's support", re.DOTALL)


# What it says of time is of no use to a reader whose answers are wrong, however long one tries.
BUDGET = re.compile(r"The next attempt would exceed retry_budget_seconds \([^)]*\)\.")


def names_what_to_do(line: str) -> bool:
    """Whether a line names a setting, a variable, a file's option, a key of the state, or whom to ask with what."""
    line = BUDGET.sub("", line)
    return any(pattern.search(line) for pattern in (CHANGEABLE, STATE_KEY, ASK))


@dataclass(frozen=True)
class Lasting:
    """A failure that recurs in each run.

    Attributes:
        faults: Faults by request number, as tests/support/fault_scenarios.py writes them.
        drifts: Differences.
        settings: Settings of the tap.
        options: Options of the simulated API.
        state: What the first run starts with.
        env: Environment variables.
    """

    faults: Sequence[str] = ()
    drifts: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, Any] | None = None
    env: Mapping[str, str] = field(default_factory=dict)


def _state(**bookmark: Any) -> Mapping[str, Any]:
    return {"bookmarks": {"activity_logs": bookmark}}


CASES: Mapping[str, Lasting] = {
    **{name: Lasting([f"1-={fault}"]) for fault, name, _ in (*PASSING, *LASTING)},
    **{
        name: Lasting([f"1-={name}"])
        for name in FAULTS
        if name in {"surrogate", "endless-number", "deep", "empty-pagination", "no-after", "short-gzip"}
    },
    "429": Lasting(["1-=429"]),
    "429 with more than the budget": Lasting(["1-=429:3600"]),
    "422": Lasting(["1-=422"]),
    "too slow": Lasting(["1-=slow:1"], settings={"request_timeout_seconds": 0.2}),
    "redirect to no URL": Lasting(["1-=redirect:http://["]),
    "redirect for ever": Lasting(["1-=redirect:/api/activity-logs"]),
    "a circle": Lasting(["1-=after:{after[100]}"]),
    "the list ends early": Lasting(drifts=["list-ends-early"]),
    "the list ends early, no total": Lasting(drifts=["list-ends-early"], options={"with_total": False}),
    "the list ends early, with start_date": Lasting(
        ["4-=no-after"], settings={"start_date": "2025-10-09T09:00:00Z", "page_size": 10}
    ),
    **{
        name: Lasting(drifts=[name])
        for name in ("id-absent", "id-null", "created-at-absent", "created-at-no-time", "created-at-number")
    },
    "an unknown version": Lasting(settings={"api_version": "1999-01-01"}),
    "refused connections": Lasting(settings={"api_url": f"http://127.0.0.1:{free_port()}/api"}),
    "no such host": Lasting(settings={"api_url": "https://api.matrix.invalid/api"}),
    "no HTTPS": Lasting(settings={"api_url": "https://127.0.0.1:{port}/api"}),
    "a proxy that is down": Lasting(
        settings={"api_url": "https://api.matrix.invalid/api"},
        env={"HTTPS_PROXY": f"http://127.0.0.1:{free_port()}", "NO_PROXY": "", "no_proxy": ""},
    ),
    "no certificates": Lasting(
        settings={"api_url": "https://127.0.0.1:{port}/api"}, env={"REQUESTS_CA_BUNDLE": "/nowhere.pem"}
    ),
    "a wrong setting": Lasting(settings={"page_size": 0}),
    "a wrong time": Lasting(settings={"start_date": "yesterday"}),
    "a state without bookmarks": Lasting(state={"activity_logs": {}}),
    "a state with a time that is none": Lasting(state=_state(replication_key_value="yesterday")),
    "a state with a cursor alone": Lasting(state=_state(cursor="x")),
}


def run_twice(case: Lasting) -> Iterator[Run]:
    """Make two runs in a row, the second from the first one's last STATE."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        other = stack.enter_context(listener())
        account = Account(Options(**case.options))
        account.store.grow(300)
        simulator = stack.enter_context(Simulator(account))
        port = simulator.base_url.split(":")[2].removesuffix("/api")
        settings = {
            name: value.replace("{port}", port) if isinstance(value, str) else value
            for name, value in case.settings.items()
        }
        config = config_for(
            simulator, client_id=CLIENT_ID, client_secret=CLIENT_SECRET, retry_budget_seconds=0
        )
        state = case.state
        for number in (1, 2):
            account.become(
                Options(
                    **case.options,
                    faults=[Fault.parse(fault) for fault in fill_in(case.faults, account, other.url)],
                    drift=[Drift.parse(drift) for drift in case.drifts],
                )
            )
            here = Path(folder, str(number))
            here.mkdir()
            run = run_process(here, {**config, **settings}, state=state, env={**ENVIRONMENT, **case.env})
            state = run.state if run.of_type("STATE") else state
            yield run


@pytest.fixture(scope="module")
def runs(selected: Callable[[str], set[str]]) -> Mapping[str, list[Run]]:
    cases = {name: case for name, case in CASES.items() if name in selected("name")}
    with ThreadPoolExecutor(JOBS) as pool:
        done = pool.map(lambda case: list(run_twice(case)), cases.values())
        return dict(zip(cases, done, strict=True))


@pytest.mark.sample(6)
@pytest.mark.timeout(600)  # The first waits for all to be run.
@pytest.mark.parametrize("name", CASES)
def test_error_in_every_run_names_something_to_change(name: str, runs: Mapping[str, list[Run]]) -> None:
    for run in runs[name]:
        if run.status:
            assert len(run.errors) == 1, run.stderr
            assert names_what_to_do(run.errors[0])


@pytest.mark.long
def test_lasting_cases_fail_in_both_runs(runs: Mapping[str, list[Run]]) -> None:
    passing = {name for name, done in runs.items() if not all(run.status for run in done)}
    assert len(runs) - len(passing) > 30, passing


@pytest.mark.parametrize(
    "line",
    [
        "It is broken. Gave up. The next attempt would exceed retry_budget_seconds (600). Run again later.",
        "Log 'x' does not fit the schema: a number in metadata has too many digits. The run ends here.",
        "Report it to Sequence's support.",
        "The environment is wrong.",
    ],
)
def test_names_what_to_do_without_advice_is_false(line: str) -> None:
    assert not names_what_to_do(line)


def test_troubleshooting_page_error_rows_say_what_to_do() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    rows = [row.strip("| ").split(" | ") for row in text.splitlines() if row.startswith("| `")]
    assert not [row[0] for row in rows if row[2].startswith("None") and not row[1].startswith("A warning")]
