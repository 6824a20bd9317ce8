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
    """A file named on the command line cannot be read, or does not hold a JSON object."""

    kind = FailureKind.CONFIG


class InlineConfigError(InputFileError):
    """`--config` was given settings in place of a file's name."""

    template = "--config must be the name of a file (got its content). Write the settings to a file, or use --config=ENV."


@dataclass(eq=False)
class UnreadableFileError(InputFileError):
    """The file is missing, not readable, or not UTF-8 text."""

    template = "{file} cannot be read: {reason}. Check {option}."

    file: str
    reason: str
    option: str


@dataclass(eq=False)
class EmptyFileError(InputFileError):
    """The file is empty; a state file often is after a failed run."""

    template = "{file} is empty. Omit {option}, or write a JSON object to the file."

    file: str
    option: str


@dataclass(eq=False)
class InvalidJsonError(InputFileError):
    """The file is not JSON, or nested too deeply to be parsed."""

    template = "{file} is not valid JSON: {reason}. Fix the file."

    file: str
    reason: str


@dataclass(eq=False)
class NotAnObjectError(InputFileError):
    """The file is JSON, but not an object."""

    template = "{file} must be a JSON object (got {found}). Fix the file."

    file: str
    found: str


class CatalogError(TapSequenceError):
    """The catalog cannot be followed."""

    kind = FailureKind.CONFIG


@dataclass(eq=False)
class MixedReplicationMethodsError(CatalogError):
    """Streams that are read together have different replication methods."""

    template = (
        "The catalog gives {streams} different replication methods, but they are read together. Nothing was emitted. "
        "Give them the same replication-method, or select one of them."
    )

    streams: str


class StateError(TapSequenceError):
    """The state cannot be used, so nothing may be emitted from it."""

    kind = FailureKind.CONFIG


_NOTHING_EMITTED = (
    "Nothing was emitted. Fix the state, or run once without it to read the whole activity log again."
)


class NotSingerStateError(StateError):
    """The state has no `bookmarks`, or they are not objects."""

    template = (
        'The state is not a Singer state, which looks like {{"bookmarks": {{"activity_logs": {{…}}}}}}. '
        + _NOTHING_EMITTED
    )


@dataclass(eq=False)
class UnreadableStateError(StateError):
    """The state of a stream does not have the shape that the tap, or the SDK, writes."""

    template = "The state of stream {stream} cannot be read: {problem}. " + _NOTHING_EMITTED

    stream: str
    problem: str


class NestingError(TapSequenceError):
    """A log is nested too deeply for the message that is to hold it."""

    template = (
        "The log after the last record is nested too deeply to be written. Nothing is lost: the last STATE is before it. "
        "Ask Sequence's support about its content."
    )


@dataclass(eq=False)
class StreamMapError(TapSequenceError):
    """A stream map is wrong, or failed at a record."""

    kind = FailureKind.CONFIG
    template = "stream_maps cannot be applied: {reason}. Check stream_maps in the settings."

    reason: str


@dataclass(eq=False)
class OutputError(TapSequenceError):
    """Standard output cannot be written to."""

    kind = FailureKind.CONFIG
    template = (
        "Standard output cannot be written to: {reason}. Check where it is redirected to, then run again with the last "
        "STATE that was written completely."
    )

    reason: str


@dataclass(eq=False)
class UnexpectedError(TapSequenceError):
    """Any other error."""

    template = "Unexpected {name}: {text}. This is a bug in tap-sequence; please report it."

    name: str
    text: str


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
    """The API handed out a cursor that was followed before in the same walk."""


class IncompleteLogError(TapSequenceError):
    """The API ended the list before as many logs were read as it says there are."""
