"""The HTTP client over real HTTP: time, tries, and what each answer makes it do."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from tap_sequence.client import SequenceClient
from tap_sequence.decoding import PageDecoder
from tap_sequence.errors import RequestError
from tap_sequence.pages import PageRequest, SortOrder
from tap_sequence.schema import ACTIVITY_LOGS_SCHEMA
from tap_sequence.settings import CONFIG_JSONSCHEMA, Settings, fill_defaults
from tap_sequence.simulator import DEMO_CREDENTIALS, Fault, Simulator
from tap_sequence.timestamps import MICROSECONDS
from tests.harness import config_for

Simulate = Callable[..., Simulator]

LOGGER = logging.getLogger("tests")
FIRST = PageRequest(SortOrder.ASCENDING, None, 1)
DAY = 86_400.0


def client_for(simulator: Simulator, **given: Any) -> SequenceClient:
    """Return a client of a simulator; arguments that are no settings go to the client itself."""
    names = {"now", "monotonic", "sleep"}
    config = config_for(simulator, **{name: value for name, value in given.items() if name not in names})
    fill_defaults(config, CONFIG_JSONSCHEMA)
    return SequenceClient(
        base_url=simulator.base_url,
        credentials=DEMO_CREDENTIALS,
        settings=Settings.from_config(config),
        decoder=PageDecoder(ACTIVITY_LOGS_SCHEMA, LOGGER),
        logger=LOGGER,
        **{name: given[name] for name in names & given.keys()},
    )


# When a page was asked for


@pytest.mark.parametrize("days_off", [-1, 0, 1])
def test_a_page_was_asked_for_by_the_apis_clock_however_wrong_the_own_one_is(
    simulate: Simulate, days_off: int
) -> None:
    client = client_for(simulate(1), now=lambda: time.time() + days_off * DAY)
    before = time.time()
    page = client.fetch(FIRST)
    # Date is cut to the second.
    assert before - 1.5 <= page.asked_at / MICROSECONDS <= time.time()


def test_a_slow_answer_was_asked_for_before_it_was_made(simulate: Simulate) -> None:
    client = client_for(simulate(1, latency=(1.2, 1.2)), now=lambda: 0.0)
    asked_at = time.time()
    assert client.fetch(FIRST).asked_at / MICROSECONDS <= asked_at


@pytest.mark.parametrize(
    "date", ["", "soon", "Sun, 06 Nov 99999 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 +9999"]
)
def test_without_a_usable_date_the_own_clock_counts(simulate: Simulate, date: str) -> None:
    client = client_for(simulate(1, faults=[Fault.parse(f"1-=date:{date}")]), now=lambda: 1000.5)
    assert client.fetch(FIRST).asked_at == 1000.5 * MICROSECONDS


def test_a_date_without_a_known_zone_is_utc(simulate: Simulate) -> None:
    fault = Fault.parse("1-=date:Sun, 06 Nov 1994 08:49:37 -0000")
    asked_at = client_for(simulate(1, faults=[fault])).fetch(FIRST).asked_at / MICROSECONDS
    assert 784_111_776 <= asked_at <= 784_111_777


# How often it tries


@pytest.mark.parametrize("fault", ["500", "429:1", "html", "reset"])
def test_an_optional_request_is_tried_once(simulate: Simulate, fault: str) -> None:
    simulator = simulate(1, faults=[Fault.parse(f"1={fault}")])
    client = client_for(simulator)
    with pytest.raises(RequestError):
        client.fetch(dataclasses.replace(FIRST, is_optional=True))
    assert client.requests_sent == 1
    assert client.fetch(FIRST).logs
