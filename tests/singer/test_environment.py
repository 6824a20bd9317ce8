"""Settings from environment variables and `.env`, in the plain tap."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tap_sequence.simulator import DEMO_CREDENTIALS, Simulator
from tests.support.harness import Run, config_for, parse_lines, run_command, run_process, run_with_env_file

Simulate = Callable[..., Simulator]


def variables_for(simulator: Simulator, **more: str) -> dict[str, str]:
    return {
        f"TAP_SEQUENCE_{name.upper()}": str(value) for name, value in config_for(simulator).items()
    } | more


def run_from_file(folder: Path, content: bytes | str, env: dict[str, str]) -> Run:
    (folder / ".env").write_bytes(content.encode() if isinstance(content, str) else content)
    done = run_with_env_file(folder, "--config=ENV", env=env)
    return Run(done.returncode, parse_lines(done.stdout), done.stderr)


def test_exported_variable_overrides_env_file(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(10)
    lines = [f"{name}={value}" for name, value in variables_for(simulator).items()]
    lines += ["TAP_SEQUENCE_PAGE_SIZE=3", "TAP_SEQUENCE_ACTIVITY_LOG_OBJECT_ID=filed"]
    run = run_from_file(tmp_path, "\n".join(lines), {"TAP_SEQUENCE_PAGE_SIZE": "7"})
    assert run.status == 0, run.stderr
    query = simulator.requests[-1].query
    assert (query["limit"], query["activityLogObjectId"]) == ("7", "filed")


def test_misspelt_variable_in_env_file_is_warned_of(tmp_path: Path) -> None:
    run = run_from_file(tmp_path, "TAP_SEQUENCE_ENVIRONMENT=demo\nTAP_SEQUENCE_PAGE_SIZES=7\n", {})
    (warning,) = run.warnings
    assert warning.endswith("has no effect. Did you mean TAP_SEQUENCE_PAGE_SIZE?")


@pytest.mark.parametrize("name", ["PAGE_SIZES", "FLATTENING_ENABLE", "LOGLEVL"])
@pytest.mark.parametrize("meltano", [{}, {"MELTANO_PROJECT_ROOT": "/p"}])
def test_misspelt_variable_is_warned_of_with_settings_in_a_file(
    simulate: Simulate, tmp_path: Path, name: str, meltano: dict[str, str]
) -> None:
    run = run_process(tmp_path, config_for(simulate(1)), env={f"TAP_SEQUENCE_{name}": "1", **meltano})
    (warning,) = run.warnings
    assert f"TAP_SEQUENCE_{name} is not a setting" in warning


def test_variables_of_inheriting_plugins_are_not_warned_of(simulate: Simulate, tmp_path: Path) -> None:
    names = ("TAP_SEQUENCE_EU_CLIENT_ID", "TAP_SEQUENCE_EU__SELECT", "TAP_SEQUENCE__DEMO_PAGE_SIZE")
    env = {**dict.fromkeys(names, "1"), "MELTANO_PROJECT_ROOT": "/p"}
    assert run_process(tmp_path, config_for(simulate(1)), env=env).warnings == []


@pytest.mark.parametrize(
    "content",
    [
        "HTTP_PROXY=http://127.0.0.1:1\nREQUESTS_CA_BUNDLE=/none\nPATH=/none\nbroken line (",
        "TAP_SEQUENCE_PAGE_SIZE\nNO_PROXY=\nHTTP_PROXY=http://127.0.0.1:1\nTAP_SEQUENCE_PAGE_SIZE=a\0b\n",
        "",
    ],
)
def test_env_file_of_something_else_has_no_effect(simulate: Simulate, tmp_path: Path, content: str) -> None:
    simulator = simulate(10)
    run = run_from_file(tmp_path, content, variables_for(simulator, TAP_SEQUENCE_PAGE_SIZE="7"))
    assert (run.status, len(run.ids), simulator.requests[-1].query["limit"]) == (0, 10, "7")


@pytest.mark.parametrize("content", [b"TAP_SEQUENCE_PAGE_SIZE=\xff\n", "PAGE_SIZE=7".encode("utf-16")])
def test_env_file_that_is_not_utf8_is_reported_in_one_line(
    simulate: Simulate, tmp_path: Path, content: bytes
) -> None:
    run = run_from_file(tmp_path, content, variables_for(simulate(10)))
    assert (run.status, len(run.ids)) == (0, 10)
    (warning,) = run.warnings
    assert warning.endswith("/.env are ignored, because the file cannot be read: it is not UTF-8 text.")


@pytest.mark.skipif(
    not Path("/proc/self/mem").exists(), reason="Linux has a file that not even root can read"
)
def test_env_file_that_cannot_be_read_is_reported_in_one_line(simulate: Simulate, tmp_path: Path) -> None:
    (tmp_path / ".env").symlink_to("/proc/self/mem")
    done = run_with_env_file(tmp_path, "--config=ENV", env=variables_for(simulate(10)))
    assert done.returncode == 0
    assert "/.env are ignored, because the file cannot be read: Input/output error." in done.stderr


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_env_file_that_is_not_a_file_is_ignored(
    simulate: Simulate, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / ".env")
    done = run_with_env_file(tmp_path, "--config=ENV", env=variables_for(simulate(10)))
    assert (done.returncode, "WARNING" in done.stderr) == (0, False)


@pytest.mark.parametrize("value", ["maybe", "2", "truee"])
def test_boolean_variable_that_is_neither_is_refused(tmp_path: Path, value: str) -> None:
    env = {"TAP_SEQUENCE_ENVIRONMENT": "demo", "TAP_SEQUENCE_FLATTENING_ENABLED": value}
    done = run_command(tmp_path, "--config=ENV", env=env)
    assert done.returncode == 1
    assert "flattening_enabled (from TAP_SEQUENCE_FLATTENING_ENABLED) must be true or false." in done.stderr


@pytest.mark.parametrize("value", ["True", "1", "on", " yes ", "FALSE", "0", "off", "no"])
def test_boolean_variable_is_accepted_in_its_usual_forms(tmp_path: Path, value: str) -> None:
    env = {
        "TAP_SEQUENCE_ENVIRONMENT": "demo",
        "TAP_SEQUENCE_FLATTENING_ENABLED": value,
        "TAP_SEQUENCE_FLATTENING_MAX_DEPTH": "0",
    }
    assert run_command(tmp_path, "--config=ENV", "--test=schema", env=env).returncode == 0


@pytest.mark.parametrize("empty", ["", "  "])
def test_empty_variable_counts_as_not_set(simulate: Simulate, tmp_path: Path, empty: str) -> None:
    simulator = simulate(10)
    names = ("PAGE_SIZE", "START_DATE", "STREAM_MAPS", "FLATTENING_ENABLED", "USER_AGENT", "ENVIRONMENT")
    env = variables_for(simulator, **dict.fromkeys((f"TAP_SEQUENCE_{name}" for name in names), empty))
    done = run_command(tmp_path, "--config=ENV", env=env)
    assert done.returncode == 0, done.stderr
    assert simulator.requests[-1].query["limit"] == "100"


def test_empty_variable_leaves_the_value_of_the_file(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(10)
    config = config_for(simulator, page_size=7)
    run = run_process(tmp_path, config, "--config=ENV", env={"TAP_SEQUENCE_PAGE_SIZE": ""})
    assert (run.status, simulator.requests[-1].query["limit"]) == (0, "7")


def test_empty_credential_is_missing(tmp_path: Path) -> None:
    env = {"TAP_SEQUENCE_CLIENT_ID": "", "TAP_SEQUENCE_CLIENT_SECRET": DEMO_CREDENTIALS[1]}
    done = run_command(tmp_path, "--config=ENV", env=env)
    assert "client_id is missing; set it to" in done.stderr


@pytest.mark.parametrize(("actor_email", "status"), [("hash", 1), ("keep", 0)])
def test_empty_salt_never_weakens_hashes(
    simulate: Simulate, tmp_path: Path, actor_email: str, status: int
) -> None:
    env = variables_for(simulate(1), TAP_SEQUENCE_ACTOR_EMAIL_SALT="", TAP_SEQUENCE_ACTOR_EMAIL=actor_email)
    done = run_command(tmp_path, "--config=ENV", env=env)
    assert done.returncode == status
    assert ("actor_email_salt must be a text that is not empty" in done.stderr) == (status == 1)


def test_white_space_around_filters_is_removed(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(10)
    config = config_for(simulator, activity_log_object_id=" x\n", activity_log_object_entity_id="\t")
    run = run_process(tmp_path, config)
    query = simulator.requests[-1].query
    assert (run.status, query["activityLogObjectId"]) == (0, "x")
    assert "activityLogObjectEntityId" not in query
