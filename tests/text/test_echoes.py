"""A response that echoes the request shows no part of a secret in any log line, whatever the handler."""

from __future__ import annotations

import http.client
import io
import logging
import logging.handlers
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlencode

import pytest
from singer_sdk.logging import ConsoleFormatter, StructuredFormatter

from tap_sequence.api.client import SequenceClient
from tap_sequence.api.decoder import PageDecoder
from tap_sequence.api.responses import Response
from tap_sequence.api.schemas import ACTIVITY_LOGS_SCHEMA
from tap_sequence.catalog import ACTIVITY_LOGS
from tap_sequence.errors import TapSequenceError
from tap_sequence.runtime.log_records import clean_log_records
from tap_sequence.settings import CONFIG_JSONSCHEMA, fill_defaults, settings_of
from tap_sequence.sync.models import PageRequest, SortOrder
from tap_sequence.text.redaction import MASK
from tap_sequence.text.secret_mask import SecretMask
from tests.conftest import count
from tests.support.echoes import LETTERS_OF_IDS, PLACES, Reply, echo, secret
from tests.support.harness import run_process
from tests.support.raw_server import answering
from tests.support.raw_server import response as raw_response

SEED = 20261126
SHORTEST = 4


def parts_of(value: str, length: int = SHORTEST) -> set[str]:
    return {value[start : start + length] for start in range(len(value) - length + 1)}


def shown_parts(output: str, value: str, length: int = SHORTEST) -> set[str]:
    """Return the parts of a secret that are readable in an output, with or without escapes."""
    undone = re.sub(r"\\u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), output.replace("\\\\", "\\"))
    return {
        part for part in parts_of(value, length) if part in output or part in undone or part.lower() in output
    }


class Sinks:
    """All kinds of handlers, and what they wrote or sent."""

    def __init__(self) -> None:
        self.console, self.structured = io.StringIO(), io.StringIO()
        self.sent: list[str] = []
        plain = logging.StreamHandler(self.console)
        plain.setFormatter(ConsoleFormatter())
        structured = logging.StreamHandler(self.structured)
        structured.setFormatter(StructuredFormatter())
        self.handlers: list[logging.Handler] = [plain, structured, self._over_http(), self._over_socket()]

    def _over_http(self) -> logging.Handler:
        handler = logging.handlers.HTTPHandler("127.0.0.1:1", "/")

        def emit(record: logging.LogRecord) -> None:
            self.sent += [urlencode(handler.mapLogRecord(record)), repr(handler.mapLogRecord(record))]

        setattr(handler, "emit", emit)  # noqa: B010  # no network
        return handler

    def _over_socket(self) -> logging.Handler:
        handler = logging.handlers.SocketHandler("127.0.0.1", 1)

        def send(data: bytes) -> None:
            self.sent.append(repr(pickle.loads(data[4:])))

        setattr(handler, "send", send)  # noqa: B010  # no network
        return handler

    def take(self) -> str:
        text = "\n".join([self.console.getvalue(), self.structured.getvalue(), *self.sent])
        for stream in (self.console, self.structured):
            stream.seek(0)
            stream.truncate()
        self.sent.clear()
        return text


@contextmanager
def logging_to(sinks: Sinks) -> Iterator[logging.Logger]:
    factory = logging.getLogRecordFactory()
    logger = logging.getLogger("tap-sequence.echoes")
    logger.propagate, logger.handlers = False, list(sinks.handlers)
    logger.setLevel(logging.DEBUG)
    try:
        clean_log_records()
        yield logger
    finally:
        logging.setLogRecordFactory(factory)
        logger.handlers.clear()


def client_for(logger: logging.Logger, reply: Reply) -> SequenceClient:
    config: dict[str, Any] = {"client_id": "i", "client_secret": "s", "retry_budget_seconds": 0}
    fill_defaults(config, CONFIG_JSONSCHEMA)
    client = SequenceClient(
        base_url="http://127.0.0.1:1",
        credentials=("i", "s"),
        settings=settings_of(config),
        endpoint=ACTIVITY_LOGS,
        decoder=PageDecoder(ACTIVITY_LOGS_SCHEMA, logger),
        logger=logger,
        sleep=lambda _: None,
    )
    # Headers come as http.client reads them.
    headers = http.client.parse_headers(
        io.BytesIO(
            b"".join(
                f"{name}: {value}\r\n".encode(errors="replace").replace(b"\n", b" ") + b"\n"
                for name, value in reply.headers.items()
            )
            + b"\r\n"
        )
    )
    response = Response(reply.status, dict(headers.items()), reply.body, is_too_large=False, asked_at=0)
    setattr(client._transport, "get", lambda *_: response)  # noqa: B010
    return client


def try_echoes(number: int, seed: int) -> None:
    random = Random(seed)
    sinks = Sinks()
    written = hidden = 0
    with logging_to(sinks) as logger:
        for example in range(number):
            client_id = secret(random, random.randint(8, 48), LETTERS_OF_IDS).replace(":", "")
            client_secret = secret(random, random.randint(4, 48))
            vars(MASK).update(vars(SecretMask()))
            MASK.add({"client_id": client_id, "client_secret": client_secret})
            said = [echo(random, [client_secret, f"{client_id}:{client_secret}"]) for _ in range(2)]
            client = client_for(logger, random.choice(PLACES)(*said))
            cursor = random.choice([None, said[0]])
            try:
                client.fetch(PageRequest(SortOrder.ASCENDING, cursor, 1))
            except TapSequenceError as error:
                # As the command line does, and as it does at debug level.
                logger.log(logging.ERROR, str(error))
                logger.log(logging.ERROR, "Once more", exc_info=error)
            except (ValueError, TypeError) as error:
                logger.log(logging.ERROR, "Unexpected", exc_info=error)
            logger.warning("Saved cursor %s was rejected (%s)", said[0], ValueError(said[1]))
            logger.debug("Anything: " + said[1])  # noqa: G003
            logger.info("With more", extra={"more": said[0], "much": {"a": [said[1]]}})
            output = sinks.take()
            written += 1
            hidden += "not shown" in output
            shown = shown_parts(output, client_secret) | shown_parts(output, client_id, 8)
            assert not shown, f"{shown} of {client_secret!r} or {client_id!r} in example {example}: {output}"
    count(f"echoes tried with seed {seed}", number)
    assert hidden > number / 4


def test_echoed_secret_shows_no_four_characters() -> None:
    try_echoes(80, SEED)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(4))
