"""Runs a program on a pseudo-terminal, and records the screen over time."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyte

COLUMNS, LINES = 100, 24


@dataclass(frozen=True)
class Frame:
    """What the screen shows at a time, in seconds from the start."""

    seconds: float
    lines: Sequence[str]


def screens(
    command: Sequence[str],
    *,
    stdout: Path,
    env: Mapping[str, str],
    cwd: Path | None = None,
) -> Iterator[pyte.Screen]:
    """Run a program with its standard error on a terminal; yield the screen at the start and after each change.

    Its exit status has to be 0.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    with (
        stdout.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=theirs, env=env, cwd=cwd) as run,
    ):
        os.close(theirs)
        yield screen
        while received := _read(ours):
            stream.feed(received)
            yield screen
        os.close(ours)
        assert run.wait() == 0, "\n".join(screen.display)


def watch(
    command: Sequence[str], *, stdout: Path, env: Mapping[str, str], every_seconds: float = 0.2
) -> Iterator[Frame]:
    """Run a program with its standard error on a terminal; yield frames while it runs, and one at the end.

    Its exit status has to be 0.
    """
    began_at = shown_at = time.monotonic()

    def frame(screen: pyte.Screen) -> Frame:
        return Frame(time.monotonic() - began_at, [line.rstrip() for line in screen.display])

    for screen in screens(command, stdout=stdout, env=env):
        if time.monotonic() - shown_at >= every_seconds:
            shown_at = time.monotonic()
            yield frame(screen)
    yield frame(screen)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # What Linux says once the other side is closed.
        return b""
