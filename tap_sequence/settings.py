"""The settings: names, types, defaults, descriptions, and what each takes. The one source of all of it.

README.md, meltano.yml, `--help` and `--about` are held against `CONFIG_JSONSCHEMA` by tests/test_settings.py.
"""

from __future__ import annotations

import contextlib
import difflib
import ipaddress
import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import requests
from jsonschema import Draft202012Validator
from singer_sdk import typing as th

from tap_sequence import __version__
from tap_sequence.sync.timestamps import MICROSECONDS, parse_timestamp
from tap_sequence.text.redaction import excerpt
from tap_sequence.transforms.metadata import FORMS, TEXT
from tap_sequence.transforms.privacy import ACTIONS, HASH, KEEP

API_URLS = {
    "production": "https://eu.sequencehq.com/api",
    "sandbox": "https://sandbox.sequencehq.com/api",
}
"""Base URLs of the vendor's environments (published OpenAPI, `servers`)."""

PATH = "/activity-logs"
"""The endpoint, below the base URL."""

DEFAULT_PORTS = {"https": 443, "http": 80}

DEMO = "demo"
FAIL, SKIP = "fail", "skip"
INVALID_LOGS_ACTIONS = (FAIL, SKIP)
"""What to do with a log whose id or createdAt cannot be used."""

_HEADER_TEXT = "printable ASCII"
# To Python `$` is the place before a newline at the end, too.
_HEADER_PATTERN = r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$(?!\n)"
# What every parser of URLs reads alike.
_PLAIN_URL = re.compile(
    r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-F]{2})*)*"
)
_CREDENTIALS = ("client_id", "client_secret")
_SECRETS = (*_CREDENTIALS, "actor_email_salt")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")

CONFIG_JSONSCHEMA: dict[str, Any] = th.PropertiesList(
    th.Property(
        "client_id",
        th.StringType(min_length=1),
        secret=True,
        title="Client ID",
        description="Client ID of your Sequence API credentials. Required, except in environment demo.",
    ),
    th.Property(
        "client_secret",
        th.StringType(min_length=1),
        secret=True,
        title="Client secret",
        description="Client secret of your Sequence API credentials. Required, except in environment demo.",
    ),
    th.Property(
        "environment",
        th.StringType(),
        default="production",
        allowed_values=["production", "sandbox", DEMO],
        title="Environment",
        description=(
            "Which Sequence to read: production or sandbox (both Sequence's own), or demo, a simulator inside this "
            "tap that needs no credentials."
        ),
    ),
    th.Property(
        "api_url",
        th.StringType(min_length=1),
        title="API URL",
        description="Base URL of the API, in place of the environment's. https only, unless the host is loopback.",
    ),
    th.Property(
        "api_version",
        th.StringType(pattern=_HEADER_PATTERN),
        default="2024-07-30",
        title="API version",
        description="Version of the API to ask for, sent as Sequence-Version.",
    ),
    th.Property(
        "start_date",
        th.StringType(min_length=1),
        title="Start date",
        description=(
            "Emit only logs created at or after this time (ISO 8601; UTC where it names no offset). Without it, all."
        ),
        examples=["2026-01-01T00:00:00Z"],
    ),
    th.Property(
        "page_size",
        th.IntegerType(minimum=1, maximum=100),
        default=100,
        title="Page size",
        description="Logs to ask for in one request, 1 to 100.",
    ),
    th.Property(
        "activity_log_object_id",
        th.StringType(min_length=1),
        title="Object ID filter",
        description="Read only logs about the object with this id (the API's activityLogObjectId).",
    ),
    th.Property(
        "activity_log_object_entity_id",
        th.StringType(min_length=1),
        title="Object entity ID filter",
        description="Read only logs about the entity with this id (the API's activityLogObjectEntityId).",
    ),
    th.Property(
        "lookback_seconds",
        th.IntegerType(minimum=0, maximum=86_400),
        default=300,
        title="Lookback",
        description=(
            "How many seconds late a log may become visible and still be picked up by a later run, 0 to 86400; 0 "
            "turns it off."
        ),
    ),
    th.Property(
        "requests_per_minute",
        th.IntegerType(minimum=1, maximum=60_000),
        default=1200,
        title="Requests per minute",
        description="Most requests to send in a minute. Sequence allows 1,500 for each key, all its users together.",
    ),
    th.Property(
        "max_in_flight_requests",
        th.IntegerType(minimum=1, maximum=16),
        default=4,
        title="Requests in flight",
        description="Most requests under way at once, 1 to 16; 1 reads strictly one page after another.",
    ),
    th.Property(
        "request_timeout_seconds",
        th.NumberType(exclusive_minimum=0, maximum=3600),
        default=60,
        title="Request timeout",
        description="Seconds that one request may take, from connecting to the last byte of the answer, up to 3600.",
    ),
    th.Property(
        "retry_budget_seconds",
        th.NumberType(minimum=0, maximum=86_400),
        default=600,
        title="Retry budget",
        description="Seconds for which one page may be tried again before the run fails, 0 to 86400.",
    ),
    th.Property(
        "user_agent",
        th.StringType(pattern=_HEADER_PATTERN),
        default=f"tap-sequence/{__version__}",
        title="User agent",
        description="Sent as User-Agent, so that Sequence can tell who asks.",
    ),
    th.Property(
        "actor_email",
        th.StringType(),
        default=KEEP,
        allowed_values=list(ACTIONS),
        title="Actor e-mail",
        description=(
            "What becomes of actors' e-mail addresses: keep, hash (SHA-256 of the lower-cased address, keyed by "
            "actor_email_salt when set) or drop."
        ),
    ),
    th.Property(
        "actor_email_salt",
        th.StringType(min_length=1),
        secret=True,
        title="Actor e-mail salt",
        description=(
            "Key of the hashes that actor_email hash makes (HMAC-SHA256). Without it, whoever guesses an address can "
            "tell whether a hash is of it."
        ),
    ),
    th.Property(
        "metadata",
        th.StringType(),
        default=TEXT,
        allowed_values=list(FORMS),
        title="Metadata",
        description=(
            "How the elements of metadata are passed on: text (each as its JSON text, which every target can load) or json "
            "(as the API sent them)."
        ),
    ),
    th.Property(
        "invalid_logs",
        th.StringType(),
        default=FAIL,
        allowed_values=list(INVALID_LOGS_ACTIONS),
        title="Invalid logs",
        description=(
            "What to do with a log that has no id, or whose createdAt is not a time: fail (end the run) or skip (leave it "
            "out, with a warning)."
        ),
    ),
    additional_properties=False,
).to_dict()


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a run, checked and with defaults filled in. One field for each in CONFIG_JSONSCHEMA."""

    client_id: str | None
    client_secret: str | None
    environment: str
    api_url: str | None
    api_version: str
    start_date: str | None
    page_size: int
    activity_log_object_id: str | None
    activity_log_object_entity_id: str | None
    lookback_seconds: int
    requests_per_minute: int
    max_in_flight_requests: int
    request_timeout_seconds: float
    retry_budget_seconds: float
    user_agent: str
    actor_email: str
    actor_email_salt: str | None
    metadata: str
    invalid_logs: str

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Take the tap's own settings out of a config that `find_problems` found nothing wrong with."""
        values: dict[str, Any] = {field.name: config.get(field.name) for field in fields(cls)}
        return cls(**values)

    @property
    def is_demo(self) -> bool:
        """Whether the simulator inside the package is to answer."""
        return self.environment == DEMO and self.api_url is None

    @property
    def start_date_microseconds(self) -> int | None:
        """`start_date` in microseconds since 1970."""
        return None if self.start_date is None else parse_timestamp(self.start_date)


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
    if config.get("actor_email_salt") is not None and config.get("actor_email") != HASH:
        yield f"actor_email_salt has no effect: actor_email is {config.get('actor_email')!r}, not {HASH!r}."


