"""Times as the API writes them, turned into numbers that sort.

Live systems mix numbers of fractional digits in one response (the vendor's seats guide shows `…48.63792Z` next to
`…48.637932Z`). As text they sort wrongly, because `Z` sorts after every digit; as microseconds they sort correctly.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

MICROSECONDS = 1_000_000
"""Microseconds in a second."""

_ZERO_OFFSET = re.compile(r" *(Z|UTC|GMT)$")
_LEAP_SECOND = re.compile(r"(.+\d\d:?\d\d:?)60((?:[.,]\d+)?(?: *[Z+-].*)?)")
_END_OF_DAY = re.compile(r"(\d{4}-?\d\d-?\d\d.)24((?::?00){0,2}(?:[.,]0+)?(?:[Z+-].*)?)")


def parse_timestamp(text: str) -> int:
    """Turn an ISO 8601 date or date-time into microseconds since 1970 in UTC.

    A date alone is its midnight; a time without an offset is UTC. Digits beyond the sixth are cut off. A leap second
    (`23:59:60`) is the start of the next minute, and `24:00:00` that of the next day.

    Raises:
        ValueError: The text is neither.
    """
    extra = 0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        usual, extra = _to_usual_form(text)
        moment = datetime.fromisoformat(usual)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND + extra


def _to_usual_form(text: str) -> tuple[str, int]:
    """Return a time in a form that Python reads, and how many microseconds later the time is than that."""
    text = _ZERO_OFFSET.sub("Z", text.strip().upper())
    if found := _LEAP_SECOND.fullmatch(text):
        return f"{found[1]}59{found[2]}", MICROSECONDS
    if found := _END_OF_DAY.fullmatch(text):
        return f"{found[1]}00{found[2]}", 24 * 60 * 60 * MICROSECONDS
    return text, 0


def format_timestamp(microseconds: int) -> str:
    """Turn microseconds since 1970 into RFC 3339 text in UTC, for messages. A time outside years 1 to 9999 becomes the nearest."""
    try:
        moment = _EPOCH + microseconds * _MICROSECOND
    except OverflowError:
        moment = _LAST if microseconds > 0 else _FIRST
    return moment.isoformat().replace("+00:00", "Z")
