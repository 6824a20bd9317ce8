"""The e-mail addresses of actors, users and accounts kept, hashed or dropped, in records and in schemas."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tap_sequence.text.redaction import without_emails

KEEP, HASH, DROP = "keep", "hash", "drop"
ACTIONS = (KEEP, HASH, DROP)

_OF_RECORD = frozenset({"email", "alertEmailAddresses"})
"""Fields of users and accounts that are addresses. Those of a log are in its items."""

_ADDRESSES = (
    ("properties", "activityLogItems", "items", "properties", "activityLogActor", "properties", "email"),
    ("properties", "actorEmail"),
    *(("properties", name) for name in sorted(_OF_RECORD)),
)
"""Paths of addresses in the streams' schemas."""

_HASHED = (
    "Hash of the e-mail address in place of the address: SHA-256 of the lower-cased address, in hexadecimal, "
    "keyed (HMAC) where the tap's setting actor_email_salt is set."
)


class ActorEmail:
    """Applies the setting `actor_email`.

    Args:
        action: One of ACTIONS.
        salt: Key of the hashes, or None.
    """

    def __init__(self, action: str, salt: str | None) -> None:
        self._action = action
        self._salt = salt

    def hash(self, address: str) -> str:
        """Return the hash of an address, whatever its case."""
        text = address.lower().encode()
        if self._salt is None:
            return hashlib.sha256(text).hexdigest()
        return hmac.digest(self._salt.encode(), text, "sha256").hex()

    def apply(self, record: Any) -> Any:
        """Return a copy of a decoded record with its addresses hashed or dropped; the record itself if they are kept."""
        if self._action == KEEP:
            return record
        changes: dict[str, Any] = {
            name: self._changed(getattr(record, name))
            for name in _OF_RECORD.intersection(record.__struct_fields__)
        }
        if record.unmapped:
            changes["unmapped"] = _without_emails(record.unmapped)
        if items := getattr(record, "activityLogItems", None):
            changes["activityLogItems"] = list(map(self._changed_item, items))
        return msgspec.structs.replace(record, **changes) if changes else record

    def to_schema(self, own: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the schema of a stream's records under this setting.

        Args:
            own: The tap's schema of the stream.
            given: The schema from a catalog, which may be older or have fewer fields.
        """
        result: dict[str, Any] = copy.deepcopy(dict(own if given is None else given))
        for *path, name in _ADDRESSES:
            own_fields, fields = _at(own, path), _at(result, path)
            if own_fields is None or name not in own_fields or fields is None:
                continue
            if self._action == DROP:
                fields.pop(name, None)
                continue
            description = _HASHED if self._action == HASH else own_fields[name]["description"]
            fields[name] = {
                **copy.deepcopy(own_fields[name]),
                **fields.get(name, {}),
                "description": description,
            }
        return result

    def _changed_item(self, item: Any) -> Any:
        actor = item and item.activityLogActor
        if not actor:
            return item
        actor = msgspec.structs.replace(actor, email=self._changed(actor.email))
        return msgspec.structs.replace(item, activityLogActor=actor)

    def _changed(self, address: Any) -> Any:
        """Return an address, or a list of addresses, as it is emitted."""
        if self._action == DROP:
            return msgspec.UNSET
        if isinstance(address, list):
            return list(map(self._changed, address))
        # An actor without an address must not look like one whose address is known.
        return self.hash(address) if isinstance(address, str) and address.strip() else address


def _without_emails(unmapped: str) -> str:
    """Return `unmapped` with e-mail addresses masked in all its strings and names."""
    # String by string: the search for addresses does not know where a string ends in JSON.
    values = json.loads(unmapped, parse_int=_as_written, parse_float=_as_written)
    return msgspec.json.encode(_cleaned(values)).decode()


def _as_written(number: str) -> msgspec.Raw:
    return msgspec.Raw(number.encode())


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return without_emails(value)
        case list():
            return [_cleaned(element) for element in value]
        case dict():
            result: dict[str, Any] = {}
            for name, inner in value.items():
                cleaned = without_emails(name)
                # Masked addresses are equal.
                if cleaned in result:
                    cleaned += f" {len(result)}"
                result[cleaned] = _cleaned(inner)
            return result
    return value


def _at(schema: Mapping[str, Any], path: Sequence[str]) -> dict[str, Any] | None:
    """Return the object at a path of a schema, or None if there is none."""
    found: Any = schema
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, dict) else None
