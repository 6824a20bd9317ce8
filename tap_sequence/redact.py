"""Keeps secrets and people's addresses out of what is logged.

Text from outside goes through `clean` before it becomes part of a message. Behind that stands CleaningFormatter, which
every line passes that any library writes: whatever slipped in is taken out there.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import sys
from collections.abc import Iterable, Mapping
from urllib.parse import quote, quote_plus

from tap_sequence.handlers import every_handler

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

# What an address is made of, in prose, JSON, URLs and tracebacks alike; and an @ however it is escaped.
_WORD = r"[^\s\"'<>@,;:(){}\[\]]"
# No more backslashes than that: looking for any number of them would take for ever in a text of nothing else.
_AT = r"(?:@|%40|%2540|\\{1,8}u0040|\\{1,8}x40|&#64;|&#x40;)"
_QUOTED = r"\\?\"[^\"\n]{1,80}\""
# An address begins where a word begins, so that a long text without one is gone through once only.
_EMAIL = re.compile(rf"(?:{_QUOTED}|(?<!{_WORD}){_WORD}+?){_AT}{_WORD}+", re.IGNORECASE)

_SHORTEST_FOUND_ANYWHERE = 4

QUOTED_CHARACTERS = 200
"""How much of a text from outside a message quotes."""


def clean(text: str) -> str:
    """Return `text` on one line, printable, with e-mail addresses taken out."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return without_emails(printable)


def excerpt(text: str) -> str:
    """Return the beginning of a text from outside, cleaned, for a message."""
    # Cleaned before it is cut to its length, so that no half of an e-mail address is left over.
    return clean(text[: 8 * QUOTED_CHARACTERS])[:QUOTED_CHARACTERS]


def without_emails(text: str) -> str:
    """Return `text` with e-mail addresses taken out."""
    return _EMAIL.sub("<e-mail>", text)


class SecretMask:
    """Takes secrets out of text, however they are written: as they are, escaped, or as a Basic authorization."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None

    def add(self, secrets: Mapping[str, str]) -> None:
        """Hide these values from now on.

        Args:
            secrets: Values by the setting that they belong to, whose name stands in their place.
        """
        for setting, value in secrets.items():
            for form in _forms(value):
                self._names.setdefault(form, f"<{setting}>")
        if {"client_id", "client_secret"} <= secrets.keys():
            pair = f"{secrets['client_id']}:{secrets['client_secret']}".encode(errors="surrogatepass")
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                for form in _forms(encode(pair).decode()):
                    self._names.setdefault(form, "<Authorization>")
        # The longest first: one secret may be part of another.
        forms = sorted((form for form in self._names if form), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(_pattern_of, forms))) if forms else None

    def apply(self, text: str) -> str:
        """Return `text` without the secrets."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: self._names[match[0]], text)


def _forms(value: str) -> Iterable[str]:
    """Return the ways in which a value is written in logs, JSON, tracebacks and URLs."""
    forms = [value, value.strip(), json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]]
    # A value that is no text is refused later, by a message that must not show it either.
    as_bytes = value.encode(errors="surrogatepass")
    return {*forms, repr(value)[1:-1], quote(as_bytes), quote(as_bytes, safe=""), quote_plus(as_bytes)}


def _pattern_of(form: str) -> str:
    if len(form) >= _SHORTEST_FOUND_ANYWHERE:
        return re.escape(form)
    # So short a text is part of every other word. It is taken out only where it stands as a value.
    return rf"(?<=[\"'=:]){re.escape(form)}(?=[\"'&]|$)"


class CleaningFormatter(logging.Formatter):
    """Lets another formatter do its work, and takes secrets and e-mail addresses out of what comes of it, on one line.

    Args:
        inner: The formatter whose output is cleaned, tracebacks included.
        mask: The secrets to take out.
    """

    def __init__(self, inner: logging.Formatter, mask: SecretMask) -> None:
        super().__init__()
        self._inner = inner
        self._mask = mask

    @override
    def format(self, record: logging.LogRecord) -> str:
        text = without_emails(self._mask.apply(self._inner.format(record)))
        # Only a traceback takes several lines; a message torn by what it quotes could pass for two.
        is_traceback = record.exc_info or record.exc_text or record.stack_info
        return text if is_traceback else " ".join(text.splitlines())


MASK = SecretMask()
"""The secrets of this process. They are never forgotten: a late line is as much to be kept from them as an early one."""


def clean_all_handlers() -> None:
    """Make every handler of every logger write cleaned lines only, whoever set it up."""
    for handler in every_handler():
        if not isinstance(handler.formatter, CleaningFormatter):
            handler.setFormatter(CleaningFormatter(handler.formatter or logging.Formatter(), MASK))
