"""`python -m tap_sequence`: the same as the console script `tap-sequence`."""

from __future__ import annotations

from tap_sequence.tap import SequenceTap

if __name__ == "__main__":
    SequenceTap.cli()
