"""The tap: settings, state, catalog and command line, as the SDK calls them."""

from __future__ import annotations

import copy
import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import click
from jsonschema import Draft202012Validator
from singer_sdk import Tap
from singer_sdk.cli import plugin_cli
from singer_sdk.helpers.capabilities import PluginCapabilities, TapCapabilities
from singer_sdk.mapper import PluginMapper
from singer_sdk.singerlib import Catalog, CatalogEntry, Schema
from singer_sdk.tap_base import CliTestOptionValue

from tap_sequence.api.schemas import SCHEMAS
from tap_sequence.catalog import STREAMS
from tap_sequence.errors import SettingsError
from tap_sequence.runtime.input_files import read_object
from tap_sequence.runtime.log_records import clean_log_records
from tap_sequence.runtime.signals import StopSignals, handle_hangup
from tap_sequence.settings import CONFIG_JSONSCHEMA, PREFIX, Settings, fill_defaults, settings_of
from tap_sequence.settings_checks import (
    find_environment_secrets,
    find_problems,
    find_secrets,
    find_settings_without_effect,
    find_unknown_variables,
    parse_numbers,
    parse_variables,
)
from tap_sequence.singer.about import ABOUT_FORMAT, describe_streams
from tap_sequence.singer.catalogs import complete_catalog, selected_schema, warn_if_nothing_is_selected
from tap_sequence.singer.cli import TapCommand, blocking_output, without_info
from tap_sequence.singer.environment import read_variables
from tap_sequence.singer.input_files import ConfigInput
from tap_sequence.singer.logging_setup import set_up_logging
from tap_sequence.singer.output import LineWriter
from tap_sequence.singer.quiet import lower_details, lower_metrics
from tap_sequence.singer.stream_maps import warn_of_unknown_streams
from tap_sequence.singer.streams import STREAM_TYPES
from tap_sequence.source import Source
from tap_sequence.sync.state import bookmarks_of, unwrap
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

    # All of the SDK's but BATCH: a batch file could be ahead of the STATE that describes it.
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
        """Accept what the SDK's constructor accepts.

        Raises:
            SettingsError: A setting is wrong. No request was sent.
            CatalogError: The catalog cannot be followed.
            StateError: The state cannot be used.
        """
        self.stop_signals = StopSignals()
        # The SDK sets the handlers of SIGINT and SIGTERM.
        handle_hangup(self._handle_termination)
        kwargs.setdefault("message_writer", LineWriter(self.stop_signals))
        clean_log_records()
        lower_details(self.logger)
        self._variables = read_variables(self.logger) if parse_env_config else {**os.environ}
        MASK.add(find_environment_secrets(self._variables, PREFIX))
        self.append_builtin_config(self.config_jsonschema)
        for problem in find_unknown_variables(
            self._variables,
            PREFIX,
            self.config_jsonschema["properties"],
            for_all_plugins="MELTANO_PROJECT_ROOT" in os.environ,
        ):
            self.logger.warning(problem)
        if isinstance(kwargs.get("catalog"), Mapping):
            kwargs["catalog"] = complete_catalog(kwargs["catalog"], self.logger)
        super().__init__(parse_env_config=parse_env_config, **kwargs)
        lower_metrics(self.metrics_logger)
        if self.input_catalog is not None:
            selected = [stream.name for stream in self.streams.values() if stream.selected]
            warn_if_nothing_is_selected(selected, self.logger)
        warn_of_unknown_streams(self.config.get("stream_maps") or {}, self.logger)
        for problem in find_settings_without_effect(self.config):
            self.logger.warning(problem)

    # Settings

    @cached_property
    def settings(self) -> Settings:
        """The tap's own settings."""
        return settings_of(self.config)

    @cached_property
    def source(self) -> Source:
        """The account to read."""
        return Source(self.settings, logger=self.logger, stop_signals=self.stop_signals)

    # The SDK's own lets `.env` override exported variables, and takes all of its variables into the process.
    @property
    @override
    def _env_var_config(self) -> dict[str, Any]:
        config: dict[str, Any] = {}
        if problems := list(parse_variables(self._variables, PREFIX, self.config_jsonschema, config)):
            raise SettingsError("; ".join(problems))
        return config

    # The SDK's own validation quotes values, which may be secrets, and reports each problem on a line of its own. With
    # validate_config=False it would still run, and log a warning.
    @override
    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        schema = self.config_jsonschema
        self.append_builtin_config(schema)
        MASK.add(find_secrets(self._config))
        fill_defaults(self._config, schema)
        parse_numbers(self._config)
        problems = list(find_problems(self._config, schema, is_valid=_is_valid))
        if problems and raise_errors:
            raise SettingsError("; ".join(problems))
        return problems

    # State

    @override
    def load_state(self, state: dict[str, Any]) -> None:
        """Load the state of the previous run.

        Raises:
            StateError: It is not a Singer state, or the state of a stream cannot be read.
        """
        state = unwrap(state)
        bookmarks = bookmarks_of(state)
        super().load_state(state)
        reader = STREAMS[0].name
        if reader in bookmarks:
            self.source.bookmark(bookmarks[reader])
        elif others := bookmarks.keys() - {spec.name for spec in STREAMS if spec.replication_key is None}:
            self.logger.warning(
                "The state has no bookmark for %s, only for: %s. Reading the whole activity log, as without a state.",
                reader,
                ", ".join(sorted(others)),
            )

    # Streams and the command line

    # SCHEMA messages are made from the catalog, which may have been discovered with another `actor_email`.
    @cached_property
    def input_catalog(self) -> Catalog | None:
        """The given catalog, with schemas that follow the settings."""
        catalog = super().input_catalog
        if catalog is None:
            return None
        return Catalog(
            {
                name: dataclasses.replace(entry, schema=self._catalog_schema(entry))
                if name in SCHEMAS
                else entry
                for name, entry in catalog.items()
            }
        )

    def _catalog_schema(self, entry: CatalogEntry) -> Schema:
        stream = entry.tap_stream_id
        (spec,) = (spec for spec in STREAMS if spec.name == stream)
        keys = (*spec.keys, *(entry.key_properties or ()))
        schema = self.source.schema_of(stream, catalog_schema(SCHEMAS[stream], entry.schema.to_dict(), keys))
        return Schema.from_dict(selected_schema(stream, schema, entry.metadata.resolve_selection()))

    # The SDK removes the columns of deselected streams, and would then refuse stream maps that use them.
    @override
    def setup_mapper(self) -> None:
        self.mapper = PluginMapper(plugin_config=dict(self.config), logger=self.logger)
        catalog = copy.deepcopy(self.catalog)
        for entry in catalog.streams:
            entry.metadata.root.selected = True
        self.mapper.register_raw_streams_from_catalog(catalog)

    @override
    def discover_streams(self) -> Sequence[Stream]:
        return [stream_type(self, self.source) for stream_type in STREAM_TYPES]

    # The SDK's own raises at any instruction, and exits with status 0, like a run that finished. Handlers installed after
    # super().__init__() would be too late for a signal during it.
    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        self.stop_signals.handle(signum)

    # The SDK's own quotes what it cannot parse.
    @classmethod
    @override
    def cb_config(  # type: ignore[override]  # the SDK's type is private
        cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]
    ) -> ConfigInput:
        given = ConfigInput.read(value)
        MASK.add(find_secrets(given.config))
        return given

    @classmethod
    @override
    def cb_test(cls, ctx: click.Context, param: click.Option, value: str) -> None:
        allowed = [each.value for each in CliTestOptionValue]
        if value not in allowed:
            msg = f"--test accepts no value other than {CliTestOptionValue.Schema.value}."
            raise click.BadParameter(msg)
        if value != CliTestOptionValue.All.value:
            super().cb_test(ctx, param, value)
            return
        given: ConfigInput = ctx.params["config"]
        # The result is one line.
        with without_info(cls.logger):
            tap = cls(config=given.config, parse_env_config=given.parse_env)
            click.echo(clean(MASK.apply(tap.source.check())), err=True)
        ctx.exit()

    @classmethod
    @override
    def invoke(  # type: ignore[override]  # as the SDK's own
        cls,
        *,
        about: bool = False,
        about_format: str | None = None,
        config: ConfigInput | None = None,
        state: str | None = None,
        catalog: str | None = None,
    ) -> None:
        if about:
            cls.print_about(about_format)
            return
        cls.print_version(print_fn=cls.logger.info)
        config = config or ConfigInput()
        tap = cls(
            config=config.config,
            state=None if state is None else read_object(state, "state"),
            catalog=None if catalog is None else read_object(catalog, "catalog"),
            parse_env_config=config.parse_env,
        )
        tap.sync_all()

    @classmethod
    @override
    def print_about(cls, output_format: str | None = None) -> None:
        with blocking_output():
            super().print_about(output_format or ABOUT_FORMAT)
            if output_format == "markdown":
                click.echo(describe_streams(STREAM_TYPES))

    @override
    def run_discovery(self) -> str:
        with blocking_output():
            return super().run_discovery()

    @plugin_cli
    def cli(cls) -> click.Command:  # noqa: N805
        """The command line. Getting it sets up logging."""
        return set_up_logging(lambda: super(SequenceTap, cls).cli, cls.logger)

    @classmethod
    @override
    def get_singer_command(cls) -> click.Command:
        return TapCommand.from_sdk(super().get_singer_command(), cls)


def _is_valid(value: Any, schema: Mapping[str, Any]) -> bool:
    """Return whether a value fits the JSON schema of one of the SDK's own settings."""
    return next(Draft202012Validator(schema).iter_errors(value), None) is None
