"""The settings: names, types, bounds, defaults and descriptions, each declared once, in `Settings`.

README.md, meltano.yml, `--help` and `--about` are held against `CONFIG_JSONSCHEMA` by tests/test_settings.py.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import unquote

import msgspec
from msgspec import Meta

from tap_sequence import __version__
from tap_sequence.api.addresses import canonical_url
from tap_sequence.sync.timestamps import MICROSECONDS, parse_timestamp
from tap_sequence.text.redaction import excerpt

DEMO = "demo"

# To Python `$` is the place before a newline at the end, too.
_HEADER_PATTERN = r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$(?!\n)"
_CREDENTIALS = ("client_id", "client_secret")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_SECRET = {"secret": True, "writeOnly": True}


class Settings(msgspec.Struct, kw_only=True):
    """The settings of a run. The one declaration: the type of each field says what the setting takes.

    A setting that is None was not given, and has no default.
    """

    client_id: (
        Annotated[
            str,
            Meta(
                min_length=1,
                extra_json_schema=_SECRET,
                title="Client ID",
                description="Client ID of your Sequence API credentials. Required, except in environment demo.",
            ),
        ]
        | None
    ) = None
    client_secret: (
        Annotated[
            str,
            Meta(
                min_length=1,
                extra_json_schema=_SECRET,
                title="Client secret",
                description="Client secret of your Sequence API credentials. Required, except in environment demo.",
            ),
        ]
        | None
    ) = None
    environment: Annotated[
        Literal["production", "sandbox", "demo"],
        Meta(
            title="Environment",
            description=(
                "Which Sequence to read: production or sandbox (both Sequence's own), or demo, a "
                "simulator inside this tap that needs no credentials."
            ),
        ),
    ] = "production"
    api_url: (
        Annotated[
            str,
            Meta(
                min_length=1,
                title="API URL",
                description="Base URL of the API, in place of the environment's. https only, unless the host is loopback.",
            ),
        ]
        | None
    ) = None
    api_version: Annotated[
        str,
        Meta(
            pattern=_HEADER_PATTERN,
            title="API version",
            description="Version of the API to ask for, sent as Sequence-Version.",
        ),
    ] = "2024-07-30"
    start_date: (
        Annotated[
            str,
            Meta(
                min_length=1,
                examples=["2026-01-01T00:00:00Z"],
                title="Start date",
                description=(
                    "Emit only logs created at or after this time (ISO 8601; UTC where it names no offset). "
                    "Without it, all."
                ),
            ),
        ]
        | None
    ) = None
    page_size: Annotated[
        int,
        Meta(
            ge=1,
            le=100,
            title="Page size",
            description="Logs to ask for in one request, 1 to 100.",
        ),
    ] = 100
    activity_log_object_id: (
        Annotated[
            str,
            Meta(
                min_length=1,
                title="Object ID filter",
                description="Read only logs about the object with this id (the API's activityLogObjectId).",
            ),
        ]
        | None
    ) = None
    activity_log_object_entity_id: (
        Annotated[
            str,
            Meta(
                min_length=1,
                title="Object entity ID filter",
                description="Read only logs about the entity with this id (the API's activityLogObjectEntityId).",
            ),
        ]
        | None
    ) = None
    lookback_seconds: Annotated[
        int,
        Meta(
            ge=0,
            le=86400,
            title="Lookback",
            description=(
                "How many seconds late a log may become visible and still be picked up by a later run, 0 "
                "to 86400; 0 turns it off."
            ),
        ),
    ] = 300
    requests_per_minute: Annotated[
        int,
        Meta(
            ge=1,
            le=60000,
            title="Requests per minute",
            description="Most requests to send in a minute. Sequence allows 1,500 for each key, all its users together.",
        ),
    ] = 1200
    max_in_flight_requests: Annotated[
        int,
        Meta(
            ge=1,
            le=16,
            title="Requests in flight",
            description="Most requests under way at once, 1 to 16; 1 reads strictly one page after another.",
        ),
    ] = 4
    request_timeout_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=3600,
            title="Request timeout",
            description="Seconds that one request may take, from connecting to the last byte of the answer, up to 3600.",
        ),
    ] = 60
    retry_budget_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=86400,
            title="Retry budget",
            description="Seconds for which one page may be tried again before the run fails, 0 to 86400.",
        ),
    ] = 600
    user_agent: Annotated[
        str,
        Meta(
            pattern=_HEADER_PATTERN,
            title="User agent",
            description="Sent as User-Agent, so that Sequence can tell who asks.",
        ),
    ] = f"tap-sequence/{__version__}"
    actor_email: Annotated[
        Literal["keep", "hash", "drop"],
        Meta(
            title="Actor e-mail",
            description=(
                "What becomes of actors' e-mail addresses: keep, hash (SHA-256 of the lower-cased "
                "address, keyed by actor_email_salt when set) or drop."
            ),
        ),
    ] = "keep"
    actor_email_salt: (
        Annotated[
            str,
            Meta(
                min_length=1,
                extra_json_schema=_SECRET,
                title="Actor e-mail salt",
                description=(
                    "Key of the hashes that actor_email hash makes (HMAC-SHA256). Without it, whoever guesses"
                    " an address can tell whether a hash is of it."
                ),
            ),
        ]
        | None
    ) = None
    metadata: Annotated[
        Literal["text", "json"],
        Meta(
            title="Metadata",
            description=(
                "How the elements of metadata are passed on: text (each as its JSON text, which every "
                "target can load) or json (as the API sent them)."
            ),
        ),
    ] = "text"
    metadata_format: (
        Annotated[
            Literal["text", "json"],
            Meta(
                title="Metadata format",
                description=(
                    "The setting metadata under the name that Meltano can set: to Meltano, metadata is an extra of its own. "
                    "Given, it wins over metadata."
                ),
            ),
        ]
        | None
    ) = None
    invalid_logs: Annotated[
        Literal["fail", "skip"],
        Meta(
            title="Invalid logs",
            description=(
                "What to do with a log that has no id, or whose createdAt is not a time: fail (end the "
                "run) or skip (leave it out, with a warning)."
            ),
        ),
    ] = "fail"

    @property
    def is_demo(self) -> bool:
        """Whether the simulator inside the package is to answer."""
        return self.environment == DEMO and self.api_url is None

    @property
    def keeps_metadata_as_sent(self) -> bool:
        """Whether the elements of `metadata` stay the values that the API sent, in place of their JSON texts."""
        return (self.metadata_format or self.metadata) == "json"

    @property
    def start_date_microseconds(self) -> int | None:
        """`start_date` in microseconds since 1970."""
        return None if self.start_date is None else parse_timestamp(self.start_date)


_TYPES: Mapping[str, Any] = get_type_hints(Settings, include_extras=True)


def _choices(declared: Any) -> list[str]:
    """Return what a type allows, in the order in which it is declared."""
    if get_origin(declared) is Literal:
        return list(get_args(declared))
    return [choice for part in get_args(declared) for choice in _choices(part)]


def _config_jsonschema() -> dict[str, Any]:
    """Return the settings as the JSON schema that Singer taps show: a setting may be null, which is as if it were absent."""
    _, components = msgspec.json.schema_components([Settings])
    properties = {}
    for name, found in components["Settings"]["properties"].items():
        definition = {**found, **next(iter(found.get("anyOf", [{}])))}
        definition.pop("anyOf", None)
        if "enum" in definition:
            definition["enum"] = _choices(_TYPES[name])
        if definition.get("default", ...) is None:
            del definition["default"]
        properties[name] = {**definition, "type": [definition.get("type", "string"), "null"]}
    return {"type": "object", "properties": properties, "additionalProperties": False}


CONFIG_JSONSCHEMA = _config_jsonschema()
"""The settings as a JSON schema."""

_SECRETS = tuple(
    name for name, definition in CONFIG_JSONSCHEMA["properties"].items() if definition.get("secret")
)


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Take the tap's own settings out of a config that `find_problems` found nothing wrong with."""
    return Settings(**{name: config[name] for name in _TYPES if config.get(name) is not None})


