"""Times as the API writes them, turned into numbers that sort.

Live systems mix numbers of fractional digits in one response (the vendor's seats guide shows `…48.63792Z` beside
`…48.637932Z`). As text they sort wrongly, because `Z` sorts after every digit; as microseconds they sort right.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

MICROSECONDS = 1_000_000
"""Microseconds in a second."""


def parse_timestamp(text: str) -> int:
    """Turn an ISO 8601 date or date-time into microseconds since 1970 in UTC.

    A date alone is its midnight; a time without an offset is UTC. Digits beyond the sixth are cut off.

    Raises:
        ValueError: The text is neither.
    """
    moment = datetime.fromisoformat(text.upper())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


def format_timestamp(microseconds: int) -> str:
    """Turn microseconds since 1970 into RFC 3339 text in UTC, for messages. A time before year 1 becomes its start."""
    try:
        moment = _EPOCH + microseconds * _MICROSECOND
    except OverflowError:
        moment = datetime.min.replace(tzinfo=UTC)
    return moment.isoformat().replace("+00:00", "Z")
