r"""Differences between what the API may really send and what its documentation says, by name.

Each is a pure function of the request and the page, so the same log comes out the same each time. Several apply one
after another. Written `NAME` or `NAME:EVERY`: a difference in logs strikes one log in EVERY, by its id.
"""

from __future__ import annotations

import base64
import dataclasses
import email.utils
import re
import textwrap
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Self, TypeAlias
from uuid import UUID

import msgspec

from tap_sequence.simulator.faults import Response

Log: TypeAlias = dict[str, Any]
Page: TypeAlias = dict[str, Any]
Query: TypeAlias = Mapping[str, str]

DEFAULT_EVERY = 5
DATE_AHEAD = 280.0
"""Seconds by which `date-ahead` is fast: less than the tap's default lookback, by little."""

_ABSENT: Any = object()
_DEEP = 1200
_NEARLY_DEEP = 990
_LONG = 5000
_FIXED_TOTAL = 1000

# Logs: one field

_ITEM = ("activityLogItems", "*")
_PLACES: Mapping[str, tuple[tuple[str, ...], str, bool]] = {
    "account": (("sequenceAccountId",), "text", True),
    "activity-type": (("activityType",), "text", True),
    "api-version": (("apiVersion",), "text", False),
    "origin": (("origin",), "text", True),
    "trace-id": (("traceId",), "text", False),
    "items": (("activityLogItems",), "list", True),
    "item": (_ITEM, "object", True),
    "item-id": ((*_ITEM, "id"), "text", True),
    "item-log-id": ((*_ITEM, "activityLogId"), "text", True),
    "verb": ((*_ITEM, "verb"), "text", True),
    "name": ((*_ITEM, "name"), "text", True),
    "summary": ((*_ITEM, "summary"), "text", True),
    "reason": ((*_ITEM, "reason"), "text", False),
    "metadata": ((*_ITEM, "metadata"), "list", False),
    **{
        place: ((*_ITEM, field, *inner), kind, is_required)
        for name, field, is_required_itself in (
            ("actor", "activityLogActor", True),
            ("object", "activityLogObject", True),
            ("target", "activityLogTarget", False),
        )
        for place, inner, kind, is_required in (
            (name, (), "object", is_required_itself),
            (f"{name}-id", ("id",), "text", True),
            (f"{name}-type", ("entityType",), "text", True),
            (f"{name}-entity-id", ("entityId",), "text", False),
        )
    },
    "email": ((*_ITEM, "activityLogActor", "email"), "text", False),
}
"""Path, documented kind, and whether null and absence are undocumented, by a short name."""

_KINDS: Mapping[str, Callable[[Any], Any]] = {
    "null": lambda _: None,
    "absent": lambda _: _ABSENT,
    "number": lambda _: 7,
    "boolean": lambda _: True,
    # What a field may be filled with that was an object or a list: something personal.
    "text": lambda _: "grace.hopper@example.com",
    "list": lambda value: [value],
    "object": lambda value: {"value": value},
}


def _set(value: Any, path: Sequence[str], change: Callable[[Any], Any]) -> None:
    """Change what stands at a path, as far as the path leads; a field that is absent is changed from null."""
    key, *rest = path
    if key == "*":
        if not isinstance(value, list):
            return
        for place, element in enumerate(value):
            if rest:
                _set(element, rest, change)
            elif (changed := change(element)) is not _ABSENT:
                value[place] = changed
        return
    if not isinstance(value, dict):
        return
    if rest:
        _set(value.get(key), rest, change)
    elif (changed := change(value.get(key))) is _ABSENT:
        value.pop(key, None)
    else:
        value[key] = changed


def _at(path: Sequence[str], change: Callable[[Any], Any]) -> Callable[[Log], None]:
    return lambda log: _set(log, path, change)


def _fields() -> Iterator[tuple[str, Callable[[Log], None]]]:
    for place, (path, documented, is_required) in _PLACES.items():
        for kind, change in _KINDS.items():
            is_allowed = kind == documented or (kind in {"null", "absent"} and not is_required)
            if not is_allowed and (place, kind) != ("item", "absent"):
                yield f"{place}-{kind}", _at(path, change)


# Logs: JSON that no encoder writes. A mark stands for it until the page is encoded.

_VALUES: Mapping[str, bytes] = {
    "\ue000nan\ue000": b"NaN",
    "\ue000infinity\ue000": b"Infinity",
    "\ue000-infinity\ue000": b"-Infinity",
    "\ue000long\ue000": b"7" * _LONG,
    "\ue000endless\ue000": b"1e9999999999999999999",
    "\ue000precise\ue000": b"0.1234567890123456789012345678901234567890",
    "\ue000deep\ue000": b"[" * _DEEP + b"1" + b"]" * _DEEP,
    "\ue000nearly deep\ue000": b'{"a":' * _NEARLY_DEEP + b"1" + b"}" * _NEARLY_DEEP,
}
_TEXTS: Mapping[str, bytes] = {
    "\ue000surrogate\ue000": rb"\ud800",
    "\ue000nul\ue000": rb"\u0000",
}


