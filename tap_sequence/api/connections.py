"""HTTP connections with one deadline for a whole request: connecting, headers and body.

A socket's timeout applies to each operation, so a server that sends a byte now and then, or one `100 Continue` after
another, could hold a request forever. Here each operation may take only the time that is left until the deadline.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import LocationParseError, NameResolutionError, NewConnectionError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

MAX_INTERIM_RESPONSES = 20
"""Maximum number of interim responses (such as `103 Early Hints`) before the final one."""

_INTERIM = range(102, 200)  # 101 would change the protocol, which is never requested.


class DeadlineError(TimeoutError):
    """The deadline has passed."""


class TunnelError(OSError):
    """The proxy did not connect: it responded with a status other than 2xx."""


class ProxyRefusedError(TunnelError):
    """The proxy refused to connect (401, 403 or 407): it does not accept this user, or does not allow this host."""


class InterimResponsesError(http.client.HTTPException):
    """There were too many interim responses."""


class Deadline:
    """A point in time by which a request must be complete.

    Args:
        seconds: Seconds from now.
        monotonic: Monotonic clock, in seconds.
    """

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._at = monotonic() + seconds

    def remaining(self) -> float:
        """Return how many seconds are left, always more than 0.

        Raises:
            DeadlineError: The deadline has passed.
        """
        seconds = self._at - self._monotonic()
        if seconds <= 0:
            raise DeadlineError
        return seconds


DEADLINE: ContextVar[Deadline] = ContextVar("DEADLINE")
"""Deadline of the current request of this thread. Set it before each request."""


class _Reader(io.RawIOBase):
    """Reads from a socket until the deadline."""

    def __init__(self, inner: io.RawIOBase, sock: socket.socket, deadline: Deadline) -> None:
        self._inner = inner
        self._sock = sock
        self._deadline = deadline

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: WriteableBuffer) -> int | None:
        self._sock.settimeout(self._deadline.remaining())
        try:
            return self._inner.readinto(buffer)
        except TimeoutError as error:
            raise DeadlineError from error

    @override
    def close(self) -> None:
        self._inner.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Reader(self.fp.detach(), sock, DEADLINE.get()))

    # http.client skips only `100 Continue`, and any number of them.
    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(MAX_INTERIM_RESPONSES):
            version, status, reason = super()._read_status()  # type: ignore[misc]  # not in typeshed
            if status != HTTPStatus.CONTINUE and status not in _INTERIM:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise InterimResponsesError


class _BoundedConnection(HTTPConnection):
    response_class = _Response

    @override
    def _new_conn(self) -> socket.socket:
        deadline = DEADLINE.get()
        problem: OSError | None = None
        try:
            addresses = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except UnicodeError as error:
            raise LocationParseError(self.host) from error
        for family, kind, protocol, _, address in addresses:
            sock = None
            try:
                sock = socket.socket(family, kind, protocol)
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                sock.settimeout(deadline.remaining())
                sock.connect(address)
            except OSError as error:
                if sock is not None:
                    sock.close()
                problem = DeadlineError() if type(error) is TimeoutError and not error.errno else error
            else:
                return sock
        raise NewConnectionError(self, str(problem)) from problem

    def _tunnel(self) -> None:
        try:
            super()._tunnel()
        except OSError as error:
            found = re.search(r"failed: (\d{3})", str(error))
            if found is None:
                raise
            status = int(found[1])
            refuses = {
                HTTPStatus.UNAUTHORIZED,
                HTTPStatus.FORBIDDEN,
                HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
            }
            kind = ProxyRefusedError if status in refuses else TunnelError
            raise kind(None, f"status {status}") from error


class _BoundedHTTPSConnection(_BoundedConnection, HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _BoundedConnection


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _BoundedHTTPSConnection


_POOLS = {"http": _Pool, "https": _HTTPSPool}


class BoundedAdapter(HTTPAdapter):
    """Makes a requests session keep to the DEADLINE of its thread."""

    @override
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    @override
    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        # Other kinds of proxies connect in their own way.
        if type(manager) is urllib3.ProxyManager:
            manager.pool_classes_by_scheme = _POOLS
        return manager
