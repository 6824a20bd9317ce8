"""Runs of a tap without the second or two that Python needs to import it: one process imports it and forks for each.

A forked process runs the command line to its end, with its own arguments, environment, files, signals and exit status.
What Python reads at its own start, such as PYTHONUNBUFFERED, is the server's.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NoReturn, Self

_ROOT = Path(__file__).resolve().parents[2]
SECONDS_TO_HANG = 100
"""A run that takes longer hangs; it is ended, and its status is HUNG."""
HUNG = -signal.SIGALRM

TAP_MAIN = "tap_sequence.__main__:main"


class Fork:
    """A forked process: the part of `subprocess.Popen` that tests need.

    Args:
        channel: Receives the process's id and, when it has ended, its exit status, a line each.
        stdout: The end of its standard output to read from, if that is a pipe.
    """

    def __init__(self, channel: socket.socket, stdout: IO[bytes] | None) -> None:
        self.stdout = stdout
        self.returncode: int | None = None
        self._channel = channel
        self._lines = channel.makefile("r")
        self.pid = int(self._lines.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.stdout:
            self.stdout.close()
        self.wait(SECONDS_TO_HANG)

    def send_signal(self, signum: int) -> None:
        # As subprocess.Popen: the process may end in between.
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def poll(self) -> int | None:
        """Return the exit status, or None while the process runs."""
        if self.returncode is None and select.select([self._channel], [], [], 0)[0]:
            self.returncode = int(self._lines.readline())
            self._lines.close()
            self._channel.close()
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Return the exit status once the process has ended."""
        if self.returncode is None:
            select.select([self._channel], [], [], timeout)
            if self.poll() is None:
                raise subprocess.TimeoutExpired(TAP_MAIN, timeout)
        assert self.returncode is not None
        return self.returncode


class ForkServer:
    """The process that forks. Thread-safe. Use it as a context manager, or close it.

    Args:
        env: The environment that the server imports the tap in.
        main: What runs a command line: `MODULE:NAME`.
    """

    def __init__(self, env: Mapping[str, str], main: str = TAP_MAIN) -> None:
        self._orders, orders = socket.socketpair()
        script = f"import tests.support.forks; tests.support.forks.serve({orders.fileno()}, {main!r})"
        with orders:
            self._process = subprocess.Popen(
                [sys.executable, "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd=_ROOT,
                env=env,
                pass_fds=[orders.fileno()],
            )
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._orders.close()
        self._process.wait()

    def start(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        env: Mapping[str, str],
        stdout: IO[bytes] | int,
        stderr: IO[bytes] | int,
    ) -> Fork:
        """Start the tap; `stdout` may be `subprocess.PIPE`, either may be `subprocess.DEVNULL`."""
        reader: IO[bytes] | None = None
        opened = []
        if stdout == subprocess.PIPE:
            read_end, stdout = os.pipe()
            opened.append(stdout)
            reader = os.fdopen(read_end, "rb")
        descriptors = []
        for file in (stdout, stderr):
            if file == subprocess.DEVNULL:
                opened.append(os.open(os.devnull, os.O_WRONLY))
                descriptors.append(opened[-1])
            else:
                descriptors.append(file if isinstance(file, int) else file.fileno())
        channel, theirs = socket.socketpair()
        order = {"arguments": [*arguments], "env": dict(env), "folder": str(folder)}
        line = json.dumps(order).encode() + b"\n"
        try:
            with self._lock, theirs:
                sent = socket.send_fds(self._orders, [line], [*descriptors, theirs.fileno()])
                self._orders.sendall(line[sent:])
                theirs.close()
                # Waits until it runs: one order at a time.
                return Fork(channel, reader)
        finally:
            for descriptor in opened:
                os.close(descriptor)


def serve(descriptor: int, main: str) -> None:
    """Fork a tap for each order from a socket: a line that says how to run it, with the files that it writes to."""
    run = pkgutil.resolve_name(main)
    # The tap's own command line imports it late.
    importlib.import_module("tap_sequence.singer.tap")
    gc.freeze()
    orders = socket.socket(fileno=descriptor)
    while True:
        line, descriptors, _, _ = socket.recv_fds(orders, 2**16, 3)
        _reap()
        if not line:
            return
        while not line.endswith(b"\n"):
            line += orders.recv(2**16)
        stdout, stderr, status = descriptors
        if os.fork() == 0:
            orders.close()
            if tap := os.fork():
                os.close(stdout)
                os.close(stderr)
                _report(tap, status)
            os.close(status)
            _take_the_place_of_standard_files(stdout, stderr)
            signal.alarm(SECONDS_TO_HANG)
            order = json.loads(line)
            os.chdir(order["folder"])
            os.environ.clear()
            os.environ.update(order["env"])
            sys.argv = ["tap-sequence", *order["arguments"]]
            sys.exit(run())
        for each in descriptors:
            os.close(each)


def _reap() -> None:
    """Let children that have ended go, and count what they used."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _take_the_place_of_standard_files(stdout: int, stderr: int) -> None:
    for place, descriptor in enumerate((os.open(os.devnull, os.O_RDONLY), stdout, stderr)):
        os.dup2(descriptor, place)
        os.close(descriptor)


def _report(pid: int, status: int) -> NoReturn:
    """Report the id of a process and, once it has ended, its exit status."""
    os.write(status, f"{pid}\n".encode())
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    # Whoever started it may have gone.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        os.write(status, f"{ended}\n".encode())
    finally:
        os._exit(0)
