from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import lru_cache
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

from benchmarks.table import render
from tap_sequence.simulator import Options, SimulatedApi, Simulator, store
from tap_sequence.simulator.logs import LogKey, make_key, make_log
from tap_sequence.text.redaction import MASK
from tap_sequence.text.secret_mask import SecretMask

settings.register_profile(
    "long", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.register_profile("suite", settings.get_profile("long"), max_examples=30)


def pytest_configure(config: pytest.Config) -> None:
    """Draw fewer examples in the normal suite; the long tests repeat such tests with more."""
    settings.load_profile("long" if config.option.markexpr == "long" else "suite")


_COUNTS: Counter[str] = Counter()
_TABLES: dict[str, dict[str, dict[str, str]]] = {}


def pytest_xdist_auto_num_workers() -> int:
    """Use one worker more than there are cores: many tests mostly wait."""
    return (os.cpu_count() or 1) + 1


@lru_cache(20_000)
def _make_log(seed: int, key: LogKey) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(make_log(seed, key)))


# Most tests simulate the same logs, and making them takes longer than reading them.
setattr(store, "make_key", lru_cache(20_000)(make_key))  # noqa: B010  # the simulator exports neither
setattr(store, "make_log", _make_log)  # noqa: B010


@pytest.hookimpl(tryfirst=True)  # Before `-m` looks at the marks.
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of the cases of a test marked `sample`, leave that many, evenly spread, and mark the others `long`."""
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if config.option.markexpr == "long" and is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker("long")
        cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for same in cases.values():
        if marker := same[0].get_closest_marker("sample"):
            (size,) = marker.args
            kept = {round(index * (len(same) - 1) / max(size - 1, 1)) for index in range(size)}
            for index, item in enumerate(same):
                if index not in kept:
                    item.add_marker("long")


@pytest.fixture(scope="module")
def selected(request: pytest.FixtureRequest) -> Callable[[str], set[str]]:
    """Return a function of a parameter's name: which of its values this run tests in this module."""

    def values(parameter: str) -> set[str]:
        return {
            str(item.callspec.params[parameter])
            for item in request.session.items
            if isinstance(item, pytest.Function)
            and item.module is request.module
            and hasattr(item, "callspec")
            and parameter in item.callspec.params
        }

    return values


def count(what: str, number: int = 1) -> None:
    """Count something that the end of the test run reports."""
    _COUNTS[what] += number


def tabulate(table: str, row: str, **cells: str) -> None:
    """Add cells, by the heads of their columns, to a table that the end of the test run prints."""
    _TABLES.setdefault(table, {}).setdefault(row, {}).update(cells)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput.update(counts=dict(_COUNTS), tables=_TABLES)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    output = getattr(node, "workeroutput", {})
    _COUNTS.update(output.get("counts", {}))
    for table, rows in output.get("tables", {}).items():
        for row, cells in rows.items():
            tabulate(table, row, **cells)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for what, number in sorted(_COUNTS.items()):
        terminalreporter.write_line(f"{what}: {number}")
    for title, rows in sorted(_TABLES.items()):
        columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
        lines = [[row, *(cells.get(column, "") for column in columns)] for row, cells in rows.items()]
        terminalreporter.write_line("\n" + render(title, ["", *columns], lines))


@pytest.fixture(autouse=True)
def forget_secrets() -> None:
    """Let no test hide what are words to the next: a process never forgets its secrets."""
    vars(MASK).update(vars(SecretMask()))


@pytest.fixture
def simulate() -> Iterator[Callable[..., Simulator]]:
    """Start simulators; they stop when the test ends."""
    with ExitStack() as stack:

        def start(logs: int = 0, **options: Any) -> Simulator:
            simulator = Simulator(SimulatedApi(Options(**options)))
            simulator.store.grow(logs)
            return stack.enter_context(simulator)

        yield start
