"""The dlt source loads into DuckDB what the API holds, value for value. Installs dlt, and dagster-dlt."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tap_sequence.api.schemas import SCHEMAS
from tap_sequence.simulator import Simulator
from tap_sequence.simulator.faults import Fault
from tests.conftest import count
from tests.support.duckdb_file import ask_duckdb
from tests.support.harness import ROOT, as_sent, config_for, environment_of_others, utc, uv
from tests.support.loaders import as_passed_on, exactly, make_odd
from tests.support.pages import blocks
from tests.support.services import SCRIPTS
from tests.transforms.test_items import expected_rows

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

Simulate = Callable[..., Simulator]

LOGS, ITEMS = "activity_logs", "activity_log_items"
LIST_COLUMNS = {LOGS: "activity_log_items", ITEMS: "metadata"}


def install(folder: Path, *more: str) -> Path:
    """Install this project with its extra into a new environment, and return where its commands are."""
    uv("venv", folder)
    uv("pip", "install", "--python", folder, "-e", f"{ROOT}[dlt]", *more)
    return folder / "bin"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("dlt") / "venv", "dlt[duckdb]") / "python"


def environment_for(folder: Path, **variables: str) -> dict[str, str]:
    return environment_of_others(
        "DLT",
        "RUNTIME__",
        "SOURCES__",
        RUNTIME__DLTHUB_TELEMETRY="false",
        HOME=str(folder),
        DLT_DATA_DIR=str(folder / "dlt"),
        **variables,
    )


def run_in(folder: Path, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder that is its home, too."""
    return subprocess.run(
        command,
        env=environment_for(folder, **variables),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )


class Loader:
    """Loads with dlt, in a folder of its own.

    Args:
        python: Interpreter of the environment.
        folder: The folder.
        settings: The settings of the source.
    """

    def __init__(self, python: Path, folder: Path, settings: dict[str, Any]) -> None:
        self._python, self._folder, self.settings = python, folder, settings
        self.shown = ""

    def load(
        self, *streams: str, env: dict[str, str] | None = None, fault: str | None = None
    ) -> dict[str, Any]:
        """Load streams; return the numbers of rows, or nothing if the process was killed."""
        order = {"streams": streams, "fault": fault, **self.settings}
        done = subprocess.run(
            [self._python, SCRIPTS / "load_dlt.py"],
            input=json.dumps(order) + "\n",
            env=environment_for(self._folder, **(env or {})),
            cwd=self._folder,
            capture_output=True,
            encoding="utf-8",
            timeout=600,
            check=False,
        )
        assert done.returncode == (9 if fault else 0), done.stderr
        self.shown += done.stdout + done.stderr
        result: dict[str, Any] = {} if fault else json.loads(done.stdout)
        return result

    def ask(self, query: str) -> list[dict[str, Any]]:
        return ask_duckdb(self._python, self._folder / "loaded.duckdb", query)

    def ids(self, stream: str) -> list[str]:
        return [row["id"] for row in self.ask(f"SELECT id FROM sequence.{stream} ORDER BY id")]

    def rows(self, stream: str, *, exact: bool = False) -> list[dict[str, Any]]:
        """Return what was loaded, with the names of the schema's fields."""
        names = ", ".join(f'{snake(name)} AS "{name}"' for name in SCHEMAS[stream]["properties"])
        found = self.ask(f"SELECT {names} FROM sequence.{stream} ORDER BY created_at, id")
        (column,) = (name for name in SCHEMAS[stream]["properties"] if snake(name) == LIST_COLUMNS[stream])
        for row in found:
            row["createdAt"] = utc(row["createdAt"])
            if row[column] is not None:
                row[column] = exactly(row[column])
        return found if exact else [as_sent(row, exactly) for row in found]


def snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def expected(simulator: Simulator, stream: str) -> list[dict[str, Any]]:
    logs = [as_passed_on(simulator.store.body(log_id)) for log_id in simulator.store.ids()]
    rows = logs if stream == LOGS else expected_rows(logs)
    columns = SCHEMAS[stream]["properties"]
    result = [
        {
            name: utc(row[name]) if name == "createdAt" else row.get(name)
            for name in columns
            if name != "unmapped"
        }
        for row in rows
    ]
    return sorted(result, key=lambda row: (row["createdAt"], row["id"]))


