"""No secret and no e-mail address is written, whatever the API responds and at every log level."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tap_sequence.simulator import Fault, Options, SimulatedApi, Simulator
from tests.support.harness import config_for, run_command, run_process

CLIENT_ID = "client-7f3a"
CLIENT_SECRET = 's3cr3t/"V\\lue+42'
BASIC = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
# What a response might repeat of the request and of its content.
ECHO = (
    f"{CLIENT_ID} {CLIENT_SECRET} Basic {BASIC} {quote(CLIENT_SECRET, safe='')} ada@example.com "
    r'ada\u0040example.com ada%40example.com "ada lovelace"@example.com'
)
DEBUG = {"TAP_SEQUENCE_LOGLEVEL": "debug"}


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    api = SimulatedApi(credentials=(CLIENT_ID, CLIENT_SECRET))
    api.store.grow(300)
    with Simulator(api) as simulator:
        yield simulator


def settings(simulator: Simulator, **more: Any) -> dict[str, Any]:
    return config_for(
        simulator, client_id=CLIENT_ID, client_secret=CLIENT_SECRET, retry_budget_seconds=2, **more
    )


def assert_clean(text: str) -> None:
    hidden = (
        CLIENT_ID,
        CLIENT_SECRET,
        json.dumps(CLIENT_SECRET)[1:-1],
        repr(CLIENT_SECRET)[1:-1],
        BASIC,
        "s3cr3t",
    )
    for form in hidden:
        assert form not in text
    assert not re.search(r"\w@\w", text), re.findall(r".{0,40}\w@\w.{0,40}", text)
    assert "example.com" not in text
    assert "lovelace" not in text


@pytest.mark.sample(5)
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("1=500", 0),
        (f"1=error:500:{ECHO}", 0),
        (f"2-=error:503:{ECHO}", 1),
        (f"2-=error:404:{ECHO}", 1),
        (f"1-=error:401:{ECHO}", 1),
        ("2-=null-created-at", 1),
        ("2-=list", 1),
        ("2-=half-json", 1),
        (f"1=redirect:https://{CLIENT_ID}:x@elsewhere.example/{quote(CLIENT_SECRET)}", 1),
        (f"1=other-version:{CLIENT_ID} ada@example.com", 0),
    ],
)
def test_debug_output_with_any_fault_shows_no_secret(
    simulator: Simulator, tmp_path: Path, fault: str, status: int
) -> None:
    simulator.api.options = Options(faults=[Fault.parse(fault)])
    run = run_process(tmp_path, settings(simulator), env=DEBUG)
    assert run.status == status
    assert len(run.errors) == status
    assert_clean(run.stderr)
    assert "DEBUG" in run.stderr
    assert_clean(json.dumps(run.of_type("STATE")))


def test_structured_output_shows_no_secret(simulator: Simulator, tmp_path: Path) -> None:
    simulator.api.options = Options(faults=[Fault.parse(f"2-=error:404:{ECHO}")])
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"structured": {"()": "singer_sdk.logging.StructuredFormatter"}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"level": "DEBUG", "handlers": ["console"]},
    }
    path = tmp_path / "logging.json"  # JSON is YAML.
    path.write_text(json.dumps(config))
    run = run_process(tmp_path, settings(simulator), env={"SINGER_SDK_LOG_CONFIG": str(path)})
    assert run.status == 1
    assert all(isinstance(json.loads(line), dict) for line in run.stderr.splitlines())
    assert "Traceback" in run.stderr or '"exception"' in run.stderr
    assert_clean(run.stderr)


def test_invalid_setting_with_a_secret_is_not_quoted(simulator: Simulator, tmp_path: Path) -> None:
    for wrong in (
        {"client_secret": CLIENT_SECRET + " "},
        {"client_id": CLIENT_ID + ":"},
        {"page_size": CLIENT_SECRET},
    ):
        run = run_process(tmp_path, settings(simulator) | wrong, env=DEBUG)
        assert run.status == 1
        assert_clean(run.stderr)


def test_about_and_help_show_no_secret(tmp_path: Path) -> None:
    variables = {"TAP_SEQUENCE_CLIENT_ID": CLIENT_ID, "TAP_SEQUENCE_CLIENT_SECRET": CLIENT_SECRET, **DEBUG}
    for arguments in (["--about"], ["--about", "--format=json"], ["--help"]):
        done = run_command(tmp_path, "--config=ENV", *arguments, env=variables)
        assert done.returncode == 0
        assert_clean(done.stdout + done.stderr)


def test_redirect_to_another_host_is_not_followed(simulator: Simulator, tmp_path: Path) -> None:
    with Simulator() as other:
        simulator.api.options = Options(faults=[Fault.parse(f"1-=redirect:{other.base_url}/activity-logs")])
        run = run_process(tmp_path, settings(simulator))
        assert run.status == 1
        assert other.requests == []


def test_permanent_outage_ends_soon_after_the_budget_with_one_line(
    simulator: Simulator, tmp_path: Path
) -> None:
    simulator.api.options = Options(faults=[Fault.parse("2-=500")])
    run = run_process(tmp_path, settings(simulator))
    assert run.status == 1
    (error,) = run.errors
    cursor = simulator.requests[-1].query["after"]
    for words in (
        f"page 2 (ASC after cursor {cursor})",
        "status 500, SimulatedFault",
        "attempts in",
        "Run again",
    ):
        assert words in error
    assert "Traceback" not in run.stderr
