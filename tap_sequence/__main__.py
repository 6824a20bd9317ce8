"""`python -m tap_sequence` and the console script `tap-sequence`."""

from __future__ import annotations

from tap_sequence.runtime import startup


def main() -> None:
    """Run the command line."""
    startup.begin()
    from tap_sequence.singer.tap import SequenceTap  # noqa: PLC0415

    startup.end()
    SequenceTap.cli()


if __name__ == "__main__":
    main()
