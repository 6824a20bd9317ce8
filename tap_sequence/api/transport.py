"""One HTTP request: sent once, bounded in time and size.

It knows requests and sockets. `tap_sequence.api.failures` classifies what goes wrong below HTTP, and
`tap_sequence.api.responses` what a response means.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests
from requests.auth import HTTPBasicAuth

from tap_sequence.api.addresses import is_loopback
from tap_sequence.api.byte_budget import Reserve, unbounded
from tap_sequence.api.connections import DEADLINE, BoundedAdapter, Deadline
from tap_sequence.api.failures import classify
from tap_sequence.api.headers import parse_http_date
from tap_sequence.api.responses import Response
from tap_sequence.sync.timestamps import MICROSECONDS

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

MAX_BODY_BYTES = 16 * 2**20
"""Maximum size of a body once decompressed. A full page of logs has some hundred kilobytes."""

_MAX_ERROR_BODY_BYTES = 2**20
_CHUNK_BYTES = 2**16

# urllib3 warns, with a traceback for each response, of malformed headers and of certificates that are not trusted. The tap
# copes with the former and reports the latter itself.
logging.getLogger("urllib3.connection").setLevel(logging.ERROR)


class Transport:
    """Sends requests with the credentials. Thread-safe.

    TLS certificates are always verified: with requests' own bundle of authorities, or the one that REQUESTS_CA_BUNDLE or
    CURL_CA_BUNDLE names. Proxies are those of HTTPS_PROXY, ALL_PROXY and NO_PROXY.

    Args:
        base_url: Base URL of the API.
        credentials: Client id and client secret.
        headers: Headers of each request.
        timeout: Timeout of a request in seconds, from sending it to the last byte of the response.
        now: Clock, in seconds since 1970.
        monotonic: Monotonic clock, in seconds.
    """

    def __init__(  # noqa: PLR0913  # each is named
        self,
        *,
        base_url: str,
        credentials: tuple[str, str],
        headers: Mapping[str, str],
        timeout: float,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        # As bytes, because requests would encode text as Latin-1. With `auth` set, requests ignores .netrc.
        client_id, client_secret = credentials
        self._auth = HTTPBasicAuth(client_id.encode(), client_secret.encode())
        # A proxy between this machine and itself would see the credentials unencrypted.
        self._trusts_environment = not is_loopback(urlsplit(base_url).hostname)
        self._headers = headers
        self._timeout = timeout
        self._now = now
        self._monotonic = monotonic
        # A session serves one request at a time: requests does not promise that sessions are thread-safe.
        self._idle: SimpleQueue[requests.Session] = SimpleQueue()

    def get(
        self, url: str, parameters: Mapping[str, Any] | None = None, reserve: Reserve = unbounded
    ) -> Response:
        """Send one GET request, without following redirects. Nothing of it is left running afterwards.

        Args:
            url: URL to request.
            parameters: Query parameters; those that are None are left out.
            reserve: Called with the size of each piece of the body before it is kept; may raise.

        Raises:
            TransientRequestError: There was no complete response in time; a retry may succeed.
            UnanswerableError: No retry can succeed.
        """
        try:
            session = self._idle.get_nowait()
        except Empty:
            session = self._new_session()
        DEADLINE.set(Deadline(self._timeout, self._monotonic))
        try:
            response = self._exchange(session, url, parameters, reserve)
        except Exception as error:
            session.close()
            failure = classify(error, url, self._timeout)
            if failure is None:
                raise
            raise failure from error
        self._idle.put(session)
        return response

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
        self, session: requests.Session, url: str, parameters: Mapping[str, Any] | None, reserve: Reserve
    ) -> Response:
        given = {name: value for name, value in (parameters or {}).items() if value is not None}
        sent_at, started = self._now(), self._monotonic()
        try:
            # Encoded here, because requests takes long to find out what kind of mapping it was given.
            response = session.get(
                url, params=urlencode(given), timeout=self._timeout, allow_redirects=False, stream=True
            )
        except TypeError as error:
            # requests raises it for a proxy without a host (http://me:pw@).
            raise requests.exceptions.InvalidURL from error
        with response:
            seconds = self._monotonic() - started
            date = parse_http_date(response.headers.get("Date", ""))
            if date is not None:
                # Either clock may be ahead. A time that is too late could make a run skip a log that becomes visible
                # afterwards. Date is truncated to the second and written after the request arrived, so this errs early.
                sent_at = min(sent_at, date - seconds)
            body, is_too_large = _read_body(response, reserve)
        asked_at = math.floor(sent_at * MICROSECONDS)
        return Response(response.status_code, response.headers, body, is_too_large, asked_at)


class _Session(requests.Session):
    """A session that ignores redirects: requests parses their targets even if it is not to follow them, and may fail."""

    @override
    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


def _read_body(response: requests.Response, reserve: Reserve) -> tuple[bytes, bool]:
    """Return the body, decompressed piece by piece, and whether it was cut off because it is too large."""
    is_page = response.status_code == HTTPStatus.OK
    limit = MAX_BODY_BYTES if is_page else _MAX_ERROR_BODY_BYTES
    body = bytearray()
    try:
        for chunk in response.iter_content(_CHUNK_BYTES):
            reserve(len(chunk))
            body += chunk
            if len(body) > limit:
                return bytes(memoryview(body)[:limit]), True
    except requests.exceptions.RequestException:
        # The status alone makes it an error; the body only explains it.
        if is_page:
            raise
    return bytes(body), False