def fill_defaults(config: dict[str, Any], schema: Mapping[str, Any]) -> None:
    """Put the default of each setting that is absent or null into `config`; drop nulls that have none."""
    for name, definition in schema["properties"].items():
        if config.get(name) is None:
            config.pop(name, None)
            if "default" in definition:
                config[name] = definition["default"]


def find_secrets(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the values that must never be shown, by the names of their settings."""
    return {
        name: config[name]
        for name, definition in CONFIG_JSONSCHEMA["properties"].items()
        # The demo's own credentials are in its documentation, and its name is in many a line.
        if definition.get("secret") and isinstance(config.get(name), str) and config[name] != DEMO
    }


def find_environment_secrets(environment: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Return the values in environment variables that must never be shown, by the names of settings or variables.

    Args:
        environment: The environment variables.
        prefix: What the names of those begin with that are settings.
    """
    secrets = find_secrets({name: environment.get(prefix + name.upper()) for name in _SECRETS})
    for variable, value in environment.items():
        if variable.lower() in _PROXIES and "@" in value:
            user_info = value.rpartition("@")[0].partition("//")[2]
            secrets[variable] = unquote(user_info.partition(":")[2])
    return secrets


def find_environment_problems(
    environment: Mapping[str, str], prefix: str, schema: Mapping[str, Any]
) -> Iterator[str]:
    """Yield which environment variables hold no whole number, or no JSON, where their setting takes it.

    Args:
        environment: The environment variables.
        prefix: What the names of those begin with that are settings.
        schema: CONFIG_JSONSCHEMA, with the SDK's own settings (stream maps, flattening) added.
    """
    for name, definition in schema["properties"].items():
        variable = prefix + name.upper()
        if variable not in environment:
            continue
        kinds = definition.get("type", [])
        try:
            if "integer" in kinds:
                int(environment[variable])
            elif "object" in kinds:
                json.loads(environment[variable])
        except ValueError:
            takes = "a JSON object" if "object" in kinds else _takes(definition)
            yield f"{name} (from {variable}) cannot be read; it takes {takes}"


def find_unknown_variables(environment: Mapping[str, str], prefix: str) -> Iterator[str]:
    """Yield which environment variables look like settings of this tap, and are none."""
    names = {prefix + name.upper() for name in CONFIG_JSONSCHEMA["properties"]}
    others = ("STREAM_MAP", "FAKER_", "FLATTENING_", "LOGLEVEL", "_")
    for variable in environment:
        if variable.startswith(prefix) and variable not in names:
            if variable.removeprefix(prefix).startswith(others):
                continue
            close = difflib.get_close_matches(variable, names, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            yield f"The environment variable {excerpt(variable)} is no setting of this tap and has no effect.{hint}"


def find_settings_without_effect(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield which settings are given and have no effect, as another one stands."""
    if config.get("actor_email_salt") is not None and config.get("actor_email") != "hash":
        yield f"actor_email_salt has no effect: actor_email is {config.get('actor_email')!r}, not 'hash'."


def parse_numbers(config: dict[str, Any]) -> None:
    """Make the numbers of settings floats: environment variables hold text, and the SDK reads files with Decimals."""
    for name, definition in CONFIG_JSONSCHEMA["properties"].items():
        if "number" in definition["type"] and isinstance(config.get(name), str | Decimal):
            with contextlib.suppress(ValueError, OverflowError):
                number = float(config[name])
                # NaN compares with nothing, so that no limit would hold it.
                config[name] = number if math.isfinite(number) else config[name]


def find_problems(
    config: Mapping[str, Any],
    schema: Mapping[str, Any] = CONFIG_JSONSCHEMA,
    *,
    is_valid: Callable[[Any, Mapping[str, Any]], bool] | None = None,
    now: Callable[[], float] = time.time,
) -> Iterator[str]:
    """Yield what is wrong with a config, each naming the setting and what it takes, and never a value of a secret.

    Args:
        config: The settings as given, with defaults filled in.
        schema: CONFIG_JSONSCHEMA, with the SDK's own settings (stream maps, flattening) added.
        is_valid: Whether a value fits the JSON schema of a setting that is not the tap's own.
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
            _fits(name, value) if name in _TYPES else is_valid is None or is_valid(value, known[name])
        ):
            wrong.add(name)
            yield f"{name} {_describe(name, value)}takes {_takes(known[name])}"
    yield from (problem for name, problem in _problems_beyond_schema(config, now()) if name not in wrong)


def _fits(name: str, value: Any) -> bool:
    """Whether a value is of a setting's type and within its bounds."""
    try:
        # A whole number may be written with a point.
        msgspec.convert(value, _TYPES[name], strict=not isinstance(value, float))
    except msgspec.ValidationError:
        return False
    return True


def _problems_beyond_schema(config: Mapping[str, Any], now: float) -> Iterator[tuple[str, str]]:
    for name in _SECRETS:
        value = config.get(name)
        if value is None and name in _CREDENTIALS and config.get("environment") != DEMO:
            wanted = "the value from your Sequence API credentials, in the config file"
            yield (
                name,
                f"{name} is missing; it takes {wanted} or, with --config=ENV, in TAP_SEQUENCE_{name.upper()}",
            )
        elif isinstance(value, str) and value != value.strip():
            yield name, f"{name} has white space at its start or end"
        elif isinstance(value, str) and not _is_unicode(value):
            yield name, f"{name} holds half a character (a lone surrogate)"
    if ":" in str(config.get("client_id", "")):
        yield "client_id", "client_id takes no colon (Basic authentication would cut it there)"
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
    """Whether a text can be encoded: JSON's escapes and the environment can hold halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _describe(name: str, value: Any) -> str:
    # A text is never quoted: it may be a secret, set in the wrong place.
    if isinstance(value, str):
        return "is empty; it " if not value else "cannot be used; it "
    is_quoted = isinstance(value, int | float) and name not in _SECRETS
    return f"is {value!r}; it " if is_quoted else "is of the wrong type; it "


def _takes(definition: Mapping[str, Any]) -> str:
    """Say in words what a setting takes, from its JSON schema."""
    if "enum" in definition:
        return "one of " + ", ".join(definition["enum"])
    kinds = definition.get("type", [])
    kind = next(
        (kind for kind in ([kinds] if isinstance(kinds, str) else kinds) if kind != "null"), "a value"
    )
    if kind in {"integer", "number"}:
        noun = "a whole number" if kind == "integer" else "a number"
        low, high = definition.get("minimum"), definition.get("maximum")
        if "exclusiveMinimum" in definition:
            return f"{noun} above {definition['exclusiveMinimum']}, up to {high}"
        if low is None or high is None:
            return noun
        return f"{noun} from {low} to {high}"
    if definition.get("pattern") == _HEADER_PATTERN:
        return "a text of printable ASCII"
    return {"string": "a text that is not empty", "boolean": "true or false", "object": "an object"}.get(
        kind, kind
    )
