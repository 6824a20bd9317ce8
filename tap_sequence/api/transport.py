"""One request over HTTP: sent once, bounded in time and size, with its failures sorted into those that may pass.

It knows requests and sockets; what an answer means is the business of tap_sequence/api/client.py.
"""

from __future__ import annotations

import email.utils
import logging
import math
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias
from urllib.parse import urlencode, urlsplit

import requests
import urllib3
from requests.auth import HTTPBasicAuth

from tap_sequence.api.addresses import is_loopback
from tap_sequence.api.connections import DEADLINE, BoundedAdapter, Deadline, DeadlineError, ProxyRefusedError
from tap_sequence.errors import RequestError, TransientRequestError, UnanswerableError
from tap_sequence.sync.timestamps import MICROSECONDS

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

Take: TypeAlias = Callable[[int], None]
"""Takes some bytes out of a budget."""

MAX_BODY_BYTES = 16 * 2**20
"""Largest body to take, in bytes once decompressed. A full page of logs is some hundred kilobytes."""

MAX_AHEAD_BYTES = 12 * 2**20
"""The same for all bodies together that are being read ahead of the walk."""

_MAX_ERROR_BODY_BYTES = 2**20
_CHUNK_BYTES = 2**16

# Its warnings, with a traceback for each answer, are of headers that are not right and of certificates that are refused:
# the tap reads on in the one case, and says the other itself.
logging.getLogger("urllib3.connection").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Response:
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


class AheadTooLargeError(RequestError):
    """A page that is not needed yet is too large to be read beside the others that are not."""


class ByteBudget:
    """Bounds the bytes of bodies that are read ahead at the same time, until they are decoded. Thread-safe.

    Nobody waits for room, so nothing can lock up: a request for a page that the run does not need yet gives up where
    there is none, and the page is asked for again when it is needed. Then it is bounded by MAX_BODY_BYTES alone.
    """

    def __init__(self, most: int = MAX_AHEAD_BYTES) -> None:
        self._left = most
        self._lock = threading.Lock()

    @contextmanager
    def share(self, *, is_ahead: bool) -> Iterator[Take]:
        """Lend what one request takes by calling the function with a number of bytes, which raises AheadTooLargeError."""
        taken = 0

        def take(count: int) -> None:
            nonlocal taken
            with self._lock:
                if count > self._left:
                    raise AheadTooLargeError
                self._left -= count
                taken += count

        try:
            yield take if is_ahead else take_any
        finally:
            with self._lock:
                self._left += taken


def take_any(_count: int) -> None:
    """Take bytes that no budget bounds."""


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

    def get(self, url: str, parameters: Mapping[str, Any] | None = None, take: Take = take_any) -> Response:
        """Send one GET request; follow no redirect. When it returns or raises, nothing of it goes on.

        Args:
            url: Where to.
            parameters: The query.
            take: Called with the number of bytes before each piece of the body is kept; may raise.

        Raises:
            TransientRequestError: No complete answer came in time; another try may bring one.
            UnanswerableError: No try will bring one.
        """
        try:
            session = self._idle.get_nowait()
        except Empty:
            session = self._new_session()
        DEADLINE.set(Deadline(self._timeout, self._monotonic))
        try:
            answer = self._exchange(session, url, parameters, take)
        except Exception as error:
            session.close()
            reason = self._sort(error, url)
            if reason is error:
                raise
            raise reason from error
        self._idle.put(session)
        return answer

    def close(self) -> None:
        """Close the connections that are not in use."""
        while not self._idle.empty():
            self._idle.get().close()

    def _new_session(self) -> requests.Session:
        session = _Session()
        session.trust_env = self._trusts_environment
        session.auth = self._auth
        session.headers.update(self._headers)
        for scheme in ("http://", "https://"):
            session.mount(scheme, BoundedAdapter())
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        return session

    def _exchange(
        self, session: requests.Session, url: str, parameters: Mapping[str, Any] | None, take: Take
    ) -> Response:
        given = {name: value for name, value in (parameters or {}).items() if value is not None}
        sent_at, started = self._now(), self._monotonic()
        try:
            # As text: a mapping makes requests look for what it might be instead, at length.
            response = session.get(
                url, params=urlencode(given), timeout=self._timeout, allow_redirects=False, stream=True
            )
        except TypeError as error:
            # A proxy without a host, http://me:pw@, trips requests.
            raise requests.exceptions.InvalidURL from error
        with response:
            seconds = self._monotonic() - started
            answered_at = parse_http_date(response.headers.get("Date", ""))
            if answered_at is not None:
                # Either clock may be ahead, and a time too late would let a log that is still to come be passed over. Date is
                # cut to the second and written after the request arrived: this errs to the safe side, too.
                sent_at = min(sent_at, answered_at - seconds)
            body, is_too_large = _read_body(response, take)
        asked_at = math.floor(sent_at * MICROSECONDS)
        return Response(response.status_code, response.headers, body, is_too_large, asked_at)

    def _sort(self, error: Exception, url: str) -> Exception:
        """Say whether a failure may pass, and what it is in words; never with a URL, which may hold a password."""
        host = urlsplit(url).hostname
        causes = list(_causes(error))
        if isinstance(error, requests.exceptions.ProxyError) and _is_of(causes, ssl.SSLCertVerificationError):
            host = "the proxy in HTTPS_PROXY or ALL_PROXY"
        for cause in causes:
            if isinstance(cause, ssl.SSLError) and cause.library == "X509":
                # A bundle that holds no certificates comes to light only here, as a connection that failed.
                error, causes = cause, [cause]
        for kinds, what, advice in _FAILURES:
            if _is_of(causes, kinds):
                message = what.format(host=host, timeout=f"{self._timeout:g}", cause=_words(causes))
                return (
                    TransientRequestError(message) if advice is None else UnanswerableError(message, advice)
                )
        return error


