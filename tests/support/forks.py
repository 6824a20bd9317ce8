"""Runs of a tap without the second or two that Python takes to import it: one process imports it and forks for each.

What is forked runs the command line to its end as a process of its own, with its own arguments, environment, files and
exit status.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.support.harness import ROOT, Run, command_arguments, environment, parse_lines

SECONDS_TO_HANG = 100
"""A run that takes longer hangs; it is ended, and its status is HUNG."""
HUNG = -signal.SIGALRM


TAP_MAIN = "tap_sequence.__main__:main"


class ForkServer:
    """The process that forks. Thread-safe. Use it as a context manager.

    Args:
        main: What runs a command line: `MODULE:NAME`.
    """

    def __init__(self, main: str = TAP_MAIN) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"import tests.support.forks; tests.support.forks.serve({main!r})"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env=environment(),
        )
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def run(
        self,
        folder: Path,
        config: Mapping[str, Any],
        *,
        state: Mapping[str, Any] | None = None,
        catalog: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Run:
        """Run the tap in a folder where it has not run before."""
        order = {
            "arguments": command_arguments(folder, config, state=state, catalog=catalog),
            "env": environment(**(env or {})),
            "folder": str(folder),
        }
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        status = folder / "status"
        while not status.exists():
            assert self._process.poll() is None, "the server of forks is gone"
            time.sleep(0.02)
        stdout, stderr = ((folder / name).read_text(encoding="utf-8") for name in ("stdout", "stderr"))
        return Run(int(status.read_text()), parse_lines(stdout), stderr)


def serve(main: str) -> None:
    """Fork a tap for each line of standard input, which says how to run it."""
    run = pkgutil.resolve_name(main)
    # Which the tap's own command line imports late.
    importlib.import_module("tap_sequence.singer.tap")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        if os.fork() == 0:
            order = json.loads(line)
            os.chdir(order["folder"])
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            tap = os.fork()
            if tap:
                _report(os.waitpid(tap, 0)[1])
            signal.alarm(SECONDS_TO_HANG)
            os.environ.clear()
            os.environ.update(order["env"])
            for descriptor, name in enumerate((os.devnull, "stdout", "stderr")):
                os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), descriptor)
            sys.argv = ["tap-sequence", *order["arguments"]]
            run()


def _report(status: int) -> None:
    partial = Path("status.partial")
    partial.write_text(str(os.waitstatus_to_exitcode(status)))
    partial.rename("status")
    os._exit(0)
