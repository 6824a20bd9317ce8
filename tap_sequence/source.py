"""The source: puts settings, client, walk and read-ahead together. A front needs a sink, and nothing below."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import msgspec

from tap_sequence.api.addresses import API_URLS, DEFAULT_PORTS, canonical_url
from tap_sequence.api.differences import DifferenceReport
from tap_sequence.api.schemas import SCHEMAS
from tap_sequence.catalog import ACTIVITY_LOGS
from tap_sequence.prefetch.cursor_guess import CursorGuesses
from tap_sequence.prefetch.plan import PrefetchPlan
from tap_sequence.prefetch.pool import PrefetchPool
from tap_sequence.runtime.interruptible_wait import InterruptibleWait
from tap_sequence.runtime.progress import Progress, RunStats, counted, display_for
from tap_sequence.runtime.signals import StopSignals
from tap_sequence.settings import DEMO, Settings
from tap_sequence.sync.bookmark import Bookmark
from tap_sequence.sync.incremental import IncrementalReader
from tap_sequence.sync.models import Page, PageRequest, Record, RecordPage, SortOrder
from tap_sequence.sync.run import Checkpoints, Sink, run
from tap_sequence.sync.state import Query
from tap_sequence.sync.walk import asking_again_for_empty
from tap_sequence.text.redaction import excerpt
from tap_sequence.transforms.metadata import JSON, TEXT, to_schema
from tap_sequence.transforms.privacy import ActorEmail

if TYPE_CHECKING:
    from tap_sequence.api.client import SequenceClient

CONNECTION_TEST_SECONDS = 15.0
"""How long `check` waits for an answer, and how long it retries: someone is looking at it."""


class MeasuredSink(Sink, Protocol):
    """A sink that knows what else there is to count."""

    def measuring(self, client: SequenceClient) -> AbstractContextManager[Callable[[], None]]:
        """Return what is entered while the run lasts; what it gives is called after each page."""

    def counts(self) -> Sequence[str]:
        """Return what the summary is to say of records."""


class Source:
    """An account of Sequence's, as the settings name it.

    Args:
        settings: The settings, checked.
        logger: Where warnings, progress and summaries go.
        stop_signals: What ends a run, or a wait.
    """

    def __init__(
        self, settings: Settings, *, logger: logging.Logger, stop_signals: StopSignals | None = None
    ) -> None:
        self.settings = settings
        self.stop_signals = stop_signals or StopSignals()
        self._logger = logger
        self.actor_email = ActorEmail(settings.actor_email, settings.actor_email_salt)
        """What becomes of actors' e-mail addresses."""

    def schema_of(self, stream: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the schema that says what a stream's records will hold with these settings.

        Args:
            stream: The stream's name.
            given: The same from a catalog, which may be older or have less in it.
        """
        schema = self.actor_email.to_schema(SCHEMAS.get(stream, {}), given)
        return to_schema(schema, JSON if self.settings.keeps_metadata_as_sent else TEXT)

    # The API

    @cached_property
    def base_url(self) -> str:
        """The API's base URL. In environment demo this starts the simulator."""
        if self.settings.is_demo:
            from tap_sequence.simulator import SimulatedApi, Simulator  # noqa: PLC0415  # only a demo run needs it

            simulator = Simulator(SimulatedApi.demo(credentials=self._credentials))
            simulator.start()
            return simulator.base_url
        return canonical_url(self.settings.api_url or API_URLS[self.settings.environment])

    @cached_property
    def query(self) -> Query:
        """What this run's cursors belong to."""
        # The simulator's port is another in every run; its logs are the same.
        return Query(
            DEMO if self.settings.is_demo else _host(self.base_url),
            self.settings.api_version,
            self.settings.activity_log_object_id,
            self.settings.activity_log_object_entity_id,
        )

    @cached_property
    def client(self) -> SequenceClient:
        """The client that all streams share."""
        return self._new_client()

    def _new_client(self, *, patience: float = math.inf) -> SequenceClient:
        """Return a client that tries, and retries, for no longer than so many seconds."""
        # Only who asks the API needs them.
        from tap_sequence.api.client import SequenceClient  # noqa: PLC0415
        from tap_sequence.api.decoder import PageDecoder  # noqa: PLC0415

        settings = msgspec.structs.replace(
            self.settings,
            request_timeout_seconds=min(self.settings.request_timeout_seconds, patience),
            retry_budget_seconds=min(self.settings.retry_budget_seconds, patience),
        )
        return SequenceClient(
            base_url=self.base_url,
            credentials=self._credentials,
            settings=settings,
            endpoint=ACTIVITY_LOGS,
            decoder=PageDecoder(
                SCHEMAS[ACTIVITY_LOGS.schema],
                self._logger,
                metadata_as_text=not self.settings.keeps_metadata_as_sent,
                skip_invalid_logs=self.settings.invalid_logs == "skip",
            ),
            logger=self._logger,
        )

    @property
    def _credentials(self) -> tuple[str, str]:
        # Only environment demo does without, and takes whatever it is given.
        return self.settings.client_id or DEMO, self.settings.client_secret or DEMO

    def check(self) -> str:
        """Ask for one log, and say in one line that it worked.

        Raises:
            TapSequenceError: It did not; the text says what to do.
        """
        request = PageRequest(SortOrder.DESCENDING, None, 1)
        client = self._new_client(patience=CONNECTION_TEST_SECONDS)
        page = InterruptibleWait(self.stop_signals).call(lambda: client.fetch(request, limit=1))
        newest = (
            f"the newest log is from {excerpt(page.records[0].created_at_text)}"
            if page.records
            else "there is no log yet"
        )
        total = "" if page.total is None else f", {page.total} logs in all"
        return f"Connected to {self.query.host}, API version {self.settings.api_version}: {newest}{total}."

    # Reading

    def bookmark(self, state: Mapping[str, Any], streams: Sequence[str] = ()) -> Bookmark:
        """Return where a run goes on.

        Args:
            state: The state that the run before left; empty if there was none.
            streams: Names of the streams that the run writes.

        Raises:
            StateError: The state cannot be understood.
        """
        return Bookmark.load(state, self.query, self.settings.lookback_seconds, streams)

    def logs(self) -> Iterator[Record]:
        """Yield what a run without state emits."""
        for batch in self._plan(
            self.bookmark({}), InterruptibleWait(self.stop_signals), self._logger
        ).record_pages():
            for log in batch.records:
                yield log
                batch.emitted(log)
            batch.done()

    def read(
        self, sink: MeasuredSink, bookmark: Bookmark, *, moves_state: bool, logger: logging.Logger
    ) -> None:
        """Read what is new, and say at the end in one line what it was, however the run ends.

        Args:
            sink: Where records and states go.
            bookmark: Where the run goes on; moved.
            moves_state: Whether the checkpoints hold the bookmark.
            logger: Where the run's log lines go.

        Raises:
            TapSequenceError: The run failed; the last checkpoint describes what was written.
            StoppedError: A signal stopped it.
        """
        if bookmark.new_streams:
            logger.warning(
                "The runs before did not load %s, so it begins with the logs that are new. To load the older ones too, run "
                "once without a state; a target that upserts then has each record once.",
                " and ".join(bookmark.new_streams),
            )
        logger.info("Reading from %s", self.query.host)
        differences = DifferenceReport(logger)
        checkpoints = Checkpoints(
            sink,
            bookmark.to_state if moves_state else lambda: None,
            page_size=self.settings.page_size,
        )
        progress = Progress(display_for(logger, sys.stderr, sys.stdout))

        def page_done(batch: RecordPage) -> None:
            differences.add(batch.records)
            progress.page_done(
                read=batch.read, emitted=len(batch.records), seen=batch.seen, total=batch.total
            )
            count_page()

        with ExitStack() as stack:
            stack.callback(
                lambda: logger.info(
                    "Summary: %s.", self._summary(progress.stats, sink.counts(), differences.summary())
                )
            )
            stack.enter_context(progress)
            count_page = stack.enter_context(sink.measuring(self.client))
            plan = self._plan(bookmark, self._waiting(checkpoints, progress), logger)
            run(
                plan.record_pages(),
                sink,
                checkpoints,
                after_page=page_done,
                check_stop=self.stop_signals.check,
            )

    def _plan(
        self, bookmark: Bookmark, waiting: InterruptibleWait, logger: logging.Logger
    ) -> IncrementalReader:
        """Return one run over the log, which goes on from the bookmark and moves it."""
        client, most = self.client, self.settings.max_in_flight_requests
        new_plan = partial(
            PrefetchPlan,
            guesses=CursorGuesses(),
            page_size=self.settings.page_size,
            max_in_flight_requests=most,
        )
        ask = asking_again_for_empty(client.fetch)

        def fetch(request: PageRequest) -> Page:
            return waiting.call(partial(ask, request))

        def prefetching() -> PrefetchPool:
            return PrefetchPool(fetch=ask, wait=waiting.get, new_plan=new_plan, threads=most, logger=logger)

        return IncrementalReader(
            fetch,
            bookmark,
            start_date=self.settings.start_date_microseconds,
            logger=logger,
            pause=waiting.pause,
            prefetching=prefetching if most > 1 else None,
        )

    def _waiting(self, checkpoints: Checkpoints, progress: Progress) -> InterruptibleWait:
        """Return how to wait for pages: a checkpoint may fall due meanwhile, and who looks on wants to see that it goes on."""

        def seconds_to_tick() -> float:
            return min(checkpoints.seconds_left, progress.seconds_to_tick())

        def tick() -> None:
            if checkpoints.seconds_left <= 0:
                checkpoints.make()
            if progress.seconds_to_tick() <= 0:
                progress.tick()

        return InterruptibleWait(self.stop_signals, seconds_to_tick=seconds_to_tick, tick=tick)

    def _summary(self, stats: RunStats, records: Sequence[str], differences: str | None) -> str:
        parts = [
            stats.summary(),
            *records,
            counted(self.client.traffic.requests, "request"),
            counted(self.client.traffic.retries, "retry", "retries"),
            f"{counted(self.client.traffic.refusals, 'refusal')} (429)",
        ]
        if self.client.skipped_logs:
            parts.append(f"{counted(self.client.skipped_logs, 'log')} skipped as invalid")
        if differences:
            parts.append(differences)
        return ", ".join(parts)


def _host(url: str) -> str:
    """Return host, port and path of a URL, written the same for all spellings of the same place."""
    parts = urlsplit(url)
    host, _, port = parts.netloc.rpartition(":") if parts.port else (parts.netloc, "", "")
    is_usual = parts.port == DEFAULT_PORTS[parts.scheme]
    return host.lower() + ("" if is_usual or not port else f":{port}") + parts.path