@pytest.fixture
def new_loader(python: Path, tmp_path: Path) -> Callable[..., Loader]:
    return lambda simulator, **settings: Loader(python, tmp_path, config_for(simulator, **settings))


def test_every_value_is_loaded_once(simulate: Simulate, new_loader: Callable[..., Loader]) -> None:
    simulator = simulate(330)
    make_odd(simulator.api, simulator.store.ids()[200])
    loader = new_loader(simulator)
    assert loader.load(LOGS, ITEMS)[LOGS] == 330
    simulator.store.grow(70)
    assert loader.load(LOGS, ITEMS)[LOGS] == 70
    assert LOGS not in loader.load(LOGS, ITEMS)
    for stream in (LOGS, ITEMS):
        assert loader.rows(stream) == expected(simulator, stream)
        count(f"dlt, {stream}: rows compared", len(loader.ids(stream)))
    types = {
        (row["table_name"], row["column_name"]): row["data_type"]
        for row in loader.ask("SELECT table_name, column_name, data_type FROM information_schema.columns")
    }
    for stream, column in LIST_COLUMNS.items():
        assert types[stream, "created_at"] == "TIMESTAMP WITH TIME ZONE"
        assert types[stream, column] == "JSON"
        assert types[stream, "unmapped"] == "VARCHAR"
    # Lists stay in their column.
    assert {table for table, _ in types if not table.startswith("_dlt")} == {LOGS, ITEMS}


def test_decimals_keep_every_digit_as_json(simulate: Simulate, new_loader: Callable[..., Loader]) -> None:
    simulator = simulate(30)
    make_odd(simulator.api, simulator.store.ids()[20])
    loader = new_loader(simulator, metadata_format="json")
    assert loader.load(LOGS, ITEMS)[LOGS] == 30
    for stream in (LOGS, ITEMS):
        rows = loader.rows(stream, exact=True)
        assert [{**row, "unmapped": None} for row in rows] == [
            {**row, "unmapped": None} for row in expected(simulator, stream)
        ]
    (odd,) = loader.ask("SELECT metadata FROM sequence.activity_log_items WHERE id = 'odd'")
    assert odd["metadata"].startswith(
        "[12345678901234567890.12345678901234567890,123456789012345678901234567890,1.50,"
    )


def test_stream_selected_later_gets_its_whole_history(
    simulate: Simulate, new_loader: Callable[..., Loader]
) -> None:
    simulator = simulate(230)
    loader = new_loader(simulator)
    assert ITEMS not in loader.load(LOGS)
    simulator.store.grow(10)
    loader.load(LOGS, ITEMS)
    assert loader.ids(LOGS) == sorted(simulator.store.ids())
    assert loader.ids(ITEMS) == sorted(row["id"] for row in expected_rows(simulator.store.logs()))


def test_lists_that_change_in_place_are_replaced(
    simulate: Simulate, new_loader: Callable[..., Loader]
) -> None:
    simulator = simulate(3)
    users = simulator.api.users
    loader = new_loader(simulator, page_size=2)
    loader.load("users", "sequence_accounts")
    assert loader.ids("users") == sorted(user["id"] for user in users.entries())
    first, second, *_ = users.entries()
    users.remove(first["id"])
    users.put({**second, "state": "CHANGED", "roles": ["A", "B"]})
    loader.load("users", "sequence_accounts")
    assert loader.ids("users") == sorted(user["id"] for user in users.entries())
    (row,) = loader.ask(f"SELECT state, roles, email FROM sequence.users WHERE id = '{second['id']}'")
    assert row == {"state": "CHANGED", "roles": '["A","B"]', "email": second["email"]}
    accounts = loader.ask(
        "SELECT created_at, send_customer_notifications, alert_email_addresses FROM sequence.sequence_accounts ORDER BY id"
    )
    expected_accounts = sorted(simulator.api.accounts.entries(), key=lambda entry: str(entry["id"]))
    assert [
        (utc(row["created_at"]), row["send_customer_notifications"], json.loads(row["alert_email_addresses"]))
        for row in accounts
    ] == [
        (utc(entry["createdAt"]), entry["sendCustomerNotifications"], entry["alertEmailAddresses"])
        for entry in expected_accounts
    ]


