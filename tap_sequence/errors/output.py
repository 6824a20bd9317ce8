"""Errors of writing records, and of the tap itself."""

from __future__ import annotations

from dataclasses import dataclass

from tap_sequence.errors.base import FailureKind, TapSequenceError


class NestingError(TapSequenceError):
    """A log is nested too deeply for the message that is to hold it."""

    template = (
        "The log after the last record is nested too deeply to be written. Nothing is lost: the last STATE is before it. "
        "Ask Sequence's support about its content."
    )


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
