"""However a run fails, it ends with a STATE, and the next run emits the rest, without duplicates."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tap_sequence.api.decoder import PageDecoder
from tap_sequence.simulator import Simulator
from tap_sequence.singer.tap import SequenceTap
from tests.support.harness import STREAMS, Recorder, config_for, discover, run_here, run_process, select

Simulate = Callable[..., Simulator]

LOGS = 650
FAILS_AT = 400


def written(messages: Sequence[dict[str, Any]], stream: str) -> list[str]:
    return [
        message["record"]["id"]
        for message in messages
        if message["type"] == "RECORD" and message["stream"] == stream
    ]


def test_run_after_failing_stream_map_emits_the_rest(simulate: Simulate, tmp_path: Path) -> None:
    """The failed run ends with a STATE for the records before the one that failed."""
    simulator = simulate(LOGS)
    ids = simulator.store.ids()
    fails = {"activity_logs": {"probe": f"1 / (0 if id == '{ids[FAILS_AT - 1]}' else 1)"}}
    failed = run_process(tmp_path, config_for(simulator, stream_maps=fails))
    assert failed.status == 1
    assert len(failed.errors) == 1
    assert failed.ids == ids[: FAILS_AT - 1]
    assert failed.messages[-1]["type"] == "STATE"

    after = run_process(tmp_path, config_for(simulator), state=failed.state)
    assert after.status == 0
    assert failed.ids + after.ids == ids


def test_stream_map_that_fails_at_an_item_leaves_no_record_of_its_log(
    simulate: Simulate, tmp_path: Path
) -> None:
    simulator = simulate(LOGS)
    logs = simulator.store.logs()
    items = [item["id"] for log in logs for item in log["activityLogItems"]]
    # The last of several items, so that there are records before it.
    last = next(log for log in logs[FAILS_AT:] if len(log["activityLogItems"]) > 1)["activityLogItems"][-1][
        "id"
    ]
    config = config_for(simulator)
    catalog = select(discover(config), streams=STREAMS)
    fails = {"activity_log_items": {"probe": f"1 / (0 if id == '{last}' else 1)"}}
    failed = run_process(tmp_path, {**config, "stream_maps": fails}, catalog=catalog)
    assert failed.status == 1
    after = run_process(tmp_path, config, state=failed.state, catalog=catalog)
    for stream, expected in zip(STREAMS, ([log["id"] for log in logs], items), strict=True):
        assert written(failed.messages, stream) + written(after.messages, stream) == expected


@pytest.mark.parametrize("kind", [RuntimeError, MemoryError, RecursionError, KeyError, OSError])
@pytest.mark.parametrize("max_in_flight_requests", [1, 4])
def test_run_that_raises_ends_with_a_state(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch, kind: type[Exception], max_in_flight_requests: int
) -> None:
    simulator = simulate(LOGS)
    config = config_for(simulator, max_in_flight_requests=max_in_flight_requests)
    pages = 0
    decode = PageDecoder.decode

    def fail(self: PageDecoder, *args: Any, **kwargs: Any) -> Any:
        nonlocal pages
        pages += 1
        if pages > 3:
            raise kind
        return decode(self, *args, **kwargs)

    recorder = Recorder()
    with monkeypatch.context() as patched:
        patched.setattr(PageDecoder, "decode", fail)
        with pytest.raises(kind):
            SequenceTap(config=config, message_writer=recorder).sync_all()
    assert recorder.messages[-1]["type"] == "STATE"
    after = run_here(config, recorder.messages[-1]["value"])
    assert written(recorder.messages, "activity_logs") + after.ids == simulator.store.ids()


def test_run_without_further_threads_ends_with_a_state(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = simulate(LOGS)
    config = config_for(simulator, max_in_flight_requests=1)
    start = threading.Thread.start
    recorder = Recorder()

    def refuse(self: threading.Thread) -> None:
        if len(recorder.messages) > 200:
            msg = "can't start new thread"
            raise RuntimeError(msg)
        start(self)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            SequenceTap(config=config, message_writer=recorder).sync_all()
    assert recorder.messages[-1]["type"] == "STATE"
    after = run_here(config, recorder.messages[-1]["value"])
    assert written(recorder.messages, "activity_logs") + after.ids == simulator.store.ids()
