"""The stream that reads a list, for itself and for the streams that share its pages."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from tap_sequence.errors import MixedReplicationMethodsError
from tap_sequence.singer.shared_stream import SharedPageStream
from tap_sequence.singer.sink import SingerSink

if TYPE_CHECKING:
    from singer_sdk.helpers.types import Context

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override


class ReaderStream(SharedPageStream):
    """A stream that reads a list, for its children too, whether it is selected itself or not."""

    # The SDK's loop keeps its bookmark as text, moves it before a page is complete, and writes a STATE every so many
    # records. There is no public way to replace it.
    @override
    def _sync_records(
        self, context: Context | None = None, *, write_messages: bool = True
    ) -> Generator[dict[str, Any], Any, Any]:
        """Read what is new and write its records; yield nothing."""
        selected = self._selected_streams()
        is_full_table = selected[0].is_full_table
        # A full refresh leaves the state as it is.
        state = {} if is_full_table else self._tap.state.get("bookmarks", {}).get(self.name, {})
        self._source.read(
            [stream.name for stream in selected],
            state,
            SingerSink(self._tap, self, selected, change=self._source.actor_email.apply),
            moves_state=not is_full_table,
            logger=self.logger,
        )
        yield from ()

    def _selected_streams(self) -> list[SharedPageStream]:
        """Return the selected streams among this one and its children.

        Raises:
            MixedReplicationMethodsError: They differ in their replication method.
        """
        family = [self, *(stream for stream in self.child_streams if isinstance(stream, SharedPageStream))]
        selected = [stream for stream in family if stream.selected]
        if len({stream.is_full_table for stream in selected}) > 1:
            raise MixedReplicationMethodsError(" and ".join(stream.name for stream in selected))
        return selected

    @override
    def finalize_state_progress_markers(self, state: dict[str, Any] | None = None) -> None:
        """Do nothing: there are no progress markers, and the last STATE is written by then."""
