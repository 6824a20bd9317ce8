"""The process: its standard output."""
