"""What can go wrong: a registry of errors. Each class says what kind of failure it is, what it carries, and its one line.

The line is what a person reads at night: what happened, where, and what to do. None holds a credential or an e-mail
address: text from outside goes through `tap_sequence.text.redaction.excerpt` before it becomes part of an error.
docs/troubleshooting.md has a row for each; tests/project/test_troubleshooting.py checks it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override


_NOTHING_EMITTED = (
    "Nothing was emitted. Fix the state, or run once without it to read the whole activity log again."
)
_RESUMES = "No log is lost: the next run resumes from the last STATE. If it happens again, report it to Sequence's support."


class FailureKind(StrEnum):
    """Who has to act, so that fronts and schedulers can tell failures apart."""

    CONFIG = "config"
    """The user: a setting, an input file, the state, the credentials or the network's set-up is wrong."""
    TRANSIENT = "transient"
    """Nobody: a later run may succeed as it is."""
    SYSTEM = "system"
    """Sequence's support or this project: the API or the tap does what it should not."""


class TapSequenceError(Exception):
    """Base of all errors that end a run with one line and exit status 1.

    A subclass is a dataclass whose fields complete its `template`.

    Attributes:
        kind: Who has to act.
        template: The line, with the names of fields in braces.
    """

    kind: ClassVar[FailureKind] = FailureKind.SYSTEM
    template: ClassVar[str] = ""

    @override
    def __str__(self) -> str:
        return self.template.format_map(vars(self)) if self.template else super().__str__()


class SettingsError(TapSequenceError):
    """A setting is unknown, missing or out of range."""


class InputFileError(TapSequenceError):
    """A file named on the command line cannot be read or is not what it should be."""


class CatalogError(TapSequenceError):
    """The catalog asks for what cannot be done."""


class StateError(TapSequenceError):
    """The state cannot be used, so nothing may be emitted from it."""

    kind = FailureKind.CONFIG


@dataclass(eq=False)
class UnreadableStateError(StateError):
    """A stream's part of the state is not what any version of the tap writes."""

    stream: str
    problem: str
    template = f"The state of stream {{stream}} cannot be read: {{problem}}. {_NOTHING_EMITTED}"


@dataclass(eq=False)
class FutureStateError(StateError):
    """The state is a time alone, and that time is still to come."""

    replication_key_value: str
    template = (
        "The state cannot be used: its replication_key_value ({replication_key_value}) is in the future, so that every log "
        f"would be skipped. {_NOTHING_EMITTED}"
    )


class RequestError(TapSequenceError):
    """A request failed for good."""


class TransientRequestError(RequestError):
    """A request failed in a way that a later try may mend.

    Attributes:
        retry_after: Seconds that the API asked to wait, if it did.
        is_refusal: Whether there were too many requests (429).
    """

    def __init__(self, message: str, *, retry_after: float | None = None, is_refusal: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.is_refusal = is_refusal


class PageTooLargeError(RequestError):
    """A page has more in it than can be read."""


class UnanswerableError(RequestError):
    """A request that no try will get answered: its address, proxy or certificates are wrong.

    Attributes:
        advice: What to do, as a sentence.
    """

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


class BadRequestError(RequestError):
    """The API refused the request as it stands: with a cursor from an earlier run, the cursor is no longer honoured."""


class RecordError(TapSequenceError):
    """The id or createdAt of a log cannot be used."""


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
