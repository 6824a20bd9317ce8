"""Parses settings, and finds what is wrong with them, without quoting secrets, and which of them are secret."""

from __future__ import annotations

import contextlib
import difflib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

import msgspec

from tap_sequence.api.addresses import canonical_url
from tap_sequence.errors import SettingsError
from tap_sequence.settings import (
    CONFIG_JSONSCHEMA,
    DEMO,
    HEADER_PATTERN,
    PREFIX,
    SALT,
    SECRETS,
    TYPES,
    Settings,
    fill_defaults,
    settings_of,
)
from tap_sequence.sync.timestamps import MICROSECONDS, parse_timestamp
from tap_sequence.text.redaction import MASK, excerpt

_CREDENTIALS = ("client_id", "client_secret")
_BOOLEANS = {
    text: value
    for value, texts in {True: ("true", "yes", "on", "1"), False: ("false", "no", "off", "0")}.items()
    for text in texts
}
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def check_settings(config: dict[str, Any], logger: logging.Logger) -> Settings:
    """Return the settings of a run, for the fronts that do without the SDK and its settings.

    Args:
        config: The settings as given. Defaults are filled in.
        logger: Logger for warnings.

    Raises:
        SettingsError: A setting is unknown, missing or wrong.
    """
    fill_defaults(config, CONFIG_JSONSCHEMA)
    parse_numbers(config)
    if problems := list(find_problems(config, is_command_line=False)):
        raise SettingsError("; ".join(problems))
    for problem in find_settings_without_effect(config):
        logger.warning(problem)
    return settings_of(config)


