"""Finds secrets in text, in any encoding.

There are two rules. `SecretMask.apply` replaces the whole value of a secret with the name of its setting.
`SecretMask.holds_part` tells whether a few consecutive characters of a secret are left, in any encoding; such a text is not
shown at all.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus

_SHORTEST_FOUND_ANYWHERE = 4
_SHORTEST_RUN = 4
# An id may be a UUIDv7, which begins like all others from the same weeks, including ids of logs and cursors.
_SHORTEST_RUNS = {"client_id": 8}

_MAX_ROUNDS = 8
_MAX_CODE_POINT = 0x10FFFF

# The number of backslashes is bounded: otherwise a text of nothing but backslashes would take forever.
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
_ESCAPED_IN_JSON = '"\\/bfnrtu'
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]+")
_NOT_ALPHANUMERIC = re.compile(r"[^A-Za-z0-9]+")


class SecretMask:
    """Removes secrets from text, and detects parts of them. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None
        self._runs: set[str] = set()

    def add(self, secrets: Mapping[str, str]) -> None:
        """Hide more values from now on.

        Args:
            secrets: Values by the name of their setting, which replaces them.
        """
        with self._lock:
            self._add(secrets)

    def _add(self, secrets: Mapping[str, str]) -> None:
        # Other threads may be reading the sets, so new ones replace them.
        names, runs = dict(self._names), set(self._runs)
        for setting, value in secrets.items():
            for form in _forms(value):
                names.setdefault(form, f"<{setting}>")
            length = min(_SHORTEST_RUNS.get(setting, _SHORTEST_RUN), max(len(value), _SHORTEST_RUN))
            # UTF-8 decoded as Latin-1, as headers, percent escapes and base64 are here.
            misread = value.encode(errors="surrogatepass").decode("latin-1")
            for text in (value, misread):
                for spelling in _spellings(text):
                    runs |= {spelling[start : start + length] for start in range(len(spelling) - length + 1)}
        if {"client_id", "client_secret"} <= secrets.keys():
            pair = f"{secrets['client_id']}:{secrets['client_secret']}".encode(errors="surrogatepass")
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                for form in _forms(encode(pair).decode()):
                    names.setdefault(form, "<Authorization>")
        self._names, self._runs = names, runs
        # The longest first, because one secret may be part of another.
        forms = sorted((form for form in names if form), key=len, reverse=True)
        found = "|".join(map(_pattern_of, forms))
        self._pattern = re.compile(rf"(?P<escape>\\{{1,8}})?(?P<form>{found})") if forms else None

    def apply(self, text: str) -> str:
        """Return `text` with each whole secret replaced by the name of its setting. JSON stays JSON."""
        return text if self._pattern is None else self._pattern.sub(self._replace, text)

    def _replace(self, match: re.Match[str]) -> str:
        escape, form = match["escape"] or "", match["form"]
        if len(escape) % 2 and form[0] in _ESCAPED_IN_JSON:
            # It escapes the first character, which is replaced.
            escape = escape[1:]
        return escape + self._names[form]

    def holds_part(self, text: str) -> bool:
        """Whether four consecutive characters of a secret (of client_id: eight) are in `text`, in any encoding."""
        if not self._runs:
            return False
        return any(run in candidate for candidate in _candidates(text) for run in self._runs)


def readings(text: str) -> Iterator[str]:
    """Yield a text, and the same text with its escapes undone once, twice, and so on until nothing changes."""
    yield text
    for with_quoted_printable in (False, True):
        current = text
        for _ in range(_MAX_ROUNDS):
            undone = html.unescape(_ESCAPE.sub(_character, current))
            if with_quoted_printable:
                undone = _QUOTED_PRINTABLE.sub(_character, undone)
            if undone == current:
                break
            current = undone
            yield current


def decoded(text: str) -> Iterator[str]:
    """Yield what base64 and hexadecimal digits in a text may encode, with bytes as Latin-1."""
    packed = text.replace("-", "+").replace("_", "/")
    # With and without the two symbols: a token may be split by anything that is not a letter or a digit.
    for symbols in dict.fromkeys((_NOT_BASE64.sub("", packed), _NOT_ALPHANUMERIC.sub("", text))):
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
    """Yield all readings of a text in which a secret might appear."""
    for reading in readings(text):
        yield from _spellings(reading)
        for each in decoded(reading):
            yield _plain(each)


def _character(match: re.Match[str]) -> str:
    """Return the character that an escape encodes; a space for line ends and other white space."""
    kind = match.lastgroup or ""
    if kind == "itself":
        return match[kind]
    if kind == "space":
        return " "
    code = int(match[kind], 8 if kind == "octal" else 16)
    return chr(code) if code <= _MAX_CODE_POINT else " "


def _spellings(text: str) -> tuple[str, str]:
    """Return a text normalized, and its letters and digits alone."""
    plain = _plain(text)
    return plain, "".join(filter(str.isalnum, plain))


def _plain(text: str) -> str:
    if not text.isascii():
        # Surrogate pairs, as JSON escapes them, become one character.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        text = unicodedata.normalize("NFKD", text)
    return text.casefold()


def _forms(value: str) -> Iterable[str]:
    """Return the spellings of a value in messages, JSON, tracebacks and URLs."""
    forms = [value, value.strip(), json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]]
    # A value with lone surrogates is rejected later, with a message that must not show it either.
    as_bytes = value.encode(errors="surrogatepass")
    return {*forms, repr(value)[1:-1], quote(as_bytes), quote(as_bytes, safe=""), quote_plus(as_bytes)}


def _pattern_of(form: str) -> str:
    if len(form) >= _SHORTEST_FOUND_ANYWHERE:
        return re.escape(form)
    # Such a short text is part of many words. It is replaced only where it is a value.
    return rf"(?<=[\"'=:]){re.escape(form)}(?=[\"'&]|$)"