_CERTIFICATES = "REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE"

_Kinds: TypeAlias = type[Exception] | tuple[type[Exception], ...]

_FAILURES: tuple[tuple[_Kinds, str, str | None], ...] = (
    # A certificate does not get better by asking again.
    (
        ssl.SSLCertVerificationError,
        "the certificate of {host} is not trusted ({cause})",
        f"If a proxy or a private authority stands in between, name its certificates in {_CERTIFICATES}.",
    ),
    (
        (requests.exceptions.Timeout, DeadlineError),
        "no complete response within {timeout} s (request_timeout_seconds)",
        None,
    ),
    # Nor does a proxy change its mind.
    (
        ProxyRefusedError,
        "the proxy that HTTPS_PROXY or ALL_PROXY names refused to connect to {host} ({cause})",
        "Check the user and password in that variable, and whether the proxy allows this host; or name it in NO_PROXY.",
    ),
    # Behind these is an address at which nothing will ever answer.
    (
        (requests.exceptions.InvalidURL, urllib3.exceptions.LocationValueError),
        "the address cannot be used, or that of a proxy",
        "Look at HTTPS_PROXY and ALL_PROXY, which take http:// or https:// and a host, and at api_url.",
    ),
    (
        requests.exceptions.InvalidSchema,
        "a proxy of this kind cannot be used",
        "Look at HTTPS_PROXY and ALL_PROXY, which take http:// or https:// and a host.",
    ),
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
fits the error, or one of its causes, counts."""


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


def _read_body(response: requests.Response, take: Take) -> tuple[bytes, bool]:
    """Return the body, decompressed piece by piece, and whether it was cut off because it is too large."""
    is_page = response.status_code == HTTPStatus.OK
    limit = MAX_BODY_BYTES if is_page else _MAX_ERROR_BODY_BYTES
    body = bytearray()
    try:
        for chunk in response.iter_content(_CHUNK_BYTES):
            take(len(chunk))
            body += chunk
            if len(body) > limit:
                return bytes(memoryview(body)[:limit]), True
    except requests.exceptions.RequestException:
        # An error is one by its status; its body only explains it.
        if is_page:
            raise
    return bytes(body), False


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that it was raised from or after: requests and urllib3 wrap errors several times."""
    yield error
    inner = error.__cause__
    if inner is not None:
        yield from _causes(inner)
    if error.__context__ is not None and error.__context__ is not inner:
        yield from _causes(error.__context__)


def _is_of(causes: Iterable[BaseException], kinds: _Kinds) -> bool:
    return any(isinstance(cause, kinds) for cause in causes)


def _words(causes: Sequence[BaseException]) -> str:
    """Return what the innermost cause says that is known not to hold a URL: the system's words, or its type."""
    said = [cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror]
    return str(said[-1]) if said else type(causes[-1]).__name__
