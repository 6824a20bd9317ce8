"""Realistic activity logs as a pure function of seed, index and time.

Values come from a hash, not from `random`: the same on every machine and in every version of Python.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar
from uuid import UUID

_T = TypeVar("_T")

_MILLISECOND = 1_000
_SECOND = 1_000_000

_OBJECTS = (
    "INVOICE",
    "CUSTOMER",
    "BILLING_SCHEDULE",
    "CREDIT_NOTE",
    "PRODUCT",
    "PRICE",
    "SEAT_GROUP",
    "TAX_RATE",
)
_VERBS = ("CREATED", "UPDATED", "SENT", "FINALIZED", "VOIDED", "ARCHIVED", "PAID", "DELETED", "RECALCULATED")
_ORIGINS = ("API", "DASHBOARD", "SYSTEM", "IMPORT")
_ACTIVITY_TYPES = ("NOTIFICATION", "CHANGE", "JOB", "SECURITY")
_ACTORS = (
    ("USER", "ada.lovelace@example.com"),
    ("USER", "grace.hopper@example.com"),
    ("USER", "søren.kierkegaard@example.com"),
    ("USER", "山田.花子@example.com"),
    ("API_KEY", None),
    ("SYSTEM", None),
)
ACTOR_ADDRESSES = tuple(address for _, address in _ACTORS if address)
_REASONS = (
    None,
    None,
    "New billing cycle started",
    "Kunde hat gekündigt – Rückerstattung",
    "顧客の依頼",
    "🧾 typo in line 3",
)
_CUSTOMERS = (
    "Müller & Söhne GmbH",
    "Acme Ltd",
    "株式会社サンプル",
    'L\'Été "Indien"',
    "O'Neill\\Partners",
    "Ünïcödé 🚀",
)


class LogIds(StrEnum):
    """The version of the logs' UUIDs."""

    V7 = "v7"
    V4 = "v4"


class _Dice:
    """An endless supply of numbers that depend on the key alone."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._block = 0
        self._left = b""

    def take(self, count: int) -> bytes:
        while len(self._left) < count:
            self._left += hashlib.blake2b(f"{self._key}#{self._block}".encode()).digest()
            self._block += 1
        taken, self._left = self._left[:count], self._left[count:]
        return taken

    def below(self, limit: int) -> int:
        return int.from_bytes(self.take(4)) % limit

    def choice(self, options: Sequence[_T]) -> _T:
        return options[self.below(len(options))]

    def uuid(self) -> str:
        return str(UUID(bytes=self.take(16), version=4))


@dataclass(frozen=True, slots=True)
class LogKey:
    """What a log's body is generated from.

    Attributes:
        index: Its number on the timeline.
        id: Its UUID.
        created_at: Microseconds since 1970.
        digits: Fractional digits of `createdAt`, 0 to 6.
    """

    index: int
    id: str
    created_at: int
    digits: int


def make_key(seed: int, index: int, moment: int, *, log_ids: LogIds, created_at: int | None = None) -> LogKey:
    """Return the key of the log that happens at `moment` (microseconds since 1970).

    `createdAt` is truncated to a varying number of fractional digits, unless it is given: then it has as many as needed.
    """
    dice = _Dice(f"{seed}/{index}/key")
    digits = dice.below(7)
    if created_at is None:
        created_at = moment = moment - moment % 10 ** (6 - digits)
    else:
        digits = len(f"{created_at % _SECOND:06d}".rstrip("0"))
    if log_ids is LogIds.V4:
        return LogKey(index, dice.uuid(), created_at, digits)
    random_bits = int.from_bytes(dice.take(10))
    value = (moment // _MILLISECOND) << 80 | random_bits
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return LogKey(index, str(UUID(int=value)), created_at, digits)


def write_timestamp(microseconds: int, digits: int) -> str:
    """Return a time as ISO 8601 with `digits` fractional digits; the others must be zero."""
    text = datetime.fromtimestamp(microseconds // _SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{microseconds % _SECOND:06d}"[:digits]
    return f"{text}.{fraction}Z" if fraction else f"{text}Z"


def make_log(seed: int, key: LogKey) -> dict[str, Any]:
    """Return a log in the API's form."""
    dice = _Dice(f"{seed}/{key.index}/body")
    log: dict[str, Any] = {
        "id": key.id,
        "sequenceAccountId": account_id(seed),
        "activityType": dice.choice(_ACTIVITY_TYPES),
    }
    if dice.below(3):
        log["apiVersion"] = dice.choice(("V1", "2024-07-30"))
    log["origin"] = dice.choice(_ORIGINS)
    match dice.below(4):
        case 0:
            pass
        case 1:
            log["traceId"] = None
        case _:
            log["traceId"] = dice.take(16).hex()
    log["createdAt"] = write_timestamp(key.created_at, key.digits)
    log["activityLogItems"] = [
        _make_item(seed, key, dice) for _ in range(1 + dice.below(8) // 6 + dice.below(16) // 15)
    ]
    return log


def _make_item(seed: int, key: LogKey, dice: _Dice) -> dict[str, Any]:
    verb, entity_type = dice.choice(_VERBS), dice.choice(_OBJECTS)
    name = f"{entity_type.replace('_', ' ').title()} {verb.lower()}"
    item: dict[str, Any] = {
        "id": dice.uuid(),
        "activityLogId": key.id,
        "verb": verb,
        "name": name,
        "summary": f"{name} for {dice.choice(_CUSTOMERS)}",
    }
    reason = dice.choice(_REASONS)
    if reason is not None or dice.below(2):
        item["reason"] = reason
    match dice.below(4):
        case 0:
            pass
        case 1:
            item["metadata"] = []
        case _:
            item["metadata"] = [_make_metadata(dice) for _ in range(1 + dice.below(3))]
    actor_type, email = dice.choice(_ACTORS)
    actor = {"id": dice.uuid(), "entityType": actor_type}
    if actor_type == "USER":
        actor |= {"entityId": user_id(seed, str(email))}
    if email is not None:
        actor["email"] = email
    item["activityLogActor"] = actor
    # Few entities, so that filtering by one finds several logs.
    number = dice.below(40)
    item["activityLogObject"] = {
        "id": _entity_id(seed, f"object/{entity_type}/{number}"),
        "entityType": entity_type,
        "entityId": _entity_id(seed, f"entity/{entity_type}/{number}"),
    }
    if dice.below(3) == 0:
        item["activityLogTarget"] = {"id": dice.uuid(), "entityType": "SEQUENCE_USER"}
        if dice.below(2):
            item["activityLogTarget"]["entityId"] = dice.uuid()
    return item


def _make_metadata(dice: _Dice) -> Any:
    number = dice.below(1_000_000)
    return dice.choice(
        (
            {"key": "amount", "value": number / 100, "currency": "EUR"},
            {"field": "dueDate", "from": None, "to": "2026-12-31"},
            {"nested": {"tags": ["a", "b", [number]], "ok": True}},
            f"free text №{number} – \u2028 line separator, tab\tand 🧮",
            number,
            number * 10**12 + 0.5,
            [number, None, False],
            True,
            None,
        )
    )


def account_id(seed: int, number: int = 0) -> str:
    """Return the id of an account of the organisation; that of the logs is number 0."""
    return _entity_id(seed, f"account/{number}" if number else "account")


def user_id(seed: int, address: str) -> str:
    """Return the id of the user with an e-mail address."""
    return _entity_id(seed, f"user/{address}")


def _entity_id(seed: int, name: str) -> str:
    return _Dice(f"{seed}/{name}").uuid()
