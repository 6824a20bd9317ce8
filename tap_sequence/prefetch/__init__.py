"""Prefetching: requests for pages that the walk needs later. Plain Python: no HTTP, no Singer."""