def test_echoed_secret_shows_no_four_characters_in_6_000_more(seed: int) -> None:
    try_echoes(1_500, SEED + 1 + seed)


def run_with_echo(folder: Path, place: int, seed: int, level: str) -> None:
    random = Random(seed)
    client_id = secret(random, 20, LETTERS_OF_IDS).replace(":", "")
    client_secret = secret(random, 28)
    said = [echo(random, [client_secret, f"{client_id}:{client_secret}"]) for _ in range(2)]
    reply = PLACES[place](*said)
    headers = [
        f"{name}: {value}".replace("\r", "").replace("\n", " ") for name, value in reply.headers.items()
    ]
    with answering(lambda _: raw_response(reply.status, reply.body, *headers)) as base_url:
        config = {
            "api_url": base_url,
            "client_id": client_id,
            "client_secret": client_secret,
            "retry_budget_seconds": 0,
        }
        run = run_process(folder, config, env={"TAP_SEQUENCE_LOGLEVEL": level})
    assert not shown_parts(run.stderr, client_secret), (place, seed, said)
    assert not shown_parts(run.stderr, client_id, 8), (place, seed, said)
    assert len(run.errors) == run.status


@pytest.mark.parametrize("place", range(0, len(PLACES), 4))
def test_process_shows_no_four_characters(tmp_path: Path, place: int) -> None:
    run_with_echo(tmp_path, place, SEED + place, "debug")


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("level", ["info", "debug"])
def test_process_shows_no_four_characters_in_any_place(tmp_path: Path, level: str) -> None:
    for place in range(len(PLACES)):
        for seed in range(4):
            run_with_echo(tmp_path, place, SEED + 100 * seed + place, level)
