"""Transformations of records before they are emitted, and of the schemas that describe them."""
