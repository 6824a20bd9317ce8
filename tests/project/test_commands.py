"""tests/commands.py runs the documentation as a reader would, and reports commands that fail."""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import Command, Page, Result, commands_of, main, sittings
from tests.support.harness import ROOT, free_port

OPTIONS = argparse.Namespace(all=False, timeout=20.0)


def _run(
    folder: Path, *texts: str, account: dict[str, str] | None = None, options: argparse.Namespace = OPTIONS
) -> list[Result]:
    commands = [Command("page.md", number, text) for number, text in enumerate(texts, 1)]
    work = folder / "work"
    work.mkdir()
    variables = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return list(Page(folder, work, variables, account or {}, options).run(commands))


def _outcomes(results: list[Result]) -> list[str]:
    return [result.outcome for result in results]


def test_commands_of_a_page_are_complete() -> None:
    page = "\n".join(
        (
            *(
                "# Page",
                "",
                "```shell",
                "# a comment",
                "one | \\",
                "  two",
                "",
                "three   # said of it",
                "```",
                "",
            ),
            *("```text", "never", "```", "", "1. A step:", "", "   ```shell"),
            *(
                "   cat > file <<'END'",
                "   line",
                "   END",
                "   for x in 1 2; do",
                "     echo $x",
                "   done",
                "   ```",
            ),
        )
    )
    assert [(command.line, command.text) for command in commands_of("page.md", page)] == [
        (5, "one | \\\n  two"),
        (8, "three   # said of it"),
        (18, "cat > file <<'END'\nline\nEND"),
        (21, "for x in 1 2; do\n  echo $x\ndone"),
    ]


def test_commands_share_one_shell_and_one_folder(tmp_path: Path) -> None:
    results = _run(
        tmp_path, "mkdir sub && cd sub", "name=value", 'echo "$name" > file', "test -s ../sub/file"
    )
    assert _outcomes(results) == ["exit 0"] * 4
    assert (tmp_path / "sub" / "file").read_text(encoding="utf-8") == "value\n"


@pytest.mark.parametrize(
    ("failing", "status"),
    [
        ("exit 3", 3),
        ("false && true", 1),
        ("(exit 4) | cat", 4),
        ("echo $not_set", 1),
        ("no-such-command", 127),
    ],
)
def test_failing_command_is_reported_and_ends_the_page(tmp_path: Path, failing: str, status: int) -> None:
    results = _run(tmp_path, "echo before", failing, "touch after")
    assert _outcomes(results) == ["exit 0", f"exit {status}", "not run"]
    assert not (tmp_path / "after").exists()
    assert results[0].output == "before\n"


def test_slow_or_unfinished_command_is_reported(tmp_path: Path) -> None:
    slow = argparse.Namespace(all=False, timeout=0.2)
    assert _outcomes(_run(tmp_path, "sleep 60", "true", options=slow)) == ["timeout", "not run"]
    (tmp_path / "other").mkdir()
    assert _outcomes(_run(tmp_path / "other", "echo 'no end", "true")) == ["unfinished", "not run"]


def test_server_is_up_until_the_end_of_the_page(tmp_path: Path) -> None:
    port = free_port()
    ask = f"import socket; socket.create_connection(('127.0.0.1', {port})).close()"
    server = f"python -m tap_sequence.simulator --logs 1 --port {port}"
    results = _run(tmp_path, server, f'python -c "{ask}"')
    assert _outcomes(results) == ["up", "exit 0"]
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_credential_placeholder_is_replaced_with_the_simulated_account(tmp_path: Path) -> None:
    account = {"TAP_SEQUENCE_CLIENT_ID": "an id", "TAP_SEQUENCE_API_URL": "http://127.0.0.1:1/api"}
    results = _run(
        tmp_path,
        'test -z "${TAP_SEQUENCE_CLIENT_ID:-}"',
        "export TAP_SEQUENCE_CLIENT_ID=...",
        'echo "$TAP_SEQUENCE_CLIENT_ID $TAP_SEQUENCE_API_URL"',
        "export PGPASSWORD=...",
        account=account,
    )
    assert _outcomes(results) == ["exit 0", "placeholder", "exit 0", "unknown"]
    assert results[2].output == "an id http://127.0.0.1:1/api\n"


def test_expensive_command_is_skipped(tmp_path: Path) -> None:
    texts = (
        "uv run pytest",
        "bash .ci/run",
        "uv run python -m benchmarks all",
        "uv run python -m tests.commands",
    )
    assert _outcomes(_run(tmp_path, *texts)) == ["skipped"] * 4


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", ["README.md", "docs/releasing.md"])
def test_commands_of_a_page_work_as_written(page: str, capfd: pytest.CaptureFixture[str]) -> None:
    if subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, check=False).returncode:
        pytest.skip("not a clone")
    assert main([page]) == 0, capfd.readouterr().out


def test_page_that_continues_another_runs_after_it() -> None:
    together = ["docs/scheduling.md", "docs/scaling.md"]
    assert sittings(["README.md", *together, "docs/sql.md"]) == [["README.md"], together, ["docs/sql.md"]]
    assert sittings([*reversed(together), "docs/sql.md"]) == [together, ["docs/sql.md"]]
    assert sittings(["docs/scaling.md"]) == [together]
