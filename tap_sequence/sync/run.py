"""The run loop: it writes what was read to a sink, and makes a checkpoint whenever one is due, and however it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tap_sequence.sync.checkpoints import Checkpoints, Sink
from tap_sequence.sync.models import RecordPage


def run(
    pages: Iterable[RecordPage],
    sink: Sink,
    checkpoints: Checkpoints,
    *,
    after_page: Callable[[RecordPage], None],
    check_stop: Callable[[], None],
) -> None:
    """Write all pages.

    Args:
        pages: What is read.
        sink: Where it goes.
        checkpoints: When to make a checkpoint.
        after_page: Called when all of a page is written.
        check_stop: Raises if the run is to stop.
    """
    try:
        for page in pages:
            for records in checkpoints.parts(page.records):
                sink.write(records, page.emitted)
            page.done()
            after_page(page)
            if checkpoints.is_due:
                checkpoints.make()
            check_stop()
    except BaseException:
        # Whatever happened, the state describes all that was written, so that the next run does not write it again.
        checkpoints.make()
        raise
    sink.complete()
    checkpoints.make()
    # Everything is written, but a run that was asked to stop must end as stopped.
    check_stop()
