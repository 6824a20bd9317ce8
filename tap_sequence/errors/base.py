"""The base of all errors, and the kinds of failure."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import ClassVar

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override


class FailureKind(StrEnum):
    """Who has to act, so that fronts and schedulers can tell failures apart."""

    CONFIG = "config"
    """The user: a setting, an input file, the state, the credentials or the network's set-up is wrong."""
    TRANSIENT = "transient"
    """Nobody: a later run may succeed as it is."""
    SYSTEM = "system"
    """Sequence's support or this project: the API or the tap does what it should not."""


class TapSequenceError(Exception):
    """Base of all errors that end a run with one line and exit status 1.

    A subclass is a dataclass whose fields complete its `template`.

    Attributes:
        kind: Who has to act.
        template: The line, with the names of fields in braces.
    """

    kind: ClassVar[FailureKind] = FailureKind.SYSTEM
    template: ClassVar[str] = ""

    @override
    def __str__(self) -> str:
        return self.template.format_map(vars(self)) if self.template else super().__str__()
