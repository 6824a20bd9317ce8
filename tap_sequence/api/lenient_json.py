r"""A JSON reader that is more lenient than others, and keeps the source text of every value.

In addition to RFC 8259 it accepts NaN and the infinities, lone surrogates (`"\ud800"`), numbers of any length and values
nested to any depth. Neither reading nor writing recurses.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

MAX_DEPTH = 100
"""Levels of nesting that every JSON reader accepts."""

MAX_DIGITS = 4300
"""Digits of a number that Python parses by default."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Number(str):
    """A number as written in the source."""

    __slots__ = ()


class NonFinite(str):
    """NaN, Infinity or -Infinity."""

    __slots__ = ()


class Value:
    """A JSON value.

    Attributes:
        content: The value. Strings and keys have U+FFFD in place of NUL and lone surrogates, which warehouses cannot store.
        depth: Levels of lists and objects; 0 for a scalar.
        is_exact: Whether its source can be emitted unchanged.
        is_oversized: Whether it contains a number that is too long for most readers.
    """

    __slots__ = ("_end", "_source", "_start", "content", "depth", "is_exact", "is_oversized")

    def __init__(self, content: Any, source: bytes, start: int, end: int) -> None:
        self.content: bool | Number | NonFinite | str | list[Value] | dict[str, Value] | None = content
        self.depth = 0
        self.is_exact = True
        self.is_oversized = False
        self._source, self._start, self._end = source, start, end

    @property
    def source(self) -> bytes:
        """The source of the value."""
        return self._source[self._start : self._end]

    def put(self, inner: Value, key: str) -> None:
        """Add an inner value, under a key if this is an object."""
        if inner.depth >= self.depth:
            self.depth = inner.depth + 1
        if not inner.is_exact:
            self.is_exact = False
        if inner.is_oversized:
            self.is_oversized = True
        if isinstance(self.content, list):
            self.content.append(inner)
        elif isinstance(self.content, dict):
            self.content[key] = inner

    def close(self, end: int) -> None:
        """Set the end of the value in its source."""
        self._end = end


_TEXT = rb'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"'
_SPACE = rb"[ \t\r\n]*+"
_VALUE = re.compile(
    _SPACE
    + rb"(?:(?P<text>"
    + _TEXT
    + rb")|(?P<number>-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+)"
    rb"|(?P<word>true|false|null|NaN|-?Infinity)|(?P<empty>\["
    + _SPACE
    + rb"\]|\{"
    + _SPACE
    + rb"\})|(?P<opening>[\[{]))"
)
_KEY = re.compile(_SPACE + rb"(" + _TEXT + rb")" + _SPACE + rb":")
_AFTER_VALUE = re.compile(_SPACE + rb"([,\]}])")
_WORDS: dict[bytes, bool | None] = {b"true": True, b"false": False, b"null": None}
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_DIGITS = re.compile(r"\d")
_MAX_EXPONENT_DIGITS = 17  # the most that Decimal supports


def read_json(source: bytes) -> Value:
    """Read one JSON value.

    Args:
        source: UTF-8, with or without a byte order mark.

    Raises:
        ValueError: It is not JSON, not even by the lenient rules of this reader.
    """
    return _Reader(source).read()