_ENCODER = msgspec.json.Encoder(decimal_format="number")


def _encode(page: Any) -> bytes:
    body = _ENCODER.encode(page)
    if b"\xee\x80\x80" in body:
        for mark, text in _VALUES.items():
            body = body.replace(f'"{mark}"'.encode(), text)
        for mark, text in _TEXTS.items():
            body = body.replace(mark.encode(), text)
    return body


def _in_metadata(value: Any) -> Callable[[Log], None]:
    return _at((*_ITEM, "metadata"), lambda _: [value, {"inner": [value]}])


def _in_texts(mark: str) -> Callable[[Log], None]:
    def change(log: Log) -> None:
        _set(log, (*_ITEM, "summary"), lambda text: f"{mark}{text}")
        _in_metadata(f"left {mark} right")(log)

    return change


# Logs: the rest


def _new_field(path: Sequence[str], name: str = "brandNew") -> Callable[[Log], None]:
    new = {"since": 2027, "by": "ada.lovelace@example.com", "tags": [None, 0.5]}
    return _at((*path, name), lambda _: new)


def _created_at(change: Callable[[str], Any]) -> Callable[[Log], None]:
    return _at(("createdAt",), lambda text: change(text) if isinstance(text, str) else text)


def _as_end_of_day(time_of_day: str) -> Callable[[Log], None]:
    """Write midnight in another way: as the end of the day before."""

    def write(text: str) -> str:
        match = re.fullmatch(r"(\d{4}-\d\d)-(0[2-9]|[123]\d)T00:00:00(\.\d+)?Z", text)
        return f"{match[1]}-{int(match[2]) - 1:02}T{time_of_day}{match[3] or ''}Z" if match else text

    return _created_at(write)


def _number_from_id(log: Log) -> None:
    with suppress(AttributeError, TypeError, ValueError, KeyError):
        # Small enough for a float to hold.
        log["id"] = UUID(log["id"]).int % 2**53


_IN_LOGS: Mapping[str, Callable[[Log], None]] = {
    **dict(_fields()),
    "items-empty": _at(("activityLogItems",), lambda _: []),
    "metadata-deep": _in_metadata("\ue000deep\ue000"),
    "metadata-nearly-deep": _in_metadata("\ue000nearly deep\ue000"),
    "nan": _in_metadata("\ue000nan\ue000"),
    "infinity": _in_metadata("\ue000infinity\ue000"),
    "minus-infinity": _in_metadata("\ue000-infinity\ue000"),
    "nan-in-place-of-text": _at((*_ITEM, "summary"), lambda _: "\ue000nan\ue000"),
    "long-number": _in_metadata("\ue000long\ue000"),
    "long-number-in-place-of-text": _at((*_ITEM, "name"), lambda _: "\ue000long\ue000"),
    "endless-number": _in_metadata("\ue000endless\ue000"),
    "precise-number": _in_metadata("\ue000precise\ue000"),
    "half-surrogate": _in_texts("\ue000surrogate\ue000"),
    "nul": _in_texts("\ue000nul\ue000"),
    "unknown-field": _new_field(()),
    "unknown-field-item": _new_field(_ITEM),
    "unknown-field-actor": _new_field((*_ITEM, "activityLogActor")),
    "unknown-field-object": _new_field((*_ITEM, "activityLogObject")),
    "unknown-field-null": _at(("brandNew",), lambda _: None),
    "unknown-field-unmapped": _new_field((), "unmapped"),
    "unknown-field-odd-name": _new_field((), "odd.name[0] \ue000surrogate\ue000\n\x1b"),
    "id-number": _number_from_id,
    "id-absent": _at(("id",), lambda _: _ABSENT),
    "id-null": _at(("id",), lambda _: None),
    "id-empty": _at(("id",), lambda _: ""),
    "created-at-absent": _created_at(lambda _: _ABSENT),
    "created-at-null": _created_at(lambda _: None),
    "created-at-empty": _created_at(lambda _: ""),
    "created-at-no-time": _created_at(lambda _: "yesterday"),
    "created-at-number": _created_at(lambda _: 1_760_000_000_000),
    "created-at-object": _created_at(lambda text: {"value": text}),
    "created-at-without-zone": _created_at(lambda text: text.removesuffix("Z")),
    "created-at-offset": _created_at(lambda text: text.replace("Z", "+00:00")),
    "created-at-space": _created_at(lambda text: text.replace("T", " ")),
    "created-at-lower-case": _created_at(str.lower),
    "created-at-nanoseconds": _created_at(
        lambda text: text.removesuffix("Z").ljust(20, ".").ljust(29, "0") + "Z"
    ),
    "leap-second": _as_end_of_day("23:59:60"),
    "hour-24": _as_end_of_day("24:00:00"),
}

# Pages


def _pagination(page: Page) -> dict[str, Any]:
    """Return a page's pagination; one that no page holds, where another difference took it away."""
    pagination = page.get("pagination")
    return pagination if isinstance(pagination, dict) else {}


