"""Keeps secrets and people's addresses out of what is written for people to read.

Text from outside goes through `excerpt` before it becomes part of a message. Behind that stand the log records, all of
which tap_sequence/runtime cleans: whatever slipped in is taken out there.
"""

from __future__ import annotations

import re
import unicodedata

from tap_sequence.text.secret_mask import SecretMask, decoded, readings

# What an address is made of, in prose, JSON, URLs and tracebacks alike; and an @ however it is escaped.
_WORD = r"[^\s\"'<>@,;:(){}\[\]]"
# No more backslashes than that: looking for any number of them would take for ever in a text of nothing else.
_AT = r"(?:[@\uff20\ufe6b]|%(?:25){0,3}40|\\{1,8}u(?:0040|\{0{0,4}40\})|%u0040|\\{1,8}x40|&#0{0,5}64;?|&#x0{0,5}40;?|&commat;|=40)"
_QUOTED = r"\\?\"[^\"\n]{1,80}\""
# An address begins where a word begins, so that a long text without one is gone through once only.
_EMAIL = re.compile(rf"(?:{_QUOTED}|(?<!{_WORD}){_WORD}+?){_AT}{_WORD}+", re.IGNORECASE)

# An @ with something directly on both sides, or something like a domain behind it.
_LEFT_OVER = re.compile(r"\S@\S|@\s*[^\s@.]+\.\w")
# Among bytes that may stand for anything, only what can hardly be anything else.
_PLAIN_EMAIL = re.compile(
    r"[\w.+-]@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){0,8}\.[a-z]{2}", re.IGNORECASE | re.ASCII
)

QUOTED_CHARACTERS = 200
"""How much of a text from outside a message quotes."""

_LOOKED_AT_CHARACTERS = 8 * QUOTED_CHARACTERS
_LONGEST_LOCAL_PART = 64

MASK = SecretMask()
"""The secrets of this process. They are never forgotten: a late line is as much to be kept from them as an early one."""


def clean(text: str) -> str:
    """Return `text` on one line, printable, with e-mail addresses taken out."""
    return without_emails(printable(text))


def printable(text: str) -> str:
    """Return `text` with a space for what moves the cursor, ends a line, turns the writing round or cannot be seen."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)


def without_emails(text: str) -> str:
    """Return `text` with e-mail addresses taken out."""
    return _EMAIL.sub("<e-mail>", text)


def excerpt(text: str) -> str:
    """Return the beginning of a text from outside, cleaned, for a message; or why it cannot be shown."""
    # Looked at and cleaned before it is cut to its length, so that no half of a secret or an address is left over.
    beginning = text[:_LOOKED_AT_CHARACTERS]
    shown = hide(beginning)
    if shown is None:
        return withheld(text)
    if len(text) > len(beginning):
        # The address that the beginning was cut in may have lost its @.
        shown = shown[:-_LONGEST_LOCAL_PART]
    return shown[:QUOTED_CHARACTERS]


def hide(text: str) -> str | None:
    """Return a text from outside cleaned and without secrets, or None where parts of any might be left."""
    masked = MASK.apply(text)
    if MASK.holds_part(masked):
        return None
    cleaned = clean(masked)
    return None if _holds_email(cleaned) else cleaned


def withheld(text: str) -> str:
    """Return what stands in a message for a text that cannot be shown."""
    return f"({len(text)} characters, not shown: they may hold part of a secret or an e-mail address)"


def _holds_email(text: str) -> bool:
    for reading in readings(text):
        if _LEFT_OVER.search(unicodedata.normalize("NFKC", reading)):
            return True
        if any(_PLAIN_EMAIL.search(each) for each in decoded(reading)):
            return True
    return False
