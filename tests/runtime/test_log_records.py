"""Every handler gets clean log records, and no text from outside controls the terminal."""

from __future__ import annotations

import http.client
import json
import logging
import socketserver
import time
import unicodedata
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tap_sequence.runtime.log_records import CleaningFactory, clean_log_records
from tap_sequence.simulator import Fault, Options, SimulatedApi, Simulator
from tap_sequence.text.redaction import MASK, excerpt
from tests.support.harness import (
    config_for,
    run_command,
    run_here,
    run_process,
    run_with_env_file,
)
from tests.support.raw_server import answering, collecting, response

CLIENT_ID, CLIENT_SECRET = "qzvk-0147", 'wXq"Jz\\vK9+x'
BASIC = b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
ECHO = f"{CLIENT_ID} {CLIENT_SECRET} {BASIC} ada@example.com"
TERMINAL = "\x1b]0;own\x07\x1b[2J\u202egnp\u2066\u200b\x9b"

Simulate = Callable[..., Simulator]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    api = SimulatedApi(credentials=(CLIENT_ID, CLIENT_SECRET))
    api.store.grow(300)
    with Simulator(api) as simulator:
        yield simulator


def assert_clean(text: str) -> None:
    for hidden in (
        CLIENT_ID,
        CLIENT_SECRET,
        json.dumps(CLIENT_SECRET)[1:-1],
        BASIC,
        "wXq",
        "vK9+",
        "example.com",
    ):
        assert hidden not in text, hidden


def assert_printable(text: str) -> None:
    odd = {character for character in text if not character.isprintable() and character != "\n"}
    assert {unicodedata.name(character, hex(ord(character))) for character in odd} == set()


def logging_config(folder: Path, handlers: dict[str, Any]) -> dict[str, str]:
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"structured": {"()": "singer_sdk.logging.StructuredFormatter"}},
        "handlers": handlers,
        "root": {"level": "DEBUG", "handlers": list(handlers)},
    }
    path = folder / "logging.json"  # JSON is YAML.
    path.write_text(json.dumps(config))
    return {"SINGER_SDK_LOG_CONFIG": str(path)}


