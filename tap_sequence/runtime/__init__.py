"""The process: signals, waits, standard output, log records, progress and memory."""
