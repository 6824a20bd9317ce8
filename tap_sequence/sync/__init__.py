"""What to read and what to remember. Plain Python: no HTTP, no Singer."""
