"""The command line: its output, failures and exit statuses."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shlex
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tap_sequence.api.schemas import SCHEMAS
from tap_sequence.settings import CONFIG_JSONSCHEMA
from tap_sequence.simulator import Simulator
from tap_sequence.singer.tap import SequenceTap
from tests.support.harness import (
    TAP,
    command_arguments,
    config_for,
    discover,
    environment,
    run_command,
    run_process,
    start_tap,
)

Simulate = Callable[..., Simulator]

SECRET = "s3cr3t-Value"
CREDENTIALS = {"client_id": "an-id", "client_secret": SECRET}

BAD_SETTINGS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "client_id", "missing"),
    ({"client_id": "an-id"}, "client_secret", "missing"),
    ({"client_id": "an-id", "client_secret": ""}, "client_secret", "missing"),
    ({"client_id": "an-id", "client_secret": 12345}, "client_secret", "a text"),
    ({"client_id": "an-id", "client_secret": SECRET + "\n"}, "client_secret", "white space"),
    ({"client_id": "an:id", "client_secret": SECRET}, "client_id", "colon"),
    ({**CREDENTIALS, "environment": "staging"}, "environment", "production, sandbox, demo"),
    ({**CREDENTIALS, "page_size": 0}, "page_size", "1 to 100"),
    ({**CREDENTIALS, "page_size": 101}, "page_size", "1 to 100"),
    ({**CREDENTIALS, "page_size": "many"}, "page_size", "1 to 100"),
    ({**CREDENTIALS, "page_size": True}, "page_size", "1 to 100"),
    ({**CREDENTIALS, "start_date": "yesterday"}, "start_date", "ISO 8601"),
    ({**CREDENTIALS, "start_date": 20260101}, "start_date", "a text"),
    ({**CREDENTIALS, "lookback_seconds": -1}, "lookback_seconds", "0 to 86400"),
    ({**CREDENTIALS, "requests_per_minute": 0}, "requests_per_minute", "1 to 60000"),
    ({**CREDENTIALS, "request_timeout_seconds": 0}, "request_timeout_seconds", "above 0"),
    ({**CREDENTIALS, "retry_budget_seconds": "nan"}, "retry_budget_seconds", "0 to 86400"),
    ({**CREDENTIALS, "retry_budget_seconds": -1}, "retry_budget_seconds", "0 to 86400"),
    ({**CREDENTIALS, "api_url": "http://eu.sequencehq.com/api"}, "api_url", "https"),
    ({**CREDENTIALS, "api_url": "http://127.0.0.1.example.com/api"}, "api_url", "https"),
    ({**CREDENTIALS, "api_url": "eu.sequencehq.com"}, "api_url", "https://"),
    ({**CREDENTIALS, "api_url": "https://me:pw@eu.sequencehq.com"}, "api_url", "credentials"),
    ({**CREDENTIALS, "api_url": "http://[::1"}, "api_url", "not a valid URL"),
    ({**CREDENTIALS, "api_url": "https://127.0.0.1:99999"}, "api_url", "not a valid URL"),
    ({**CREDENTIALS, "api_url": "https://a..b"}, "api_url", "valid host"),
    ({**CREDENTIALS, "api_url": "https://ex ample.com"}, "api_url", "not contain a space"),
    ({**CREDENTIALS, "api_url": "https://\N{SNOWMAN}.invalid"}, "api_url", "valid host"),
    ({**CREDENTIALS, "api_url": f"https://{'a' * 64}.com"}, "api_url", "valid host"),
    ({**CREDENTIALS, "page_size": float("nan")}, "page_size", "NaN"),
    ({**CREDENTIALS, "flattening_max_depth": float("inf")}, "flattening_max_depth", "Infinity"),
    ({**CREDENTIALS, "user_agent": "me\r\nX-Header: yes"}, "user_agent", "ASCII"),
    ({**CREDENTIALS, "api_version": "\u00e9"}, "api_version", "ASCII"),
    ({**CREDENTIALS, "actor_email": "Hash"}, "actor_email", "keep, hash, drop"),
    ({**CREDENTIALS, "actor_email": "hash", "actor_email_salt": ""}, "actor_email_salt", "not empty"),
    ({**CREDENTIALS, "actor_email_salt": 12345}, "actor_email_salt", "a text"),
    ({**CREDENTIALS, "actor_email": "hash", "actor_email_salt": SECRET + "\n"}, "actor_email_salt", "white"),
    (
        {**CREDENTIALS, "actor_email": "hash", "actor_email_salt": SECRET + "\ud800"},
        "actor_email_salt",
        "half",
    ),
    ({**CREDENTIALS, "page_sise": 50}, "page_sise", "did you mean page_size"),
    ({**CREDENTIALS, "batch_config": {}}, "batch_config", "not a setting"),
]


def _assert_one_line(stderr: str, *words: str) -> None:
    errors = [line for line in stderr.splitlines() if "ERROR" in line]
    assert len(errors) == 1, stderr
    assert all(word in errors[0] for word in words), errors
    assert "Traceback" not in stderr
    assert SECRET not in stderr


@pytest.mark.parametrize(("config", "key", "allowed"), BAD_SETTINGS)
def test_bad_setting_is_named_with_its_allowed_values_before_any_request(
    config: dict[str, Any], key: str, allowed: str, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = _run_cli(tmp_path, config)
    assert run.value.code == 1
    _assert_one_line(capfd.readouterr().err, key, allowed)


def _run_cli(folder: Path, config: dict[str, Any], *arguments: str) -> pytest.ExceptionInfo[SystemExit]:
    """Run the command line in this process: a process for each bad setting would take a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.excepthook", sys.excepthook)
        # The command line adds a handler for this test's standard error, which must not remain.
        patch.setattr(logging.getLogger(), "handlers", [])
        command = SequenceTap.cli
        with pytest.raises(SystemExit) as exit_info:
            command.main([*command_arguments(folder, config), *arguments], prog_name="tap-sequence")
    return exit_info


