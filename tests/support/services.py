"""Programs in separate environments, and stand-ins for warehouses."""

from __future__ import annotations

import http.server
import json
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.harness import environment_of_others, free_port, is_listened_on, uv

SCRIPTS = Path(__file__).parent / "in_target"

# What old targets import and later versions of setuptools do not have.
PKG_RESOURCES = "setuptools<81"


@dataclass(frozen=True)
class Program:
    """What is installed into an environment of its own.

    Attributes:
        requirements: What is installed.
        overrides: Requirements in place of what those ask for, where that cannot be built or imported any more.
        python: The version of Python; that of the tests by default.
        startup: A line of Python to run at every start there.
    """

    requirements: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    python: str = ""
    startup: str = ""


class Environments:
    """Installs programs, each once, and starts what targets load into.

    Args:
        folder: Where all of it is.
        stack: What ends the services.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self._services: dict[str, Any] = {}

    def bin(self, program: Program) -> Path:
        """Return where the commands of a program are, its `python` among them."""
        name = re.sub(r"\W+", "-", "-".join(program.requirements))
        path = self.folder / name
        if not path.exists():
            # Where pyenv is, its command for a version runs only if that version is asked for.
            pyenv = {"PYENV_VERSION": program.python} if program.python else {}
            uv("venv", "--no-python-downloads", "--python", program.python or sys.executable, path, **pyenv)
            overrides = path / "overrides.txt"
            overrides.write_text("\n".join(program.overrides), encoding="utf-8")
            uv("pip", "install", "--python", path, "--override", overrides, *program.requirements)
            if program.startup:
                (packages,) = path.glob("lib/python*/site-packages")
                (packages / "startup.pth").write_text(program.startup, encoding="utf-8")
        return path / "bin"

    def service(self, start: Callable[[Environments, Path], Iterator[Any]]) -> Any:
        """Return what a service says of itself; the first time that one asks for it, it is started."""
        name = start.__name__
        if name not in self._services:
            folder = self.folder / name
            folder.mkdir()
            self._services[name] = self._stack.enter_context(contextmanager(start)(self, folder))
        return self._services[name]

    def script(self, program: Program, name: str, *arguments: str | Path, **variables: str) -> str:
        """Run one of SCRIPTS in a program's environment, and return what it prints."""
        done = subprocess.run(
            [self.bin(program) / "python", SCRIPTS / name, *arguments],
            env=target_environment(**variables),
            capture_output=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def target_environment(**variables: str) -> dict[str, str]:
    """Return an environment for targets: nothing of this machine's that could lead them astray."""
    quiet = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": "us-east-1", "NO_PROXY": "127.0.0.1"}
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    return environment_of_others("TARGET_", "PG", "AWS_", "GOOGLE_", **{**quiet, **keys, **variables})


# Services


@contextmanager
def _listening(command: Sequence[str | Path], port: int, folder: Path, **variables: str) -> Iterator[None]:
    """Run a server until the block ends, which begins when it listens."""
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [*command], stdout=log, stderr=log, cwd=folder, env=target_environment(**variables)
        ) as server,
    ):
        try:
            ticks = threading.Event()
            while not is_listened_on(port):
                assert server.poll() is None, (folder / "log").read_text(errors="replace")
                ticks.wait(0.1)
            yield
        finally:
            server.terminate()


MOTO = Program(("moto[server,s3]==5.2.5",))
LOCAL_BIGQUERY = Program(
    (
        "local-bigquery==0.3.2",
        "duckdb==1.5.5",
        *(f"duckdb-extension-{name}==1.5.5" for name in ("icu", "ducklake", "spatial")),
        "duckdb-extensions==1.5.5",
    ),
    python="3.13",
)
CHDB = Program(("chdb==4.4.0",))
Z3_BIGQUERY = Program(("z3-target-bigquery==0.7.2", "protobuf<5", PKG_RESOURCES))


def s3(environments: Environments, folder: Path) -> Iterator[str]:
    """Start moto's S3, and yield its URL. It has the bucket `logs`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    options = ["--host", "127.0.0.1", "--port", str(port)]
    command: list[str | Path] = [environments.bin(MOTO) / "moto_server", *options]
    with _listening(command, port, folder):
        urllib.request.urlopen(urllib.request.Request(f"{url}/logs", method="PUT"), timeout=30).close()
        yield url


def clickhouse(environments: Environments, folder: Path) -> Iterator[int]:
    """Start ClickHouse's engine behind its HTTP interface, and yield the port."""
    port = free_port()
    python = environments.bin(CHDB) / "python"
    command: list[str | Path] = [python, SCRIPTS / "serve_clickhouse.py", folder / "data", str(port)]
    with _listening(command, port, folder):
        yield port


class _Tokens(http.server.BaseHTTPRequestHandler):
    """Gives everyone a token, as Google's server does to a service account."""

    def do_POST(self) -> None:
        body = json.dumps({"access_token": "token", "expires_in": 3600, "token_type": "Bearer"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def bigquery(environments: Environments, folder: Path) -> Iterator[dict[str, str]]:
    """Start an emulator of BigQuery, and yield the environment variables that lead its clients there."""
    port, grpc_port = free_port(), free_port()
    command = [environments.bin(LOCAL_BIGQUERY) / "python", SCRIPTS / "serve_bigquery.py"]
    options = [
        "--host=127.0.0.1",
        f"--port={port}",
        f"--grpc-port={grpc_port}",
        f"--data-dir={folder / 'data'}",
    ]
    account = folder / "account.json"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Tokens) as tokens:
        threading.Thread(target=tokens.serve_forever, daemon=True).start()
        content = {
            "type": "service_account",
            "project_id": "local",
            "private_key_id": "key",
            "private_key": environments.script(Z3_BIGQUERY, "make_key.py"),
            "client_email": "loader@example.com",
            "client_id": "1",
            "token_uri": f"http://127.0.0.1:{tokens.server_port}/token",
        }
        account.write_text(json.dumps(content), encoding="utf-8")
        # The extensions of DuckDB go into the home directory.
        with _listening([*command, *options], port, folder, HOME=str(folder)):
            yield {
                "BIGQUERY_EMULATOR_HOST": f"http://127.0.0.1:{port}",
                "STORAGE_WRITE_HOST": f"127.0.0.1:{grpc_port}",
                "GOOGLE_APPLICATION_CREDENTIALS": str(account),
                "GOOGLE_CLOUD_PROJECT": "local",
            }
        tokens.shutdown()
