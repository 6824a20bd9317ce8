"""The fault matrix, as tests. `python -m tests.faults` prints it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from tap_sequence.simulator import RetryAfter
from tests.faults import Result, run_limit, run_matrix, summary
from tests.support.fault_scenarios import SCENARIOS, Outcome

NAMES = [scenario.name for scenario in SCENARIOS]


@pytest.fixture(scope="module")
def results(selected: Callable[[str], set[str]]) -> Mapping[str, Result]:
    """The scenarios, run at the same time: most of them wait most of the time."""
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in selected("name")]
    return {result.scenario.name: result for result in run_matrix(scenarios, is_forked=True, jobs=20)}


def test_scenarios_have_unique_names() -> None:
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.sample(10)
@pytest.mark.timeout(600)  # The first waits for all to be run.
@pytest.mark.parametrize("name", NAMES)
def test_fault_ends_in_a_complete_sync_or_a_clear_failure(name: str, results: Mapping[str, Result]) -> None:
    result = results[name]
    assert not result.problems, result.stderr


def test_fault_at_debug_level_writes_no_secret() -> None:
    # One of each kind; the long test runs all.
    names = {
        "an error that quotes secrets and an address",
        "401",
        "redirect to another host",
        "half a JSON, once",
        "a log without id",
        "400 for the saved cursor",
    }
    results = run_matrix([one for one in SCENARIOS if one.name in names], is_forked=True, debug=True)
    assert len(results) == len(names)
    assert all(" | DEBUG" in result.stderr for result in results)
    assert not [(result.scenario.name, result.problems) for result in results if result.problems]
    assert any(result.tracebacks for result in results if result.scenario.outcome is Outcome.FAILS)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_fault_in_new_processes_at_debug_level_has_the_same_result() -> None:
    results = run_matrix(SCENARIOS, debug=True)
    assert not [(result.scenario.name, result.problems) for result in results if result.problems]
    assert "silent losses 0, repeats 0" in summary(results)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_rate_limit_below_the_configured_one_is_adapted_to_in_a_whole_run() -> None:
    with ThreadPoolExecutor() as pool:
        limits = list(pool.map(run_limit, RetryAfter))
    assert all(is_right for _, is_right in limits), limits
