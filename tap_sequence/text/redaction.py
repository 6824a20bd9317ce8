"""Keeps secrets and e-mail addresses out of messages.

Text from outside goes through `excerpt` before it becomes part of a message. As a second line of defense, tap_sequence/runtime
cleans every log record.
"""

from __future__ import annotations

import re
import unicodedata

from tap_sequence.text.secret_mask import SecretMask, decoded, readings

# The characters of an address in prose, JSON, URLs and tracebacks, and the ways to escape an @.
_WORD = r"[^\s\"'<>@,;:(){}\[\]]"
# The number of backslashes is bounded: otherwise a text of nothing but backslashes would take forever.
_AT = r"(?:[@\uff20\ufe6b]|%(?:25){0,3}40|\\{1,8}u(?:0040|\{0{0,4}40\})|%u0040|\\{1,8}x40|&#0{0,5}64;?|&#x0{0,5}40;?|&commat;|=40)"
# Both quotes are escaped alike. What comes between two texts in JSON is not a quoted local part.
_QUOTED = r"(?P<quote>\\{0,8}\")(?!\s*[:,\]}])[^\"\n]{1,80}(?<!\\)(?P=quote)"
# An address begins where a word begins, so that a long text without one is scanned only once.
_EMAIL = re.compile(rf"(?:{_QUOTED}|(?<!{_WORD}){_WORD}+?){_AT}{_WORD}+", re.IGNORECASE)

# An @ with something directly on both sides, or with something like a domain after it.
_LEFT_OVER = re.compile(r"\S@\S|@\s*[^\s@.]+\.\w")
# Arbitrary bytes are searched only for text that is almost certainly an address.
_PLAIN_EMAIL = re.compile(
    r"[\w.+-]@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){0,8}\.[a-z]{2}", re.IGNORECASE | re.ASCII
)

QUOTED_CHARACTERS = 200
"""Maximum number of characters that a message quotes of a text from outside."""

_SCANNED_CHARACTERS = 8 * QUOTED_CHARACTERS
_LONGEST_LOCAL_PART = 64

MASK = SecretMask()
"""The secrets of this process. They are never removed, because messages may be logged until the process ends."""


def clean(text: str) -> str:
    """Return `text` on one line, printable, with e-mail addresses removed."""
    return without_emails(printable(text))


def printable(text: str) -> str:
    """Return `text` with a space in place of each character that is not printable, such as line ends and escapes."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)


def without_emails(text: str) -> str:
    """Return `text` with `<e-mail>` in place of e-mail addresses. JSON stays JSON."""
    return _EMAIL.sub(_masked_email, text)


def _masked_email(match: re.Match[str]) -> str:
    # A backslash at the end escapes the quote after it.
    return "<e-mail>" + "\\" * (len(match[0]) - len(match[0].rstrip("\\")))


def excerpt(text: str) -> str:
    """Return the beginning of a text from outside, cleaned for a message; or, if it may hold a secret, a note that says so.

    At most QUOTED_CHARACTERS long, on one line.
    """
    # Cleaned before it is cut to length, so that no part of a secret or an address is left over.
    beginning = text[:_SCANNED_CHARACTERS]
    shown = hide(beginning)
    if shown is None:
        return withheld(text)
    if len(text) > len(beginning):
        # An address at the cut may have lost its @.
        shown = shown[:-_LONGEST_LOCAL_PART]
    return shown[:QUOTED_CHARACTERS]


def hide(text: str) -> str | None:
    """Return a text from outside, cleaned and without secrets, or None if a part of one may be left."""
    masked = MASK.apply(text)
    if MASK.holds_part(masked):
        return None
    cleaned = clean(masked)
    return None if _holds_email(cleaned) else cleaned


def withheld(text: str) -> str:
    """Return the note that replaces a text that cannot be shown."""
    return f"({len(text)} characters, not shown: they may hold part of a secret or an e-mail address)"


def _holds_email(text: str) -> bool:
    for reading in readings(text):
        if _LEFT_OVER.search(unicodedata.normalize("NFKC", reading)):
            return True
        if any(_PLAIN_EMAIL.search(each) for each in decoded(reading)):
            return True
    return False
