"""Base URLs of the API, and the canonical spelling of a URL that every parser reads the same way."""

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

_DEFAULT_PORTS = {"https": 443, "http": 80}

# What all URL parsers read the same way.
_PLAIN_URL = re.compile(
    r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-F]{2})*)*"
)


def canonical_url(url: str) -> str:
    """Return the canonical spelling of a base URL, which every parser reads the same way.

    Raises:
        ValueError: It is not a base URL. The message continues after the setting's name.
    """
    if not url.isprintable() or " " in url or "\\" in url:
        msg = "must not contain a space, a backslash or an unprintable character"
        raise ValueError(msg)
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        msg = "is not a valid URL"
        raise ValueError(msg) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        msg = "must be a URL that starts with https://"
        raise ValueError(msg)
    if "@" in url:
        msg = "must not contain credentials; set client_id and client_secret instead"
        raise ValueError(msg)
    if "?" in url or "#" in url:
        msg = "must not contain a query or a fragment"
        raise ValueError(msg)
    try:
        canonical = _as_requested(url)
        host = urlsplit(canonical).hostname or ""
        # The encoding of name resolution, which rejects some hosts that URLs allow.
        host.encode("idna")
        is_plain = _PLAIN_URL.fullmatch(canonical) is not None and _as_requested(canonical) == canonical
        is_unambiguous = host == parts.hostname or not parts.hostname.isascii()
    except ValueError:
        is_plain = is_unambiguous = False
    if not is_plain or not is_unambiguous:
        msg = f"must have a valid host and a plain path (host: {excerpt(parts.hostname)})"
        raise ValueError(msg)
    if parts.scheme == "http" and not is_loopback(host):
        msg = (
            "must start with https:// unless the host is loopback: http would send your credentials to "
            f"{excerpt(host)} unencrypted"
        )
        raise ValueError(msg)
    return canonical.rstrip("/")


def _as_requested(url: str) -> str:
    """Return a URL as requests spells it when it connects."""
    prepared = requests.PreparedRequest()
    prepared.prepare_url(url, None)
    return str(prepared.url)


def is_loopback(host: str | None) -> bool:
    """Whether a host is the loopback interface, by name or address."""
    if host is None:
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(url: str) -> str:
    """Return host, port and path of a canonical URL, the same for all spellings of the same place."""
    parts = urlsplit(url)
    host, _, port = parts.netloc.rpartition(":") if parts.port else (parts.netloc, "", "")
    is_default = parts.port == _DEFAULT_PORTS[parts.scheme]
    return host.lower() + ("" if is_default or not port else f":{port}") + parts.path
