"""What a response is, and how the client handles it: a table of statuses and shapes, with the reason for each row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Response:
    """A response, read to its end.

    Attributes:
        status: HTTP status.
        headers: Headers by name, case-insensitive.
        body: The body, decompressed.
        is_too_large: Whether the body exceeds MAX_BODY_BYTES and is incomplete.
        asked_at: A time no later than that at which the request was sent, in microseconds since 1970.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_too_large: bool
    asked_at: int


class Problem(StrEnum):
    """Why an attempt failed although there was no connection failure. Completes messages."""

    PAUSED = "the API asked for a pause of all requests"
    TOO_MANY_BYTES = (
        "status 200 with a body of more than {mebibytes} MiB, which is too large for a page of logs"
    )
    TOO_MANY_VALUES = (
        "status 200 with a body of more than {values} JSON values, which is too many for a page of logs"
    )
    UNREADABLE = "status 200 with content type {content_type}, but {problem}"
    NOT_A_PAGE = "the response is not a page of activity logs ({reason}); it begins with {beginning}"
    NO_PAGINATION = (
        "status 200 with a page that does not say whether there is a next one: it has no pagination"
    )


class Action(Enum):
    """How the client handles a response."""

    READ = auto()
    """Return the page."""
    RETRY = auto()
    """Retry with backoff, until the retry budget is used up."""
    SLOW_DOWN = auto()
    """Retry, and lower the rate of all requests."""
    ASK_WALK = auto()
    """Raise BadRequestError: the walk knows whether the cursor came from an earlier run."""
    FAIL_CREDENTIALS = auto()
    """End the run, and name the settings to check."""
    FAIL_REDIRECT = auto()
    """End the run, and name the host that the redirect leads to."""
    FAIL_SIZE = auto()
    """End the run, and name the setting that makes pages smaller."""
    FAIL = auto()
    """End the run with the API's own message."""


class Shape(Enum):
    """What a body is."""

    PAGE = auto()
    """JSON with `items` and, except on the last page, `pagination`."""
    NO_PAGE = auto()
    """Anything else: HTML, broken JSON, a list, an object without `items`."""
    TOO_LARGE = auto()
    """More than the client reads."""


class Row(NamedTuple):
    """One row of the table.

    Attributes:
        statuses: HTTP statuses that the row applies to.
        shape: Shape of the body; None for any.
        action: How to handle it.
        reason: Why.
    """

    statuses: range
    shape: Shape | None
    action: Action
    reason: str


def _only(status: int) -> range:
    return range(status, status + 1)


ACTIONS: tuple[Row, ...] = (
    Row(_only(200), Shape.PAGE, Action.READ, "a page"),
    Row(_only(200), Shape.TOO_LARGE, Action.FAIL_SIZE, "the same page will be as large again"),
    Row(
        _only(200),
        Shape.NO_PAGE,
        Action.RETRY,
        "a gateway's maintenance page, or a body damaged in transit",
    ),
    Row(range(201, 300), None, Action.RETRY, "neither a page nor a refusal: probably sent by a gateway"),
    Row(range(301, 304), None, Action.FAIL_REDIRECT, "the address is wrong; credentials go nowhere else"),
    Row(range(307, 309), None, Action.FAIL_REDIRECT, "the address is wrong; credentials go nowhere else"),
    *(
        Row(_only(status), None, Action.ASK_WALK, "with a saved cursor: the API no longer accepts it")
        for status in (400, 404, 409, 410, 422)
    ),
    Row(_only(401), None, Action.FAIL_CREDENTIALS, "retrying does not correct credentials"),
    Row(_only(403), None, Action.FAIL_CREDENTIALS, "the credentials may not read the activity log"),
    Row(_only(429), None, Action.SLOW_DOWN, "over the rate limit of the key, with all of its users together"),
    Row(
        range(500, 600),
        None,
        Action.RETRY,
        "a temporary outage; gateways use their own numbers above 504",
    ),
    Row(range(100, 600), None, Action.FAIL, "a refusal, or a status that this endpoint does not document"),
)
"""The table. The first matching row applies."""


def action_for(status: int, shape: Shape) -> Action:
    """Return how to handle a response."""
    return next(
        (row.action for row in ACTIONS if status in row.statuses and row.shape in {None, shape}), Action.FAIL
    )