@pytest.mark.parametrize("fault", ["killed in extract", "killed before load"])
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "second"])
@pytest.mark.parametrize("goes_backward", [False, True], ids=["forward", "backward"])
def test_interrupted_load_is_completed_by_the_next(
    simulate: Simulate, new_loader: Callable[..., Loader], fault: str, *, is_first: bool, goes_backward: bool
) -> None:
    simulator = simulate(500)
    since = 200 if goes_backward else 0
    settings = {"start_date": simulator.store.logs()[since]["createdAt"]} if goes_backward else {}
    loader = new_loader(simulator, **settings)
    if not is_first:
        loader.load(LOGS, ITEMS)
        simulator.store.grow(300)
    loader.load(LOGS, ITEMS, fault=fault)
    simulator.store.grow(5)
    # The first may only complete what is pending.
    loader.load(LOGS, ITEMS)
    loader.load(LOGS, ITEMS)
    logs = simulator.store.logs()[since:]
    assert loader.ids(LOGS) == sorted(log["id"] for log in logs)
    assert loader.ids(ITEMS) == sorted(row["id"] for row in expected_rows(logs))


def test_settings_come_from_the_environment_and_errors_show_no_secret(
    simulate: Simulate, new_loader: Callable[..., Loader]
) -> None:
    simulator = simulate(230)
    loader = new_loader(simulator)
    loader.settings = {"api_url": simulator.base_url}
    variables = {
        "SOURCES__SEQUENCE__CLIENT_ID": "demo",
        "SOURCES__SEQUENCE__CLIENT_SECRET": "demo",
        "SOURCES__SEQUENCE__PAGE_SIZE": "23",
    }
    assert "client_id is missing" in loader.load(LOGS)["error"]
    assert loader.load(LOGS, env=variables)[LOGS] == 230
    assert simulator.requests[0].query["limit"] == "23"
    simulator.api.options = replace(
        simulator.api.options, faults=[Fault.parse("1-=error:401:s3cr3t of ada@example.com")]
    )
    variables["SOURCES__SEQUENCE__CLIENT_SECRET"] = "s3cr3t"
    assert "Check client_id and client_secret" in loader.load(LOGS, env=variables)["error"]
    assert "s3cr3t" not in loader.shown
    assert "example.com" not in loader.shown


def test_arguments_are_the_settings_with_their_defaults(python: Path, tmp_path: Path) -> None:
    code = """
import inspect
from tap_sequence.dlt import sequence
from tap_sequence.settings import SECRETS, Settings
parameters = inspect.signature(sequence).parameters
assert list(parameters) == list(Settings.__struct_fields__), parameters
assert all(parameters[name].default == getattr(Settings(), name) for name in parameters if name not in SECRETS)
source = sequence(environment="demo")
print(*source.resources, "|", *source.selected_resources)
"""
    done = run_in(tmp_path, python, "-c", code)
    assert (done.returncode, done.stderr) == (0, "")
    resources, _, selected = done.stdout.partition(" | ")
    assert set(resources.split()) == set(SCHEMAS)
    assert selected.split() == [LOGS]


def test_page_works_as_written(python: Path, tmp_path: Path) -> None:
    """Every block of Python on docs/dlt.md, but for the last, which is for Dagster, one after another."""
    *pipeline, _ = blocks(ROOT / "docs" / "dlt.md", "python")
    script = "\n".join(block.text for block in pipeline)
    done = run_in(tmp_path, python, "-c", script)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sequence.duckdb").exists()


def test_page_dagster_definitions_materialize(tmp_path: Path) -> None:
    *_, dagster = blocks(ROOT / "docs" / "dlt.md", "python")
    commands = install(tmp_path / "venv", "dagster-dlt", "dlt[duckdb]")
    (tmp_path / "definitions.py").write_text(dagster.text, encoding="utf-8")
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    done = run_in(
        tmp_path,
        *(commands / "dagster", "asset", "materialize", "--select", "*", "-f", "definitions.py"),
        DAGSTER_HOME=str(home),
        SOURCES__SEQUENCE__ENVIRONMENT="demo",
        PATH=f"{commands}:/usr/bin:/bin",
    )
    assert done.returncode == 0, done.stderr
    assert "sequence" in done.stderr
