"""The simulated API in a separate process, so that no contender is charged for serving."""

from __future__ import annotations

import hashlib
import http.client
import itertools
import multiprocessing
import random
import signal
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import urlsplit

import msgspec

from tap_sequence.simulator import DEMO_CREDENTIALS, Options, SimulatedApi, Simulator
from tap_sequence.simulator.logs import LogIds, make_key, make_log, write_timestamp
from tap_sequence.simulator.store import LogStore

_POOL = 300
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Traffic:
    """Traffic since the last change of behaviour."""

    requests: int
    refused: int


@dataclass(frozen=True, slots=True)
class _Template:
    body: bytes
    id: bytes
    created_at: bytes


class _PooledStore(LogStore):
    """Makes bodies out of a few hundred: made one by one, they would cost more than most contenders do."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._templates = [self._make_template(index) for index in range(_POOL)]

    def _make_template(self, index: int) -> _Template:
        key = make_key(self._seed, index, self._timeline.moment(index), log_ids=LogIds.V4)
        body = msgspec.json.encode(make_log(self._seed, key))
        return _Template(body, key.id.encode(), write_timestamp(key.created_at, key.digits).encode())

    def body(self, log_id: str) -> bytes:
        key = self.key_of(log_id)
        template = self._templates[key.index % _POOL]
        created_at = write_timestamp(key.created_at, key.digits).encode()
        return template.body.replace(template.id, log_id.encode()).replace(template.created_at, created_at)


class _Api(SimulatedApi):
    store_class = _PooledStore

    def behave(self, options: Options) -> None:
        self.options = options
        self.forget_requests()
        # The same latencies for all, one after the other.
        self._random = random.Random(options.seed)  # noqa: S311


@dataclass(frozen=True, slots=True)
class _Ready:
    url: str
    digest: str


_Order: TypeAlias = Options | None
"""New behaviour, or None to ask for the traffic since the last change."""


def _digest_of(ids: Iterable[str]) -> str:
    """Return what tells two lists of ids apart."""
    digest = hashlib.sha256()
    for log_id in ids:
        digest.update(log_id.encode() + b"\n")
    return digest.hexdigest()


def _serve(connection: Connection[_Ready | Traffic, _Order], logs: int, options: Options) -> None:
    # Ctrl+C reaches the whole group of processes; this one ends with the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    api = _Api(options)
    api.store.grow(logs)
    with Simulator(api) as simulator:
        connection.send(_Ready(simulator.base_url, _digest_of(api.store.ids())))
        while True:
            try:
                order = connection.recv()
            except EOFError:
                return
            if order is not None:
                api.behave(order)
            statuses = [request.status for request in api.requests]
            connection.send(Traffic(len(statuses), statuses.count(429)))


class StandIn:
    """An account with so many logs, on loopback. Use it as a context manager.

    Args:
        logs: How many.
        options: How it behaves.
    """

    def __init__(self, logs: int, options: Options | None = None) -> None:
        self.logs = logs
        self._connection: Connection[_Order, Any]
        self._connection, self._other_end = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=_serve, args=(self._other_end, logs, options or Options()), daemon=True
        )
        self.url = ""
        self.digest = ""
        """Digest of all ids, in the list's order."""

    def __enter__(self) -> Self:
        self._process.start()
        # Held open here too, the pipe would not end when the process does.
        self._other_end.close()
        ready: _Ready = self._connection.recv()
        self.url, self.digest = ready.url, ready.digest
        self._warm_up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()
        self._process.join(timeout=10)
        self._process.kill()

    def behave(self, options: Options) -> None:
        """Change the behaviour, and reset the traffic."""
        self._connection.send(options)
        self._connection.recv()

    @property
    def traffic(self) -> Traffic:
        """Traffic since the last change of behaviour."""
        self._connection.send(None)
        traffic: Traffic = self._connection.recv()
        return traffic

    def _warm_up(self) -> None:
        """Ask for some pages, so that the first contender does not pay for what is done once."""
        parts = urlsplit(self.url)
        credentials = b64encode(":".join(DEMO_CREDENTIALS).encode()).decode()
        connection = http.client.HTTPConnection(parts.netloc)
        for _ in itertools.repeat(None, 20):
            connection.request(
                "GET",
                f"{parts.path}/activity-logs?sortOrder=ASC&limit=100",
                headers={"Authorization": f"Basic {credentials}"},
            )
            connection.getresponse().read()
        connection.close()
