"""Sequence's HTTP API: what it sends, and how it becomes records."""
