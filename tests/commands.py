"""Runs the documentation: each ```shell block of README.md, CONTRIBUTING.md and docs/*.md, as written, in order.

`uv run python -m tests.commands` prints each command with its exit status and its seconds. A page starts with a fresh
clone of HEAD, a fresh virtual environment first in PATH, and one shell (bash -euo pipefail) for all its blocks. Where a
page has the reader enter credentials, those of a simulated account take their place. What is not meant to be run, such as
output or a crontab, stands in blocks of another language.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tap_sequence.simulator import SimulatedApi, Simulator
from tests.support.harness import ROOT, environment, is_listened_on
from tests.support.meltano_project import own_account
from tests.support.pages import blocks_in
from tests.support.postgres import run_postgres

PAGES = ("README.md", "CONTRIBUTING.md", "docs/*.md")

EXPENSIVE = (
    (re.compile(r"\bpytest\b(?!.*\btests/)"), "the whole suite"),
    (re.compile(r"\bpytest\b.*-m long\b"), "long tests"),
    (re.compile(r"\bbash \.ci/run\b"), "the gate"),
    (re.compile(r"-m tests\.faults\b"), "the fault matrix"),
    (re.compile(r"-m tests\.drift\b"), "the drift matrix"),
    (re.compile(r"-m benchmarks\b"), "benchmarks"),
)
"""Commands that take minutes, which run only with `--all`."""

NEVER = (
    (re.compile(r"-m tests\.commands\b"), "it would run itself"),
    (re.compile(r"\bgit (clone|push|tag)\b"), "it is about the repository's own place"),
)

GOES_ON = {"docs/scaling.md": "docs/scheduling.md"}
"""Pages that continue another: they run after it, in the same clone."""

SERVERS = re.compile(r"-m tap_sequence\.simulator\b.* --port[ =](?P<port>\d+)")
"""Servers, which run until they are stopped, and their port."""

PLACEHOLDER = re.compile(r"export (?P<name>\w+)=(?:\.\.\.|…|<[^>]*>)")

TOOLS = ("docker", "crontab", "systemctl", "kubectl", "airflow", "psql")
"""Commands that use one of these are skipped where it is not installed."""

OUTSIDE = (
    *("PYTHONWARNINGS", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT"),
    *("UV", "UV_PROJECT_ENVIRONMENT", "UV_RUN_RECURSION_DEPTH", "UV_PYTHON"),
)
"""Variables of the shell that this runs in, which a reader's does not have."""

_SECONDS_TO_START = 60.0
_SECONDS_TO_STOP = 10.0


@dataclass(frozen=True)
class Command:
    """A command as written on a page."""

    page: str
    line: int
    text: str

    @property
    def port(self) -> int | None:
        """The port of a command that does not end by itself."""
        found = None if self.text.endswith("&") else SERVERS.search(self.text)
        return int(found["port"]) if found else None


@dataclass(frozen=True)
class Result:
    """The result of a command."""

    command: Command
    outcome: str
    """`exit 0` and the like, `up`, `placeholder`, `skipped`, `not run`."""
    seconds: float = 0.0
    note: str = ""
    output: str = ""

    @property
    def passed(self) -> bool:
        return self.outcome in {"exit 0", "up", "placeholder", "skipped"}


def commands_of(page: str, text: str) -> list[Command]:
    """Take a page's shell blocks apart into commands."""
    commands = []
    for block in blocks_in(text, page, "shell"):
        pending: list[str] = []
        for number, line in enumerate(block.text.splitlines(), block.line):
            if not pending and (not line.strip() or line.startswith("#")):
                continue
            pending.append(line)
            if _is_whole("\n".join(pending)):
                commands.append(Command(page, number - len(pending) + 1, "\n".join(pending)))
                pending = []
        if pending:
            commands.append(Command(page, block.line, "\n".join(pending)))
    return commands


def _is_whole(text: str) -> bool:
    if text.endswith("\\"):
        return False
    # An unfinished here-document is only warned of.
    parsed = subprocess.run(["bash", "-n", "-c", text], capture_output=True, check=False)
    return parsed.returncode == 0 and not parsed.stderr


