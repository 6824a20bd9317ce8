from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tap_sequence.redact import MASK
from tap_sequence.runtime.secret_mask import SecretMask
from tap_sequence.simulator import Options, SimulatedApi, Simulator

settings.register_profile(
    "suite", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile("suite")


_COUNTS: Counter[str] = Counter()


def count(what: str, number: int = 1) -> None:
    """Count something that the end of the test run reports."""
    _COUNTS[what] += number


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["counts"] = dict(_COUNTS)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _COUNTS.update(getattr(node, "workeroutput", {}).get("counts", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for what, number in sorted(_COUNTS.items()):
        terminalreporter.write_line(f"{what}: {number}")


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
