"""Measures the tap beside others that read the same list: `python -m benchmarks --help`."""
