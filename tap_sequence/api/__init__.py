"""Sequence's HTTP API."""
