"""Faults by request number: how a network, a gateway or an API can fail to respond.

Written `REQUESTS=FAULT`, with requests counted from 1: `3=500`, `2-4=429:1`, `5-=html`, `7=slow:2.5`.
"""

from __future__ import annotations

import dataclasses
import email.utils
import gzip
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self

import msgspec

HTML = b"<!DOCTYPE html><html><head><title>Maintenance</title></head><body>We'll be back soon!</body></html>"


@dataclass(frozen=True, slots=True)
class Response:
    """A response, and how it is sent.

    Attributes:
        status: HTTP status.
        body: The body as it is sent.
        headers: Headers in addition to those of every response.
        delay: Seconds to wait before it is sent.
        cut_at: Bytes of the body to send before the connection is closed; None sends all.
        reset: Whether the connection is reset rather than closed where it is cut.
        drip: Seconds between two bytes of the body; 0 sends it at once.
        drip_head: The same for the head.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    delay: float = 0.0
    cut_at: int | None = None
    reset: bool = False
    drip: float = 0.0
    drip_head: float = 0.0


def error_response(status: int, error_type: str, message: str, **headers: str) -> Response:
    """Return the API's error envelope (versioning page)."""
    body = msgspec.json.encode({"error": {"type": error_type, "message": message}})
    return Response(status, body, {"Content-Type": "application/json", **headers})


def _change(change: Callable[[Any], Any]) -> Callable[[Response, str], Response]:
    """Return a fault that changes the page; a page without anything to change stays as it is."""

    def fault(response: Response, _: str) -> Response:
        page = msgspec.json.decode(response.body)
        if "items" not in page:
            return response
        try:
            changed = change(page)
        except IndexError:
            return response
        return dataclasses.replace(response, body=msgspec.json.encode(page if changed is None else changed))

    return fault


def _change_text(placeholder: str, text: bytes) -> Callable[[Response, str], Response]:
    """Return a fault that puts text into the last log's metadata which no JSON encoder would write."""

    def fault(response: Response, _: str) -> Response:
        changed = _change(
            lambda page: page["items"][-1]["activityLogItems"][0].update(metadata=[placeholder])
        )
        response = changed(response, "")
        return dataclasses.replace(response, body=response.body.replace(f'"{placeholder}"'.encode(), text))

    return fault


def _compressed(response: Response, body: bytes) -> Response:
    return dataclasses.replace(response, body=body, headers={**response.headers, "Content-Encoding": "gzip"})


def _huge(response: Response, argument: str) -> Response:
    """Prefix the page with so many MiB of white space, which compresses to almost nothing."""
    compressor = zlib.compressobj(1, wbits=31)  # With the header of gzip.
    parts = [compressor.compress(b" " * 2**20) for _ in range(int(argument))]
    return _compressed(response, b"".join([*parts, compressor.compress(response.body), compressor.flush()]))


def _garble(body: bytes) -> bytes:
    """Compress, and corrupt the stream after its header."""
    compressed = gzip.compress(body)
    return compressed[:10] + bytes(byte ^ 0xFF for byte in compressed[10:])


def _error(_response: Response, argument: str) -> Response:
    """Return the API's error envelope with a status and a message (`STATUS:MESSAGE`)."""
    status, _, message = argument.partition(":")
    return error_response(int(status), "SimulatedFault", message)


def _too_many(_: Response, argument: str) -> Response:
    """Return a 429, with `Retry-After` in seconds, as a date (`date:SECONDS`), or without one."""
    headers = {}
    if argument.startswith("date:"):
        headers["Retry-After"] = email.utils.formatdate(
            email.utils.localtime().timestamp() + float(argument.removeprefix("date:")), usegmt=True
        )
    elif argument:
        headers["Retry-After"] = argument
    return error_response(HTTPStatus.TOO_MANY_REQUESTS, "TooManyRequests", "Rate limit exceeded", **headers)


