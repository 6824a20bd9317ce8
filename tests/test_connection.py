"""The connection: one client for each list, and one rate limit for all of them, whatever the number of threads."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tap_sequence.api.decoder import PageDecoder
from tap_sequence.api.endpoint import Endpoint
from tap_sequence.catalog import ACTIVITY_LOGS, USERS
from tap_sequence.connection import Connection
from tap_sequence.settings import Settings


def test_threads_share_one_client_of_each_list(monkeypatch: pytest.MonkeyPatch) -> None:
    make_decoder = Connection._decoder

    def slowly(self: Connection, endpoint: Endpoint) -> PageDecoder:
        time.sleep(0.02)
        return make_decoder(self, endpoint)

    monkeypatch.setattr(Connection, "_decoder", slowly)
    connection = Connection(Settings(api_url="http://127.0.0.1:9"), logger=logging.getLogger("test"))
    with ThreadPoolExecutor(4) as threads:
        clients = list(threads.map(connection.client_of, [ACTIVITY_LOGS, USERS] * 2))
    assert clients[0] is clients[2]
    assert clients[1] is clients[3]
    assert clients[0].traffic is clients[1].traffic
