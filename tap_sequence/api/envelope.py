"""The JSON around logs: the envelope of a page, with its pagination, and that of an error."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

from tap_sequence.api.lenient_json import Value, read_json, to_plain
from tap_sequence.api.page_checks import check_encoding
from tap_sequence.api.responses import Problem, Response
from tap_sequence.errors import TransientRequestError
from tap_sequence.text.redaction import excerpt

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError)
"""Exceptions of decoding JSON. The last two are for JSON nested too deeply, and for numbers too large for a Decimal."""

_QUOTED_BYTES = 2**13
_MAX_TOTAL_DIGITS = 15


class _Envelope(msgspec.Struct):
    """A page whose logs are decoded one by one."""

    items: list[msgspec.Raw] | None
    pagination: Any = None


_ENVELOPE_DECODER = msgspec.json.Decoder(_Envelope, float_hook=Decimal)


class _ErrorDetail(msgspec.Struct):
    type: str | None = None
    message: str | None = None


class _ErrorEnvelope(msgspec.Struct):
    """`{"error": {"type": ..., "message": ...}}` (versioning page)."""

    error: _ErrorDetail


def split(body: bytes, error: Exception) -> tuple[Iterable[bytes], Any]:
    """Return the logs of a page, each as JSON, and its pagination.

    Args:
        body: The body.
        error: Why the body could not be decoded as a whole; quoted if it is not a page.

    Raises:
        TransientRequestError: The body is not a page.
    """
    try:
        check_encoding(body)
        try:
            envelope = _ENVELOPE_DECODER.decode(body)
        except UNDECODABLE as strict_error:
            error = strict_error
        else:
            return map(bytes, envelope.items or ()), envelope.pagination
        page = msgspec.convert(read_json(body).content, dict[str, Any])
        items = msgspec.convert(page["items"].content, list[Any] | None)
    except (ValueError, LookupError):
        beginning = repr(excerpt(body[:_QUOTED_BYTES].decode("utf-8", errors="replace")))
        problem = Problem.NOT_A_PAGE.format(reason=excerpt(str(error)), beginning=beginning)
        raise TransientRequestError(problem) from None
    return [item.source for item in items or ()], _plain_pagination(page.get("pagination"))


def _plain_pagination(pagination: Value | None) -> Any:
    """Return `pagination` as plain Python, with empty lists for values that cannot be used."""
    if pagination is None or not isinstance(pagination.content, dict):
        return None
    return {
        name: [] if value.depth or value.is_oversized else to_plain(value)
        for name, value in pagination.content.items()
    }


def next_cursor(pagination: Any) -> tuple[str | None, bool]:
    """Return the cursor of the next page, and whether the page says at all if there is one."""
    if not isinstance(pagination, dict):
        return None, False
    after = pagination.get("after")
    if isinstance(after, bool):
        return None, not after
    if isinstance(after, int | float | Decimal):
        return str(after), True
    if isinstance(after, str | None):
        return after or None, True
    return None, False


def total_of(pagination: Any) -> int | None:
    """Return the number of logs in the list, if `totalResultSize` is a plausible one."""
    total = pagination.get("totalResultSize") if isinstance(pagination, dict) else None
    if isinstance(total, bool) or not isinstance(total, int | Decimal | str):
        return None
    try:
        number = Decimal(total)
    except ArithmeticError:
        return None
    if not number.is_finite() or number < 0 or number.adjusted() > _MAX_TOTAL_DIGITS or number % 1:
        return None
    return int(number)


def describe(response: Response) -> str:
    """Describe an error response: its status, and the API's own error if there is one."""
    text = f"status {response.status}"
    try:
        detail = msgspec.json.decode(response.body, type=_ErrorEnvelope).error
    except UNDECODABLE:
        return text
    words = excerpt(": ".join(word for word in (detail.type, detail.message) if word))
    return f"{text}, {words}" if words else text
