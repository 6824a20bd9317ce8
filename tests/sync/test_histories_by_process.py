"""Random histories through real processes and pipes: the command line, real signals, real time.

The same promises as in tests/sync/test_histories.py, which covers more: here one history takes seconds.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tap_sequence.simulator import (
    CursorKind,
    EndOfList,
    LogIds,
    Options,
    SimulatedApi,
    Simulator,
    UnknownCursor,
)
from tests.runtime.test_signals import STATUSES, run_and_stop
from tests.support.airbyte import run_as_tap, run_as_tap_and_stop
from tests.support.harness import Run, config_for, run_process

HISTORIES = 50
FRONTS: dict[str, tuple[Callable[..., Run], Callable[..., Run]]] = {
    "tap-sequence": (run_process, run_and_stop),
    "source-sequence": (run_as_tap, run_as_tap_and_stop),
}
"""How each front is run to its end, and until a signal."""
SECOND = 1_000_000


class History:
    """One account, and the runs of a front that read it as processes."""

    def __init__(self, seed: int, folder: Path, front: str) -> None:
        self.run, self.run_and_stop = FRONTS[front]
        self.rng = random.Random(seed)
        self.folder = folder
        self.api = SimulatedApi(
            Options(
                cursor_kind=self.rng.choice(list(CursorKind)),
                end_of_list=self.rng.choice(list(EndOfList)),
                unknown_cursor=self.rng.choice(list(UnknownCursor)),
                log_ids=self.rng.choice(list(LogIds)),
                with_total=self.rng.random() < 0.7,
                latency=(0.0, 0.01),
            )
        )
        self.api.store.grow(self.rng.randrange(400))
        self.state: dict[str, Any] | None = None
        self.emitted: set[str] = set()
        self.described: set[str] = set()

    def make_run(self) -> None:
        """Let the account grow and the API change, then run once, to the end or until a signal."""
        now = int(time.time() * SECOND)
        # Up to 250 seconds late, which is within the lookback.
        self.api.store.add_at(
            [now - self.rng.randrange(250 * SECOND) for _ in range(self.rng.randrange(120))]
        )
        if self.rng.random() < 0.4:
            self.api.options = dataclasses.replace(
                self.api.options,
                cursor_kind=self.rng.choice(list(CursorKind)),
                cursor_key=self.rng.choice(["key", "another key"]),
                unknown_cursor=self.rng.choice(list(UnknownCursor)),
            )
        with Simulator(self.api) as simulator:
            # The port differs each time; the account is the same.
            config = config_for(simulator, page_size=self.rng.choice([7, 30, 100]))
            state = self._state_for(simulator)
            if self.rng.random() < 0.5:
                self._run_to_the_end(config, state)
            else:
                self._run_until_a_signal(config, state)

    def _state_for(self, simulator: Simulator) -> dict[str, Any] | None:
        if self.state is not None and "query" in self.state["bookmarks"].get("activity_logs", {}):
            self.state["bookmarks"]["activity_logs"]["query"]["host"] = simulator.base_url.partition("://")[2]
        return self.state

    def _run_to_the_end(self, config: dict[str, Any], state: dict[str, Any] | None) -> None:
        expected = set(self.api.store.ids())
        run = self.run(self.folder, config, state=state)
        assert run.status == 0, run.stderr
        self._check(run, len(run.ids))
        assert expected <= self.emitted, "lost"

    def _run_until_a_signal(self, config: dict[str, Any], state: dict[str, Any] | None) -> None:
        signum = self.rng.choice(list(STATUSES))
        lines = self.rng.randrange(1, 300)
        run = self.run_and_stop(self.folder, config, signum, after_lines=lines, state=state)
        # The run may have finished before the signal; while Python shuts down, the signal has its default action.
        assert run.status in {STATUSES[signum], 0, -signum}, run.stderr
        described = 0
        records = 0
        for message in run.messages:
            records += message["type"] == "RECORD"
            if message["type"] == "STATE" and _position(message["value"]) not in {
                _position(state),
                _position(None),
            }:
                described = records
        self._check(run, described)

    def _check(self, run: Run, described: int) -> None:
        assert len(set(run.ids)) == len(run.ids), "repeated within a run"
        assert not set(run.ids) & self.described, "repeated"
        self.emitted.update(run.ids)
        self.described.update(run.ids[:described])
        states = run.of_type("STATE")
        self.state = states[-1]["value"] if states else self.state


def _position(state: dict[str, Any] | None) -> tuple[Any, ...]:
    bookmark = (state or {}).get("bookmarks", {}).get("activity_logs", {})
    return (
        bookmark.get("replication_key_value"),
        bookmark.get("cursor"),
        tuple(bookmark.get("recent_ids", [])),
    )


@pytest.mark.long
@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("seed", range(HISTORIES))
def test_histories_through_processes_lose_and_repeat_no_log(seed: int, front: str, tmp_path: Path) -> None:
    history = History(seed, tmp_path, front)
    for _ in range(4):
        history.make_run()
