"""The SDK's standard suite, on the simulator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from singer_sdk.testing import SuiteConfig, get_tap_test_class

from tap_sequence.simulator import Simulator
from tap_sequence.singer.tap import SequenceTap
from tests.support.harness import STREAMS, config_for, discover, select

_SIMULATOR = Simulator()
_SIMULATOR.store.grow(400)


@pytest.fixture(scope="module", autouse=True)
def _running_simulator() -> Iterator[None]:
    with _SIMULATOR:
        yield


_CONFIG = config_for(_SIMULATOR)
_Suite = get_tap_test_class(
    SequenceTap,
    config=_CONFIG,
    suite_config=SuiteConfig(max_records_limit=250),
    catalog=select(discover(_CONFIG), streams=STREAMS),
)


class TestSequenceTap(_Suite):  # type: ignore[misc, valid-type]  # the SDK makes the class at run time
    """Collected by pytest, so that all its tests run."""