class Shell:
    """One bash for all commands of a page: what one of them sets, the next one sees."""

    def __init__(self, folder: Path, work: Path, variables: Mapping[str, str]) -> None:
        self._work = work
        self._script, self._log = work / "script", work / "output"
        os.mkfifo(self._script)
        self._count = 0
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["bash", "--noprofile", "--norc", "-euo", "pipefail", str(self._script)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=dict(variables),
                start_new_session=True,
            )
        self._commands = self._script.open("w", encoding="utf-8")

    def run(self, text: str, seconds: float) -> tuple[int | None, str]:
        """Run a command; return its status, None if it took too long, and what it printed."""
        self._count += 1
        done, start = self._work / f"done-{self._count}", self._log.stat().st_size
        # An AND list that fails before its last command does not end the shell; so its status is looked at too.
        with contextlib.suppress(BrokenPipeError):
            self._commands.write(f"{text}\nprintf '%s\\n' \"$?\" >'{done}'\n")
            self._commands.flush()
        until = time.monotonic() + seconds
        status: int | None = None
        while time.monotonic() < until:
            ended = self._process.poll()
            if done.exists() and (written := done.read_text(encoding="ascii")).endswith("\n"):
                status = int(written)
                break
            if ended is not None:
                status = ended
                break
            time.sleep(0.02)
        return status, self._log.read_bytes()[start:].decode("utf-8", "replace")

    def close(self) -> None:
        """End the shell, and what it left running."""
        with contextlib.suppress(BrokenPipeError):
            self._commands.close()
        for signum in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signum)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_SECONDS_TO_STOP)


@contextmanager
def _nothing(_work: Path) -> Iterator[dict[str, str]]:
    yield {}


@contextmanager
def _postgres(_work: Path) -> Iterator[dict[str, str]]:
    with run_postgres("UTC") as server:
        yield server.variables()


SETUPS: dict[str, Callable[[Path], AbstractContextManager[dict[str, str]]]] = {"docs/targets.md": _postgres}
"""What a page needs beside its own commands, such as a database, by the page's name. Given a folder, it starts what is
needed and yields variables for the page's shell, where they take the place of those that the reader enters."""


class Page:
    """A page's commands in one shell.

    Args:
        clone: Where they run.
        work: A folder for the shell's own files.
        variables: What the shell starts with.
        account: Variables that are set where the page has the reader enter credentials.
        given: Options of the command line.
    """

    def __init__(
        self,
        clone: Path,
        work: Path,
        variables: Mapping[str, str],
        account: Mapping[str, str],
        given: argparse.Namespace,
    ) -> None:
        self._shell = Shell(clone, work, variables)
        self._variables, self._account, self._given = variables, account, given
        self._servers: list[tuple[Command, int]] = []

    def run(self, commands: Sequence[Command]) -> Iterator[Result]:
        """Run all; after one that fails, the rest is not run."""
        failed = False
        try:
            for command in commands:
                if failed:
                    yield Result(command, "not run", note="one before it failed")
                    continue
                result = self._run(command)
                failed = not result.passed
                yield result
            for command, number in self._servers:
                status, output = self._shell.run(f"kill -TERM {number}; wait {number}", _SECONDS_TO_START)
                if status != 0:
                    yield Result(command, f"exit {status}", note="when it was stopped", output=output)
        finally:
            self._shell.close()

    def _run(self, command: Command) -> Result:
        if placeholder := PLACEHOLDER.fullmatch(command.text):
            return self._fill(command, placeholder["name"])
        reason = _reason_to_skip(command, self._given, self._variables["PATH"])
        if reason:
            return Result(command, "skipped", note=reason)
        if not _is_whole(command.text):
            return Result(command, "unfinished", note="bash would wait for more")
        started = time.monotonic()
        if command.port:
            return self._start(command, command.port)
        status, output = self._shell.run(command.text, self._given.timeout)
        seconds = time.monotonic() - started
        return Result(command, "timeout" if status is None else f"exit {status}", seconds, output=output)

    def _fill(self, command: Command, name: str) -> Result:
        if name in self._account:
            values = " ".join(f"{key}={shlex.quote(value)}" for key, value in self._account.items())
            self._shell.run(f"export {values}", _SECONDS_TO_START)
            return Result(command, "placeholder", note="the simulated account's")
        if name in self._variables:
            return Result(command, "placeholder", note="set from the start")
        return Result(command, "unknown", note="no value is known for it")

    def _start(self, command: Command, port: int) -> Result:
        if is_listened_on(port):
            return Result(command, "skipped", note=f"port {port} is taken")
        started = time.monotonic()
        # `exec`, so that the number is that of the command, and not that of a shell around it.
        status, output = self._shell.run(f"(exec {command.text}) & echo $!", _SECONDS_TO_START)
        if status != 0:
            return Result(command, f"exit {status}", output=output)
        number = int(output.split()[-1])
        while time.monotonic() < started + _SECONDS_TO_START:
            if is_listened_on(port):
                self._servers.append((command, number))
                note = f"on port {port}; stopped after the page"
                return Result(command, "up", time.monotonic() - started, note)
            time.sleep(0.1)
        return Result(command, "timeout", time.monotonic() - started, f"nothing on port {port}")


