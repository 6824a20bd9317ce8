"""`python -m tap_sequence` and the console script `tap-sequence`."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command line."""
    # Until the tap takes signals itself, one ends the process at once, and quietly: the imports take a second.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from tap_sequence.tap import SequenceTap  # noqa: PLC0415

    SequenceTap.cli()


if __name__ == "__main__":
    main()
