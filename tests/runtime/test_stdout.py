"""Lines to a pipe: complete, in order, never blocking, and interrupted only between two of them."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_sequence.runtime import stdout
from tap_sequence.runtime.stdout import LineOutput

PIPE_BYTES = 65536


class GivenUpError(Exception):
    pass


@contextmanager
def pipe(capacity: int = PIPE_BYTES) -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, capacity)
    try:
        yield reader, writer
    finally:
        for fd in (reader, writer):
            with suppress(OSError):
                os.close(fd)


def read_rest(reader: int) -> bytes:
    """Return the unread content of a pipe."""
    os.set_blocking(reader, False)
    parts = []
    with suppress(BlockingIOError):
        while part := os.read(reader, 1 << 20):
            parts.append(part)
    return b"".join(parts)


def line(size: int) -> bytes:
    return b"x" * (size - 1) + b"\n"


SIZES = st.one_of(
    st.integers(1, 300), st.integers(1, 9000), st.integers(4090, 4100), st.integers(1, PIPE_BYTES)
)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdout, "_POLL_MILLISECONDS", 0)
    monkeypatch.setattr(stdout, "_WAITS_UNTIL_CHECK", 0)


@pytest.mark.usefixtures("impatient")
@given(
    writes=st.lists(st.lists(SIZES, min_size=1, max_size=30), min_size=1, max_size=8),
    reads=st.lists(st.integers(0, 70_000), max_size=60),
    is_blocking=st.booleans(),
)
@settings(max_examples=3 * settings().max_examples)
def test_write_that_is_given_up_ends_at_the_end_of_a_line(
    writes: list[list[int]], reads: list[int], *, is_blocking: bool
) -> None:
    """The reader reads so many bytes whenever the writer waits, and then hangs."""
    with pipe() as (reader, writer):
        os.set_blocking(writer, is_blocking)
        got = b""
        left = reads[::-1]

        def read_on() -> None:
            nonlocal got
            if not left:
                raise GivenUpError
            if count := left.pop():
                with suppress(BlockingIOError):
                    got += os.read(reader, count)

        os.set_blocking(reader, False)
        # A blocking write would hang the test, because the reader is in the same thread.
        output = LineOutput(writer, read_on, sleep=lambda _: read_on())
        everything = [b"".join(map(line, sizes)) for sizes in writes]
        given_up = False
        try:
            for lines in everything:
                output.write(lines)
        except GivenUpError:
            given_up = True
        got += read_rest(reader)
        assert b"".join(everything).startswith(got)
        assert got.endswith(b"\n") or not got
        assert given_up or got == b"".join(everything)


@pytest.mark.parametrize("chunk", [100, 4096, 8192, 200_000])
def test_write_to_active_reader_delivers_everything(chunk: int) -> None:
    lines = [line(1 + (37 * number * number) % 7000) for number in range(3000)]
    with pipe() as (reader, writer):
        parts = []

        def read() -> None:
            while part := os.read(reader, chunk):
                parts.append(part)

        thread = threading.Thread(target=read)
        thread.start()
        output = LineOutput(writer, lambda: None)
        for start in range(0, len(lines), 100):
            output.write(b"".join(lines[start : start + 100]))
        os.close(writer)
        thread.join()
    assert b"".join(parts) == b"".join(lines)


def test_write_of_line_longer_than_the_pipe_enlarges_it() -> None:
    with pipe(4096) as (reader, writer):
        LineOutput(writer, lambda: pytest.fail("it waited")).write(line(300_000))
        assert read_rest(reader) == line(300_000)


def test_write_of_line_that_no_pipe_can_hold_is_partial(monkeypatch: pytest.MonkeyPatch) -> None:
    with pipe() as (reader, writer):
        # As with a line longer than the system's pipe-max-size.
        monkeypatch.setattr(fcntl, "F_SETPIPE_SZ", -1)
        got = b""

        def read_on() -> None:
            nonlocal got
            got += os.read(reader, 100_000)

        LineOutput(writer, read_on, sleep=lambda _: read_on()).write(line(500_000) + line(10))
        assert got + read_rest(reader) == line(500_000) + line(10)


@pytest.mark.parametrize("is_blocking", [True, False])
def test_write_that_waits_costs_no_cpu(*, is_blocking: bool) -> None:
    deadline = time.monotonic() + 1.5

    def check() -> None:
        if time.monotonic() > deadline:
            raise GivenUpError

    for size in (1000, 30_000):
        deadline = time.monotonic() + 1.5
        with pipe() as (_, writer):
            os.set_blocking(writer, is_blocking)
            output = LineOutput(writer, check)
            before = time.thread_time()
            with pytest.raises(GivenUpError):
                output.write(line(size) * 1000)
            assert time.thread_time() - before < 0.1


@pytest.mark.parametrize("fill", [0, PIPE_BYTES])
@pytest.mark.parametrize("size", [10, 100_000])
def test_write_without_reader_raises_broken_pipe(fill: int, size: int) -> None:
    with pipe() as (reader, writer):
        output = LineOutput(writer, lambda: None)
        if fill:
            output.write(line(fill))
        os.close(reader)
        with pytest.raises(BrokenPipeError):
            output.write(line(size))


def test_write_to_pipe_with_foreign_content_waits_for_room() -> None:
    """Another program wrote to the pipe before."""
    with pipe() as (reader, writer):
        os.write(writer, b"y" * 50_000)
        waited = []

        def read_on() -> None:
            waited.append(len(os.read(reader, 50_000)))

        LineOutput(writer, read_on, sleep=lambda _: read_on()).write(line(20_000))
        assert sum(waited) == 50_000
        assert read_rest(reader) == line(20_000)


def test_write_to_socket_delivers_everything() -> None:
    ours, theirs = socket.socketpair()
    parts = []

    def read() -> None:
        while part := theirs.recv(10_000):
            parts.append(part)

    with ours, theirs:
        thread = threading.Thread(target=read)
        thread.start()
        LineOutput(ours.fileno(), lambda: None).write(line(3000) * 1000 + line(50_000))
        ours.shutdown(socket.SHUT_WR)
        thread.join()
    assert b"".join(parts) == line(3000) * 1000 + line(50_000)


def test_write_to_file_delivers_everything_or_raises(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with path.open("wb") as file:
        output = LineOutput(file.fileno(), lambda: pytest.fail("it waited"))
        output.write(line(200_000) + line(5))
        output.write(line(7))
    assert path.read_bytes() == line(200_000) + line(5) + line(7)
    with path.open("rb") as file, pytest.raises(OSError, match="Bad file descriptor"):
        LineOutput(file.fileno(), lambda: None).write(line(5))


@pytest.mark.parametrize("is_blocking", [True, False])
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_wait_for_a_reader_takes_no_processor_time(kind: str, *, is_blocking: bool) -> None:
    ends = [each.detach() for each in socket.socketpair()] if kind == "socket" else os.pipe()
    os.set_blocking(ends[1], is_blocking)
    end = time.monotonic() + 1

    def check() -> None:
        if time.monotonic() > end:
            raise GivenUpError

    began = time.thread_time()
    # The lines of different lengths leave different rests of room.
    with pytest.raises(GivenUpError):
        LineOutput(ends[1], check).write(b"".join(line(size) for size in range(1, 3000)))
    assert time.thread_time() - began < 0.3
    for each in ends:
        os.close(each)
