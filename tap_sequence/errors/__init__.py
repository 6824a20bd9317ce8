"""What can go wrong: a registry of errors. Each class says what kind of failure it is, what it carries, and its one line.

The line is what a person reads at night: what happened, where, and what to do. None holds a credential or an e-mail
address: text from outside goes through `tap_sequence.text.redaction.excerpt` before it becomes part of an error.
docs/troubleshooting.md has a row for each; tests/project/test_troubleshooting.py checks it.

    TapSequenceError
    ├── SettingsError, InputFileError, LoggingError, CatalogError, StateError,
    │   StreamMapError, StreamMapRecordError, UnknownStreamError                   inputs
    ├── RequestError                                                             requests
    │   ├── RefusedError ── BadRequestError
    │   ├── CredentialsError, RedirectError, ResponseTooLargeError, UnreachableError
    │   └── RetriesExhaustedError ── RateLimitedError
    ├── RecordError, PaginationLoopError, IncompleteListError                    reading
    └── NestingError, OutputError, UnexpectedError                               output
"""

from tap_sequence.errors.base import FailureKind, TapSequenceError
from tap_sequence.errors.inputs import (
    AirbyteStateError,
    CatalogError,
    ConfiguredCatalogError,
    EmptyFileError,
    FutureStateError,
    InlineInputError,
    InputFileError,
    InvalidJsonError,
    LogConfigError,
    LoggingError,
    LogLevelError,
    MixedReplicationMethodsError,
    NotAnObjectError,
    NotSingerStateError,
    SettingsError,
    StateError,
    StreamMapError,
    StreamMapRecordError,
    UnknownStreamError,
    UnreadableFileError,
    UnreadableStateError,
    UnusableCatalogError,
)
from tap_sequence.errors.output import NestingError, OutputError, UnexpectedError
from tap_sequence.errors.reading import (
    CursorRepeatedError,
    FirstPageRepeatedError,
    IncompleteListError,
    NewestMissingError,
    OldestMissingError,
    PaginationLoopError,
    RecordError,
    RecordRepeatedError,
)
from tap_sequence.errors.requests import (
    AttemptError,
    BadRequestError,
    CredentialsError,
    Effort,
    PageTooLargeError,
    PrefetchBudgetError,
    RateLimitedError,
    RedirectError,
    RefusedError,
    RequestError,
    ResponseTooLargeError,
    RetriesExhaustedError,
    StopReason,
    TransientRequestError,
    UnanswerableError,
    UnreachableError,
)

__all__ = [
    "AirbyteStateError",
    "AttemptError",
    "BadRequestError",
    "CatalogError",
    "ConfiguredCatalogError",
    "CredentialsError",
    "CursorRepeatedError",
    "Effort",
    "EmptyFileError",
    "FailureKind",
    "FirstPageRepeatedError",
    "FutureStateError",
    "IncompleteListError",
    "InlineInputError",
    "InputFileError",
    "InvalidJsonError",
    "LogConfigError",
    "LogLevelError",
    "LoggingError",
    "MixedReplicationMethodsError",
    "NestingError",
    "NewestMissingError",
    "NotAnObjectError",
    "NotSingerStateError",
    "OldestMissingError",
    "OutputError",
    "PageTooLargeError",
    "PaginationLoopError",
    "PrefetchBudgetError",
    "RateLimitedError",
    "RecordError",
    "RecordRepeatedError",
    "RedirectError",
    "RefusedError",
    "RequestError",
    "ResponseTooLargeError",
    "RetriesExhaustedError",
    "SettingsError",
    "StateError",
    "StopReason",
    "StreamMapError",
    "StreamMapRecordError",
    "TapSequenceError",
    "TransientRequestError",
    "UnanswerableError",
    "UnexpectedError",
    "UnknownStreamError",
    "UnreachableError",
    "UnreadableFileError",
    "UnreadableStateError",
    "UnusableCatalogError",
]
