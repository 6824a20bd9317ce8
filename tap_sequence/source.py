"""The source: builds a run from settings, client, walk and prefetching. A front needs a sink, and nothing below."""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

from tap_sequence.api.addresses import host_of
from tap_sequence.api.differences import DifferenceReport
from tap_sequence.api.schemas import SCHEMAS
from tap_sequence.catalog import ACTIVITY_LOGS, STREAMS_BY_NAME
from tap_sequence.connection import Connection
from tap_sequence.prefetch.cursor_guess import CursorGuesses
from tap_sequence.prefetch.plan import PrefetchPlan
from tap_sequence.prefetch.pool import PrefetchPool
from tap_sequence.runtime.interruptible_wait import InterruptibleWait
from tap_sequence.runtime.progress import Progress, RunStats, counted, display_for
from tap_sequence.runtime.signals import StopSignals
from tap_sequence.settings import DEMO, Settings
from tap_sequence.sync.bookmark import Bookmark
from tap_sequence.sync.checkpoints import Checkpoints, Sink
from tap_sequence.sync.full import FullReader
from tap_sequence.sync.incremental import IncrementalReader
from tap_sequence.sync.models import Page, PageRequest, RecordPage, SortOrder
from tap_sequence.sync.run import run
from tap_sequence.sync.state import Query
from tap_sequence.sync.walk import asking_again_for_empty
from tap_sequence.text.redaction import excerpt
from tap_sequence.transforms.metadata import JSON, TEXT, to_schema
from tap_sequence.transforms.privacy import ActorEmail

if TYPE_CHECKING:
    from tap_sequence.api.client import SequenceClient
    from tap_sequence.api.endpoint import Endpoint

CONNECTION_TEST_SECONDS = 15.0
"""Timeout and retry budget of `check`, in seconds: a person waits for it."""


class MeasuredSink(Sink, Protocol):
    """A sink with metrics of its own."""

    def measuring(self, client: SequenceClient) -> AbstractContextManager[Callable[[RecordPage], None]]:
        """Return a context for the run; what it yields is called with each page, once its rows are written."""

    def counts(self) -> Sequence[str]:
        """Return parts of the summary about rows, such as "3 records of activity_log_items"."""


