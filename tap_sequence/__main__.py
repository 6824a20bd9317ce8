"""`python -m tap_sequence` and the console script `tap-sequence`."""

from __future__ import annotations

import gc
import signal
import sys


def main() -> None:
    """Run the command line."""
    # Until the tap takes signals itself, one ends the process at once, and quietly: the imports take a second.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # What is imported stays: to search it for garbage, again and again, would take a tenth of the start.
    gc.disable()
    from tap_sequence.runtime.memory import share_freed_memory  # noqa: PLC0415
    from tap_sequence.singer.tap import SequenceTap  # noqa: PLC0415

    share_freed_memory()
    gc.freeze()
    gc.enable()
    # A thread whose turn it is to send a request is not to wait long for the one that writes records: what is late on its way
    # runs into the API's limit together with what comes after it.
    sys.setswitchinterval(0.0005)
    SequenceTap.cli()


if __name__ == "__main__":
    main()