def find_secrets(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the values that must never be shown, by the names of their settings."""
    return {
        name: config[name]
        for name, definition in CONFIG_JSONSCHEMA["properties"].items()
        # The demo's credentials are documented, and its name is in many messages.
        if definition.get("secret") and isinstance(config.get(name), str) and config[name] != DEMO
    }


def hide_secrets(config: Mapping[str, Any]) -> None:
    """Let nothing show the secrets in a config, or those that the tap would read from the environment."""
    MASK.add(find_environment_secrets(os.environ, PREFIX) | find_secrets(config))


def find_environment_secrets(environment: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Return the values in environment variables that must never be shown, by the names of settings or variables.

    Args:
        environment: The environment variables.
        prefix: What the names of those begin with that are settings.
    """
    secrets = find_secrets({name: environment.get(prefix + name.upper()) for name in SECRETS})
    for variable, value in environment.items():
        if variable.lower() in _PROXIES and "@" in value:
            user_info = value.rpartition("@")[0].partition("//")[2]
            secrets[variable] = unquote(user_info.partition(":")[2])
    return secrets


def parse_variables(
    variables: Mapping[str, str], prefix: str, schema: Mapping[str, Any], config: dict[str, Any]
) -> Iterator[str]:
    """Put the settings in environment variables into `config`, and yield which cannot be read as their type.

    Args:
        variables: The environment variables. An empty one counts as not set.
        prefix: What the names of those begin with that are settings.
        schema: CONFIG_JSONSCHEMA, with the SDK's own settings (stream maps, flattening) added.
        config: The settings so far.
    """
    for name, definition in schema["properties"].items():
        variable = prefix + name.upper()
        text = variables.get(variable)
        # An empty salt is kept for fill_defaults to decide.
        if text is None or (not text.strip() and name != SALT):
            continue
        try:
            config[name] = _parse(text, definition.get("type", []))
        except (ValueError, LookupError, RecursionError):
            yield f"{name} (from {variable}) must be {_wanted(definition)}"


def _parse(text: str, kinds: Iterable[str]) -> Any:
    if "integer" in kinds:
        return int(text)
    if "boolean" in kinds:
        return _BOOLEANS[text.strip().lower()]
    if "object" in kinds:
        return json.loads(text, parse_float=Decimal)
    return text


def parse_numbers(config: dict[str, Any]) -> None:
    """Make the numbers of settings floats: environment variables hold text, and the SDK reads files with Decimals."""
    for name, definition in CONFIG_JSONSCHEMA["properties"].items():
        if "number" in definition["type"] and isinstance(config.get(name), str | Decimal):
            with contextlib.suppress(ValueError, OverflowError):
                number = float(config[name])
                # NaN compares with nothing, so that no limit would hold it.
                config[name] = number if math.isfinite(number) else config[name]


def find_unknown_variables(
    variables: Iterable[str], prefix: str, settings: Iterable[str], *, for_all_plugins: bool
) -> Iterator[str]:
    """Yield which environment variables look like settings of this tap, but are not.

    Args:
        variables: Names of the environment variables.
        prefix: What the names of those begin with that are settings.
        settings: Names of all settings.
        for_all_plugins: Whether some may be for other plugins, as under Meltano, where `tap-sequence-eu` could inherit from
            the tap and have `TAP_SEQUENCE_EU_PAGE_SIZE`.
    """
    names = {prefix + name.upper() for name in settings} | {f"{prefix}LOGLEVEL"}
    endings = tuple(f"_{name.upper()}" for name in settings)
    for variable in variables:
        rest = variable[len(prefix) :].upper()
        # Meltano's extras begin with an underscore.
        if not variable.upper().startswith(prefix) or variable in names or rest.startswith("_"):
            continue
        if for_all_plugins and ("__" in rest or rest.endswith(endings)):
            continue
        hint = did_you_mean(variable.upper(), names)
        yield f"Environment variable {excerpt(variable)} is not a setting of this tap and has no effect.{hint}"


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a sentence, after a space, that suggests the closest of some names; "" if none is close."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f" Did you mean {close[0]}?" if close else ""


def find_settings_without_effect(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield which settings have no effect because of the value of another."""
    if config.get("actor_email_salt") is not None and config.get("actor_email") != "hash":
        yield f"actor_email_salt has no effect: actor_email is {config.get('actor_email')!r}, not 'hash'."


def find_problems(
    config: Mapping[str, Any],
    schema: Mapping[str, Any] = CONFIG_JSONSCHEMA,
    *,
    is_valid: Callable[[Any, Mapping[str, Any]], bool] | None = None,
    is_command_line: bool = True,
    now: Callable[[], float] = time.time,
) -> Iterator[str]:
    """Yield what is wrong with a config: the setting and what it must be, never the value of a secret.

    Args:
        config: The settings as given, with defaults filled in.
        schema: CONFIG_JSONSCHEMA, with the SDK's own settings (stream maps, flattening) added.
        is_valid: Whether a value fits the JSON schema of a setting that is not the tap's own.
        is_command_line: Whether the settings come from a config file or the environment.
        now: Seconds since 1970.
    """
    known = schema["properties"]
    for name in config:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            yield f"{excerpt(name)} is not a setting of this tap" + (
                f" (did you mean {close[0]}?)" if close else ""
            )
    wrong = set()
    for name, value in config.items():
        if name in known and not (
            _fits(name, value) if name in TYPES else is_valid is None or is_valid(value, known[name])
        ):
            wrong.add(name)
            yield f"{name} must be {_wanted(known[name])}{_got(name, value)}"
    beyond_schema = _problems_beyond_schema(config, now(), is_command_line=is_command_line)
    yield from (problem for name, problem in beyond_schema if name not in wrong)


def _fits(name: str, value: Any) -> bool:
    """Whether a value is of a setting's type and within its bounds."""
    try:
        # A whole number may be written with a point.
        msgspec.convert(value, TYPES[name], strict=not isinstance(value, float))
    except msgspec.ValidationError:
        return False
    return True


def _problems_beyond_schema(
    config: Mapping[str, Any], now: float, *, is_command_line: bool
) -> Iterator[tuple[str, str]]:
    for name in SECRETS:
        value = config.get(name)
        if value is None and name in _CREDENTIALS and config.get("environment") != DEMO:
            wanted = "the value from your Sequence API credentials"
            if is_command_line:
                wanted += f", in the config file or, with --config=ENV, in {PREFIX}{name.upper()}"
            yield name, f"{name} is missing; set it to {wanted}"
        elif isinstance(value, str) and value != value.strip():
            yield name, f"{name} has leading or trailing white space"
        elif isinstance(value, str) and not _is_unicode(value):
            yield name, f"{name} contains half a character (a lone surrogate)"
    if ":" in str(config.get("client_id", "")):
        yield "client_id", "client_id must not contain a colon (HTTP Basic authentication would end it there)"
    if isinstance(config.get("api_url"), str):
        try:
            canonical_url(config["api_url"])
        except ValueError as error:
            yield "api_url", f"api_url {error}"
    if "start_date" in config and (problem := _start_date_problem(config["start_date"], now)):
        yield "start_date", problem


def _start_date_problem(text: Any, now: float) -> str | None:
    try:
        is_to_come = parse_timestamp(text) > now * MICROSECONDS
    except (ValueError, AttributeError, TypeError, OverflowError):
        return "start_date must be an ISO 8601 time such as 2026-01-01T00:00:00Z"
    return f"start_date {text} is in the future; set it to a time in the past" if is_to_come else None


def _is_unicode(text: str) -> bool:
    """Whether a text can be encoded: JSON escapes and environment variables can contain halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _got(name: str, value: Any) -> str:
    # A text is never quoted: it may be a secret that was set in the wrong place.
    if isinstance(value, str):
        return "" if value else " (got an empty text)"
    is_quoted = isinstance(value, int | float) and name not in SECRETS
    return f" (got {value!r})" if is_quoted else " (got another type)"


def _wanted(definition: Mapping[str, Any]) -> str:
    """Say what a setting must be, from its JSON schema."""
    if "enum" in definition:
        return "one of " + ", ".join(definition["enum"])
    kinds = definition.get("type", [])
    kind = next(
        (kind for kind in ([kinds] if isinstance(kinds, str) else kinds) if kind != "null"), "a value"
    )
    if kind in {"integer", "number"}:
        noun = "an integer" if kind == "integer" else "a number"
        low, high = definition.get("minimum"), definition.get("maximum")
        if "exclusiveMinimum" in definition:
            return f"{noun} above {definition['exclusiveMinimum']}, up to {high}"
        if low is None or high is None:
            return noun
        return f"{noun} from {low} to {high}"
    if definition.get("pattern") == HEADER_PATTERN:
        return "a text of printable ASCII"
    texts = {"string": "a text that is not empty", "boolean": "true or false", "object": "an object"}
    return texts.get(kind, kind)