def test_bad_settings_are_all_named_in_one_line_with_status_1(tmp_path: Path) -> None:
    run = run_process(tmp_path, {**CREDENTIALS, "page_size": 0, "start_date": "soon"})
    assert (run.status, run.messages) == (1, [])
    _assert_one_line(run.stderr, "page_size", "start_date")


def test_bad_settings_from_the_environment_are_named(tmp_path: Path) -> None:
    for name, value in (
        ("PAGE_SIZE", "many"),
        ("RETRY_BUDGET_SECONDS", "long"),
        ("FLATTENING_MAX_DEPTH", "abc"),
        ("STREAM_MAPS", "{a"),
    ):
        variables = {"TAP_SEQUENCE_CLIENT_ID": "an-id", "TAP_SEQUENCE_CLIENT_SECRET": SECRET}
        done = run_command(tmp_path, "--config=ENV", env={**variables, f"TAP_SEQUENCE_{name}": value})
        assert done.returncode == 1
        _assert_one_line(done.stderr, name.lower())


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("no json", "not valid JSON"),
        ("", "is empty"),
        ('{"type": "STATE", "value": {}}', "not a Singer state"),
        ('{"bookmarks": {"activity_logs": {"replication_key_valu": "2026-01-01"}}}', "replication_key_valu"),
        ("[1]", "JSON object"),
        ('{"bookmarks": []}', "not a Singer state"),
        ('{"bookmarks": {"activity_logs": 7}}', "not a Singer state"),
        ('{"bookmarks": {"activity_logs": {"progress_markers": "x"}}}', "progress_markers is not an object"),
        ('{"bookmarks": {"other": {"partitions": [7]}}}', "other cannot be read: partitions"),
        ('{"bookmarks": {"activity_logs": {"cursor": 7}}}', "cursor: expected `str | null`, got `int`"),
        (
            '{"bookmarks": {"activity_logs": {"replication_key_value": "soon"}}}',
            "replication_key_value must be an ISO 8601 time",
        ),
    ],
)
def test_bad_state_is_an_error_and_nothing_is_emitted(
    tmp_path: Path, state: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(state)
    run = _run_cli(tmp_path, {"environment": "demo"}, "--state", str(path))
    captured = capfd.readouterr()
    assert (run.value.code, captured.out) == (1, "")
    _assert_one_line(captured.err, words)


@pytest.mark.parametrize("wrapping", ['{"singer_state": %s}', '{"type": "STATE", "value": %s}', "%s"])
def test_state_is_taken_out_of_its_wrapping(simulate: Simulate, tmp_path: Path, wrapping: str) -> None:
    config = config_for(simulate(10))
    state = run_process(tmp_path, config).state
    path = tmp_path / "wrapped.json"
    path.write_text(wrapping % json.dumps(state))
    run = run_process(tmp_path, config, "--state", str(path))
    assert (run.status, run.ids, run.warnings) == (0, [], [])


@pytest.mark.parametrize(
    "state", ["{}", '{"currently_syncing": null}', '{"currently_syncing": "activity_logs"}']
)
def test_state_without_content_is_like_none(simulate: Simulate, tmp_path: Path, state: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(state)
    run = run_process(tmp_path, config_for(simulate(10)), "--state", str(path))
    assert (run.status, len(run.ids), run.warnings) == (0, 10, [])


@pytest.mark.parametrize("source", ["-", "/dev/stdin", "<(cat config.json)"])
@pytest.mark.parametrize("name", ["config", "state", "catalog"])
def test_input_is_read_from_standard_input_or_a_process(
    simulate: Simulate, tmp_path: Path, name: str, source: str
) -> None:
    simulator = simulate(10)
    config = config_for(simulator, activity_log_object_id="Zoë")
    contents = {"config": config, "state": {"bookmarks": {}}, "catalog": discover(config)}
    arguments = command_arguments(tmp_path, **contents)
    (tmp_path / "config.json").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")
    place = arguments.index(f"--{name}") + 1
    arguments[place] = source.replace("config", name)
    command = " ".join(each if each.startswith("<(") else shlex.quote(each) for each in (*TAP, *arguments))
    done = subprocess.run(
        ["bash", "-c", command + ("" if source.startswith("<(") else f" < {name}.json")],
        capture_output=True,
        cwd=tmp_path,
        env=environment(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert simulator.requests[0].query["activityLogObjectId"] == "Zoë"


@pytest.mark.parametrize(
    "arguments",
    [
        [json.dumps(CREDENTIALS)],
        ["--state", json.dumps(CREDENTIALS)],
        [f"--catalog={json.dumps(CREDENTIALS)}"],
        ["--config", f"  {json.dumps(CREDENTIALS)}"],
        ["--config", f"client_id: an-id\nclient_secret: {SECRET}"],
        [SECRET, f"client_secret={SECRET}"],
        [f"--format={SECRET}"],
        [f"--client_secret={SECRET}"],
        [f'--{{"client_secret": "{SECRET}"}}'],
        [f"--test={SECRET}"],
        ["--config", SECRET],
    ],
)
def test_argument_that_may_be_a_secret_is_not_quoted(
    tmp_path: Path, arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    run = _run_cli(tmp_path, {"environment": "demo"}, *arguments)
    captured = capfd.readouterr()
    assert run.value.code in {1, 2}
    assert captured.out == ""
    assert "error" in captured.err.lower()
    assert SECRET not in captured.err


def test_misspelt_option_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert _run_cli(tmp_path, {"environment": "demo"}, "--statee", "x.json").value.code == 2
    assert "No such option '--statee'. Did you mean '--state'?" in capfd.readouterr().err


@pytest.mark.parametrize("content", ["no json", "[]", '{"a": ' + "[" * 100_000, None])
def test_bad_config_file_is_reported_in_one_line(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "mine.json"
    if content is not None:
        path.write_text(content)
    done = run_command(tmp_path, "--config", str(path))
    assert (done.returncode, done.stdout) == (1, "")
    _assert_one_line(done.stderr, str(path))


def test_wrong_secret_names_the_settings_to_check(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(10)
    run = run_process(tmp_path, config_for(simulator, client_secret=SECRET))
    assert (run.status, run.records, len(simulator.requests)) == (1, [], 1)
    _assert_one_line(run.stderr, "client_id", "client_secret", "401", "Invalid API credentials")


def test_proxy_is_not_used_for_loopback(simulate: Simulate, tmp_path: Path) -> None:
    simulator, proxy = simulate(10), simulate(10)
    run = run_process(tmp_path, config_for(simulator), env={"http_proxy": proxy.base_url})
    assert (run.status, len(run.ids)) == (0, 10)
    assert proxy.requests == []


def test_fractions_of_seconds_are_accepted(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(10)
    run = run_process(tmp_path, config_for(simulator, request_timeout_seconds=60.5, retry_budget_seconds=2.5))
    assert (run.status, len(run.ids)) == (0, 10)


def test_unknown_api_version_quotes_the_api(simulate: Simulate, tmp_path: Path) -> None:
    run = run_process(tmp_path, config_for(simulate(10), api_version="1999-01-01"))
    assert run.status == 1
    _assert_one_line(run.stderr, "UnrecognisedApiVersion")


def test_traceback_is_shown_only_at_debug_level(simulate: Simulate, tmp_path: Path) -> None:
    config = config_for(simulate(10), client_secret="wrong")
    assert "Traceback" not in run_process(tmp_path, config).stderr
    assert "Traceback" in run_process(tmp_path, config, env={"TAP_SEQUENCE_LOGLEVEL": "debug"}).stderr


def test_help_and_about_describe_every_setting(tmp_path: Path) -> None:
    for arguments in (
        ["--help"],
        ["--about"],
        ["--about", "--format=markdown"],
        ["--about", "--format=json"],
    ):
        done = run_command(tmp_path, *arguments)
        assert done.returncode == 0
        text = " ".join(done.stdout.split())
        for name, definition in CONFIG_JSONSCHEMA["properties"].items():
            assert name in text
            assert definition["description"] in text


def test_option_test_with_unknown_value_is_refused(tmp_path: Path) -> None:
    run = run_process(tmp_path, {"environment": "demo"}, "--test=everything")
    assert (run.status, run.messages) == (2, [])
    assert "--test accepts no value other than schema." in run.stderr


def test_about_in_markdown_lists_the_streams(tmp_path: Path) -> None:
    done = run_command(tmp_path, "--about", "--format=markdown")
    assert done.returncode == 0
    rows = done.stdout.partition("## Streams")[2].splitlines()
    for name, selected in (("activity_logs", "yes"), ("activity_log_items", "no")):
        (row,) = [row for row in rows if row.startswith(f"| {name} |")]
        assert f"| id | createdAt | {selected} |" in row
        assert SCHEMAS[name]["description"] in row


def test_option_test_reports_in_one_line_and_writes_no_messages(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(1_000)
    run = run_process(tmp_path, config_for(simulator), "--test")
    assert (run.status, run.messages) == (0, [])
    (line,) = run.stderr.splitlines()
    assert line.startswith("Connected to ")
    assert line.endswith(", 1,000 logs in all.")
    wrong = run_process(tmp_path, config_for(simulator, client_secret="wrong"), "--test")
    assert (wrong.status, wrong.messages) == (1, [])
    (line,) = wrong.stderr.splitlines()
    assert "Check client_id and client_secret" in line
    simulator.api.forget_requests()
    run_process(tmp_path, config_for(simulator), "--test")
    assert [request.query["limit"] for request in simulator.requests] == ["1"]


def test_discover_without_settings_works(tmp_path: Path) -> None:
    done = run_command(tmp_path, "--discover")
    assert done.returncode == 0
    streams = json.loads(done.stdout)["streams"]
    incremental, full = ("createdAt", "INCREMENTAL"), (None, "FULL_TABLE")
    assert {
        stream["tap_stream_id"]: (stream.get("replication_key"), stream["replication_method"])
        for stream in streams
    } == {
        "activity_logs": incremental,
        "activity_log_items": incremental,
        "users": full,
        "sequence_accounts": full,
    }
    assert {tuple(stream["key_properties"]) for stream in streams} == {("id",)}


def test_demo_needs_no_credentials_and_no_network(tmp_path: Path) -> None:
    first = run_process(tmp_path, {"environment": "demo"})
    assert first.status == 0
    assert len(set(first.ids)) == len(first.ids) > 1000
    second = run_process(tmp_path, {"environment": "demo"}, state=first.state)
    assert second.status == 0
    assert len(second.records) < 20
    assert not set(first.ids) & set(second.ids)


def test_console_script_runs_the_module(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("tap-sequence" + (".exe" if os.name == "nt" else ""))
    done = subprocess.run([script, "--version"], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.startswith("tap-sequence v")


def test_output_closed_by_the_target_ends_without_error(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(3000)
    process = subprocess.Popen(
        [*TAP, *command_arguments(tmp_path, config_for(simulator))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    stderr = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(30) == 1
    assert "Traceback" not in stderr
    assert "BrokenPipe" not in stderr
    assert "closed by the target" in stderr
    assert "ERROR" not in stderr


def _run_with_output(folder: Path, output: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the demo with standard output redirected as in a shell."""
    command = [*TAP, *command_arguments(folder, {"environment": "demo"}), *arguments]
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {output}', "sh", *command],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        timeout=60,
        check=False,
    )


@pytest.mark.sample(4)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has /dev/full")
@pytest.mark.parametrize("arguments", [[], ["--discover"], ["--about"], ["--help"]])
@pytest.mark.parametrize(("output", "words"), [(">&-", "closed"), (">/dev/full", "No space left")])
def test_output_that_cannot_be_written_is_reported_in_one_line(
    tmp_path: Path, arguments: list[str], output: str, words: str
) -> None:
    done = _run_with_output(tmp_path, output, *arguments)
    assert done.returncode == 1
    _assert_one_line(done.stderr, "Standard output cannot be written to", words)
    assert "Unexpected" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_option_test_works_without_standard_output(tmp_path: Path) -> None:
    done = _run_with_output(tmp_path, ">&-", "--test")
    assert (done.returncode, "Connected to" in done.stderr) == (0, True)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("1/0", "division by zero"),
        ("syntax (", "syntax"),
        ("int(activityLogItems[0]['activityLogActor']['email'])", "<e-mail>"),
    ],
)
def test_failing_stream_map_is_reported_without_values(
    simulate: Simulate, tmp_path: Path, expression: str, words: str
) -> None:
    config = config_for(simulate(50), stream_maps={"activity_logs": {"x": expression}})
    run = run_process(tmp_path, config, env={"TAP_SEQUENCE_LOGLEVEL": "debug"})
    assert run.status == 1
    (error,) = run.errors
    assert error.startswith("stream_maps cannot be applied")
    assert words in error
    assert "@example" not in run.stderr


def test_option_test_gives_up_soon_on_an_unreachable_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tap_sequence.source.CONNECTION_TEST_SECONDS", 2.0)
    config = {**CREDENTIALS, "api_url": "http://127.0.0.1:1"}
    began = time.monotonic()
    run = _run_cli(tmp_path, config, "--test")
    assert time.monotonic() - began < 60
    assert run.value.code == 1
    _assert_one_line(capfd.readouterr().err, "Connection refused", "Gave up after")


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has pipes of a given size")
@pytest.mark.parametrize("arguments", [["--discover"], ["--about", "--format=json"]])
def test_output_to_a_small_pipe_that_does_not_block_is_complete(tmp_path: Path, arguments: list[str]) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    with (tmp_path / "stderr").open("wb") as stderr:
        process = start_tap(tmp_path, *arguments, stdout=writer, stderr=stderr)
    _wait_until_full(reader)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert json.loads(file.read())
    assert process.wait(60) == 0


def _wait_until_full(reader: int) -> None:
    """Wait until a pipe of 4096 bytes has no room."""
    end = time.monotonic() + 60
    while struct.unpack("i", fcntl.ioctl(reader, termios.FIONREAD, bytes(4))) < (4096,):
        assert time.monotonic() < end
        time.sleep(0.01)
    time.sleep(0.2)
