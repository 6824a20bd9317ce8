"""What is removed from log lines, and what is kept."""

from __future__ import annotations

import base64
import itertools
import json
import logging
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from singer_sdk.logging import ConsoleFormatter, StructuredFormatter

from tap_sequence.runtime.log_records import CleaningFactory
from tap_sequence.text.redaction import MASK, clean, without_emails
from tap_sequence.text.secret_mask import SecretMask

SECRET = 'tør/"k3n\\+ 100%'


def mask_of(**secrets: str) -> SecretMask:
    mask = SecretMask()
    mask.add(secrets)
    return mask


@pytest.mark.parametrize(
    "text",
    [
        "ada@example.com",
        "ada.l+x@mail.example.com",
        r"ada\u0040example.com",
        r"ada\\u0040example.com",
        r"ada\x40example.com",
        "ada%40example.com",
        "ada%2540example.com",
        "ada&#64;example.com",
        '"ada lovelace"@example.com',
        r"\"ada lovelace\"@example.com",
        "ada@münchen.example",
        "ADA%40EXAMPLE.COM",
        "ada@localhost",
    ],
)
def test_clean_address_in_any_spelling_is_removed(text: str) -> None:
    for sentence in (text, f"who: {text}.", f'{{"email":"{text}","n":1}}', f"/logs?actor={text}&x=1"):
        cleaned = clean(sentence).lower()
        assert "<e-mail>" in cleaned
        assert not any(part in cleaned for part in ("ada", "lovelace", "example", "localhost"))
    assert clean(f'{{"email":"{text}","n":1}}').endswith('","n":1}')


def test_without_emails_other_text_is_unchanged() -> None:
    for text in ("", "a @ b", "@override", "page 3 (ASC after cursor YWJj)", "100% of 40", "x = m @ n"):
        assert without_emails(text) == text


def test_clean_text_is_on_one_line() -> None:
    assert clean("a\nb\x1b[2Jc\u2028d") == "a b [2Jc d"


def test_clean_long_text_is_fast() -> None:
    began = time.perf_counter()
    for text in ("x" * 200_000, "x@" * 20_000, '"' * 50_000, "%4" * 50_000, "\\u004" * 20_000):
        clean(text)
    assert time.perf_counter() - began < 5


def test_mask_secret_in_any_spelling_is_replaced() -> None:
    mask = mask_of(client_id="the-id", client_secret=SECRET)
    basic = base64.b64encode(f"the-id:{SECRET}".encode()).decode()
    for text, masked in (
        (f"it is {SECRET}.", "it is <client_secret>."),
        (json.dumps({"a": SECRET}), '{"a": "<client_secret>"}'),
        (json.dumps({"a": SECRET}, ensure_ascii=False), '{"a": "<client_secret>"}'),
        (f"[{SECRET!r}]", "['<client_secret>']"),
        (f"?s={quote(SECRET, safe='')}", "?s=<client_secret>"),
        (f"Authorization: Basic {basic}", "Authorization: Basic <Authorization>"),
        ("who: the-id", "who: <client_id>"),
    ):
        assert mask.apply(text) == masked


def test_mask_overlapping_secrets_leaves_nothing() -> None:
    assert (
        mask_of(client_id="abcd", client_secret="abcd-efgh").apply("abcd-efgh abcd")
        == "<client_secret> <client_id>"
    )


def test_mask_short_secret_leaves_text_readable() -> None:
    mask = mask_of(client_id="a", client_secret="in")
    line = "reading again in a minute: page 1"
    assert mask.apply(line) == line
    assert mask.apply("client_id=a&x='in'") == "client_id=<client_id>&x='<client_secret>'"
    basic = base64.b64encode(b"a:in").decode()
    assert basic not in mask.apply(f"Basic {basic}")


def test_mask_empty_secret_changes_nothing() -> None:
    assert mask_of(client_id="", client_secret="").apply("a line") == "a line"


@pytest.mark.parametrize("inner", [ConsoleFormatter(), StructuredFormatter()])
def test_log_record_is_cleaned_with_arguments_and_traceback(inner: logging.Formatter) -> None:
    MASK.add({"client_id": "the-id", "client_secret": SECRET})
    error = ValueError(f"{SECRET} of ada@example.com")
    with pytest.raises(ValueError, match="of ada"):
        raise error
    info = (ValueError, error, error.__traceback__)
    record = CleaningFactory(logging.LogRecord)(
        "n", logging.ERROR, "p", 1, "for %s", (f"the-id, {SECRET}",), info
    )
    line = inner.format(record)
    assert "ValueError" in line
    assert "for <client_id>, <client_secret>" in line
    assert "<client_secret> of <e-mail>" in line
    assert "k3n" not in line
    assert "ada" not in line
    if isinstance(inner, StructuredFormatter):
        json.loads(line)


@pytest.mark.parametrize("inner", [ConsoleFormatter(), StructuredFormatter()])
def test_log_record_stays_on_one_line(inner: logging.Formatter) -> None:
    for logger in ("tap-sequence", "urllib3"):
        record = CleaningFactory(logging.LogRecord)(
            logger, logging.WARNING, "p", 1, "cursor %s", ("a\nb\u2028c\rd",), None
        )
        line = inner.format(record)
        assert "a b c d" in line
        assert len(line.splitlines()) == 1


def test_mask_secret_with_lone_surrogate_is_replaced() -> None:
    assert mask_of(client_id="an-id", client_secret="half\ud800").apply("half\ud800") == "<client_secret>"


# Every escape of JSON, its parts, and what is not escaped.
AROUND = [
    "",
    '"',
    "\\",
    '\\"',
    "\\\\",
    "/",
    "\b",
    "\f",
    "\n",
    "\r",
    "\t",
    "\x01",
    "\u00e9",
    "\ud800",
    "\U0001f600",
    "n",
    "u0041",
    " ",
]


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize(
    "hidden",
    [
        "ada@example.com",
        '"ada"@example.com',
        "@example.com",
        'wXq"Jz\\vK9+x',
        "nXqJzvK9",
        "u0041qJzv",
        '"XqJz"',
        "XqJz\\",
    ],
)
def test_json_with_something_hidden_stays_json(hidden: str, *, ascii_only: bool) -> None:
    mask = SecretMask()
    mask.add({"client_secret": hidden})
    for before, after in itertools.product(AROUND, AROUND):
        # The first character alone, escaped or not, must not be taken for part of the secret.
        for text in (hidden, hidden[1:]):
            # Twice encoded, as a JSON document within another.
            for value in (before + text + after, json.dumps([before + text + after, "b"])):
                line = json.dumps({"a": value, "b": [value, "c"]}, ensure_ascii=ascii_only)
                for shown in (mask.apply(line), without_emails(line), without_emails(mask.apply(line))):
                    assert json.loads(shown, strict=False)["b"][1] == "c", shown


def test_secrets_are_added_while_another_thread_uses_the_mask() -> None:
    interval = sys.getswitchinterval()
    mask = mask_of(client_secret="wXq8JzvK9s" * 9)

    def add() -> None:
        for number in range(30):
            mask.add({"client_secret": f"{number}tRb{number}" * 9})

    with ThreadPoolExecutor(1) as thread:
        sys.setswitchinterval(1e-5)
        try:
            added = thread.submit(add)
            while not added.done():
                assert not mask.holds_part("page 7 (ASC after cursor eyJpZCI6)")
        finally:
            sys.setswitchinterval(interval)
    added.result()