class Source:
    """The account at Sequence that the settings select.

    Args:
        settings: The settings, checked.
        logger: Where warnings, progress and summaries go.
        stop_signals: Signals that end a run, or a wait.
    """

    def __init__(
        self, settings: Settings, *, logger: logging.Logger, stop_signals: StopSignals | None = None
    ) -> None:
        self.settings = settings
        self.stop_signals = stop_signals or StopSignals()
        self._logger = logger
        self.connection = Connection(settings, logger=logger)
        self.actor_email = ActorEmail(settings.actor_email, settings.actor_email_salt)
        """How actors' e-mail addresses are handled."""
        self.shows_bar = True
        """Whether standard error may show progress as a bar."""

    def schema_of(self, stream: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON schema of a stream's rows with these settings.

        Args:
            stream: The stream's name.
            given: The schema from a catalog, which may be older or have fewer fields.
        """
        schema = self.actor_email.to_schema(SCHEMAS.get(stream, {}), given)
        return to_schema(schema, JSON if self.settings.keeps_metadata_as_sent else TEXT)

    # The API

    @cached_property
    def query(self) -> Query:
        """What the cursors of this run belong to."""
        # The simulator's port differs from run to run; its logs do not.
        return Query(
            DEMO if self.settings.is_demo else host_of(self.connection.base_url),
            self.settings.api_version,
            self.settings.activity_log_object_id,
            self.settings.activity_log_object_entity_id,
        )

    def check(self) -> str:
        """Request one log, and return a line that says that it worked.

        Raises:
            TapSequenceError: It did not work; the text says what to do.
        """
        request = PageRequest(SortOrder.DESCENDING, None, 1)
        client = self.connection.new_client(ACTIVITY_LOGS, patience=CONNECTION_TEST_SECONDS)
        page = InterruptibleWait(self.stop_signals).call(lambda: client.fetch(request, limit=1))
        newest = (
            f"the newest log is from {excerpt(page.records[0].created_at_text)}"
            if page.records
            else "there is no log yet"
        )
        total = "" if page.total is None else f", {page.total:,} logs in all"
        return f"Connected to {self.query.host}, API version {self.settings.api_version}: {newest}{total}."

    # Reading

    def bookmark(self, state: Mapping[str, Any], selected: Sequence[str] = ()) -> Bookmark:
        """Return where a run resumes.

        Args:
            state: The state of the previous run; empty if there is none.
            selected: Names of the selected streams.

        Raises:
            StateError: The state cannot be used.
        """
        return Bookmark.load(state, self.query, self.settings.lookback_seconds, selected)

    def record_pages(self, endpoint: Endpoint, bookmark: Bookmark) -> Generator[RecordPage, None, None]:
        """Yield what is new in a list. The bookmark moves when `emitted` and `done` of each page are called."""
        differences = DifferenceReport(self._logger, endpoint.noun)
        reader = self._reader(endpoint, bookmark, InterruptibleWait(self.stop_signals), self._logger)
        with closing(reader.record_pages()) as pages:
            for page in pages:
                differences.add(page.records)
                yield page

    def read(
        self,
        selected: Sequence[str],
        state: Mapping[str, Any],
        sink: MeasuredSink,
        *,
        moves_state: bool = True,
        logger: logging.Logger | None = None,
    ) -> RunStats:
        """Read what is new, and log a one-line summary at the end, however the run ends.

        Args:
            selected: Names of the selected streams, all of one endpoint.
            state: The state of the previous run; empty if there is none, or if the endpoint is read in full.
            sink: Where rows and states go.
            moves_state: Whether checkpoints have a state, if the endpoint has one.
            logger: Where the run's messages go, if not to the source's logger.

        Raises:
            StateError: The state cannot be used. Nothing was written.
            TapSequenceError: The run failed; the last checkpoint describes what was written.
            StoppedError: A signal stopped it; the same.
        """
        logger = logger or self._logger
        endpoint = STREAMS_BY_NAME[selected[0]].endpoint
        client = self.connection.client_of(endpoint)
        bookmark = self.bookmark(state, selected)
        logger.info("Reading %ss from %s", endpoint.noun, self.query.host)
        differences = DifferenceReport(logger, endpoint.noun)
        has_state = moves_state and endpoint.is_append_only
        checkpoints = Checkpoints(
            sink, bookmark.to_state if has_state else lambda: None, page_size=self.settings.page_size
        )
        display = display_for(logger, sys.stderr if self.shows_bar else None, sys.stdout)
        progress = Progress(display, noun=endpoint.noun)
        before = copy.copy(client.traffic)

        def page_done(page: RecordPage) -> None:
            differences.add(page.records)
            progress.page_done(read=page.read, emitted=len(page.records), seen=page.seen, total=page.total)
            count_page(page)

        def summarize(failure: object, *_: object) -> None:
            traffic = client.traffic.since(before)
            parts = [
                progress.stats.summary(),
                *sink.counts(),
                counted(traffic.requests, "request"),
                counted(traffic.retries, "retry", "retries"),
                f"{counted(traffic.refusals, 'refusal')} (429)",
            ]
            if client.skipped:
                parts.append(f"{counted(client.skipped, endpoint.noun)} skipped as invalid")
            if found := differences.summary():
                parts.append(found)
            logger.info("%s: %s.", "Summary" if failure is None else "Stopped early", ", ".join(parts))

        with ExitStack() as stack:
            stack.push(summarize)
            stack.enter_context(progress)
            count_page = stack.enter_context(sink.measuring(client))
            reader = self._reader(endpoint, bookmark, self._wait(checkpoints, progress), logger)
            run(
                reader.record_pages(),
                sink,
                checkpoints,
                after_page=page_done,
                check_stop=self.stop_signals.check,
            )
        return progress.stats

    def _reader(
        self, endpoint: Endpoint, bookmark: Bookmark, wait: InterruptibleWait, logger: logging.Logger
    ) -> IncrementalReader | FullReader:
        """Return one run over a list. If it is append-only, the run resumes at the bookmark, and moves it."""
        most = self.settings.max_in_flight_requests
        ask = asking_again_for_empty(self.connection.client_of(endpoint).fetch)

        def fetch(request: PageRequest) -> Page:
            return wait.call(partial(ask, request))

        if not endpoint.is_append_only:
            return FullReader(fetch, noun=endpoint.noun, logger=logger)
        new_plan = partial(
            PrefetchPlan,
            guesses=CursorGuesses(),
            page_size=self.settings.page_size,
            max_in_flight_requests=most,
        )

        def prefetching() -> PrefetchPool:
            return PrefetchPool(fetch=ask, wait=wait.get, new_plan=new_plan, threads=most, logger=logger)

        return IncrementalReader(
            fetch,
            bookmark,
            start_date=self.settings.start_date_microseconds,
            logger=logger,
            pause=wait.pause,
            prefetching=prefetching if most > 1 else None,
        )

    def _wait(self, checkpoints: Checkpoints, progress: Progress) -> InterruptibleWait:
        """Return how to wait for pages: meanwhile a checkpoint may fall due, and progress is shown."""

        def seconds_to_tick() -> float:
            return min(checkpoints.seconds_left, progress.seconds_to_tick())

        def tick() -> None:
            if checkpoints.seconds_left <= 0:
                checkpoints.make()
            if progress.seconds_to_tick() <= 0:
                progress.tick()

        return InterruptibleWait(self.stop_signals, seconds_to_tick=seconds_to_tick, tick=tick)
