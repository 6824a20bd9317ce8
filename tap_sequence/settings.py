"""The settings: names, types, bounds, defaults and descriptions, each declared once, in `Settings`.

README.md, meltano.yml, `--help` and `--about` are held against `CONFIG_JSONSCHEMA` by tests/test_settings.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from tap_sequence import __version__
from tap_sequence.sync.timestamps import parse_timestamp

DEMO = "demo"
PREFIX = "TAP_SEQUENCE_"
"""The names of environment variables that are settings begin with it."""

SALT = "actor_email_salt"

# In Python, `$` also matches before a trailing newline.
HEADER_PATTERN = r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$(?!\n)"
_SECRET = {"secret": True, "writeOnly": True}

_Text = Annotated[str, Meta(min_length=1)]


class Settings(msgspec.Struct, kw_only=True):
    """The settings of a run. Each is declared only here: the type of its field says what it must be.

    A setting that is None was not given, and has no default.
    """

    client_id: Annotated[
        _Text | None,
        Meta(
            extra_json_schema=_SECRET,
            title="Client ID",
            description="Client ID of your Sequence API credentials. Required, unless environment is demo.",
        ),
    ] = None
    client_secret: Annotated[
        _Text | None,
        Meta(
            extra_json_schema=_SECRET,
            title="Client secret",
            description=(
                "Client secret of your Sequence API credentials. Required, unless environment is demo."
            ),
        ),
    ] = None
    environment: Annotated[
        Literal["production", "sandbox", "demo"],
        Meta(
            title="Environment",
            description=(
                "Environment to read: production or sandbox (Sequence's own), or demo (a simulator inside"
                " the tap that needs no credentials)."
            ),
        ),
    ] = "production"
    api_url: Annotated[
        _Text | None,
        Meta(
            title="API URL",
            description=(
                "Base URL of the API, overriding that of environment. Must be https, unless the host is "
                "loopback."
            ),
        ),
    ] = None
    api_version: Annotated[
        str,
        Meta(
            pattern=HEADER_PATTERN,
            title="API version",
            description="Version of the API to request, sent as Sequence-Version.",
        ),
    ] = "2024-07-30"
    start_date: Annotated[
        _Text | None,
        Meta(
            examples=["2026-01-01T00:00:00Z"],
            title="Start date",
            description=(
                "Emit only logs created at or after this time (ISO 8601; UTC if it has no offset). If not"
                " set, emit all logs."
            ),
        ),
    ] = None
    page_size: Annotated[
        int,
        Meta(
            ge=1,
            le=100,
            title="Page size",
            description="Number of logs per request (1 to 100).",
        ),
    ] = 100
    activity_log_object_id: Annotated[
        _Text | None,
        Meta(
            title="Object ID filter",
            description="Read only logs about the object with this id (the API's activityLogObjectId).",
        ),
    ] = None
    activity_log_object_entity_id: Annotated[
        _Text | None,
        Meta(
            title="Object entity ID filter",
            description="Read only logs about the entity with this id (the API's activityLogObjectEntityId).",
        ),
    ] = None
    lookback_seconds: Annotated[
        int,
        Meta(
            ge=0,
            le=86400,
            title="Lookback",
            description=(
                "How many seconds late a log may become visible and still be picked up by a later run (0 "
                "to 86400). 0 turns the lookback off."
            ),
        ),
    ] = 300
    requests_per_minute: Annotated[
        int,
        Meta(
            ge=1,
            le=60000,
            title="Requests per minute",
            description=(
                "Maximum number of requests per minute. Sequence allows 1,500 for each key, shared by all"
                " its users."
            ),
        ),
    ] = 1200
    max_in_flight_requests: Annotated[
        int,
        Meta(
            ge=1,
            le=16,
            title="Requests in flight",
            description="Maximum number of concurrent requests (1 to 16). 1 turns prefetching off.",
        ),
    ] = 4
    request_timeout_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=3600,
            title="Request timeout",
            description=(
                "Timeout of a request in seconds, from connecting to the last byte of the response (up to"
                " 3600)."
            ),
        ),
    ] = 60
    retry_budget_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=86400,
            title="Retry budget",
            description="Seconds to keep retrying a page before the run fails (0 to 86400).",
        ),
    ] = 600
    user_agent: Annotated[
        str,
        Meta(
            pattern=HEADER_PATTERN,
            title="User agent",
            description="Value of the User-Agent header, which identifies the tap to Sequence.",
        ),
    ] = f"tap-sequence/{__version__}"
    actor_email: Annotated[
        Literal["keep", "hash", "drop"],
        Meta(
            title="Actor e-mail",
            description=(
                "How to handle e-mail addresses (those of actors, users and accounts): keep, hash (SHA-256 of "
                "the lower-cased address, keyed with actor_email_salt if set) or drop."
            ),
        ),
    ] = "keep"
    actor_email_salt: Annotated[
        _Text | None,
        Meta(
            extra_json_schema=_SECRET,
            title="Actor e-mail salt",
            description=(
                "Key of the hashes that actor_email hash produces (HMAC-SHA256). Without a salt, anyone "
                "can confirm a guessed address by hashing it."
            ),
        ),
    ] = None
    metadata: Annotated[
        Literal["text", "json"],
        Meta(
            title="Metadata",
            description=(
                "How to pass on the elements of metadata: text (each as its JSON text, which every target"
                " can load) or json (as the API sent them)."
            ),
        ),
    ] = "text"
    metadata_format: Annotated[
        Literal["text", "json"] | None,
        Meta(
            title="Metadata format",
            description=(
                "The same as metadata, under a name that Meltano can set, because Meltano reserves the "
                "name metadata. Overrides metadata."
            ),
        ),
    ] = None
    invalid_logs: Annotated[
        Literal["fail", "skip"],
        Meta(
            title="Invalid logs",
            description=(
                "How to handle a log that has no id, or whose createdAt is not a time: fail (end the run)"
                " or skip (leave it out, with a warning)."
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


TYPES: Mapping[str, Any] = get_type_hints(Settings, include_extras=True)


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
            definition["enum"] = _choices(TYPES[name])
        if definition.get("default", ...) is None:
            del definition["default"]
        properties[name] = {**definition, "type": [definition.get("type", "string"), "null"]}
    return {"type": "object", "properties": properties, "additionalProperties": False}


CONFIG_JSONSCHEMA: dict[str, Any] = _config_jsonschema()
"""The settings as a JSON schema."""

SECRETS = tuple(
    name for name, definition in CONFIG_JSONSCHEMA["properties"].items() if definition.get("secret")
)


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Take the tap's own settings out of a config that `find_problems` found nothing wrong with."""
    return Settings(**{name: config[name] for name in TYPES if config.get(name) is not None})


def fill_defaults(config: dict[str, Any], schema: Mapping[str, Any]) -> None:
    """Put the default of each setting that is absent, null or empty into `config`; drop those that have none."""
    for name, definition in schema["properties"].items():
        value = config.get(name)
        # Around credentials, api_url and headers it is refused: they may have been copied only in part, or with more.
        is_strict = name in SECRETS or name == "api_url" or "pattern" in definition
        if isinstance(value, str) and name in TYPES and not is_strict:
            value = config[name] = value.strip()
        # Without its salt, hashing would protect less than intended.
        is_given = value is not None and (value != "" or (name, config.get("actor_email")) == (SALT, "hash"))
        if not is_given:
            config.pop(name, None)
            if "default" in definition:
                config[name] = definition["default"]
