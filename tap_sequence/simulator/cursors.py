"""The kinds of cursor that the API may hand out.

Two are known from the published OpenAPI: base64 of a UUID (this endpoint's example), and base64 of
`uuid#microseconds#ORDER` (examples of other endpoints). The third covers all other kinds.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tap_sequence.simulator.logs import LogKey
from tap_sequence.simulator.store import Filters, LogStore, Position

_UUID_LENGTH = 36


class CursorKind(StrEnum):
    """What a cursor is made of."""

    ID = "id"
    ID_TIME_ORDER = "id-time-order"
    OPAQUE = "opaque"


class NotACursorError(ValueError):
    """The text is not a cursor of this kind, so it has no position."""


class NeverIssuedError(ValueError):
    """The text has the form of a cursor, but was not issued for this list.

    Attributes:
        position: Where it would point if it were accepted.
    """

    def __init__(self, position: Position) -> None:
        super().__init__("cursor was never issued")
        self.position = position


@dataclass(frozen=True, slots=True)
class CursorCodec:
    """Writes and reads cursors of one kind.

    Attributes:
        kind: What they are made of.
        store: The logs that they point at.
        key: Secret of opaque cursors. With another key, cursors issued before are unknown.
    """

    kind: CursorKind
    store: LogStore
    key: str

    def write(self, log: LogKey, order: str, filters: Filters) -> str:
        """Return the cursor that points at a log."""
        match self.kind:
            case CursorKind.ID:
                return _to_base64(log.id.encode())
            case CursorKind.ID_TIME_ORDER:
                return _to_base64(f"{log.id}#{log.created_at}#{order}".encode())
            case CursorKind.OPAQUE:
                content = [log.id, log.created_at, order, filters.object_id, filters.object_entity_id]
                return self._seal(json.dumps(content, separators=(",", ":")).encode())

    def read(self, cursor: str, order: str, filters: Filters) -> Position:
        """Return where a cursor points.

        Raises:
            NotACursorError: It is not a cursor of this kind.
            NeverIssuedError: It was not issued for this sort order, these filters or these logs.
        """
        issued_for = [order, filters.object_id, filters.object_entity_id]
        match self.kind:
            case CursorKind.ID:
                log_id, created_at, bound_to = _from_base64(cursor).decode(errors="replace"), 0, issued_for
            case CursorKind.ID_TIME_ORDER:
                log_id, created_at, bound_order = _split(_from_base64(cursor))
                bound_to = [bound_order, *issued_for[1:]]
            case CursorKind.OPAQUE:
                log_id, created_at, *bound_to = self._open(cursor)
        position = self.store.position_of(log_id) or self.store.place_left_by(log_id)
        if position is None:
            # A random id does not determine a position.
            is_placeless = self.kind is CursorKind.ID and not self.store.order_by_id
            if is_placeless or len(log_id) != _UUID_LENGTH:
                raise NotACursorError
            raise NeverIssuedError(self.store.position_for(created_at, log_id))
        if bound_to != issued_for:
            raise NeverIssuedError(position)
        return position

    def _seal(self, content: bytes) -> str:
        seal = hashlib.blake2b(content, key=self.key.encode(), digest_size=8).digest()
        return base64.urlsafe_b64encode(seal + self._scramble(content, seal)).decode()

    def _open(self, cursor: str) -> list[Any]:
        try:
            data = base64.urlsafe_b64decode(cursor)
        except (binascii.Error, ValueError):
            raise NotACursorError from None
        content = self._scramble(data[8:], data[:8])
        if hashlib.blake2b(content, key=self.key.encode(), digest_size=8).digest() != data[:8]:
            raise NotACursorError
        opened: list[Any] = json.loads(content)
        return opened

    def _scramble(self, content: bytes, seal: bytes) -> bytes:
        stream = b"".join(
            hashlib.blake2b(seal + block.to_bytes(4), key=self.key.encode()).digest()
            for block in range(len(content) // 64 + 1)
        )
        return bytes(a ^ b for a, b in zip(content, stream, strict=False))


def _to_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NotACursorError from None


def _split(content: bytes) -> tuple[str, int, str]:
    try:
        log_id, created_at, order = content.decode().split("#")
        return log_id, int(created_at), order
    except ValueError:
        raise NotACursorError from None
