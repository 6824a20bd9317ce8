"""Errors of what the user provides: settings, input files, catalog, state and stream maps."""

from __future__ import annotations

from dataclasses import dataclass

from tap_sequence.errors.base import FailureKind, TapSequenceError

_NOTHING_EMITTED = (
    "Nothing was emitted. Fix the state, or run once without it to read the whole activity log again."
)


@dataclass(eq=False)
class SettingsError(TapSequenceError):
    """Settings are unknown, missing or out of range.

    Attributes:
        problems: What is wrong with each, separated by semicolons.
    """

    kind = FailureKind.CONFIG
    template = "Settings: {problems}."

    problems: str


@dataclass(eq=False)
class UnknownStreamError(TapSequenceError):
    """A program asks for a stream that does not exist."""

    kind = FailureKind.CONFIG
    template = "There is no stream {stream}. The streams are {streams}."

    stream: str
    streams: str


class InputFileError(TapSequenceError):
    """A file named on the command line cannot be read, or does not hold a JSON object."""

    kind = FailureKind.CONFIG


@dataclass(eq=False)
class InlineInputError(InputFileError):
    """An option was given the content of a file in place of its name."""

    template = "{option} must be the name of a file (got its content). Write the content to a file."

    option: str


@dataclass(eq=False)
class UnreadableFileError(InputFileError):
    """The file is missing, not readable, or not UTF-8 text."""

    template = "{file} cannot be read: {reason}. Check {option}."

    file: str
    reason: str
    option: str


@dataclass(eq=False)
class EmptyFileError(InputFileError):
    """The file is empty; a state file often is after a failed run."""

    template = "{file} is empty. Omit {option}, or write a JSON object to the file."

    file: str
    option: str


@dataclass(eq=False)
class InvalidJsonError(InputFileError):
    """The file is not JSON, or nested too deeply to be parsed."""

    template = "{file} is not valid JSON: {reason}. Fix the file."

    file: str
    reason: str


@dataclass(eq=False)
class NotAnObjectError(InputFileError):
    """The file is JSON, but not an object."""

    template = "{file} must be a JSON object (got {found}). Fix the file."

    file: str
    found: str


class LoggingError(TapSequenceError):
    """Logging cannot be set up as an environment variable says."""

    kind = FailureKind.CONFIG


@dataclass(eq=False)
class LogLevelError(LoggingError):
    """The variable is not a level of Python's logging."""

    template = "{variable} must be one of {levels}. Fix or unset it."

    variable: str
    levels: str


@dataclass(eq=False)
class LogConfigError(LoggingError):
    """The file in SINGER_SDK_LOG_CONFIG is missing, not YAML, or not a configuration of Python's logging."""

    template = "The logging configuration in SINGER_SDK_LOG_CONFIG cannot be used: {reason}. Fix the file, or unset the variable."

    reason: str


class CatalogError(TapSequenceError):
    """The catalog cannot be followed."""

    kind = FailureKind.CONFIG


@dataclass(eq=False)
class UnusableCatalogError(CatalogError):
    """The catalog does not have the shape of one, or asks for something that is impossible."""

    template = "The catalog cannot be used: {problem}. Nothing was emitted. Fix the catalog, or write a new one with --discover."

    problem: str


@dataclass(eq=False)
class ConfiguredCatalogError(CatalogError):
    """Airbyte's configured catalog does not have the shape of one, or asks for something that there is not."""

    template = (
        "The configured catalog cannot be used: {problem}. Nothing was emitted. Refresh the schema of the connection, or make "
        "the catalog anew from the output of discover."
    )

    problem: str


@dataclass(eq=False)
class MixedReplicationMethodsError(CatalogError):
    """Streams that are read together have different replication methods."""

    template = (
        "The catalog gives {streams} different replication methods, but they are read together. Nothing was emitted. "
        "Give them the same replication-method, or select one of them."
    )

    streams: str


class StateError(TapSequenceError):
    """The state cannot be used, so nothing may be emitted from it."""

    kind = FailureKind.CONFIG


class NotSingerStateError(StateError):
    """The state has no `bookmarks`, or they are not objects."""

    template = (
        'The state is not a Singer state, which looks like {{"bookmarks": {{"activity_logs": {{…}}}}}}. '
        + _NOTHING_EMITTED
    )


@dataclass(eq=False)
class AirbyteStateError(StateError):
    """The state is not one that Airbyte passes."""

    template = "The state is not a list of Airbyte's states: {problem}. " + _NOTHING_EMITTED

    problem: str


@dataclass(eq=False)
class UnreadableStateError(StateError):
    """The state of a stream does not have the shape that the tap, or the SDK, writes."""

    template = "The state of stream {stream} cannot be read: {problem}. " + _NOTHING_EMITTED

    stream: str
    problem: str


@dataclass(eq=False)
class FutureStateError(StateError):
    """The state is a time alone, and that time is still to come."""

    replication_key_value: str
    template = (
        "The state cannot be used: its replication_key_value ({replication_key_value}) is in the future, so that every log "
        f"would be skipped. {_NOTHING_EMITTED}"
    )


@dataclass(eq=False)
class StreamMapError(TapSequenceError):
    """The stream maps are wrong."""

    kind = FailureKind.CONFIG
    template = "stream_maps cannot be applied: {reason}. Check stream_maps in the settings."

    reason: str


@dataclass(eq=False)
class StreamMapRecordError(TapSequenceError):
    """A stream map failed at a log.

    Attributes:
        stream: The stream.
        log: The log's id.
        reason: Why it failed.
    """

    kind = FailureKind.CONFIG
    template = (
        "stream_maps cannot be applied to {stream}, log {log}: {reason}. The last STATE precedes this log. Fix stream_maps in the "
        "settings, then run again."
    )

    stream: str
    log: str
    reason: str
