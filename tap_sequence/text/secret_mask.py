"""Finds secrets in text, however they are written there.

Two rules. `SecretMask.apply` puts a setting's name in place of its whole value. `SecretMask.holds_part` says whether any
few characters in a row of a secret are left, whatever encoding they are in; a text that holds some is not shown at all.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus

_SHORTEST_FOUND_ANYWHERE = 4
_SHORTEST_RUN = 4
# An id may be a UUIDv7, whose beginning it shares with all that were made in the same weeks, logs and cursors included.
_SHORTEST_RUNS = {"client_id": 8}

_MOST_ROUNDS = 8
_LAST_CODE = 0x10FFFF

# No more backslashes than that: looking for any number of them would take forever in a text of nothing else.
_ESCAPE = re.compile(
    r"\\{1,8}u\{(?P<braced>[0-9a-f]{1,6})\}"
    r"|\\{1,8}(?-i:U)(?P<eight>[0-9a-f]{8})"
    r"|(?:\\{1,8}u|%u|U\+)(?P<four>[0-9a-f]{4})"
    r"|(?:\\{1,8}x|%)(?P<two>[0-9a-f]{2})"
    r"|\\{1,8}(?P<octal>[0-7]{3})"
    r"|\\{1,8}(?P<space>[nrtbfv])"
    r"|\\(?P<itself>[^a-z0-9])",
    re.IGNORECASE,
)
_QUOTED_PRINTABLE = re.compile(r"=(?P<two>[0-9a-f]{2})", re.IGNORECASE)
_HEX_RUN = re.compile(r"[0-9a-fA-F](?:[\s:,;x\\-]{0,4}[0-9a-fA-F]){7,}")
_NO_BASE64 = re.compile(r"[^A-Za-z0-9+/]+")
_NO_ALPHANUMERIC = re.compile(r"[^A-Za-z0-9]+")


class SecretMask:
    """Takes secrets out of text, and says whether a part of one is left."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None
        self._runs: set[str] = set()

    def add(self, secrets: Mapping[str, str]) -> None:
        """Hide these values from now on.

        Args:
            secrets: Values by the setting that they belong to, whose name stands in their place.
        """
        for setting, value in secrets.items():
            for form in _forms(value):
                self._names.setdefault(form, f"<{setting}>")
            length = min(_SHORTEST_RUNS.get(setting, _SHORTEST_RUN), max(len(value), _SHORTEST_RUN))
            # UTF-8 that is taken for Latin-1, as headers, percent escapes and base64 are here.
            misread = value.encode(errors="surrogatepass").decode("latin-1")
            for text in (value, misread):
                for spelling in _spellings(text):
                    self._runs |= {
                        spelling[start : start + length] for start in range(len(spelling) - length + 1)
                    }
        if {"client_id", "client_secret"} <= secrets.keys():
            pair = f"{secrets['client_id']}:{secrets['client_secret']}".encode(errors="surrogatepass")
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                for form in _forms(encode(pair).decode()):
                    self._names.setdefault(form, "<Authorization>")
        # The longest first: one secret may be part of another.
        forms = sorted((form for form in self._names if form), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(_pattern_of, forms))) if forms else None

    def apply(self, text: str) -> str:
        """Return `text` with each whole secret replaced by the name of its setting."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: self._names[match[0]], text)

    def holds_part(self, text: str) -> bool:
        """Whether any four characters in a row of a secret (of client_id: eight) are in `text`, in any encoding."""
        if not self._runs:
            return False
        return any(run in candidate for candidate in _candidates(text) for run in self._runs)


def readings(text: str) -> Iterator[str]:
    """Yield a text, and what it says when its escapes are undone: once, twice, and so on until nothing changes."""
    yield text
    for with_quoted_printable in (False, True):
        current = text
        for _ in range(_MOST_ROUNDS):
            undone = html.unescape(_ESCAPE.sub(_character, current))
            if with_quoted_printable:
                undone = _QUOTED_PRINTABLE.sub(_character, undone)
            if undone == current:
                break
            current = undone
            yield current


def decoded(text: str) -> Iterator[str]:
    """Yield what base64 and hexadecimal digits in a text may stand for, with bytes as Latin-1."""
    packed = text.replace("-", "+").replace("_", "/")
    # With and without its two signs: a token may be broken by anything that is not a letter or a digit.
    for symbols in dict.fromkeys((_NO_BASE64.sub("", packed), _NO_ALPHANUMERIC.sub("", text))):
        for start in range(4):
            part = symbols[start:]
            if len(part) > 1:
                yield binascii.a2b_base64(part + "A" * (-len(part) % 4)).decode("latin-1")
    for run in _HEX_RUN.finditer(text):
        digits = re.sub(r"[^0-9a-fA-F]", "", run[0])
        for start in range(2):
            part = digits[start:]
            yield bytes.fromhex(part[: len(part) // 2 * 2]).decode("latin-1")


def _candidates(text: str) -> Iterator[str]:
    """Yield all in which a secret might be seen."""
    for reading in readings(text):
        yield from _spellings(reading)
        for each in decoded(reading):
            yield _plain(each)


def _character(match: re.Match[str]) -> str:
    """Return the character that an escape stands for; a space for a line's end and the like."""
    kind = match.lastgroup or ""
    if kind == "itself":
        return match[kind]
    if kind == "space":
        return " "
    code = int(match[kind], 8 if kind == "octal" else 16)
    return chr(code) if code <= _LAST_CODE else " "


def _spellings(text: str) -> tuple[str, str]:
    """Return a text without what differs between ways to write the same: as it is, and letters and digits alone."""
    plain = _plain(text)
    return plain, "".join(filter(str.isalnum, plain))


def _plain(text: str) -> str:
    if not text.isascii():
        # Halves of a surrogate pair, as JSON escapes them, become one character.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        text = unicodedata.normalize("NFKD", text)
    return text.casefold()


def _forms(value: str) -> Iterable[str]:
    """Return the ways in which a value is written in logs, JSON, tracebacks and URLs."""
    forms = [value, value.strip(), json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]]
    # A value that is not text is refused later, by a message that must not show it either.
    as_bytes = value.encode(errors="surrogatepass")
    return {*forms, repr(value)[1:-1], quote(as_bytes), quote(as_bytes, safe=""), quote_plus(as_bytes)}


def _pattern_of(form: str) -> str:
    if len(form) >= _SHORTEST_FOUND_ANYWHERE:
        return re.escape(form)
    # So short a text is part of every other word. It is taken out only where it stands as a value.
    return rf"(?<=[\"'=:]){re.escape(form)}(?=[\"'&]|$)"
