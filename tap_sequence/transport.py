"""One request over HTTP: sent once, bounded in time and size, with its failures sorted into those that may pass.

It knows requests and sockets; what an answer means is the business of tap_sequence/client.py.
"""

from __future__ import annotations

import email.utils
import logging
import math
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.auth import HTTPBasicAuth

from tap_sequence.errors import TransientRequestError, UnanswerableError
from tap_sequence.settings import is_loopback
from tap_sequence.timestamps import MICROSECONDS

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

MAX_BODY_BYTES = 64 * 2**20
"""Largest body to take, in bytes once decompressed. A full page of logs is some hundred kilobytes."""

_MAX_ERROR_BODY_BYTES = 2**20
_CHUNK_BYTES = 2**16

# Its warnings, with a traceback for each answer, are of headers that are not right and of certificates that are refused:
# the tap reads on in the one case, and says the other itself.
logging.getLogger("urllib3.connection").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, read to its end.

    Attributes:
        status: HTTP status.
        headers: Headers by name, in any case.
        body: The body, decompressed.
        is_too_large: Whether the body went on beyond MAX_BODY_BYTES, and was not read further.
        asked_at: A time no later than that at which the request was sent, in microseconds since 1970.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_too_large: bool
    asked_at: int


class Transport:
    """Sends requests with the credentials. Thread-safe.

    TLS is verified, always: by requests' own bundle of authorities, or the one that REQUESTS_CA_BUNDLE or
    CURL_CA_BUNDLE names. Proxies are those of HTTPS_PROXY, ALL_PROXY and NO_PROXY.

    Args:
        base_url: Base URL of the API.
        credentials: Client id and client secret.
        headers: Sent with each request.
        timeout: Seconds after which a request has failed, from its sending to the last byte of the answer.
        now: Seconds since 1970.
        monotonic: Seconds since any moment, for durations.
    """

    def __init__(  # noqa: PLR0913  # what it is made of, each named
        self,
        *,
        base_url: str,
        credentials: tuple[str, str],
        headers: Mapping[str, str],
        timeout: float,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        # Given as bytes, because requests would encode text as Latin-1. With it set, requests looks into no .netrc.
        client_id, client_secret = credentials
        self._auth = HTTPBasicAuth(client_id.encode(), client_secret.encode())
        # A proxy has no business between this machine and itself; it would see the credentials unencrypted.
        self._trusts_environment = not is_loopback(urlsplit(base_url).hostname)
        self._headers = headers
        self._timeout = timeout
        self._now = now
        self._monotonic = monotonic
        # One session serves one request at a time, whichever thread asks: requests does not promise more.
        self._idle: SimpleQueue[requests.Session] = SimpleQueue()

    def get(self, url: str, parameters: Mapping[str, Any] | None = None) -> Answer:
        """Send one GET request, and follow no redirect.

        Raises:
            TransientRequestError: No whole answer came in time; another try may bring one.
            UnanswerableError: No try will bring one.
        """
        try:
            session = self._idle.get_nowait()
        except Empty:
            session = self._new_session()
        outcome: SimpleQueue[Answer | Exception] = SimpleQueue()
        is_abandoned = threading.Event()

        def work() -> None:
            result: Answer | Exception
            try:
                result = self._exchange(session, url, parameters, is_abandoned)
            except Exception as error:  # noqa: BLE001  # handed over to the caller, whatever it is
                result = error
            if is_abandoned.is_set():
                session.close()
            else:
                # Before the outcome, so that the next request finds the connection.
                self._idle.put(session)
            outcome.put(result)

        # Sockets know no deadline for a whole answer, only one for each piece: a server that drips byte by byte would
        # be waited for as long as it likes. So the wait is here, and what comes too late is left to itself.
        threading.Thread(target=work, daemon=True).start()
        try:
            result = outcome.get(timeout=self._timeout)
        except Empty:
            is_abandoned.set()
            result = requests.exceptions.Timeout()
        if isinstance(result, Exception):
            raise self._sort(result, url) from result
        return result

    def close(self) -> None:
        """Close the connections that are not in use."""
        while not self._idle.empty():
            self._idle.get().close()

    def _new_session(self) -> requests.Session:
        session = _Session()
        session.trust_env = self._trusts_environment
        session.auth = self._auth
        session.headers.update(self._headers)
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        return session

    def _exchange(
        self,
        session: requests.Session,
        url: str,
        parameters: Mapping[str, Any] | None,
        is_abandoned: threading.Event,
    ) -> Answer:
        sent_at, started = self._now(), self._monotonic()
        response = session.get(
            url, params=parameters, timeout=self._timeout, allow_redirects=False, stream=True
        )
        with response:
            seconds = self._monotonic() - started
            answered_at = parse_http_date(response.headers.get("Date", ""))
            if answered_at is not None:
                # Date is cut to the second and written after the request arrived: this errs to the safe side.
                sent_at = answered_at - seconds
            body, is_too_large = _read_body(response, is_abandoned)
        asked_at = math.floor(sent_at * MICROSECONDS)
        return Answer(response.status_code, response.headers, body, is_too_large, asked_at)

    def _sort(self, error: Exception, url: str) -> Exception:
        """Say whether a failure may pass, and what it is in words; never with a URL, which may hold a password."""
        host = urlsplit(url).hostname
        root = _root_cause(error)
        if isinstance(root, ssl.SSLError) and root.library == "X509":
            # A bundle that holds no certificates comes to light only here, as a connection that failed.
            error = root
        for kind, what, advice in _FAILURES:
            if isinstance(error, kind) or isinstance(root, kind):
                message = what.format(host=host, timeout=f"{self._timeout:g}", cause=_words(root))
                return (
                    TransientRequestError(message) if advice is None else UnanswerableError(message, advice)
                )
        return error


_CERTIFICATES = "REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE"

_FAILURES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str, str | None], ...] = (
    # A certificate does not get better by asking again.
    (
        ssl.SSLCertVerificationError,
        "the certificate of {host} is not trusted ({cause})",
        f"If a proxy or a private authority stands in between, name its certificates in {_CERTIFICATES}.",
    ),
    (requests.exceptions.Timeout, "no whole answer within request_timeout_seconds ({timeout})", None),
    # Behind these is an address at which nothing will ever answer.
    (
        requests.exceptions.InvalidURL,
        "the address cannot be used, or that of a proxy",
        "Look at HTTPS_PROXY and ALL_PROXY, which take http:// or https:// and a host, and at api_url.",
    ),
    (
        requests.exceptions.InvalidSchema,
        "a proxy of this kind cannot be used",
        "Look at HTTPS_PROXY and ALL_PROXY, which take http:// or https:// and a host.",
    ),
    (urllib3.exceptions.LocationValueError, "{host} is no host name", "Look at api_url."),
    # What networks and gateways do now and then; a name that cannot be resolved is one of them.
    (requests.exceptions.ProxyError, "the proxy that HTTPS_PROXY or ALL_PROXY names failed ({cause})", None),
    (requests.exceptions.ConnectionError, "the connection to {host} failed or was cut ({cause})", None),
    (requests.exceptions.ContentDecodingError, "the answer's compression is broken", None),
    (requests.exceptions.RequestException, "the connection to {host} was cut ({cause})", None),
    ((urllib3.exceptions.HTTPError, ValueError), "the answer is no HTTP that can be read ({cause})", None),
    # requests tells a missing bundle of authorities by an error that is none of its own.
    (OSError, "the certificates to trust cannot be read", f"Look at the file that {_CERTIFICATES} names."),
)
"""Failures without an answer, each with what it is in words, and what to do where no other try will help. The first that
fits counts."""


