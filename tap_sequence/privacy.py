"""What becomes of an actor's e-mail address: kept, hashed or dropped, in records and in schemas alike."""

from __future__ import annotations

import copy
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import msgspec

from tap_sequence.schema import ACTIVITY_LOGS_SCHEMA

KEEP, HASH, DROP = "keep", "hash", "drop"
ACTIONS = (KEEP, HASH, DROP)

_FIELD = "email"
_HASHED = (
    "Hash of the actor's e-mail address in place of the address: SHA-256 of the lower-cased address, in hexadecimal, "
    "keyed (HMAC) where the tap's setting actor_email_salt is set."
)


class ActorEmail:
    """The setting `actor_email` at work.

    Args:
        action: One of ACTIONS.
        salt: What keys the hashes, if anything.
    """

    def __init__(self, action: str, salt: str | None) -> None:
        self._action = action
        self._salt = salt

    def hash(self, address: str) -> str:
        """Return what stands for an address: the same for any spelling in capitals and small letters."""
        text = address.lower().encode()
        if self._salt is None:
            return hashlib.sha256(text).hexdigest()
        return hmac.digest(self._salt.encode(), text, "sha256").hex()

    def apply(self, record: Any) -> Any:
        """Return a decoded log with the addresses in it hashed or dropped; the log itself where they are kept."""
        if self._action == KEEP:
            return record
        # The decoder has checked that both are there.
        items = [
            msgspec.structs.replace(item, activityLogActor=self._changed(item.activityLogActor))
            for item in record.activityLogItems
        ]
        return msgspec.structs.replace(record, activityLogItems=items)

    def to_schema(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Return a schema of activity logs, the tap's own or an older catalog's, that says what records will hold."""
        result: dict[str, Any] = copy.deepcopy(dict(schema))
        fields = _actor_fields(result)
        if fields is None:
            return result
        if self._action == DROP:
            fields.pop(_FIELD, None)
            return result
        own = copy.deepcopy((_actor_fields(ACTIVITY_LOGS_SCHEMA) or {})[_FIELD])
        if self._action == HASH:
            own["description"] = _HASHED
        fields[_FIELD] = {**own, **fields.get(_FIELD, {}), "description": own["description"]}
        return result

    def _changed(self, actor: Any) -> Any:
        if self._action == DROP:
            return msgspec.structs.replace(actor, email=msgspec.UNSET)
        if isinstance(actor.email, str):
            return msgspec.structs.replace(actor, email=self.hash(actor.email))
        return actor


def _actor_fields(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the definitions of an actor's fields, or None where a schema has no actors."""
    found: Any = schema
    for key in ("properties", "activityLogItems", "items", "properties", "activityLogActor", "properties"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, dict) else None
