"""The settings as keyword arguments, for the interfaces that are called from Python."""

from __future__ import annotations

import inspect
from typing import Any, Literal, TypedDict, get_type_hints

from tap_sequence.settings import SECRETS, Settings


class AccountSettings(TypedDict, total=False):
    """The settings of an account, which README.md describes."""

    client_id: str | None
    client_secret: str | None
    environment: Literal["production", "sandbox", "demo"]
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
    actor_email: Literal["keep", "hash", "drop"]
    actor_email_salt: str | None
    metadata: Literal["text", "json"]
    metadata_format: Literal["text", "json"] | None
    invalid_logs: Literal["fail", "skip"]


def settings_signature(secret: Any = None) -> inspect.Signature:
    """Return the settings as keyword arguments, for what looks at signatures, such as the help of a notebook.

    Args:
        secret: The default of secrets.
    """
    return inspect.Signature(
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=secret if name in SECRETS else getattr(Settings(), name),
                annotation=declared,
            )
            for name, declared in get_type_hints(Settings).items()
        ]
    )