def test_network_handlers_send_clean_records(simulator: Simulator, tmp_path: Path) -> None:
    simulator.api.options = Options(
        faults=[Fault.parse(f"1=error:500:{ECHO}"), Fault.parse(f"2-=error:404:{ECHO}")]
    )
    got = {name: bytearray() for name in ("socket", "datagram", "http")}
    config = config_for(simulator, client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    with ExitStack() as stack:
        tcp, udp = socketserver.ThreadingTCPServer, socketserver.ThreadingUDPServer
        ports = {
            "socket": stack.enter_context(collecting(tcp, got["socket"])),
            "datagram": stack.enter_context(collecting(udp, got["datagram"])),
            "http": stack.enter_context(collecting(tcp, got["http"], b"HTTP/1.0 204 X\r\n\r\n")),
        }
        handlers = {
            "socket": {
                "class": "logging.handlers.SocketHandler",
                "host": "127.0.0.1",
                "port": ports["socket"],
            },
            "datagram": {
                "class": "logging.handlers.DatagramHandler",
                "host": "127.0.0.1",
                "port": ports["datagram"],
            },
            "http": {
                "class": "logging.handlers.HTTPHandler",
                "host": f"127.0.0.1:{ports['http']}",
                "url": "/",
            },
            "console": {"class": "logging.StreamHandler", "formatter": "structured"},
        }
        run = run_process(tmp_path, config, env=logging_config(tmp_path, handlers))
        deadline = time.monotonic() + 10
        while not all(b"404" in data for data in got.values()) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert run.status == 1
    for data in got.values():
        text = data.decode("latin-1")
        assert "404" in text
        assert_clean(text)
    assert all(isinstance(json.loads(line), dict) for line in run.stderr.splitlines())
    assert '"exception"' in run.stderr
    assert_clean(run.stderr)


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_structured_lines_with_something_hidden_are_json(tmp_path: Path, level: str) -> None:
    body = json.dumps({"error": {"message": json.dumps({"a": f'"ada@example.com" {CLIENT_SECRET}"\n'})}})
    handlers = {"console": {"class": "logging.StreamHandler", "formatter": "structured", "level": level}}
    with answering(lambda _: response(404, body.encode(), f"X-Echo: {CLIENT_SECRET}\\")) as base_url:
        config = {"api_url": base_url, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        run = run_process(tmp_path, config, env=logging_config(tmp_path, handlers))
    lines = [json.loads(line) for line in run.stderr.splitlines()]
    assert any("<client_secret>" in line["message"] or "not shown" in line["message"] for line in lines)
    assert_clean(run.stderr)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has /dev/full")
def test_log_file_on_full_disk_reports_clean_records(simulator: Simulator, tmp_path: Path) -> None:
    simulator.api.options = Options(
        faults=[Fault.parse(f"1=error:500:{ECHO}"), Fault.parse(f"2-=error:404:{ECHO}")]
    )
    handlers = {"file": {"class": "logging.FileHandler", "filename": "/dev/full", "formatter": "structured"}}
    config = config_for(simulator, client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    run = run_process(tmp_path, config, env=logging_config(tmp_path, handlers))
    assert run.status == 1
    # The logging module reports the failure itself.
    assert "--- Logging error ---" in run.stderr
    assert "Arguments: " in run.stderr
    assert_clean(run.stderr)


def run_from_environment(folder: Path, variables: dict[str, str], *, in_file: bool) -> str:
    """Run the tap with wrong settings from the environment or a file `.env`; return its standard error."""
    logged = {"TAP_SEQUENCE_LOGLEVEL": "debug"}
    if in_file:
        lines = [f"{variable}={json.dumps(text)}" for variable, text in variables.items()]
        (folder / ".env").write_text("\n".join(lines))
        done = run_with_env_file(folder, "--config=ENV", env=logged)
    else:
        done = run_command(folder, "--config=ENV", env={**variables, **logged})
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


SECRETS = {"TAP_SEQUENCE_CLIENT_ID": CLIENT_ID, "TAP_SEQUENCE_CLIENT_SECRET": CLIENT_SECRET}


@pytest.mark.parametrize("known", [SECRETS, {}])
@pytest.mark.parametrize("in_file", [True, False])
def test_secret_in_a_number_variable_is_not_shown(
    tmp_path: Path,
    known: dict[str, str],
    in_file: bool,  # noqa: FBT001
) -> None:
    variables = {**known, "TAP_SEQUENCE_PAGE_SIZE": CLIENT_SECRET}
    stderr = run_from_environment(tmp_path, variables, in_file=in_file)
    assert "page_size (from TAP_SEQUENCE_PAGE_SIZE) must be an integer from 1 to 100" in stderr
    assert_clean(stderr)


@pytest.mark.parametrize(
    "name", ["START_DATE", "ENVIRONMENT", "STREAM_MAPS", "REQUEST_TIMEOUT_SECONDS", "API_URL", "ACTOR_EMAIL"]
)
def test_secret_in_another_variable_is_not_shown(tmp_path: Path, name: str) -> None:
    stderr = run_from_environment(tmp_path, {f"TAP_SEQUENCE_{name}": CLIENT_SECRET}, in_file=False)
    assert f"{name.lower()} " in stderr
    assert_clean(stderr)


def test_inline_config_is_not_shown(tmp_path: Path) -> None:
    inline = json.dumps({"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET})
    done = run_command(tmp_path, "--config", inline)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--config must be the name of a file" in done.stderr
    assert_clean(done.stderr)


def test_proxy_password_is_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    password = "Qz#kWv%Jx"
    config = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "retry_budget_seconds": 0}
    authorization = b64encode(f"me:{password}".encode()).decode()

    def respond(headers: dict[str, str]) -> bytes:
        return response(407, b"", f"X-Echo: {headers.get('proxy-authorization')} {password}")

    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with answering(respond) as base_url:
        proxy = base_url.removesuffix("/api").replace("//", "//me:Qz%23kWv%25Jx@")
        env = {"HTTPS_PROXY": proxy, "TAP_SEQUENCE_LOGLEVEL": "debug", "NO_PROXY": "", "no_proxy": ""}
        run = run_process(tmp_path, {**config, "api_url": "https://sequence.invalid/api"}, env=env)
    assert run.status == 1
    for part in (password, "Qz%23", "kWv", authorization):
        assert part not in run.stderr


# Terminals


@pytest.mark.parametrize(
    ("settings", "state"),
    [
        ({f"page_size{TERMINAL}": 1}, None),
        ({"environment": TERMINAL}, None),
        ({"api_url": f"https://{TERMINAL}/"}, None),
        ({}, {"bookmarks": {"activity_logs": {f"x{TERMINAL}": 1}}}),
        ({}, {"bookmarks": {f"other{TERMINAL}": {"partitions": 7}}}),
        ({}, {"bookmarks": {f"other{TERMINAL}": {}}}),
    ],
)
def test_settings_and_state_write_no_control_characters(
    simulate: Simulate, tmp_path: Path, settings: dict[str, Any], state: dict[str, Any] | None
) -> None:
    config = config_for(simulate(3), retry_budget_seconds=0, **settings)
    run = run_process(tmp_path, config, state=state)
    assert run.errors or run.warnings
    assert_printable(run.stderr)


def test_saved_cursor_writes_no_control_characters(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(3)
    state = run_here(config_for(simulator)).state
    state["bookmarks"]["activity_logs"]["cursor"] = f"c{TERMINAL}"
    run = run_process(tmp_path, config_for(simulator), state=state)
    assert run.warnings
    assert_printable(run.stderr)


def log_page(**fields: Any) -> bytes:
    log = {"id": f"id{TERMINAL}", "createdAt": "2026-01-01T00:00:00Z", **fields}
    page = {"items": [log], "pagination": {"after": f"c{TERMINAL}"}}
    return response(200, json.dumps(page).encode(), "Content-Type: application/json")


@pytest.mark.parametrize(
    "body",
    [
        log_page(),
        log_page(createdAt=TERMINAL),
        log_page(**{f"new{TERMINAL}": 1}),
        response(404, json.dumps({"error": {"type": TERMINAL, "message": TERMINAL}}).encode()),
        response(200, TERMINAL.encode(), "Content-Type: text/\x1b[2Jhtml"),
        response(302, b"", f"Location: https://{TERMINAL}.example/"),
    ],
)
def test_response_writes_no_control_characters(tmp_path: Path, body: bytes) -> None:
    with answering(lambda _: body) as base_url:
        config = {"api_url": base_url, "client_id": "i", "client_secret": "s", "retry_budget_seconds": 0}
        run = run_process(tmp_path, config, env={"TAP_SEQUENCE_LOGLEVEL": "debug"})
        test = run_process(tmp_path, config, "--test")
    assert run.stderr
    assert test.stderr
    assert_printable(run.stderr + test.stderr)


def test_header_without_colon_is_not_logged(simulate: Simulate, tmp_path: Path) -> None:
    api = simulate(300).api

    def respond(_: dict[str, str]) -> bytes:
        page = api.respond("/api/activity-logs", {"limit": "1"}, {"authorization": "Basic ZGVtbzpkZW1v"})
        return response(page.status, page.body, "Content-Type: application/json", "no colon in this", "X: y")

    with answering(respond) as base_url:
        config = {
            "api_url": base_url,
            "client_id": "demo",
            "client_secret": "demo",
            "retry_budget_seconds": 0,
        }
        run = run_process(tmp_path, config)
    assert "Traceback" not in run.stderr
    assert "no colon in this" not in run.stderr
    assert "parse headers" not in run.stderr


def test_cookies_are_not_sent_back(simulate: Simulate, tmp_path: Path) -> None:
    api = simulate(300).api
    seen: list[dict[str, str]] = []

    def respond(headers: dict[str, str]) -> bytes:
        seen.append(headers)
        page = api.respond(
            "/api/activity-logs", {"limit": "100"}, {"authorization": headers["authorization"]}
        )
        cookies = [f"Set-Cookie: c{len(seen)}-{number}={'x' * 2000}" for number in range(20)]
        return response(page.status, page.body, "Content-Type: application/json", *cookies)

    with answering(respond) as base_url:
        run_process(tmp_path, {"api_url": base_url, "client_id": "demo", "client_secret": "demo"})
    assert len(seen) > 1
    assert not any("cookie" in headers for headers in seen)


# Records


@pytest.fixture
def factory() -> Iterator[None]:
    before = logging.getLogRecordFactory()
    MASK.add({"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET})
    clean_log_records()
    yield
    logging.setLogRecordFactory(before)


def record_of(logger: str, level: int, msg: object, *args: object, **more: Any) -> logging.LogRecord:
    return logging.getLogger(logger).makeRecord(
        logger, level, "p", 1, msg, args, more.pop("exc_info", None), **more
    )


@pytest.mark.usefixtures("factory")
def test_clean_record_keeps_its_arguments() -> None:
    record = record_of("tap-sequence", logging.INFO, "%s of %d", "a page", 7)
    assert (record.msg, record.args) == ("%s of %d", ("a page", 7))


@pytest.mark.usefixtures("factory")
@pytest.mark.parametrize("level", [logging.DEBUG, logging.ERROR])
@pytest.mark.parametrize("logger", ["tap-sequence", "urllib3.connection"])
def test_unformattable_record_shows_no_arguments(logger: str, level: int) -> None:
    class Broken:
        def __str__(self) -> str:
            raise ValueError(CLIENT_SECRET)

    for args in (("a", CLIENT_SECRET), (Broken(),), ({"k": CLIENT_SECRET}, 1)):
        record = record_of(logger, level, "%d", *args)
        assert CLIENT_SECRET not in repr(vars(record))
        assert "cannot be formatted" in record.getMessage()


@pytest.mark.usefixtures("factory")
def test_exception_keeps_name_traceback_and_causes() -> None:
    def fail() -> None:
        try:
            raise http.client.BadStatusLine(CLIENT_SECRET)
        except http.client.HTTPException as error:
            msg = f"at {CLIENT_SECRET[:5]}"
            raise ValueError(msg) from error

    with pytest.raises(ValueError, match="at ") as caught:
        fail()
    error = caught.value
    info = (type(error), error, error.__traceback__)
    record = record_of("tap-sequence", logging.ERROR, "It failed", exc_info=info)
    text = logging.Formatter().format(record)
    assert "in fail" in text
    assert "http.client.BadStatusLine: " in text
    assert "ValueError: (8 characters, not shown" in text
    assert "direct cause" in text
    assert_clean(text)
    assert CLIENT_SECRET[:4] not in text


@pytest.mark.usefixtures("factory")
def test_own_message_is_readable_whatever_the_secret() -> None:
    MASK.add({"client_secret": "page-sequence-http-value-error"})
    msg = (
        "Sequence could not be read at %s: %s. Look at client_secret, page_size and the value of http_proxy."
    )
    record = record_of("tap-sequence", logging.WARNING, msg, "page 7", "a value")
    assert record.getMessage().startswith("Sequence could not be read at (6 characters, not shown")
    assert record.getMessage().endswith("Look at client_secret, page_size and the value of http_proxy.")


def test_clean_log_records_twice_installs_one_factory() -> None:
    before = logging.getLogRecordFactory()
    try:
        clean_log_records()
        once = logging.getLogRecordFactory()
        clean_log_records()
        assert isinstance(once, CleaningFactory)
        assert logging.getLogRecordFactory() is once
    finally:
        logging.setLogRecordFactory(before)


def test_cursor_and_id_close_to_the_client_id_are_shown() -> None:
    """A UUIDv7 starts with the time; only those of the same minute share eight digits."""
    MASK.add({"client_id": "019e6eb6-db30-7cf2-8017-06a5a2859e13", "client_secret": "wXqJzvK9x"})
    log_id = "019e6eb9-1c44-7d01-9a3e-5b8f0c7d2e61"
    for text in (log_id, b64encode(log_id.encode()).decode()):
        assert excerpt(text) == text
