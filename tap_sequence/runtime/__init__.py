"""The process: its standard output and its memory."""
