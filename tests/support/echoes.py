"""Ways in which a response may repeat the request: encodings, cuts and places."""

from __future__ import annotations

import base64
import html
import json
import quopri
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from urllib.parse import quote

import msgspec

# Nothing of which a line has four in a row by itself: no digits, of which times are full.
LETTERS = "QXZJKVWqxzjkvw"
# For ids, of which seven may be shown: none that could look like four of a secret.
LETTERS_OF_IDS = "BDFGHLMNPRSTbdfghlmnprst"
SYMBOLS = "+/=_-.~!$%&@\\\"'<>#:;?*()[]{}|^` "
OTHERS = "\u00f8\u00e9\u0416\u4e2d\U0001f511"

Encoding = Callable[[str], str]


def _each(form: str) -> Encoding:
    return lambda text: "".join(form.format(ord(character)) for character in text)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _lines(text: str, width: int, between: str) -> str:
    return between.join(text[start : start + width] for start in range(0, len(text), width))


ENCODINGS: Sequence[Encoding] = (
    str,
    str,
    str.upper,
    str.lower,
    lambda text: quote(text, safe=""),
    lambda text: quote(text, safe="").lower(),
    lambda text: quote(quote(text, safe=""), safe=""),
    lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    html.escape,
    _each("&#{};"),
    _each("&#x{:X};"),
    _each("&#{:07d};"),
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(json.dumps(text))[1:-1],
    lambda text: text.replace("=", r"\u003d").replace("/", r"\/"),
    lambda text: "".join(rf"\u{unit:04x}" for unit in _utf16(text)),
    lambda text: "".join(rf"\x{byte:02x}" for byte in text.encode()),
    lambda text: "".join(rf"\{byte:03o}" for byte in text.encode()),
    repr,
    ascii,
    lambda text: quopri.encodestring(text.encode(), quotetabs=True).decode(),
    lambda text: "".join(f"={byte:02X}" for byte in text.encode()),
    _base64,
    lambda text: _base64(text).rstrip("="),
    lambda text: _base64(text).translate(str.maketrans("+/", "-_")),
    lambda text: _lines(_base64(text), 20, "\r\n"),
    lambda text: _lines(_base64(text), 7, r"\n"),
    lambda text: _lines(text, 5, "\n"),
    lambda text: _lines(text, 3, " \u200b"),
    lambda text: text.encode().hex(),
    lambda text: text.encode().hex(" ").upper(),
    lambda text: text.encode().decode("latin-1"),
    lambda text: _lines(text, 1, "\u200b"),
)


def _utf16(text: str) -> list[int]:
    data = text.encode("utf-16-be")
    return [int.from_bytes(data[start : start + 2], "big") for start in range(0, len(data), 2)]


def secret(random: Random, length: int, letters: str = LETTERS) -> str:
    """Return a secret of letters, and some signs that encodings treat in ways of their own."""
    alphabet = letters * 4 + random.choice(("", SYMBOLS, OTHERS, SYMBOLS + OTHERS))
    return "".join(random.choices(alphabet, k=length)).strip() or "QXZJ"


def echo(random: Random, secrets: Sequence[str]) -> str:
    """Return a text that holds a secret, or part of one: encoded, cut, and with something round it."""
    text = random.choice(secrets)
    for _ in range(random.choice((1, 1, 1, 2))):
        text = random.choice(ENCODINGS)(text)
    if random.random() < 0.5:
        start = random.randrange(len(text))
        text = text[start : start + random.randrange(1, len(text) + 1)]
    before = random.choice(
        ("", "Basic ", "no such key: ", '{"k":"', "x" * random.randrange(1, 400), "ada@example.com ")
    )
    # Around the place where a message is cut.
    padding = " ." * random.choice((0, 0, 0, 90, 98, 99, 700, 798, 799, 800))
    return (
        padding + before + text + random.choice(("", '"}', " is not valid", "y" * random.randrange(1, 400)))
    )


@dataclass(frozen=True)
class Reply:
    """What a server answers with."""

    status: int
    body: bytes
    headers: dict[str, str]


def _error(status: int) -> Callable[[str, str], Reply]:
    return lambda one, two: Reply(
        status,
        msgspec.json.encode({"error": {"type": one, "message": two}}),
        {"Content-Type": "application/json"},
    )


def _page(one: str, two: str, **changes: object) -> Reply:
    log = {"id": one, "createdAt": two, **changes}
    body = msgspec.json.encode({"items": [log], "pagination": {"after": one}})
    return Reply(200, body, {"Content-Type": "application/json"})


PLACES: Sequence[Callable[[str, str], Reply]] = (
    *(_error(status) for status in (400, 401, 403, 404, 429, 500)),
    lambda one, two: Reply(200, f"<html>{one}<b>{two}".encode(), {"Content-Type": "text/html"}),
    lambda one, two: Reply(200, f'{{"items": [{one!r}, {two}'.encode(), {"Content-Type": "application/json"}),
    lambda one, two: Reply(200, two.encode(), {"Content-Type": one}),
    lambda one, two: Reply(200, b"{}", {"Content-Type": one, "Sequence-Version": two}),
    lambda one, two: Reply(302, b"", {"Location": f"https://{one}.example/{two}"}),
    lambda one, two: Reply(302, b"", {"Location": one, "X-Other": two}),
    _page,
    lambda one, two: _page(one, "2026-01-01T00:00:00Z", **{two: 1}),
    lambda one, two: _page(f"an-id-{one}"[:5], two),
)
"""Places in which it may stand, for two texts."""
