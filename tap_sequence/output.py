"""Writes Singer messages to standard output, whole lines only."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from singer_sdk.contrib.msgspec import MsgSpecWriter

if TYPE_CHECKING:
    from singer_sdk.singerlib import Message

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override


class LineWriter(MsgSpecWriter):
    """The SDK's fast writer, made safe against short writes.

    With PYTHONUNBUFFERED set, standard output is a raw pipe: a write that a signal interrupts returns early, and the
    rest of the line would be missing.
    """

    @override
    def write_message(self, message: Message) -> None:
        rest = memoryview(bytes(self.format_message(message)))
        while rest:
            rest = rest[sys.stdout.buffer.write(rest) :]
        sys.stdout.flush()
