"""States as each version saved them: the next run emits exactly the new logs, and the run after it nothing.

Versions differ in the keys that they wrote. The values fit a simulated account of 250 logs, of which the newest 77 lie within
the lookback.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest

from tap_sequence.simulator import Options, SimulatedApi
from tap_sequence.sync.timestamps import format_timestamp, parse_timestamp
from tests.support.model import SECOND, ModelRun, run

QUERY = {"host": "model", "api_version": "v"}
QUERY_WITH_NULLS = {**QUERY, "activity_log_object_id": None, "activity_log_object_entity_id": None}
REJECTED_CURSOR = "Zm9yZ290dGVu"
NEW_LOGS = 30
KEYS_NOW = {
    *("replication_key", "replication_key_value", "saved_replication_key_value", "start_date"),
    *("cursor", "anchor_id", "anchor_created_at", "before_anchor", "logs_before_anchor"),
    *("query", "recent_ids", "streams"),
}


class Account:
    """A simulated account of 250 logs, by their place in the list."""

    def __init__(self) -> None:
        self.api = SimulatedApi(Options())
        self.api.store.grow(250)
        self.ids = self.api.store.ids()
        self.created_at = [str(log["createdAt"]) for log in self.api.store.logs()]

    def cursor(self, progress: Progress) -> str | None:
        """Return the cursor that leads to the anchor, if it is known: it names the log before the anchor."""
        if progress.anchor is None or not progress.has_cursor:
            return None
        return base64.b64encode(self.ids[progress.anchor - 1].encode()).decode()

    def run(self, state: Mapping[str, Any], start_date: int | None = None) -> ModelRun:
        return run(self.api, state, now=lambda: 1_900_000_000 * SECOND, start_date=start_date)


@dataclass(frozen=True)
class Progress:
    """How far the runs that saved a state had read.

    Attributes:
        anchor: Place of the first log after the cursor; None: the cursor is the start of the list.
        recent: Place of the first log in `recent_ids`.
        end: Place after the last log that was read.
        first_emitted: Place of the first log that was not skipped because of `start_date`.
        has_cursor: Whether a cursor to the anchor is known.
    """

    anchor: int | None
    recent: int
    end: int
    first_emitted: int = 0
    has_cursor: bool = True


PROGRESS = {
    "forward-finished": Progress(anchor=200, recent=173, end=250),
    "forward-stopped-on-third-page": Progress(anchor=100, recent=100, end=200),
    "forward-stopped-on-second-page": Progress(anchor=None, recent=0, end=100),
    "backward-to-start-date": Progress(anchor=151, recent=150, end=250, first_emitted=180),
    "backward-without-cursor": Progress(anchor=151, recent=150, end=250, has_cursor=False),
}

SavedState: TypeAlias = Callable[[Account, Progress], dict[str, Any]]


def cursor_and_recent_ids(account: Account, progress: Progress) -> dict[str, Any]:
    """The cursor alone; only filters that are set; a cursor that is not known is left out."""
    return {
        "replication_key": "createdAt",
        "replication_key_value": account.created_at[progress.end - 1],
        **({"cursor": account.cursor(progress)} if progress.has_cursor else {}),
        "query": QUERY,
        "recent_ids": account.ids[progress.recent : progress.end],
    }


def anchor(account: Account, progress: Progress) -> dict[str, Any]:
    """The log that the cursor leads to, and from then on every key in every state."""
    place = progress.anchor
    return {
        "replication_key": "createdAt",
        "replication_key_value": account.created_at[progress.end - 1],
        "cursor": account.cursor(progress),
        "anchor_id": None if place is None else account.ids[place],
        "anchor_created_at": None if place is None else account.created_at[place],
        "query": QUERY_WITH_NULLS,
        "recent_ids": account.ids[progress.recent : progress.end],
    }


def before_anchor(account: Account, progress: Progress) -> dict[str, Any]:
    """Ids of the logs before the anchor as well, in case it is deleted."""
    place = progress.anchor
    return {
        **anchor(account, progress),
        "before_anchor": [] if place is None else account.ids[place - 10 : place],
    }


def streams(account: Account, progress: Progress) -> dict[str, Any]:
    """The streams that were loaded as well."""
    return {**before_anchor(account, progress), "streams": ["activity_logs"]}


def start_date_and_count(account: Account, progress: Progress) -> dict[str, Any]:
    """The keys of today: a copy of the time, the `start_date` and the number of logs before the anchor as well."""
    first = progress.first_emitted
    return {
        **streams(account, progress),
        "saved_replication_key_value": account.created_at[progress.end - 1],
        "start_date": format_timestamp(parse_timestamp(account.created_at[first])) if first else None,
        "logs_before_anchor": progress.anchor or 0,
    }


VERSIONS = [cursor_and_recent_ids, anchor, before_anchor, streams, start_date_and_count]
every_version = pytest.mark.parametrize("saved_state", VERSIONS, ids=lambda version: version.__name__)


def _check_next_runs(
    account: Account, state: Mapping[str, Any], new: list[str], start_date: int | None = None
) -> None:
    """Check that the next run emits exactly `new`, in any order, and the run after it nothing."""
    second = account.run(state, start_date)
    assert sorted(second.ids) == sorted(new)
    assert second.states[-1].keys() == KEYS_NOW
    third = account.run(second.states[-1], start_date)
    assert third.ids == []
    assert third.requests <= 2


@every_version
@pytest.mark.parametrize("progress", PROGRESS.values(), ids=PROGRESS.keys())
def test_next_run_with_state_of_any_version_emits_exactly_the_new_logs(
    saved_state: SavedState, progress: Progress
) -> None:
    account = Account()
    new = account.ids[progress.end :] + account.api.store.grow(NEW_LOGS)
    first = progress.first_emitted
    start_date = parse_timestamp(account.created_at[first]) if first else None
    _check_next_runs(account, saved_state(account, progress), new, start_date)


@every_version
@pytest.mark.parametrize("progress", ["forward-finished", "forward-stopped-on-third-page"])
def test_next_run_with_state_of_any_version_and_rejected_cursor_emits_exactly_the_new_logs(
    saved_state: SavedState, progress: str, caplog: pytest.LogCaptureFixture
) -> None:
    account = Account()
    state = {**saved_state(account, PROGRESS[progress]), "cursor": REJECTED_CURSOR}
    new = account.ids[PROGRESS[progress].end :] + account.api.store.grow(NEW_LOGS)
    with caplog.at_level(logging.WARNING):
        _check_next_runs(account, state, new)
    assert "was rejected" in caplog.text


@pytest.mark.parametrize("saved_state", [before_anchor, streams], ids=lambda version: version.__name__)
def test_next_run_with_state_set_to_the_start_of_the_list_emits_all_logs_but_the_recent_ones(
    saved_state: SavedState,
) -> None:
    """These versions read everything again after a page had come without its logs."""
    account = Account()
    state = saved_state(account, Progress(anchor=None, recent=200, end=250))
    _check_next_runs(account, state, account.ids[:200] + account.api.store.grow(NEW_LOGS))


def test_next_run_with_state_without_cursor_and_anchor_reads_back_to_the_time() -> None:
    """The version without anchors, after a backward walk without a cursor, saved only what lies within the lookback."""
    account = Account()
    state = {
        "replication_key": "createdAt",
        "replication_key_value": account.created_at[249],
        "query": QUERY,
        "recent_ids": account.ids[173:250],
    }
    _check_next_runs(account, state, account.api.store.grow(NEW_LOGS))


NOTHING_READ: dict[str, dict[str, Any]] = {
    "cursor_and_recent_ids-before-first-page": {"query": QUERY, "recent_ids": []},
    "cursor_and_recent_ids-empty-list": {"cursor": None, "query": QUERY, "recent_ids": []},
    "anchor-empty-list": {
        "replication_key": "createdAt",
        "replication_key_value": None,
        "cursor": None,
        "anchor_id": None,
        "anchor_created_at": None,
        "query": QUERY_WITH_NULLS,
        "recent_ids": [],
    },
}
NOTHING_READ["before_anchor-empty-list"] = {**NOTHING_READ["anchor-empty-list"], "before_anchor": []}
NOTHING_READ["streams-empty-list"] = {
    **NOTHING_READ["before_anchor-empty-list"],
    "streams": ["activity_logs"],
}
NOTHING_READ["start_date_and_count-empty-list"] = {
    **NOTHING_READ["streams-empty-list"],
    "saved_replication_key_value": None,
    "start_date": None,
    "logs_before_anchor": 0,
}


@pytest.mark.parametrize("state", NOTHING_READ.values(), ids=NOTHING_READ.keys())
def test_next_run_with_state_of_run_that_read_nothing_emits_all_logs(state: dict[str, Any]) -> None:
    account = Account()
    _check_next_runs(account, state, account.ids)


@pytest.mark.parametrize(
    "saved_state", [anchor, before_anchor, streams], ids=lambda version: version.__name__
)
def test_next_run_with_state_of_run_that_skipped_all_logs_emits_all_logs(saved_state: SavedState) -> None:
    """The `start_date` was later than any log, and the state does not name it."""
    account = Account()
    state = saved_state(account, Progress(anchor=151, recent=150, end=250))
    state["replication_key_value"] = None
    new = account.ids + account.api.store.grow(NEW_LOGS)
    _check_next_runs(account, state, new)


def test_next_run_with_cursor_but_neither_time_nor_anchor_emits_the_logs_after_the_recent_ones() -> None:
    """The version without anchors wrote this if `start_date` was later than any log. A state made by hand looks the same."""
    account = Account()
    progress = Progress(anchor=151, recent=151, end=250)
    state = {"cursor": account.cursor(progress), "query": QUERY, "recent_ids": account.ids[151:]}
    _check_next_runs(account, state, account.api.store.grow(NEW_LOGS))
