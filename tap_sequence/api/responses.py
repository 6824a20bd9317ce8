"""What the client does with an answer: a table of statuses and shapes, and the reason for each row."""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple


class Action(Enum):
    """What an answer makes the client do."""

    READ = auto()
    """Hand the page to the walk."""
    RETRY = auto()
    """Try again, later each time, until the retry budget is used up."""
    SLOW_DOWN = auto()
    """The same, and lower the pace of all requests."""
    ASK_WALK = auto()
    """Leave it to the walk, which knows whether the cursor came from an earlier run."""
    FAIL_CREDENTIALS = auto()
    """End the run, with the settings to look at."""
    FAIL_REDIRECT = auto()
    """End the run, with the host that the redirect leads to."""
    FAIL = auto()
    """End the run, with what the API said."""


class Shape(Enum):
    """What a body is."""

    PAGE = auto()
    """JSON with `items`, and, but for the last page, with `pagination`."""
    NO_PAGE = auto()
    """Anything else: HTML, broken JSON, a list, an object without `items`."""
    TOO_LARGE = auto()
    """Longer than the client takes."""


class Row(NamedTuple):
    """One row of the table.

    Attributes:
        statuses: HTTP statuses that it is about.
        shape: Shape of the body; None for any.
        action: What to do.
        reason: Why.
    """

    statuses: range
    shape: Shape | None
    action: Action
    reason: str


def _only(status: int) -> range:
    return range(status, status + 1)


ACTIONS: tuple[Row, ...] = (
    Row(_only(200), Shape.PAGE, Action.READ, "what was asked for"),
    Row(_only(200), Shape.TOO_LARGE, Action.FAIL, "the same page will be as large again"),
    Row(
        _only(200),
        Shape.NO_PAGE,
        Action.RETRY,
        "a gateway's maintenance page, or a body that broke on its way",
    ),
    Row(range(201, 300), None, Action.RETRY, "no page in it, but no refusal either: a gateway's doing"),
    Row(range(301, 304), None, Action.FAIL_REDIRECT, "the address is wrong; credentials go nowhere else"),
    Row(range(307, 309), None, Action.FAIL_REDIRECT, "the address is wrong; credentials go nowhere else"),
    *(
        Row(_only(status), None, Action.ASK_WALK, "with a saved cursor: it is no longer honoured")
        for status in (400, 404, 409, 410, 422)
    ),
    Row(_only(401), None, Action.FAIL_CREDENTIALS, "wrong credentials do not get better"),
    Row(_only(403), None, Action.FAIL_CREDENTIALS, "nor do credentials without the right to read the log"),
    Row(_only(429), None, Action.SLOW_DOWN, "over the limit of the key, all its users together"),
    Row(
        range(500, 600),
        None,
        Action.RETRY,
        "an outage that passes; gateways have numbers of their own beyond 504",
    ),
    Row(range(100, 600), None, Action.FAIL, "a refusal, or nothing that this endpoint is known to answer"),
)
"""The table. The first row that fits counts."""


def action_for(status: int, shape: Shape) -> Action:
    """Return what to do with an answer."""
    return next(
        (row.action for row in ACTIONS if status in row.statuses and row.shape in {None, shape}), Action.FAIL
    )
