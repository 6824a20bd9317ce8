"""The random histories of tests/sync/test_histories.py, with an API whose differences from its documentation keep changing.

Before a run or in its middle, differences that cost no log are switched on and off. What each run owes stays the same.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import pytest
from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from tap_sequence.simulator import Drift
from tap_sequence.simulator.drift import DRIFTS
from tests.conftest import count
from tests.support.model import ModelRun
from tests.sync.test_histories import PHASES, Histories

NOT_HARMLESS = (
    # These change which logs exist, or their ids.
    *("id-", "created-at-", "list-ends-early"),
    # The client tries again, and the model has none: tests/drift.py does.
    *("no-pagination", "pagination-null", "pagination-list"),
    # A different walk, which the histories already include.
    *("newest-first", "oldest-first"),
    # With one log a page, the same log may be listed twice.
    *("log-twice", "limit-ignored", "after-repeats"),
)
HARMLESS = [name for name in DRIFTS if not name.startswith(NOT_HARMLESS)]
DRIFT = st.lists(st.builds(Drift, st.sampled_from(HARMLESS), st.integers(1, 3)), max_size=4)


class DriftHistories(Histories):
    """One account whose API drifts."""

    midway: list[list[Drift]] = []  # noqa: RUF012  # replaced, never changed

    def _drift(self, drift: list[Drift]) -> None:
        count("drifts", len(drift))
        self.api.options = dataclasses.replace(self.api.options, drift=drift)

    @rule(drift=DRIFT)
    def the_api_drifts(self, drift: list[Drift]) -> None:
        self._drift(drift)

    @rule(drifts=st.lists(DRIFT, min_size=1, max_size=5))
    def the_api_drifts_in_the_middle_of_the_next_run(self, drifts: list[list[Drift]]) -> None:
        self.midway = drifts

    def _run(self, **options: Any) -> ModelRun:
        waiting, self.midway = list(self.midway), []
        go_on = options.pop("between_batches", lambda: None)

        def between_batches() -> None:
            go_on()
            if waiting:
                # Whether cursors are numbers stays: an API that refuses its own, once it has given them, ends the run.
                as_before = [drift for drift in self.api.options.drift if drift.name == "after-number"]
                self._drift([drift for drift in waiting.pop(0) if drift.name != "after-number"] + as_before)

        return super()._run(between_batches=between_batches, **options)


def test_histories_of_a_drifting_api_lose_and_repeat_no_log() -> None:
    run_state_machine_as_test(
        DriftHistories, settings=settings(max_examples=30, stateful_step_count=25, phases=PHASES)
    )


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_thousand_histories_of_a_drifting_api_lose_and_repeat_no_log() -> None:
    run_state_machine_as_test(
        seed(int(os.environ.get("HISTORIES_SEED", "1")))(DriftHistories),
        settings=settings(max_examples=1000, stateful_step_count=50, phases=PHASES, derandomize=False),
    )
