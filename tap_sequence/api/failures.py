"""Connection failures: which may pass, which cannot, and how messages describe them."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias
from urllib.parse import urlsplit

import requests
import urllib3

from tap_sequence.api.connections import DeadlineError, ProxyRefusedError
from tap_sequence.errors import AttemptError, TransientRequestError, UnanswerableError

_Types: TypeAlias = type[Exception] | tuple[type[Exception], ...]

_CERTIFICATES = "REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE"


class Failure(NamedTuple):
    """One row of the table.

    Attributes:
        types: Types of the error or one of its causes.
        problem: What failed; a template with `host`, `timeout` (seconds) and `cause`.
        advice: What to do when no retry can help; None when one can.
    """

    types: _Types
    problem: str
    advice: str | None


FAILURES: tuple[Failure, ...] = (
    Failure(
        ssl.SSLCertVerificationError,
        "the certificate of {host} is not trusted ({cause})",
        f"If there is a proxy or a private certificate authority in between, name its certificates in {_CERTIFICATES}.",
    ),
    Failure(
        (requests.exceptions.Timeout, DeadlineError),
        "no complete response within {timeout} s (request_timeout_seconds)",
        None,
    ),
    Failure(
        ProxyRefusedError,
        "the proxy set in HTTPS_PROXY or ALL_PROXY refused to connect to {host} ({cause})",
        "Check the user and password in that variable, and whether the proxy allows this host; or add it to NO_PROXY.",
    ),
    Failure(
        (requests.exceptions.InvalidURL, urllib3.exceptions.LocationValueError),
        "the address of the API or of the proxy is not usable",
        "Check HTTPS_PROXY and ALL_PROXY, which must be http:// or https:// and a host, and api_url.",
    ),
    Failure(
        requests.exceptions.InvalidSchema,
        "a proxy of this kind is not supported",
        "Check HTTPS_PROXY and ALL_PROXY, which must be http:// or https:// and a host.",
    ),
    # Temporary problems of networks and gateways; a name that cannot be resolved is one of them.
    Failure(
        requests.exceptions.ProxyError, "the proxy set in HTTPS_PROXY or ALL_PROXY failed ({cause})", None
    ),
    Failure(
        requests.exceptions.ConnectionError, "the connection to {host} failed or was cut ({cause})", None
    ),
    Failure(requests.exceptions.ContentDecodingError, "the response's compression is broken", None),
    Failure(requests.exceptions.RequestException, "the connection to {host} was cut ({cause})", None),
    Failure(
        (urllib3.exceptions.HTTPError, ValueError), "the response is not readable as HTTP ({cause})", None
    ),
    # requests reports a missing certificate bundle with a plain OSError.
    Failure(
        OSError, "the trusted certificates cannot be read", f"Check the file that {_CERTIFICATES} names."
    ),
)
"""Failures without a response. The first row that matches the error or one of its causes applies."""


def classify(error: Exception, url: str, timeout: float) -> AttemptError | None:
    """Return the failure that an exception stands for, or None if it is not a connection failure.

    Messages never contain the URL, which may hold a password.

    Args:
        error: Exception from requests.
        url: URL of the request.
        timeout: Timeout of the request in seconds.
    """
    host = urlsplit(url).hostname
    causes = list(_causes(error))
    if isinstance(error, requests.exceptions.ProxyError) and _matches(causes, ssl.SSLCertVerificationError):
        host = "the proxy in HTTPS_PROXY or ALL_PROXY"
    for cause in causes:
        if isinstance(cause, ssl.SSLError) and cause.library == "X509":
            # A bundle without certificates appears only here, as a failed connection.
            causes = [cause]
    for types, template, advice in FAILURES:
        if _matches(causes, types):
            problem = template.format(host=host, timeout=f"{timeout:g}", cause=_cause_text(causes))
            return TransientRequestError(problem) if advice is None else UnanswerableError(problem, advice)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes and contexts: requests and urllib3 wrap errors several times."""
    yield error
    inner = error.__cause__
    if inner is not None:
        yield from _causes(inner)
    if error.__context__ is not None and error.__context__ is not inner:
        yield from _causes(error.__context__)


def _matches(causes: Iterable[BaseException], types: _Types) -> bool:
    return any(isinstance(cause, types) for cause in causes)


def _cause_text(causes: Sequence[BaseException]) -> str:
    """Return the innermost text that cannot hold a URL: the operating system's message, or a type's name."""
    texts = [cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror]
    return str(texts[-1]) if texts else type(causes[-1]).__name__
