"""Checks of a body that compiled code does not make."""

from __future__ import annotations

import codecs
import re

from tap_sequence.api.responses import Problem
from tap_sequence.errors import PageTooLargeError

MAX_VALUES = 500_000
"""Maximum number of JSON values on a page. Each takes memory, however short it is."""

_CHUNK_BYTES = 2**16
_MIN_SUSPICIOUS_BYTES = 2**20
_NUL = rb"\u0000"
_FEW_BACKSLASHES = 200
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def check_encoding(body: bytes) -> None:
    """Raise UnicodeDecodeError if a body is not UTF-8.

    msgspec checks only what it keeps: a broken byte in the key `after` would make it an unknown field, and the list would
    seem to end there.
    """
    # In parts: a single emoji makes the decoded text four times as large as the body, and allocating that for each page takes
    # longer than all other work on it.
    decode = codecs.getincrementaldecoder("utf-8")().decode
    for start in range(0, len(body), _CHUNK_BYTES):
        decode(body[start : start + _CHUNK_BYTES])
    decode(b"", final=True)


def has_nul(body: bytes) -> bool:
    """Whether a body may have an escaped NUL in a string."""
    # Few bodies have many backslashes, and searching for a single byte takes a hundredth of the time.
    at = -1
    for _ in range(_FEW_BACKSLASHES):
        at = body.find(b"\\", at + 1)
        if at < 0:
            return False
        if body.startswith(_NUL, at):
            return True
    return body.find(_NUL, at) >= 0


def check_size(body: bytes) -> None:
    """Raise PageTooLargeError if a body has so many values that decoding it would take too much memory."""
    if len(body) < _MIN_SUSPICIOUS_BYTES or _max_values(body) <= MAX_VALUES:
        return
    # Counted again, without the contents of strings.
    values, at = 0, 0
    for string in _STRING.finditer(body):
        values += _max_values(body[at : string.start()])
        at = string.end()
        if values > MAX_VALUES:
            break
    if values + _max_values(body[at:]) > MAX_VALUES:
        raise PageTooLargeError(Problem.TOO_MANY_VALUES.format(values=f"{MAX_VALUES:,}"))


def _max_values(body: bytes) -> int:
    """Return an upper bound of the number of values that begin in a part of a body."""
    return body.count(b",") + body.count(b"[") + body.count(b"{")
