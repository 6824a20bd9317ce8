"""Reading ahead of the walk. Plain Python: no HTTP, no Singer."""
