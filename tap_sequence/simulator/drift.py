"""Differences between what the API may really send and what its documentation says, by name.

Each is a pure function of the request and the page, so the same log comes out the same each time. Several apply one
after another. Written `NAME` or `NAME:EVERY`: a difference in logs changes one log in EVERY, chosen by its id.
"""

from __future__ import annotations

import dataclasses
import re
import textwrap
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

import msgspec

from tap_sequence.simulator.drift_logs import FIELDS, KINDS, LOG_DRIFTS, encode, field_drifts
from tap_sequence.simulator.drift_pages import PAGE_DRIFTS, REQUEST_DRIFTS, RESPONSE_DRIFTS
from tap_sequence.simulator.faults import Response

DEFAULT_EVERY = 5

DRIFTS: Sequence[str] = tuple(dict.fromkeys([*LOG_DRIFTS, *PAGE_DRIFTS, *REQUEST_DRIFTS, *RESPONSE_DRIFTS]))
"""All names."""


def describe_names() -> str:
    """Return the names for `--help`, with `FIELD-KIND` for the differences in one field."""
    fields = {name for name, _ in field_drifts()}
    paragraphs = {
        "FIELD-KIND, unless the documentation allows that kind": [
            "FIELD is one of " + ", ".join(FIELDS),
            "KIND is one of " + ", ".join(KINDS),
        ],
        "in logs": [name for name in LOG_DRIFTS if name not in fields],
        "in pages": list(PAGE_DRIFTS),
        "in how the API reads a request": list(REQUEST_DRIFTS),
        "in responses": list(RESPONSE_DRIFTS),
    }
    return "\n".join(
        textwrap.fill(f"{title}: {', '.join(names)}", 100, subsequent_indent="    ", break_on_hyphens=False)
        for title, names in paragraphs.items()
    )


@dataclass(frozen=True, slots=True)
class Drift:
    """A difference from the documentation.

    Attributes:
        name: One of DRIFTS.
        every: It changes one log in so many. Differences in anything else change every page.
    """

    name: str
    every: int = DEFAULT_EVERY

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `NAME` or `NAME:EVERY`.

        Raises:
            ValueError: The text is neither.
        """
        name, colon, every = text.partition(":")
        if name not in DRIFTS or (colon and not (name in LOG_DRIFTS and re.fullmatch("[1-9][0-9]*", every))):
            msg = (
                f"{text!r} must be NAME, or NAME:EVERY to change one log in EVERY, such as actor-null:1; "
                "--help lists the names"
            )
            raise ValueError(msg)
        return cls(name, int(every)) if colon else cls(name)

    def applies_to(self, log_id: str) -> bool:
        """Return whether it changes the log with this id."""
        return self.name in LOG_DRIFTS and zlib.crc32(log_id.encode()) % self.every == 0


def drift_query(drifts: Sequence[Drift], query: Mapping[str, str]) -> dict[str, str]:
    """Return the query that the API responds to in place of the given one."""
    for drift in drifts:
        if drift.name in REQUEST_DRIFTS:
            query = REQUEST_DRIFTS[drift.name](query)
    return dict(query)


def drift_response(drifts: Sequence[Drift], query: Mapping[str, str], response: Response) -> Response:
    """Return what is sent in place of a response; errors do not change."""
    if not drifts or response.status != HTTPStatus.OK:
        return response
    page = msgspec.json.decode(response.body)
    for log in page["items"]:
        log_id = log["id"]
        for drift in drifts:
            if drift.applies_to(log_id):
                LOG_DRIFTS[drift.name](log)
    for drift in drifts:
        if drift.name in PAGE_DRIFTS:
            PAGE_DRIFTS[drift.name](page, query)
    response = dataclasses.replace(response, body=encode(page))
    for drift in drifts:
        if drift.name in RESPONSE_DRIFTS:
            response = RESPONSE_DRIFTS[drift.name](response)
    return response
