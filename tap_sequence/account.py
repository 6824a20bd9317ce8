"""The Python interface: an account at Sequence, read as pages or as rows.

    account = Account(environment="demo")
    for page in account.pages(state=state):
        store(page.rows["activity_logs"], page.state)

It writes nothing to standard output, installs no signal handler, and leaves logging to the program that uses it: messages go
to the logger `tap_sequence`. docs/python.md describes it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar, Self, Unpack

from tap_sequence.catalog import STREAMS, STREAMS_BY_NAME, StreamSpec
from tap_sequence.errors import TapSequenceError, UnknownStreamError
from tap_sequence.runtime.log_records import clean_record
from tap_sequence.settings_arguments import AccountSettings, settings_signature
from tap_sequence.settings_checks import check_settings, hide_secrets
from tap_sequence.source import Source
from tap_sequence.sync.models import Record, RecordPage
from tap_sequence.sync.state import bookmarks_of, unwrap
from tap_sequence.text.redaction import MASK, clean, excerpt
from tap_sequence.transforms.rows import to_plain

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

_LOGGER = logging.getLogger("tap_sequence")
_LOGGER.addFilter(clean_record)


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one page.

    Attributes:
        rows: The rows of each selected stream, by its name, in order. A row is a dictionary of plain values.
        state: Where to continue after these rows: store it together with them. It is a Singer state, which can be written as
            JSON; the tap continues from it as well.
    """

    rows: Mapping[str, list[dict[str, Any]]]
    state: dict[str, Any]


class Account:
    """An account at Sequence.

    Args:
        **settings: The settings that README.md lists, by name. One that is None counts as not set. The environment is not
            read.

    Raises:
        SettingsError: A setting is unknown, missing or wrong. No request was sent.
    """

    __signature__: ClassVar = settings_signature()

    def __init__(self, **settings: Unpack[AccountSettings]) -> None:
        config: dict[str, Any] = {**settings}
        # Texts from outside are quoted without them from now on.
        hide_secrets(config)
        self._source = Source(check_settings(config, _LOGGER), logger=_LOGGER)

    @property
    def streams(self) -> tuple[str, ...]:
        """The names of all streams."""
        return tuple(STREAMS_BY_NAME)

    def schema(self, stream: str) -> dict[str, Any]:
        """Return the JSON schema of a stream's rows with these settings.

        Raises:
            UnknownStreamError: There is no such stream.
        """
        return self._source.schema_of(_spec(stream).name)

    def check(self) -> str:
        """Request one log, for at most half a minute, and return a line that says that it worked.

        Raises:
            TapSequenceError: It did not work; the text says what to do.
        """
        with _clean_errors():
            return clean(MASK.apply(self._source.check()))

    def pages(
        self,
        streams: str | Sequence[str] = ("activity_logs",),
        state: Mapping[str, Any] | None = None,
    ) -> Generator[Page, None, None]:
        """Read what is new, page by page.

        Streams of the same list share its requests and its bookmark. A page may have no rows: the last one of a run then has
        a newer state. A list that changes in place, such as users, has no state and is read in full.

        Args:
            streams: The streams to read.
            state: The state to continue from; None or empty: read everything.

        Raises:
            UnknownStreamError: There is no such stream.
            StateError: The state cannot be used.
            TapSequenceError: While iterating: the run failed. The state of the last page is the one to continue from.
        """
        bookmarks = _bookmarks(state)
        names = dict.fromkeys([streams] if isinstance(streams, str) else streams)
        by_list = groupby(sorted(map(_spec, names), key=STREAMS.index), key=lambda spec: spec.endpoint)
        return _pages([_Walk(self._source, [*specs], bookmarks) for _, specs in by_list], names, bookmarks)

    def rows(self, stream: str = "activity_logs", state: Mapping[str, Any] | None = None) -> RowIterator:
        """Read what is new in one stream, row by row.

        The arguments and errors are those of `pages`.
        """
        bookmarks = _bookmarks(state)
        return RowIterator(_Walk(self._source, [_spec(stream)], bookmarks), bookmarks)


