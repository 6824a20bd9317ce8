"""Parses the pages of the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from tests.support.harness import ROOT

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: The page's name.
        number: Which of the page's blocks it is, from 1.
        language: What stands behind its first fence.
        line: The page's line on which its text begins, from 1.
        text: What is in it, without the indentation of the list that it may be in.
    """

    page: str
    number: int
    language: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}-{self.number}"


def blocks_in(text: str, page: str = "", language: str | None = None) -> Iterator[Block]:
    """Yield the blocks of a text, or those in one language."""
    for number, found in enumerate(_FENCE.finditer(text), 1):
        if language in {None, found[2]}:
            yield Block(page, number, found[2], text.count("\n", 0, found.start()) + 2, dedent(found[3]))


def blocks(path: Path, language: str | None = None) -> Iterator[Block]:
    """Yield the blocks of a page, or those in one language."""
    yield from blocks_in(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)), language)


def prose(path: Path) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", path.read_text(encoding="utf-8"))
