"""What can go wrong: a registry of errors. Each class says what kind of failure it is, what it carries, and its one line.

The line is what a person reads at night: what happened, where, and what to do. None holds a credential or an e-mail
address: text from outside goes through `tap_sequence.text.redaction.excerpt` before it becomes part of an error.
docs/troubleshooting.md has a row for each; tests/project/test_troubleshooting.py checks it.
"""

from __future__ import annotations

import sys
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
    """A file named on the command line cannot be read or is not what it should be."""


class CatalogError(TapSequenceError):
    """The catalog asks for what cannot be done."""


class StateError(TapSequenceError):
    """The state cannot be understood, so nothing may be emitted from it."""


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
