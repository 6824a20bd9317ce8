"""The connection to an account: its base URL, and a client for each list, all with one rate limit."""

from __future__ import annotations

import logging
import math
import threading
from typing import TYPE_CHECKING

import msgspec

from tap_sequence.api.addresses import API_URLS, canonical_url
from tap_sequence.api.endpoint import Endpoint
from tap_sequence.api.schemas import SCHEMAS
from tap_sequence.settings import DEMO, Settings

if TYPE_CHECKING:
    from tap_sequence.api.client import SequenceClient
    from tap_sequence.api.decoder import PageDecoder


class Connection:
    """The connection to the account that the settings select. Thread-safe.

    Args:
        settings: The settings, checked.
        logger: Where warnings go.
    """

    def __init__(self, settings: Settings, *, logger: logging.Logger) -> None:
        self._settings = settings
        self._logger = logger
        # By path. The other clients are made of the first, and share its rate limit.
        self._clients: dict[str, SequenceClient] = {}
        self._base_url: str | None = None
        self._lock = threading.RLock()

    @property
    def base_url(self) -> str:
        """The API's base URL. With `environment: demo`, this starts the simulator."""
        with self._lock:
            if self._base_url is None:
                self._base_url = self._find_base_url()
            return self._base_url

    def _find_base_url(self) -> str:
        if self._settings.is_demo:
            from tap_sequence.simulator import SimulatedApi, Simulator  # noqa: PLC0415  # only a demo run needs it

            simulator = Simulator(SimulatedApi.demo(credentials=self._credentials))
            simulator.start()
            return simulator.base_url
        return canonical_url(self._settings.api_url or API_URLS[self._settings.environment])

    def client_of(self, endpoint: Endpoint) -> SequenceClient:
        """Return the client of a list. All lists share connections, rate limit and counts."""
        with self._lock:
            if endpoint.path not in self._clients:
                first = next(iter(self._clients.values()), None)
                self._clients[endpoint.path] = (
                    self.new_client(endpoint)
                    if first is None
                    else first.for_endpoint(endpoint, self._decoder(endpoint))
                )
            return self._clients[endpoint.path]

    def new_client(self, endpoint: Endpoint, *, patience: float = math.inf) -> SequenceClient:
        """Return a client of a list, with at most this timeout and retry budget, in seconds. It shares nothing."""
        # Slow to import, and not needed to discover streams.
        from tap_sequence.api.client import SequenceClient  # noqa: PLC0415

        settings = msgspec.structs.replace(
            self._settings,
            request_timeout_seconds=min(self._settings.request_timeout_seconds, patience),
            retry_budget_seconds=min(self._settings.retry_budget_seconds, patience),
        )
        return SequenceClient(
            base_url=self.base_url,
            credentials=self._credentials,
            settings=settings,
            endpoint=endpoint,
            decoder=self._decoder(endpoint),
            logger=self._logger,
        )

    def _decoder(self, endpoint: Endpoint) -> PageDecoder:
        from tap_sequence.api.decoder import PageDecoder  # noqa: PLC0415

        return PageDecoder(
            SCHEMAS[endpoint.schema],
            self._logger,
            metadata_as_text=not self._settings.keeps_metadata_as_sent,
            skip_invalid=self._settings.invalid_logs == "skip",
            needs_created_at=endpoint.is_append_only,
            noun=endpoint.noun,
        )

    @property
    def _credentials(self) -> tuple[str, str]:
        # Only the demo works without credentials, and with any.
        return self._settings.client_id or DEMO, self._settings.client_secret or DEMO
