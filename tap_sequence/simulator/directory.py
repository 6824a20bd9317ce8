"""The endpoints `/users` and `/sequence-accounts`: lists that change in place, and have neither filters nor a sort order."""

from __future__ import annotations

import base64
import bisect
import threading
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from tap_sequence.simulator.faults import Response, error_response
from tap_sequence.simulator.logs import ACTOR_ADDRESSES, account_id, user_id, write_timestamp
from tap_sequence.simulator.options import EndOfList, Options

MAX_LIMIT = 100
DEFAULT_LIMIT = 50
_PARAMETERS = {"limit", "after", "before"}


class Directory:
    """A list of entries that may change, each in its place. Safe to use from several threads.

    Args:
        entries: The entries, in the order of the list.
    """

    def __init__(self, entries: Iterable[Mapping[str, Any]]) -> None:
        self._entries = {entry["id"]: dict(entry) for entry in entries}
        # A cursor that points at a removed entry continues to work.
        self._places = {entry_id: place for place, entry_id in enumerate(self._entries)}
        self._lock = threading.Lock()

    def entries(self) -> list[dict[str, Any]]:
        """Return all entries."""
        with self._lock:
            return [dict(entry) for entry in self._entries.values()]

    def put(self, entry: Mapping[str, Any]) -> None:
        """Replace an entry, which keeps its place, or add one at the end."""
        with self._lock:
            self._entries[entry["id"]] = dict(entry)
            self._places.setdefault(entry["id"], len(self._places))

    def remove(self, entry_id: str) -> None:
        """Remove an entry."""
        with self._lock:
            del self._entries[entry_id]

    def list(self, options: Options, query: Mapping[str, str]) -> Response:
        """Return a page of the list, or a 400."""
        entries = self.entries()
        limit = query.get("limit", str(DEFAULT_LIMIT))
        if not limit.isdecimal() or not 1 <= int(limit) <= MAX_LIMIT:
            return _bad_request("limit must be between 1 and 100 (inclusive)")
        if unknown := query.keys() - _PARAMETERS:
            return _bad_request(f"unknown parameters: {', '.join(sorted(unknown))}")
        first, last = 0, int(limit)
        places = [self._places[entry["id"]] for entry in entries]
        try:
            if "after" in query:
                first = bisect.bisect_right(places, self._places[_read_cursor(query["after"])])
                last = first + int(limit)
            elif "before" in query:
                last = bisect.bisect_left(places, self._places[_read_cursor(query["before"])])
                first = max(0, last - int(limit))
        except LookupError:
            return _bad_request("not a valid cursor")
        return _page(entries, first, last, options)

    def get(self, _: str) -> Response | None:
        """Return None: neither endpoint documents a path for one entry."""
        return None


def _page(entries: list[dict[str, Any]], first: int, last: int, options: Options) -> Response:
    shown = entries[first:last]
    has_next = last < len(entries) or options.end_of_list is EndOfList.EMPTY_PAGE
    pagination: dict[str, Any] = {
        "after": _cursor(shown[-1]) if shown and has_next else None,
        "before": _cursor(shown[0]) if shown and first else None,
    }
    if options.end_of_list is not EndOfList.NULL:
        pagination = {name: cursor for name, cursor in pagination.items() if cursor is not None}
    if options.with_total:
        pagination["totalResultSize"] = len(entries)
    return Response(HTTPStatus.OK, msgspec.json.encode({"items": shown, "pagination": pagination}))


def _cursor(entry: Mapping[str, Any]) -> str:
    return base64.b64encode(entry["id"].encode()).decode()


def _read_cursor(cursor: str) -> str:
    """Return the id in a cursor.

    Raises:
        LookupError: It is not a cursor.
    """
    try:
        return base64.b64decode(cursor, validate=True).decode()
    except ValueError as error:
        raise LookupError(cursor) from error


def _bad_request(message: str) -> Response:
    return error_response(HTTPStatus.BAD_REQUEST, "BadRequest", message)


def make_users(seed: int) -> list[dict[str, Any]]:
    """Return the users of the account: the actors of its logs, and some who have not done anything."""
    addresses = [*ACTOR_ADDRESSES, *(f"new.user.{number}@example.com" for number in range(1, 9))]
    return [
        {
            "id": user_id(seed, address),
            "email": address,
            "sequenceAccountIds": [account_id(seed)],
            "state": "ACTIVE" if number % 4 else "INVITED",
            "roles": ["ADMIN", "FINANCE"] if number % 3 == 0 else ["VIEWER"],
        }
        for number, address in enumerate(addresses, 1)
    ]


def make_accounts(seed: int) -> list[dict[str, Any]]:
    """Return the accounts of the organisation: that of the logs, and a second one."""
    return [
        {
            "id": account_id(seed, number),
            "createdAt": write_timestamp(1_667_829_755_236_000 + number * 86_400_000_000, 3),
            "sequenceOrganisationId": user_id(seed, "organisation"),
            "companyName": name,
            "companyNumber": f"0{number}348712",
            "country": country,
            "sendCustomerNotifications": number == 0,
            "alertEmailAddresses": [
                f"billing@{name.split()[0].lower()}.example.com",
                "ada.lovelace@example.com",
            ],
        }
        for number, (name, country) in enumerate((("Acme Ltd", "GB"), ("Müller & Söhne GmbH", "DE")))
    ]