def _reason_to_skip(command: Command, given: argparse.Namespace, path: str) -> str | None:
    reasons: list[str] = [reason for pattern, reason in NEVER if pattern.search(command.text)]
    if not given.all:
        reasons += [reason for pattern, reason in EXPENSIVE if pattern.search(command.text)]
    for tool in TOOLS:
        called = re.search(rf"(^|[|&;(])\s*(sudo )?{tool}\b", command.text, re.MULTILINE)
        if called and not shutil.which(tool, path=path):
            reasons.append(f"there is no {tool} here")
    return reasons[0] if reasons else None


def _prepare(work: Path, *, with_uv: bool) -> tuple[Path, dict[str, str]]:
    clone, venv = work / "tap-sequence", work / "venv"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    inherited = {name: value for name, value in environment().items() if name not in OUTSIDE}
    own = str(Path(sys.executable).parent)
    path = [str(venv / "bin"), *(part for part in inherited["PATH"].split(os.pathsep) if part != own)]
    variables = {
        **inherited,
        "PATH": os.pathsep.join(path),
        "NO_COLOR": "1",
        # Where `uv tool install` puts what it installs; else it would stay behind.
        "UV_TOOL_DIR": str(work / "tools"),
        "UV_TOOL_BIN_DIR": str(venv / "bin"),
    }
    if with_uv:
        pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "uv"]
        subprocess.run(pip, check=True, env=variables)
    return clone, variables


def pages(patterns: Sequence[str] = PAGES) -> list[str]:
    """Return the names of the pages that there are at HEAD."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-tree", "-r", "--name-only", "HEAD"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [
        name
        for pattern in patterns
        for name in listed
        if Path(name).match(pattern) and name.count("/") == pattern.count("/")
    ]


def text_of(page: str) -> str:
    """Return a page as it is at HEAD."""
    return subprocess.run(
        ["git", "-C", ROOT, "show", f"HEAD:{page}"], capture_output=True, text=True, check=True
    ).stdout


def run(given: argparse.Namespace) -> Iterator[Result]:
    """Run the pages one after another."""
    for sitting in sittings(given.pages or pages()):
        read = {page: commands for page in sitting if (commands := commands_of(page, text_of(page)))}
        if not read:
            continue
        with tempfile.TemporaryDirectory(prefix="commands-") as folder, Simulator(SimulatedApi.demo()) as api:
            work = Path(folder)
            # Whoever reads a page that does not have it installed has been through the README.
            installs_uv = any(
                "pip install uv" in each.text for commands in read.values() for each in commands
            )
            clone, variables = _prepare(work, with_uv=not installs_uv)
            account = own_account(api)
            for page, commands in read.items():
                entered = [found["name"] for each in commands if (found := PLACEHOLDER.fullmatch(each.text))]
                more = {} if set(entered) & set(account) else account
                own = Path(tempfile.mkdtemp(dir=work))
                with SETUPS.get(page, _nothing)(own) as variables_of_page:
                    all_variables = {**variables, **more, **variables_of_page}
                    yield from Page(clone, own, all_variables, account, given).run(commands)


def sittings(names: Sequence[str]) -> list[list[str]]:
    """Return which pages share a clone: each with those that go on from it behind it."""
    firsts = dict.fromkeys(GOES_ON.get(name, name) for name in names)
    return [[first, *(name for name in names if GOES_ON.get(name) == first)] for first in firsts]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.commands", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="such as docs/state.md; without one, all")
    parser.add_argument("--all", action="store_true", help="run what takes minutes too")
    parser.add_argument("--list", action="store_true", help="show the commands, and run none")
    parser.add_argument("--timeout", type=float, default=1200.0, help="seconds that a command may take")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what became of each command; return 1 if one failed."""
    given = _parser().parse_args(arguments)
    if given.list:
        for page in given.pages or pages():
            for command in commands_of(page, text_of(page)):
                print(f"{command.page}:{command.line}: {command.text}")
        return 0
    outcomes: Counter[str] = Counter()
    page = ""
    for result in run(given):
        command = result.command
        if command.page != page:
            page = command.page
            print(f"\n{page}")
        first, *rest = command.text.splitlines()
        seconds = f"{result.seconds:6.1f} s" if result.seconds else " " * 8
        note = f"  ({result.note})" if result.note else ""
        print(
            f"  {command.line:4}  {result.outcome:<11} {seconds}  {first}{' …' if rest else ''}{note}",
            flush=True,
        )
        if result.output and not result.passed:
            print(textwrap.indent("\n".join(result.output.splitlines()[-40:]), "        | "), flush=True)
        ended = "passed" if result.passed else "failed"
        outcomes[result.outcome if result.outcome in {"placeholder", "skipped", "not run"} else ended] += 1
    print("\n" + ", ".join(f"{outcome}: {number}" for outcome, number in sorted(outcomes.items())))
    return 1 if outcomes["failed"] or not outcomes else 0


if __name__ == "__main__":
    # As Ctrl+C does: what was started is ended, and the folders are removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
