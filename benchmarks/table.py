"""Text tables and their cells."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path


def render(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table that can be read as it is; the first column is text, the others are figures."""
    columns = list(zip(head, *rows, strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]
    lines = [
        [cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(cells)]
        for cells in (list(zip(row, widths, strict=True)) for row in (head, *rows))
    ]
    rule = ["-" * (width - bool(place)) + (":" if place else "") for place, width in enumerate(widths)]
    text = "\n".join("| " + " | ".join(line) + " |" for line in (lines[0], rule, *lines[1:]))
    return f"## {title}\n\n{text}\n"


def describe_machine(versions: Mapping[str, str]) -> str:
    """Describe the machine and the versions, one line each."""
    return (
        f"Machine: {os.cpu_count()} cores, {_cpu_model()}, {platform.system()} {platform.machine()}\n"
        f"Python {platform.python_version()}; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + "\n"
    )


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or "unknown processor"


def ratio(figure: float, base: float) -> str:
    """Write a figure as a multiple of another."""
    return f"{figure / base:.2f}x" if base else "-"
