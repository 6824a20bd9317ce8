"""Complete lines to a file descriptor, by writes that cannot block: a run can stop although nobody reads its output.

A write to a full pipe blocks until somebody reads, and an exception from a signal handler would leave half a line in it.
Therefore only as many complete lines are written as there is room for, and the writer may stop in between. The room in a
pipe is known on Linux; elsewhere, and for sockets, only PIPE_BUF bytes are sure to fit.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import select
import stat
import struct
import sys
import termios
import time
from collections import deque
from collections.abc import Callable

_POLL_MILLISECONDS = 100
"""How long to wait for any room before calling `check`."""

_PAUSE = 0.0003
"""Seconds to wait until a reader has made more room: one large write costs less than many small ones."""

_MAX_PAUSE = 0.02
"""Maximum seconds between two checks whether a long line fits, for which there is no event."""

_WAITS_UNTIL_CHECK = 10
"""Number of such checks before calling `check`: an active reader makes room before that."""


class LineOutput:
    """Writes lines to a file descriptor. A line that a pipe can hold (1 MiB on Linux) is written whole or not at all.

    Args:
        fd: The file descriptor.
        check: Called while the writer waits for its reader; an exception from it ends the wait.
        sleep: Waits for some seconds.
    """

    def __init__(
        self, fd: int, check: Callable[[], None], *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._fd = fd
        self._check = check
        self._sleep = sleep
        mode = os.fstat(fd).st_mode
        self._can_block = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
        self._is_measured = sys.platform == "linux" and stat.S_ISFIFO(mode)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._capacity = select.PIPE_BUF
        # Sizes of the writes that may still be in the pipe, the oldest first.
        self._sizes: deque[int] = deque()

    def write(self, lines: bytes) -> None:
        """Write complete lines, and wait for room if there is none.

        Raises:
            OSError: They cannot be written.
            BaseException: `check` raised it. The last line written is complete, unless it is too long for a pipe.
        """
        start, waits = 0, 0
        self._capacity = self._measure_capacity()
        while start < len(lines):
            room = self._room(len(lines) - start)
            size = lines.rfind(b"\n", start, start + room) + 1 - start
            if size <= 0 and room:
                line = lines.index(b"\n", start) + 1 - start
                size = 0 if self._can_hold(line) else room
            written = self._write(lines[start : start + size]) if size > 0 else 0
            start += written
            waits = 0 if written else waits + 1
            if start < len(lines) and (self._can_block or not written):
                self._wait(waits)

    def _write(self, part: bytes) -> int:
        try:
            written = os.write(self._fd, part)
        except BlockingIOError:
            return 0
        if self._is_measured:
            self._sizes.append(written)
        return written

    def _wait(self, waits: int) -> None:
        """Wait for room; `waits` is the number of waits since the last write."""
        while not self._poll.poll(_POLL_MILLISECONDS):
            self._check()
        if not self._is_measured:
            return
        if waits > _WAITS_UNTIL_CHECK:
            self._check()
        if waits or 2 * self._free() < self._capacity:
            self._sleep(min(_PAUSE * 2 ** min(waits, 10), _MAX_PAUSE))

    def _room(self, wanted: int) -> int:
        """Return how many of the `wanted` bytes can be written without blocking."""
        if not self._can_block:
            return wanted
        events = self._poll.poll(0)
        if not events:
            return 0
        if events[0][1] & ~select.POLLOUT:
            # The reader is gone: the write raises.
            return wanted
        return min(wanted, self._free() if self._is_measured else select.PIPE_BUF)

    def _free(self) -> int:
        """Return how many bytes fit into a pipe that has room for at least one page.

        The kernel keeps a pipe's content in pages, and starts a new page for each write that does not fit into the last.
        """
        page = mmap.PAGESIZE
        (unread,) = struct.unpack("i", fcntl.ioctl(self._fd, termios.FIONREAD, bytes(4)))
        kept = sum(self._sizes)
        while self._sizes and kept - self._sizes[0] >= unread:
            kept -= self._sizes.popleft()
        pages = sum(-(-size // page) for size in self._sizes)
        if self._sizes:
            # The oldest may be partly read.
            oldest = self._sizes[0]
            pages -= max(0, -(-oldest // page) - (-(-(oldest - (kept - unread)) // page) + 1))
        free = self._capacity // page - pages if kept >= unread else 0
        return max(1, free) * page

    def _measure_capacity(self) -> int:
        return fcntl.fcntl(self._fd, fcntl.F_GETPIPE_SZ) if self._is_measured else select.PIPE_BUF

    def _can_hold(self, line: int) -> bool:
        """Return whether a line fits into an empty pipe, after enlarging the pipe if necessary and possible."""
        if line > self._capacity and self._is_measured:
            with contextlib.suppress(OSError):
                fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, line)
            self._capacity = self._measure_capacity()
        return line <= self._capacity
