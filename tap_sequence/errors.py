"""What can go wrong, as types. The text of each is the one line that a person reads at night.

Every message says what happened, where, and what to do. None may hold a credential or an actor's e-mail address.
"""

from __future__ import annotations


class TapSequenceError(Exception):
    """Base of all errors that end a run with one line and exit status 1."""


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
