"""Compares the tap with others that read the same list: `python -m benchmarks --help`."""
