"""A list of the API, as a declaration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One list of the API. `tap_sequence.catalog` declares which there are.

    Attributes:
        path: Path below the base URL.
        schema: Name of the schema of its records, a file in `schemas/`.
        noun: What messages call one entry.
        filters: Names of the settings that filter the list, by query parameter.
        is_append_only: Whether entries never change, and can be listed by `createdAt`: a run reads what is new. Other lists
            have no sort order, and are read in full in each run.
    """

    path: str
    schema: str
    noun: str
    filters: Mapping[str, str] = field(default_factory=dict)
    is_append_only: bool = True
