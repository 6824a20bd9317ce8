"""Errors of the list: records that cannot be used, pagination loops, and lists that end too early."""

from __future__ import annotations

from dataclasses import dataclass

from tap_sequence.errors.base import TapSequenceError

_RESUMES = "No log is lost: the next run resumes from the last STATE. If it happens again, report it to Sequence's support."


@dataclass(eq=False)
class RecordError(TapSequenceError):
    """The id or createdAt of a log, or the id of another entry, cannot be used.

    Attributes:
        name: The entry's id, quoted, or its number on the page.
        problem: What is wrong with it.
        request: The page.
        noun: What messages call the entry.
    """

    template = (
        "{noun} {name} on {request} cannot be loaded: {problem}. The last STATE precedes it. Set invalid_logs to skip "
        "to leave out those like it, and report this one to Sequence's support."
    )
    name: str
    problem: str
    request: object = "the page"
    noun: str = "Log"


class PaginationLoopError(TapSequenceError):
    """The API returned pages again that the same walk had already read."""


@dataclass(eq=False)
class CursorRepeatedError(PaginationLoopError):
    """A page leads to a cursor that this walk has already followed."""

    page: int
    cursor: str
    template = (
        f"Pagination loop: page {{page}} leads to cursor {{cursor}}, which was already followed. {_RESUMES}"
    )


@dataclass(eq=False)
class FirstPageRepeatedError(PaginationLoopError):
    """The response to a cursor is the first page of the walk."""

    request: object
    template = (
        f"Pagination loop: the response to {{request}} is the first page of this walk again. {_RESUMES}"
    )


@dataclass(eq=False)
class RecordRepeatedError(PaginationLoopError):
    """The response to a cursor ends with a record that this walk has already read."""

    request: object
    template = (
        f"Pagination loop: the response to {{request}} ends with a log that was already read. {_RESUMES}"
    )


class IncompleteListError(TapSequenceError):
    """The API ended the list too early."""


@dataclass(eq=False)
class OldestMissingError(IncompleteListError):
    """A walk from the newest record ended before the oldest one."""

    request: object
    read: int
    oldest_id: str
    template = (
        "The API ended the list at {request} after {read} logs, before its oldest log {oldest_id}. No log is lost: run again "
        "with the last STATE. If it happens again, run once without a state and without start_date, which reads the list "
        "from its oldest log, and report it to Sequence's support."
    )


@dataclass(eq=False)
class NewestMissingError(IncompleteListError):
    """A walk from the oldest record ended before the newest one.

    Attributes:
        listed: How many logs were listed, as text.
        total: `totalResultSize`, as text.
    """

    request: object
    newest_id: str
    listed: str
    total: str
    template = (
        "The API ended the list at {request}, before its newest log {newest_id} (logs listed: {listed}, totalResultSize: "
        "{total}). All logs before it are emitted: run again to resume there. If it happens again, run once with another "
        "page_size, and ask Sequence's support why the list ends there."
    )