class RowIterator(Iterator[dict[str, Any]]):
    """The rows of a stream. Close it, or use it in a `with` block, if you may not read it to its end."""

    def __init__(self, walk: _Walk, bookmarks: Mapping[str, Any]) -> None:
        self._walk = walk
        self._bookmarks = bookmarks
        self._rows = walk.each_row()

    @property
    def state(self) -> dict[str, Any]:
        """Where to continue after the rows that were handed out so far.

        It never covers a row that was not handed out. Rows of a log of which others are still to come are handed out again, and
        so are all rows of a run that reads backward, which moves the state at its end.
        """
        return {"bookmarks": {**self._bookmarks, **self._walk.to_bookmarks()}}

    @override
    def __next__(self) -> dict[str, Any]:
        return next(self._rows)

    def close(self) -> None:
        """Stop reading."""
        self._rows.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Walk:
    """A run over one list, for some of its streams.

    Args:
        source: The account.
        specs: The streams.
        bookmarks: Where to continue, by the first stream of each list.
    """

    def __init__(self, source: Source, specs: Sequence[StreamSpec], bookmarks: Mapping[str, Any]) -> None:
        self._source = source
        self._endpoint = specs[0].endpoint
        self._key = next(spec.name for spec in STREAMS if spec.endpoint == self._endpoint)
        names = [spec.name for spec in specs]
        state = bookmarks.get(self._key, {}) if self._endpoint.is_append_only else {}
        with _clean_errors():
            self._bookmark = source.bookmark(state, names)
        self._rows = {spec.name: spec.rows(source.schema_of(spec.name)) for spec in specs}

    def record_pages(self) -> Generator[RecordPage, None, None]:
        """Yield the records that are new."""
        with _clean_errors():
            yield from self._source.record_pages(self._endpoint, self._bookmark)

    def to_bookmarks(self) -> dict[str, Any]:
        """Return the bookmark as it is now, by the first stream of the list; nothing if there is none."""
        state = self._bookmark.to_state() if self._endpoint.is_append_only else {}
        return {self._key: state} if state else {}

    def rows_of(self, records: Sequence[Record]) -> dict[str, list[dict[str, Any]]]:
        """Return the rows of records, by stream."""
        decoded = [self._source.actor_email.apply(record.data) for record in records]
        return {name: [*map(to_plain, rows.of(decoded))] for name, rows in self._rows.items()}

    def each_row(self) -> Generator[dict[str, Any], None, None]:
        """Yield each row of the one stream. The bookmark moves right before the last row of each record is handed out."""
        for page in self.record_pages():
            for record in page.records:
                (rows,) = self.rows_of([record]).values()
                yield from rows[:-1]
                page.emitted(record)
                if record is page.records[-1]:
                    page.done()
                yield from rows[-1:]
            if not page.records:
                page.done()


def _pages(
    walks: Iterable[_Walk], names: Iterable[str], bookmarks: Mapping[str, Any]
) -> Generator[Page, None, None]:
    def made(rows: Mapping[str, list[dict[str, Any]]]) -> Page:
        # Its lists and its state are the caller's, who may change them.
        return Page({name: rows.get(name, []) for name in names}, {"bookmarks": {**bookmarks}})

    for walk in walks:
        for page in walk.record_pages():
            rows = walk.rows_of(page.records)
            for record in page.records:
                page.emitted(record)
            page.done()
            before, bookmarks = bookmarks, {**bookmarks, **walk.to_bookmarks()}
            if page.records or bookmarks != before:
                yield made(rows)
        before, bookmarks = bookmarks, {**bookmarks, **walk.to_bookmarks()}
        if bookmarks != before:
            yield made({})


def _spec(stream: str) -> StreamSpec:
    if stream not in STREAMS_BY_NAME:
        raise UnknownStreamError(excerpt(stream), ", ".join(STREAMS_BY_NAME))
    return STREAMS_BY_NAME[stream]


def _bookmarks(state: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the bookmarks in a Singer state."""
    with _clean_errors():
        return bookmarks_of(unwrap({**(state or {})}))


@contextmanager
def _clean_errors() -> Iterator[None]:
    """Let errors through without what they were caused by, and with no secret in their text."""
    try:
        yield
    except TapSequenceError as error:
        for name, value in vars(error).items():
            if isinstance(value, str):
                setattr(error, name, clean(MASK.apply(value)))
        raise error from None
