"""The tap: settings, state and command line, as the SDK sees them."""

from __future__ import annotations

import copy
import dataclasses
import io
import os
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, ClassVar

import click
from jsonschema import Draft202012Validator
from singer_sdk import Tap
from singer_sdk.helpers.capabilities import PluginCapabilities, TapCapabilities
from singer_sdk.singerlib import Catalog, Schema
from singer_sdk.tap_base import CliTestOptionValue

from tap_sequence.api.schemas import SCHEMAS
from tap_sequence.errors import InputFileError, SettingsError, StateError
from tap_sequence.runtime.log_records import clean_log_records
from tap_sequence.runtime.signals import StopSignals, handle_hangup
from tap_sequence.settings import CONFIG_JSONSCHEMA, Settings, fill_defaults, parse_numbers, settings_of
from tap_sequence.settings_checks import (
    find_environment_problems,
    find_environment_secrets,
    find_problems,
    find_secrets,
    find_settings_without_effect,
    find_unknown_variables,
)
from tap_sequence.singer.cli import (
    ABOUT_FORMAT,
    TapCommand,
    check_config_file,
    describe_streams,
    read_json_object,
    without_info,
)
from tap_sequence.singer.output import LineWriter
from tap_sequence.singer.streams import STREAM_TYPES, ActivityLogStream
from tap_sequence.source import Source
from tap_sequence.sync.state import REPLICATION_KEY
from tap_sequence.text.redaction import MASK, clean
from tap_sequence.transforms.trimming import catalog_schema

if TYPE_CHECKING:
    from types import FrameType

    from singer_sdk import Stream


if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override


