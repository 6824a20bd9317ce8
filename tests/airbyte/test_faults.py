"""The fault matrix of the tap, through `source-sequence`: the same records, bookmarks and reasons."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from tests.faults import Result, run_matrix
from tests.support.airbyte import run_as_tap
from tests.support.fault_scenarios import SCENARIOS, Outcome

# The exit after its reader has gone has a test of its own, in test_read.py.
HERE = [scenario for scenario in SCENARIOS if scenario.outcome is not Outcome.CLOSED]
NAMES = [scenario.name for scenario in HERE]


@pytest.fixture(scope="module")
def results(selected: Callable[[str], set[str]]) -> Mapping[str, Result]:
    """The scenarios, run at the same time: most of them wait most of the time."""
    scenarios = [scenario for scenario in HERE if scenario.name in selected("name")]
    found = run_matrix(scenarios, is_forked=True, jobs=10, front=run_as_tap)
    return {result.scenario.name: result for result in found}


@pytest.mark.sample(6)
@pytest.mark.timeout(600)  # The first waits for all to be run.
@pytest.mark.parametrize("name", NAMES)
def test_fault_ends_in_a_complete_sync_or_a_clear_failure(name: str, results: Mapping[str, Result]) -> None:
    result = results[name]
    assert not result.problems, result.stderr


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_fault_at_debug_level_writes_no_secret() -> None:
    results = run_matrix(HERE, is_forked=True, debug=True, jobs=10, front=run_as_tap)
    assert all(" | DEBUG" in result.stderr for result in results)
    assert not [(result.scenario.name, result.leaks) for result in results if result.leaks]