class _Session(requests.Session):
    """A session that leaves redirects alone: requests looks where they lead to even if told not to follow them."""

    @override
    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


def parse_http_date(text: str) -> float | None:
    """Return an HTTP date as seconds since 1970, or None where it is none."""
    try:
        moment = email.utils.parsedate_to_datetime(text)
        # The zone -0000, "unknown", comes back without one; HTTP knows only GMT.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _read_body(response: requests.Response, is_abandoned: threading.Event) -> tuple[bytes, bool]:
    """Return the body, decompressed piece by piece, and whether it was cut off because it is too large."""
    is_page = response.status_code == HTTPStatus.OK
    limit = MAX_BODY_BYTES if is_page else _MAX_ERROR_BODY_BYTES
    body = bytearray()
    try:
        for chunk in response.iter_content(_CHUNK_BYTES):
            body += chunk
            if len(body) > limit or is_abandoned.is_set():
                return bytes(memoryview(body)[:limit]), True
    except requests.exceptions.RequestException:
        # An error is one by its status; its body only explains it.
        if is_page:
            raise
    return bytes(body), False


def _root_cause(error: BaseException) -> BaseException:
    """Return the innermost cause of a connection error; requests and urllib3 wrap it several times."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return error


def _words(error: BaseException) -> str:
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
