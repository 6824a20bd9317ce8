"""Makes text from outside fit for a message: no actor's e-mail address, nothing that moves a terminal's cursor."""

from __future__ import annotations

import re

_EMAIL = re.compile(r"[^\s\"'<>@,;:(){}\[\]]+@[^\s\"'<>@,;:(){}\[\]]+")


def clean(text: str) -> str:
    """Return `text` on one line, printable, with e-mail addresses taken out."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return _EMAIL.sub("<e-mail>", printable)
