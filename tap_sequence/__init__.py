"""The activity log (audit trail) of Sequence, the billing platform: a Singer tap, and `Account` for Python programs.

`__init__.pyi` lists what is public. It is imported when it is used: the command line needs none of it.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("tap-sequence")

_PUBLIC = {
    "account": ("Account", "Page", "RowIterator"),
    "settings_arguments": ("AccountSettings",),
    "errors": (
        *("CredentialsError", "FailureKind", "RateLimitedError", "RequestError", "SettingsError"),
        *("StateError", "TapSequenceError", "UnknownStreamError"),
    ),
}
_MODULES = {name: module for module, names in _PUBLIC.items() for name in names}


def __getattr__(name: str) -> Any:
    """Return a public name."""
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*_MODULES, "__version__"]