FAULTS: Mapping[str, Callable[[Response, str], Response]] = {
    "429": _too_many,
    "slow": lambda response, seconds: dataclasses.replace(response, delay=float(seconds)),
    "reset": lambda response, _: dataclasses.replace(response, cut_at=0, reset=True),
    "reset-midway": lambda response, _: dataclasses.replace(
        response, cut_at=len(response.body) // 2, reset=True
    ),
    "cut": lambda response, _: dataclasses.replace(response, cut_at=len(response.body) // 2),
    "bad-gzip": lambda response, _: _compressed(response, _garble(response.body)),
    "short-gzip": lambda response, _: _compressed(response, gzip.compress(response.body)[:-20]),
    "huge": _huge,
    "drip": lambda response, seconds: dataclasses.replace(response, drip=float(seconds)),
    "drip-head": lambda response, seconds: dataclasses.replace(response, drip_head=float(seconds)),
    "error": _error,
    "html": lambda _, __: Response(HTTPStatus.OK, HTML, {"Content-Type": "text/html"}),
    "half-json": lambda response, _: dataclasses.replace(
        response, body=response.body[: len(response.body) // 2]
    ),
    "list": _change(lambda page: page["items"]),
    "null-items": _change(lambda page: page.update(items=None)),
    "no-pagination": _change(lambda page: {"items": page["items"]}),
    "empty-pagination": _change(lambda page: page.update(pagination={})),
    "no-after": _change(lambda page: page["pagination"].pop("after", None) and None),
    "empty-page": _change(lambda page: page.update(items=[])),
    "no-id": _change(lambda page: page["items"][-1].pop("id") and None),
    "null-created-at": _change(lambda page: page["items"][-1].update(createdAt=None)),
    "wrong-type": _change(lambda page: page["items"][-1]["activityLogItems"][0].update(verb=7)),
    "surrogate": _change_text("surrogate", rb'"\ud800"'),
    "endless-number": _change_text("endless number", b"1e9999999999999999999"),
    "deep": _change_text("deep", b"[" * 100_000 + b"]" * 100_000),
    "unknown-field": _change(lambda page: page["items"][0].update(brandNew={"a": 1})),
    "after": lambda response, cursor: _change(lambda page: page["pagination"].update(after=cursor))(
        response, ""
    ),
    "redirect": lambda _, target: Response(HTTPStatus.FOUND, b"", {"Location": target}),
    # Without text, the header is omitted.
    "date": lambda response, text: dataclasses.replace(response, headers={**response.headers, "Date": text}),
    "other-version": lambda response, version: dataclasses.replace(
        response, headers={**response.headers, "Sequence-Version": version}
    ),
}
"""Faults by name; each gets the text after its colon. Any other HTTP status is a fault by its number."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault for a range of requests.

    Attributes:
        first: Number of the first request, from 1.
        last: Number of the last, or None for all that follow.
        name: Name in FAULTS, or an HTTP status.
        argument: The text after the name's colon.
    """

    first: int
    last: int | None
    name: str
    argument: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `REQUESTS=FAULT[:ARGUMENT]`.

        Raises:
            ValueError: The text is not a fault.
        """
        msg = (
            f"{text!r} is not a fault; write REQUESTS=FAULT, such as 3=500, 2-4=429:1 or 5=slow:2.5, with one of "
            + ", ".join(FAULTS)
        )
        match = re.fullmatch(r"(\d+)(-(\d*))?=([\w-]+)(?::(.*))?", text)
        if match is None or not (match[4] in FAULTS or re.fullmatch(r"[345]\d\d", match[4])):
            raise ValueError(msg)
        last = int(match[3]) if match[3] else None if match[2] else int(match[1])
        fault = cls(int(match[1]), last, match[4], match[5] or "")
        try:
            # Applied here, so that a bad argument is reported now rather than during a request.
            fault.apply(Response(HTTPStatus.OK, b"{}"))
        except ValueError:
            raise ValueError(msg) from None
        return fault

    def applies_to(self, number: int) -> bool:
        """Return whether it applies to a request."""
        return number >= self.first and (self.last is None or number <= self.last)

    def apply(self, response: Response) -> Response:
        """Return the response in place of `response`."""
        if self.name in FAULTS:
            return FAULTS[self.name](response, self.argument)
        return error_response(int(self.name), "SimulatedFault", f"simulated status {self.name}")
