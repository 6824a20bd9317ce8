"""How a command starts: fast, and then ready for a run."""

from __future__ import annotations

import gc
import signal
import sys


def begin() -> None:
    """Prepare for the imports, which take a second."""
    # Until the command handles signals itself, SIGINT ends the process at once, without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Imported modules are never garbage: collecting meanwhile would take a tenth of the start-up time.
    gc.disable()


def end() -> None:
    """Prepare for a run, once everything is imported."""
    # Not needed by commands that read nothing.
    from tap_sequence.runtime.memory import share_freed_memory  # noqa: PLC0415

    share_freed_memory()
    gc.freeze()
    gc.enable()
    # A thread that sends a request must not wait long for the one that writes records: a late request hits the API's rate
    # limit together with the next one.
    sys.setswitchinterval(0.0005)