class _Reader:
    """Reads one value with an explicit stack.

    Args:
        source: The value.
    """

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._at = len(BYTE_ORDER_MARK) if source.startswith(BYTE_ORDER_MARK) else 0
        self._open: list[Value] = []
        self._keys: list[str] = []

    def read(self) -> Value:
        while True:
            value = self._next_value()
            if value is None:
                continue
            while self._open:
                self._open[-1].put(value, self._keys[-1])
                if not self._closes():
                    break
                self._keys.pop()
                value = self._open.pop()
                value.close(self._at)
            else:
                if self._source[self._at :].strip(b" \t\r\n"):
                    raise self._malformed()
                return value

    def _next_value(self) -> Value | None:
        """Return the next value; or open a list or object, and return None."""
        found = self._match(_VALUE)
        kind = str(found.lastgroup)
        token, start = found[kind], found.start(kind)
        content: Any
        is_exact = True
        match kind:
            case "text":
                content, is_exact = _read_text(token)
            case "number":
                content = Number(token.decode())
            case "word":
                content = _WORDS[token] if token in _WORDS else NonFinite(token.decode())
                is_exact = token in _WORDS
            case _:
                content = [] if token.startswith(b"[") else {}
        value = Value(content, self._source, start, self._at)
        value.is_exact = is_exact
        if kind == "number":
            value.is_oversized = _is_oversized(token)
        elif kind == "empty":
            value.depth = 1
        elif kind == "opening":
            value.depth = 1
            self._open.append(value)
            self._keys.append("")
            if isinstance(content, dict):
                self._next_key()
            return None
        return value

    def _next_key(self) -> None:
        key, is_exact = _read_text(self._match(_KEY)[1])
        outer = self._open[-1]
        if not is_exact:
            outer.is_exact = False
            if isinstance(outer.content, dict) and key in outer.content:
                key += f" {len(outer.content)}"
        self._keys[-1] = key

    def _closes(self) -> bool:
        """Read on after a value: to the end of its container (return True), or past a comma and, in an object, the next key."""
        is_list = isinstance(self._open[-1].content, list)
        mark = self._match(_AFTER_VALUE)[1]
        if mark == (b"]" if is_list else b"}"):
            return True
        if mark != b",":
            raise self._malformed()
        if not is_list:
            self._next_key()
        return False

    def _match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes]:
        found = pattern.match(self._source, self._at)
        if found is None:
            raise self._malformed()
        self._at = found.end()
        return found

    def _malformed(self) -> ValueError:
        return ValueError(f"malformed at {self._at}")


def _read_text(token: bytes) -> tuple[str, bool]:
    """Return the string in a token, and whether it is unchanged: nothing in it had to be replaced."""
    if b"\\" not in token:
        return token[1:-1].decode(), True
    text = json.loads(token)
    stored = _UNSTORABLE.sub("\ufffd", text)
    return stored, stored == text


def _is_oversized(number: bytes) -> bool:
    digits, _, exponent = number.lower().partition(b"e")
    if len(exponent.lstrip(b"+-0")) > _MAX_EXPONENT_DIGITS:
        return True
    return len(digits) > MAX_DIGITS and len(_DIGITS.findall(digits.decode())) > MAX_DIGITS


def to_text(value: Value, *, non_finite_as_text: bool = False) -> str:
    """Return the JSON text of a value: its source, wherever that can be emitted unchanged.

    Args:
        value: The value.
        non_finite_as_text: Whether NaN and the infinities become strings instead of null.
    """
    parts: list[str] = []
    todo: list[Value | str] = [value]
    while todo:
        each = todo.pop()
        if isinstance(each, str):
            parts.append(each)
        elif each.is_exact:
            parts.append(each.source.decode())
        elif isinstance(each.content, dict):
            todo.append("}")
            for place, (key, inner) in reversed(list(enumerate(each.content.items()))):
                todo += [inner, ("," if place else "") + quoted(key) + ":"]
            todo.append("{")
        elif isinstance(each.content, list):
            todo.append("]")
            for place, inner in reversed(list(enumerate(each.content))):
                todo += [inner, "," if place else ""]
            todo.append("[")
        elif isinstance(each.content, NonFinite):
            parts.append(quoted(each.content) if non_finite_as_text else "null")
        else:
            parts.append(quoted(str(each.content)))
    return "".join(parts)


def quoted(text: str) -> str:
    """Return a string as JSON."""
    return json.dumps(text, ensure_ascii=False)


def to_plain(value: Value) -> Any:
    """Return a value as plain Python, with None for NaN and the infinities. Its depth must not exceed MAX_DEPTH."""
    match value.content:
        case dict() as fields:
            return {key: to_plain(inner) for key, inner in fields.items()}
        case list() as elements:
            return [to_plain(inner) for inner in elements]
        case NonFinite():
            return None
        case Number() as number:
            return int(number) if number.lstrip("-").isdecimal() else Decimal(number)
        case content:
            return content
