"""Starts a command from a process that holds next to nothing, waits for it, and writes down what it took.

A process starts with the peak memory of the one that started it, so a large one must not. Run as a file:
`launch.py RESULT COMMAND...`
"""

from __future__ import annotations

import os
import sys
import time


def main() -> None:
    """Run the command; write its seconds, CPU seconds, peak of memory and exit status into a file."""
    result, *command = sys.argv[1:]
    began = time.perf_counter()
    process = os.posix_spawn(command[0], command, os.environ)
    # The usage of this one child, where getrusage would add up all.
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - began
    cpu_seconds = usage.ru_utime + usage.ru_stime
    with open(result, "w", encoding="utf-8") as file:  # noqa: PTH123  # pathlib is large
        file.write(f"{seconds} {cpu_seconds} {usage.ru_maxrss} {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main()
