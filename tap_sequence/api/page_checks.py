"""Checks of a body that compiled code leaves out."""

from __future__ import annotations

import codecs
import re

from tap_sequence.errors import PageTooLargeError

MAX_VALUES = 500_000
"""JSON values on a page. Each takes memory, however short it is."""


_CHUNK_BYTES = 2**16


_MANY_BYTES = 2**20


_NUL = rb"\u0000"


_FEW_BACKSLASHES = 200


_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def check_encoding(body: bytes) -> None:
    """Raise UnicodeDecodeError where a body is not UTF-8.

    msgspec looks at what it keeps only: a broken byte in the key `after` would make it an unknown field, and the list
    end there.
    """
    # In parts: one emoji makes the text of all of it four times as large as the body, and to get so much memory from the
    # system for each page takes longer than all else that is done with it.
    decode = codecs.getincrementaldecoder("utf-8")().decode
    for start in range(0, len(body), _CHUNK_BYTES):
        decode(body[start : start + _CHUNK_BYTES])
    decode(b"", final=True)


def has_nul(body: bytes) -> bool:
    """Whether a body may have a NUL in a text."""
    # Few bodies have many backslashes, and a search for one byte takes a hundredth of the time.
    at = -1
    for _ in range(_FEW_BACKSLASHES):
        at = body.find(b"\\", at + 1)
        if at < 0:
            return False
        if body.startswith(_NUL, at):
            return True
    return body.find(_NUL, at) >= 0


def check_size(body: bytes) -> None:
    """Raise PageTooLargeError where a body has so many values that decoding it would take too much memory."""
    if len(body) < _MANY_BYTES or _values(body) <= MAX_VALUES:
        return
    # Counted again, without what stands in texts.
    values, at = 0, 0
    for text in _TEXT.finditer(body):
        values += _values(body[at : text.start()])
        at = text.end()
        if values > MAX_VALUES:
            break
    if values + _values(body[at:]) > MAX_VALUES:
        msg = f"status 200 with a body of more than {MAX_VALUES:,} JSON values, which no page of logs is"
        raise PageTooLargeError(msg)


def _values(body: bytes) -> int:
    """Return how many values begin in a part of a body at most."""
    return body.count(b",") + body.count(b"[") + body.count(b"{")