class SequenceTap(Tap):
    """Singer tap for the activity log (audit trail) of Sequence, the billing platform."""

    name = "tap-sequence"
    config_jsonschema: ClassVar[dict[str, Any]] = copy.deepcopy(CONFIG_JSONSCHEMA)

    # All that the SDK offers but BATCH: a batch file could run ahead of the STATE that describes it.
    capabilities: ClassVar[list[Any]] = [
        TapCapabilities.CATALOG,
        TapCapabilities.STATE,
        TapCapabilities.DISCOVER,
        TapCapabilities.ACTIVATE_VERSION,
        PluginCapabilities.ABOUT,
        PluginCapabilities.STREAM_MAPS,
        PluginCapabilities.FLATTENING,
        PluginCapabilities.STRUCTURED_LOGGING,
    ]

    def __init__(self, *, parse_env_config: bool = False, **kwargs: Any) -> None:
        """Take what the SDK's constructor takes.

        Raises:
            SettingsError: A setting is wrong; before any request.
            StateError: The state cannot be understood.
        """
        self.stop_signals = StopSignals()
        # The SDK sees to the other two.
        handle_hangup(self._handle_termination)
        kwargs.setdefault("message_writer", LineWriter(self.stop_signals))
        clean_log_records()
        self._learn_environment_secrets()
        if parse_env_config:
            for problem in find_unknown_variables(os.environ, self._env_var_prefix):
                self.logger.warning(problem)
        try:
            super().__init__(parse_env_config=parse_env_config, **kwargs)
        except ValueError:
            # The SDK's reading of the environment, with what it took from .env, fails without saying which variable it was.
            self._learn_environment_secrets()
            problems = (
                list(find_environment_problems(os.environ, self._env_var_prefix, self.config_jsonschema))
                if parse_env_config
                else []
            )
            if not problems:
                raise
            raise SettingsError(_settings_message(problems)) from None
        for problem in find_settings_without_effect(self.config):
            self.logger.warning(problem)

    # Settings

    @cached_property
    def settings(self) -> Settings:
        """The tap's own settings."""
        return settings_of(self.config)

    @cached_property
    def source(self) -> Source:
        """What reads the account."""
        return Source(self.settings, logger=self.logger, stop_signals=self.stop_signals)

    @classmethod
    def _learn_environment_secrets(cls) -> None:
        """Keep the secrets in environment variables out of what is written from now on."""
        MASK.add(find_environment_secrets(os.environ, cls._env_var_prefix))

    # The SDK's own message quotes the value that is wrong, which may be the secret.
    @override
    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        schema = self.config_jsonschema
        self.append_builtin_config(schema)
        MASK.add(find_secrets(self._config))
        fill_defaults(self._config, schema)
        parse_numbers(self._config)
        problems = list(find_problems(self._config, schema, is_valid=_is_valid))
        if problems and raise_errors:
            raise SettingsError(_settings_message(problems))
        return problems

    # State

    @override
    def load_state(self, state: dict[str, Any]) -> None:
        """Take the state of the run before.

        Raises:
            StateError: It is not a Singer state, or a stream's part of it cannot be understood.
        """
        bookmarks = state.get("bookmarks", {} if not state else None)
        if not isinstance(bookmarks, dict) or not all(isinstance(part, dict) for part in bookmarks.values()):
            msg = (
                'The state is not a Singer state, which looks like {"bookmarks": {"activity_logs": {…}}}. Nothing was '
                "emitted. Mend the state, or start without it to read the whole log again."
            )
            raise StateError(msg)
        for name, part in bookmarks.items():
            # The SDK takes their shapes for granted.
            partitions = part.get("partitions", [])
            for key, is_right, wanted in (
                ("progress_markers", isinstance(part.get("progress_markers", {}), dict), "an object"),
                (
                    "partitions",
                    isinstance(partitions, list) and all(isinstance(each, dict) for each in partitions),
                    "a list of objects",
                ),
            ):
                if not is_right:
                    msg = (
                        f"The state of stream {name} cannot be understood: {key} is not {wanted}. Nothing was emitted. "
                        "Mend the state, or start without it to read the whole log again."
                    )
                    raise StateError(msg)
        super().load_state(state)
        if ActivityLogStream.name in bookmarks:
            self.source.bookmark(bookmarks[ActivityLogStream.name])
        elif bookmarks:
            self.logger.warning(
                "The state holds nothing for %s, only for: %s. The log is read as without state.",
                ActivityLogStream.name,
                ", ".join(bookmarks),
            )

    # Streams and the command line

    # The SCHEMA message comes from the catalog, which may be from a run with another `actor_email`.
    @cached_property
    def input_catalog(self) -> Catalog | None:
        """The catalog passed to the tap, with schemas that follow the settings, for SCHEMA messages."""
        catalog = super().input_catalog
        if catalog is None:
            return None
        return Catalog(
            {
                name: dataclasses.replace(entry, schema=self._catalog_schema(name, entry.schema))
                if name in SCHEMAS
                else entry
                for name, entry in catalog.items()
            }
        )

    def _catalog_schema(self, stream: str, given: Schema) -> Schema:
        own = SCHEMAS[stream]
        schema = catalog_schema(own, given.to_dict(), (*ActivityLogStream.primary_keys, REPLICATION_KEY))
        return Schema.from_dict(self.source.schema_of(stream, schema))

    # A stream that is not selected has no column left for the SDK, so that a map of it, or of all streams, would be refused.
    @override
    def setup_mapper(self) -> None:
        super(Tap, self).setup_mapper()
        catalog = copy.deepcopy(self.catalog)
        for entry in catalog.streams:
            entry.metadata.root.selected = True
        self.mapper.register_raw_streams_from_catalog(catalog)

    @override
    def discover_streams(self) -> Sequence[Stream]:
        return [stream_type(self, self.source) for stream_type in STREAM_TYPES]

    # The SDK's own raises where the run may not stop, and exits with status 0, so that a stopped run would look like a finished one.
    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        self.stop_signals.handle(signum)

    @classmethod
    @override
    def cb_config(cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]) -> Any:
        for path in value:
            if path != "ENV":
                MASK.add(find_secrets(check_config_file(path)))
        return super().cb_config(ctx, param, value)

    @classmethod
    @override
    def cb_test(cls, ctx: click.Context, param: click.Option, value: str) -> None:
        allowed = [each.value for each in CliTestOptionValue]
        if value not in allowed:
            msg = f"--test takes nothing, or {CliTestOptionValue.Schema.value}."
            raise click.BadParameter(msg)
        if value != CliTestOptionValue.All.value:
            super().cb_test(ctx, param, value)
            return
        given = ctx.params.get("config")
        # One line is the answer.
        with without_info(cls.logger):
            tap = cls(config=given.config, parse_env_config=given.parse_env) if given else cls()
            click.echo(clean(MASK.apply(tap.source.check())), err=True)
        ctx.exit()

    @classmethod
    @override
    def invoke(cls, *, state: IO[str] | None = None, catalog: IO[str] | None = None, **kwargs: Any) -> None:
        super().invoke(
            state=_checked(state, "The state file"), catalog=_checked(catalog, "The catalog file"), **kwargs
        )

    @classmethod
    @override
    def print_about(cls, output_format: str | None = None) -> None:
        super().print_about(output_format or ABOUT_FORMAT)
        if output_format == "markdown":
            click.echo(describe_streams(STREAM_TYPES))

    @classmethod
    @override
    def get_singer_command(cls) -> click.Command:
        return TapCommand.from_sdk(super().get_singer_command(), cls)


def _checked(file: IO[str] | None, source: str) -> IO[str] | None:
    """Return the file's text as a file again, once it is known to hold a JSON object."""
    if file is None:
        return None
    source = f"{source} {file.name}"
    try:
        text = file.read()
    except UnicodeDecodeError:
        msg = f"{source} is not UTF-8 text. Mend the file."
        raise InputFileError(msg) from None
    read_json_object(text, source)
    return io.StringIO(text)


def _is_valid(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a value fits the JSON schema of one of the SDK's own settings."""
    return next(Draft202012Validator(schema).iter_errors(value), None) is None


def _settings_message(problems: Sequence[str]) -> str:
    return "Settings: " + "; ".join(problems) + "."