def parse_numbers(config: dict[str, Any]) -> None:
    """Make the numbers of settings floats: environment variables hold text, and the SDK reads files with Decimals."""
    for name, definition in CONFIG_JSONSCHEMA["properties"].items():
        if "number" in definition["type"] and isinstance(config.get(name), str | Decimal):
            with contextlib.suppress(ValueError, OverflowError):
                number = float(config[name])
                # NaN compares with nothing, so that no limit would hold it.
                config[name] = number if math.isfinite(number) else config[name]


def find_problems(
    config: Mapping[str, Any], schema: Mapping[str, Any], now: Callable[[], float] = time.time
) -> Iterator[str]:
    """Yield what is wrong with a config, each naming the setting and what it takes, and never a value of a secret.

    Args:
        config: The settings as given, with defaults filled in.
        schema: CONFIG_JSONSCHEMA, with the SDK's own settings (stream maps, flattening) added.
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
        if name in known and next(Draft202012Validator(known[name]).iter_errors(value), None) is not None:
            wrong.add(name)
            yield f"{name} {_describe(name, value)}takes {_takes(known[name])}"
    yield from (problem for name, problem in _problems_beyond_schema(config, now()) if name not in wrong)


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


def canonical_url(url: str) -> str:
    """Return the base URL of an API as it will be connected to, written so that every parser reads it alike.

    Raises:
        ValueError: It cannot be one; the text goes on after the setting's name.
    """
    if not url.isprintable() or " " in url or "\\" in url:
        msg = "holds what cannot be in a URL: a space, a backslash, or a character that cannot be printed"
        raise ValueError(msg)
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        msg = "is not a URL"
        raise ValueError(msg) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        msg = "takes a URL that starts with https://"
        raise ValueError(msg)
    if "@" in url:
        msg = "takes no credentials; they belong in client_id and client_secret"
        raise ValueError(msg)
    if "?" in url or "#" in url:
        msg = "takes no query and no fragment"
        raise ValueError(msg)
    try:
        canonical = _as_requested(url)
        host = urlsplit(canonical).hostname or ""
        # Looked up by this encoding, which refuses some that the one of URLs lets through.
        host.encode("idna")
        is_plain = _PLAIN_URL.fullmatch(canonical) is not None and _as_requested(canonical) == canonical
        is_read_alike = host == parts.hostname or not parts.hostname.isascii()
    except ValueError:
        is_plain = is_read_alike = False
    if not is_plain or not is_read_alike:
        msg = f"names a host that cannot be, or a path that is not plain: {excerpt(parts.hostname)}"
        raise ValueError(msg)
    if parts.scheme == "http" and not is_loopback(host):
        msg = (
            "takes https only, unless the host is loopback: http would send your credentials to "
            f"{excerpt(host)} unencrypted"
        )
        raise ValueError(msg)
    return canonical.rstrip("/")


def _as_requested(url: str) -> str:
    """Return a URL as the library writes it that connects."""
    prepared = requests.PreparedRequest()
    prepared.prepare_url(url, None)
    return str(prepared.url)


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine's loopback, by its name or address."""
    if host is None:
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
        return f"a text of {_HEADER_TEXT}"
    return {"string": "a text that is not empty", "boolean": "true or false", "object": "an object"}.get(
        kind, kind
    )
