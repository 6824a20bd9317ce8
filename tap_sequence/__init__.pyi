from tap_sequence.account import Account, Page, RowIterator
from tap_sequence.errors import (
    CredentialsError,
    FailureKind,
    RateLimitedError,
    RequestError,
    SettingsError,
    StateError,
    TapSequenceError,
    UnknownStreamError,
)
from tap_sequence.settings_arguments import AccountSettings

__all__ = [
    "Account",
    "AccountSettings",
    "CredentialsError",
    "FailureKind",
    "Page",
    "RateLimitedError",
    "RequestError",
    "RowIterator",
    "SettingsError",
    "StateError",
    "TapSequenceError",
    "UnknownStreamError",
]

__version__: str