def _total(change: Callable[[int], Any]) -> Callable[[Page, Query], None]:
    def apply(page: Page, _: Query) -> None:
        pagination = _pagination(page)
        if isinstance(pagination.get("totalResultSize"), int):
            pagination["totalResultSize"] = change(pagination["totalResultSize"])

    return apply


def _at_end(change: Callable[[Page, Query], Any]) -> Callable[[Page, Query], None]:
    """Return a difference of the list's last page."""

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
    """Write a cursor that is a UUID in base64 as a number."""
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


_IN_PAGES: Mapping[str, Callable[[Page, Query], None]] = {
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

# Requests: what the API makes of them


def _limit(change: Callable[[int], int]) -> Callable[[Query], Query]:
    def apply(query: Query) -> Query:
        limit = query.get("limit", "")
        return {**query, "limit": str(change(int(limit)))} if limit.isdecimal() else query

    return apply


_IN_REQUESTS: Mapping[str, Callable[[Query], Query]] = {
    "newest-first": lambda query: {**query, "sortOrder": "DESC"},
    "oldest-first": lambda query: {**query, "sortOrder": "ASC"},
    "fewer-logs": _limit(lambda limit: (limit * 2 + 2) // 3),
    "limit-ignored": _limit(lambda _: 50),
    "after-number": _text_cursor,
}

# Responses


def _headers(**changed: str) -> Callable[[Response], Response]:
    """Return a difference in headers; one with an empty value is not sent."""
    headers = {name.replace("_", "-"): value for name, value in changed.items()}
    return lambda response: dataclasses.replace(response, headers={**response.headers, **headers})


def _date(seconds: float) -> Callable[[Response], Response]:
    def apply(response: Response) -> Response:
        return _headers(Date=email.utils.formatdate(time.time() + seconds, usegmt=True))(response)

    return apply


def _body(change: Callable[[bytes], bytes]) -> Callable[[Response], Response]:
    return lambda response: dataclasses.replace(response, body=change(response.body))


_IN_RESPONSES: Mapping[str, Callable[[Response], Response]] = {
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

DRIFTS: Sequence[str] = tuple(dict.fromkeys([*_IN_LOGS, *_IN_PAGES, *_IN_REQUESTS, *_IN_RESPONSES]))
"""All names."""


def describe_names() -> str:
    """Return the names in few words, for help: those of one field's value by their two parts."""
    fields = {name for name, _ in _fields()}
    paragraphs = {
        "FIELD-KIND, where the documentation says otherwise": [
            "FIELD one of " + ", ".join(_PLACES),
            "KIND one of " + ", ".join(_KINDS),
        ],
        "in logs": [name for name in _IN_LOGS if name not in fields],
        "in pages": list(_IN_PAGES),
        "in what the API makes of a request": list(_IN_REQUESTS),
        "in responses": list(_IN_RESPONSES),
    }
    return "\n".join(
        textwrap.fill(f"{title}: {', '.join(names)}", 100, subsequent_indent="    ", break_on_hyphens=False)
        for title, names in paragraphs.items()
    )


@dataclass(frozen=True, slots=True)
class Drift:
    """A difference.

    Attributes:
        name: One of DRIFTS.
        every: It strikes one log in so many; what is not about logs strikes every page.
    """

    name: str
    every: int = DEFAULT_EVERY

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `NAME` or `NAME:EVERY`.

        Raises:
            ValueError: It is neither.
        """
        name, colon, every = text.partition(":")
        if name not in DRIFTS or (colon and not (name in _IN_LOGS and re.fullmatch("[1-9][0-9]*", every))):
            msg = (
                f"{text!r} must be NAME, or NAME:EVERY to change one log in EVERY, such as actor-null:1; "
                "--help lists the names"
            )
            raise ValueError(msg)
        return cls(name, int(every)) if colon else cls(name)

    def strikes(self, log_id: str) -> bool:
        """Whether it changes the log with this id."""
        return self.name in _IN_LOGS and zlib.crc32(log_id.encode()) % self.every == 0


def drift_query(drifts: Sequence[Drift], query: Query) -> dict[str, str]:
    """Return the query that is answered in place of the one that was asked."""
    for drift in drifts:
        if drift.name in _IN_REQUESTS:
            query = _IN_REQUESTS[drift.name](query)
    return dict(query)


def drift_response(drifts: Sequence[Drift], query: Query, response: Response) -> Response:
    """Return what is sent in place of a response; only pages of logs change."""
    if not drifts or response.status != HTTPStatus.OK:
        return response
    page = msgspec.json.decode(response.body)
    for log in page["items"]:
        log_id = log["id"]
        for drift in drifts:
            if drift.strikes(log_id):
                _IN_LOGS[drift.name](log)
    for drift in drifts:
        if drift.name in _IN_PAGES:
            _IN_PAGES[drift.name](page, query)
    response = dataclasses.replace(response, body=_encode(page))
    for drift in drifts:
        if drift.name in _IN_RESPONSES:
            response = _IN_RESPONSES[drift.name](response)
    return response
