"""Where the API is: base URLs, and the one spelling of a URL that every parser reads alike."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

import requests

from tap_sequence.text.redaction import excerpt

API_URLS = {
    "production": "https://eu.sequencehq.com/api",
    "sandbox": "https://sandbox.sequencehq.com/api",
}
"""Base URLs of the vendor's environments (published OpenAPI, `servers`)."""

PATH = "/activity-logs"
"""The endpoint, below the base URL."""

DEFAULT_PORTS = {"https": 443, "http": 80}

# What every parser of URLs reads alike.
_PLAIN_URL = re.compile(
    r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-F]{2})*)*"
)


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
