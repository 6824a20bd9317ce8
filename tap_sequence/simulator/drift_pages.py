"""Differences from the documentation in pages, in how the API reads requests, and in responses."""

from __future__ import annotations

import base64
import dataclasses
import email.utils
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any, TypeAlias
from uuid import UUID

from tap_sequence.simulator.faults import Response

Page: TypeAlias = dict[str, Any]
Query: TypeAlias = Mapping[str, str]

DATE_AHEAD = 280.0
"""Seconds by which `date-ahead` is fast: slightly less than the tap's default lookback."""

_FIXED_TOTAL = 1000

# Pages


def _pagination(page: Page) -> dict[str, Any]:
    """Return a page's pagination, or one of no page if another difference removed it."""
    pagination = page.get("pagination")
    return pagination if isinstance(pagination, dict) else {}


def _total(change: Callable[[int], Any]) -> Callable[[Page, Query], None]:
    def apply(page: Page, _: Query) -> None:
        pagination = _pagination(page)
        if isinstance(pagination.get("totalResultSize"), int):
            pagination["totalResultSize"] = change(pagination["totalResultSize"])

    return apply


def _at_end(change: Callable[[Page, Query], Any]) -> Callable[[Page, Query], None]:
    """Return a difference in the last page alone."""

    def apply(page: Page, query: Query) -> None:
        if not _pagination(page).get("after"):
            change(page, query)

    return apply


def _set_after(change: Callable[[Query], Any]) -> Callable[[Page, Query], None]:
    return lambda page, query: _pagination(page).update(after=change(query))


def _end_early(page: Page, query: Query) -> None:
    if query.get("sortOrder") == "ASC" and "after" in query:
        _pagination(page).pop("after", None)


def _number_cursor(page: Page, _: Query) -> None:
    """Write a cursor, base64 of a UUID, as a number."""
    pagination = _pagination(page)
    with suppress(ValueError):
        pagination["after"] = Decimal(UUID(base64.b64decode(str(pagination.get("after"))).decode()).int)


def _text_cursor(query: Query) -> Query:
    after = query.get("after", "")
    with suppress(ValueError):
        return {**query, "after": base64.b64encode(str(UUID(int=int(after))).encode()).decode()}
    return query


def _list_last_twice(page: Page, _: Query) -> None:
    page["items"] = [*(page["items"] or []), *(page["items"] or [])[-1:]]


PAGE_DRIFTS: Mapping[str, Callable[[Page, Query], None]] = {
    "total-one-too-many": _total(lambda total: total + 1),
    "total-one-too-few": _total(lambda total: total - 1),
    "total-capped": _total(lambda _: _FIXED_TOTAL),
    "total-of-page": lambda page, query: _total(lambda _: len(page["items"] or []))(page, query),
    "total-zero": _total(lambda _: 0),
    "total-huge": _total(lambda _: Decimal(10**30)),
    "total-negative": _total(lambda _: -1),
    "total-text": _total(str),
    "total-words": _total(lambda _: "many"),
    "total-float": _total(float),
    "total-fraction": _total(lambda total: total + 0.5),
    "total-boolean": _total(lambda _: True),
    "total-object": _total(lambda total: {"value": total, "relation": "eq"}),
    "unknown-field-page": lambda page, _: page.update(links={"self": "/activity-logs"}),
    "unknown-field-pagination": lambda page, _: _pagination(page).update(hasMore=False),
    "items-null-at-end": _at_end(lambda page, _: page.update(items=page["items"] or None)),
    "no-pagination-at-end": _at_end(lambda page, _: page.pop("pagination", None)),
    "pagination-null-at-end": _at_end(lambda page, _: page.update(pagination=None)),
    "pagination-list-at-end": _at_end(lambda page, _: page.update(pagination=[])),
    "after-empty-at-end": _at_end(_set_after(lambda _: "")),
    "after-false-at-end": _at_end(_set_after(lambda _: False)),
    "after-repeats-at-end": _at_end(_set_after(lambda query: query.get("after"))),
    "after-number": _number_cursor,
    "log-twice": _list_last_twice,
    "list-ends-early": _end_early,
}

# Requests


def _limit(change: Callable[[int], int]) -> Callable[[Query], Query]:
    def apply(query: Query) -> Query:
        limit = query.get("limit", "")
        return {**query, "limit": str(change(int(limit)))} if limit.isdecimal() else query

    return apply


REQUEST_DRIFTS: Mapping[str, Callable[[Query], Query]] = {
    "newest-first": lambda query: {**query, "sortOrder": "DESC"},
    "oldest-first": lambda query: {**query, "sortOrder": "ASC"},
    "fewer-logs": _limit(lambda limit: (limit * 2 + 2) // 3),
    "limit-ignored": _limit(lambda _: 50),
    "after-number": _text_cursor,
}

# Responses


def _headers(**changed: str) -> Callable[[Response], Response]:
    """Return a difference in headers; a header with an empty value is not sent."""
    headers = {name.replace("_", "-"): value for name, value in changed.items()}
    return lambda response: dataclasses.replace(response, headers={**response.headers, **headers})


def _date(seconds: float) -> Callable[[Response], Response]:
    def apply(response: Response) -> Response:
        return _headers(Date=email.utils.formatdate(time.time() + seconds, usegmt=True))(response)

    return apply


def _body(change: Callable[[bytes], bytes]) -> Callable[[Response], Response]:
    return lambda response: dataclasses.replace(response, body=change(response.body))


RESPONSE_DRIFTS: Mapping[str, Callable[[Response], Response]] = {
    "content-type-text-json": _headers(Content_Type="text/json"),
    "content-type-vendor-json": _headers(Content_Type="application/vnd.sequence.v1+json; charset=utf-8"),
    "content-type-text-plain": _headers(Content_Type="text/plain"),
    "content-type-text-html": _headers(Content_Type="text/html; charset=utf-8"),
    "content-type-octet-stream": _headers(Content_Type="application/octet-stream"),
    "content-type-none": _headers(Content_Type=""),
    "byte-order-mark": _body(lambda body: b"\xef\xbb\xbf" + body),
    "white-space": _body(lambda body: b"\r\n\t " + body + b" \n"),
    "date-ahead": _date(DATE_AHEAD),
    "date-behind": _date(-DATE_AHEAD),
    "date-none": _headers(Date=""),
    "version-none": _headers(Sequence_Version=""),
}
