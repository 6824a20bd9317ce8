"""`python -m tap_sequence` and the console script `tap-sequence`."""

from __future__ import annotations

import gc
import signal
import sys


def main() -> None:
    """Run the command line."""
    # Imports take a second. Until the tap handles signals itself, SIGINT ends the process at once, without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Imported modules are never garbage: collecting meanwhile would take a tenth of the start-up time.
    gc.disable()
    from tap_sequence.runtime.memory import share_freed_memory  # noqa: PLC0415
    from tap_sequence.singer.tap import SequenceTap  # noqa: PLC0415

    share_freed_memory()
    gc.freeze()
    gc.enable()
    # A thread that sends a request must not wait long for the one that writes records: a late request hits the API's rate
    # limit together with the next one.
    sys.setswitchinterval(0.0005)
    SequenceTap.cli()


if __name__ == "__main__":
    main()
