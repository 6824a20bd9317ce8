"""A log level or logging configuration that is wrong ends the run with one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.harness import run_command, run_process

DEMO = {"environment": "demo"}


@pytest.mark.parametrize("variable", ["TAP_SEQUENCE_LOGLEVEL", "LOGLEVEL"])
@pytest.mark.parametrize("level", ["loud", "10", "disabled"])
def test_unknown_log_level_is_refused_in_one_line(tmp_path: Path, variable: str, level: str) -> None:
    done = run_command(tmp_path, "--version", env={variable: level})
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert (
        f"| ERROR    | tap-sequence                   | {variable} must be one of debug, info, warning"
        in line
    )


@pytest.mark.parametrize(
    "env",
    [
        {"TAP_SEQUENCE_LOGLEVEL": " WARNING ", "LOGLEVEL": "loud"},
        {"TAP_SEQUENCE_LOGLEVEL": "", "LOGLEVEL": "warn"},
        {"TAP_SEQUENCE_LOGLEVEL": "  ", "LOGLEVEL": "", "SINGER_SDK_LOG_CONFIG": ""},
        {"SINGER_SDK_LOG_CONFIG": " "},
    ],
)
def test_log_level_is_taken_without_white_space_and_empty_is_not_set(
    tmp_path: Path, env: dict[str, str]
) -> None:
    run = run_process(tmp_path, DEMO, "--test=schema", env=env)
    assert (run.status, bool(run.stderr)) == (0, "warn" not in "".join(env.values()).lower()), run.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "it is empty or not a mapping."),
        ("s3cr3t", "it is empty or not a mapping."),
        ("[s3cr3t]", "it is empty or not a mapping."),
        ('a: [1\nb: "s3cr3t', "it is not valid YAML (line 2)."),
        ("\udcff", "it is not UTF-8 text."),
        ("a: s3cr3t", "dictionary doesn't specify a version."),
        (
            "version: 1\nhandlers: {mine: {class: s3cr3t.S}}",
            "Unable to configure handler 'mine' (ValueError).",
        ),
        ("version: 1\nroot: {level: s3cr3t}", "Unable to configure root logger (ValueError)."),
        (None, "Is a directory."),
    ],
)
def test_logging_configuration_that_is_wrong_is_refused_in_one_line(
    tmp_path: Path, content: str | None, words: str
) -> None:
    path = tmp_path
    if content is not None:
        path = tmp_path / "logging.yml"
        path.write_bytes(content.encode(errors="surrogateescape"))
    done = run_command(tmp_path, "--version", env={"SINGER_SDK_LOG_CONFIG": str(path)})
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert f"The logging configuration in SINGER_SDK_LOG_CONFIG cannot be used: {words} Fix" in line
    assert "s3cr3t" not in line


def test_logging_configuration_that_is_missing_is_warned_of(tmp_path: Path) -> None:
    env = {"SINGER_SDK_LOG_CONFIG": str(tmp_path / "none.yml")}
    run = run_process(tmp_path, DEMO, "--test=schema", env=env)
    assert (run.status, run.warnings) == (0, [f"Logging config file not found: {tmp_path / 'none.yml'}"])
