"""Response headers that the client uses: dates, Retry-After and Location."""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from datetime import UTC
from urllib.parse import urljoin

import urllib3

from tap_sequence.text.redaction import excerpt


def parse_http_date(text: str) -> float | None:
    """Return an HTTP date as seconds since 1970, or None if it is not one."""
    try:
        moment = email.utils.parsedate_to_datetime(text)
        # The zone -0000 ("unknown") is parsed as none. HTTP dates are always GMT.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return how many seconds `Retry-After` (seconds or a date, RFC 9110) asks to wait, or None.

    Args:
        headers: Headers of the response.
        now: Seconds since 1970. `Date` takes precedence: a date is best compared with the clock that wrote it.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    then = parse_http_date(text)
    if then is None:
        return None
    date = parse_http_date(headers.get("Date", ""))
    return max(0.0, then - (now if date is None else date))


def redirect_host(url: str, location: str) -> str:
    """Return the host that a redirect leads to, for a message. The rest of the URL may hold a password.

    Args:
        url: URL of the request.
        location: Value of `Location`.
    """
    try:
        # The same parser that would connect.
        host = urllib3.util.parse_url(urljoin(url, location)).host
    except ValueError:
        host = None
    return excerpt(host) if host else "somewhere that is not a URL"
