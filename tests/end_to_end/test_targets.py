"""Targets store what the API holds, value for value. Installs each target.

Those with a job in meltano.yml run through Meltano; the others read from a pipe.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tap_sequence.simulator import Drift, Options, SimulatedApi, Simulator
from tests.commands import PLACEHOLDER, commands_of
from tests.conftest import count, tabulate
from tests.support.harness import ROOT, as_sent
from tests.support.loaders import (
    COLUMNS,
    JOBS,
    STREAMS,
    Csv,
    DuckDb,
    Job,
    JsonLines,
    PostgreSql,
    Row,
    Target,
    as_passed_on,
    exactly,
    make_odd,
)
from tests.support.meltano_project import copy_project, run
from tests.support.pages import blocks_in
from tests.support.pipe_table import PIPES, SLOW_PIPES
from tests.support.pipes import Kind, Pipe
from tests.support.postgres import Postgres, run_postgres
from tests.support.services import Environments

pytestmark = pytest.mark.timeout(1800)

FIRST, SECOND = 2000, 130
FIRST_OF_PIPES = 300

JOB_PARAMETERS = [pytest.param(job, id=job.name, marks=pytest.mark.long) for job in JOBS]
PIPE_PARAMETERS = [
    pytest.param(kind, id=kind.name, marks=[pytest.mark.targets, *marks])
    for kinds, marks in ((PIPES, [pytest.mark.long]), (SLOW_PIPES, []))
    for kind in kinds
]


@dataclass(frozen=True)
class Loaded:
    """What three runs left, the third of which found nothing new, and one more that read everything again.

    Attributes:
        target: Where they loaded to.
        logs: The logs that there were before each of them.
        rows: What was found after each of them, by stream.
    """

    target: Target
    logs: list[list[Row]]
    rows: list[dict[str, list[Row]]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = [job.name for job in JOBS]
    return copy_project(tmp_path_factory.mktemp("project"), "tap-sequence", *names)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    # A zone other than UTC, in which times would be moved by hours.
    with run_postgres("America/New_York") as server:
        yield server


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environments]:
    with ExitStack() as stack:
        yield Environments(tmp_path_factory.mktemp("environments"), stack)


@pytest.fixture(scope="module", params=[*JOB_PARAMETERS, *PIPE_PARAMETERS])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    target: Target
    if isinstance(request.param, Kind):
        environments, folder = request.getfixturevalue("environments"), tmp_path_factory.mktemp("pipe")
        target = Pipe(request.param, environments, folder, lambda: request.getfixturevalue("postgres"))
    else:
        target = request.param(request.getfixturevalue("project"))
    if isinstance(target, PostgreSql):
        target.server = request.getfixturevalue("postgres")
    api = SimulatedApi()
    result = Loaded(target, [], [])
    first = FIRST_OF_PIPES if isinstance(target, Pipe) else FIRST
    with Simulator(api) as simulator:
        for new, full_refresh in ((first, False), (SECOND, False), (0, False), (0, True)):
            ids = api.store.grow(new)
            if new == first:
                make_odd(api, ids[-1])
            result.logs.append([as_passed_on(api.store.body(log_id)) for log_id in api.store.ids()])
            target.load(simulator, full_refresh=full_refresh)
            result.rows.append({stream: target.rows(stream) for stream in target.streams})
    for stream in target.streams:
        runs = ("full", f"{SECOND} more", "nothing new", "all again")
        found = (str(len(rows[stream])) for rows in result.rows)
        tabulate(
            "Rows after each run",
            f"{target.program}: {stream}",
            into=target.real,
            **dict(zip(runs, found, strict=True)),
        )
    return result


def _ids(rows: list[Row]) -> list[str]:
    return sorted(row["id"] for row in rows)


def _typed(value: Any) -> Any:
    """Return a value that is equal to another one only if both are of one JSON type: true is not 1."""
    if isinstance(value, dict):
        return {name: _typed(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner) for inner in value]
    return (isinstance(value, bool), Decimal(value) if isinstance(value, float) else value)


def _rows_of(logs: list[Row], stream: str) -> list[Row]:
    return STREAMS[stream].rows(logs)


def _check_values(loaded: Loaded, index: int) -> None:
    """Check that the rows after a run equal the simulator's logs."""
    target = loaded.target
    for stream in target.streams:
        columns = COLUMNS[stream]
        expected = {
            row["id"]: _typed(target.comparable(target.expected(row, columns)))
            for row in _rows_of(loaded.logs[index], stream)
        }
        found = loaded.rows[index][stream]
        assert {row["id"] for row in found} == set(expected)
        for row in found:
            assert _typed(target.comparable(as_sent(row, exactly))) == expected[row["id"]]
        count(f"{target.name}, {stream}, run {index + 1}: rows equal to the simulator's", len(found))


def test_target_after_each_run_has_new_logs_once(loaded: Loaded) -> None:
    for stream in loaded.target.streams:
        for number in range(3):
            assert _ids(loaded.rows[number][stream]) == _ids(_rows_of(loaded.logs[number], stream))


def test_target_stores_every_value(loaded: Loaded) -> None:
    _check_values(loaded, 2)


def test_target_columns_have_the_types_of_the_schema(loaded: Loaded) -> None:
    target = loaded.target
    for stream in target.streams:
        types = target.column_types(stream)
        assert target.columns(stream) == {target.column(name): kind for name, kind in types.items()}


def test_repeated_records_are_replaced_in_databases_and_duplicated_in_files(loaded: Loaded) -> None:
    for stream in loaded.target.streams:
        ids = _ids(_rows_of(loaded.logs[3], stream))
        found = _ids(loaded.rows[3][stream])
        assert found == (ids if loaded.target.upserts else sorted(ids * 2))
    _check_values(loaded, 3)


ADDRESS = "ada.lovelace@example.com"
NEW_FIELDS = {"activity_logs": "unknown-field", "activity_log_items": "unknown-field-item"}


@pytest.mark.long
@pytest.mark.parametrize(
    ("job", "actor_email"),
    [(JsonLines, "hash"), (Csv, "drop"), (DuckDb, "hash"), (PostgreSql, "drop")],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_unmapped_field_can_be_queried_and_holds_no_address_unless_kept(
    project: Path, request: pytest.FixtureRequest, job: type[Job], actor_email: str
) -> None:
    target = job(project, "dev")
    target.output.mkdir(exist_ok=True)
    if isinstance(target, PostgreSql):
        target.server = request.getfixturevalue("postgres")
    drift = tuple(Drift(name, 5) for name in NEW_FIELDS.values())
    api = SimulatedApi(Options(drift=drift))
    api.store.grow(60)
    for setting, who in (("keep", ADDRESS), (actor_email, "<e-mail>")):
        target.settings = {"TAP_SEQUENCE_ACTOR_EMAIL": setting}
        for file in target.output.iterdir():
            file.unlink()
        with Simulator(api) as simulator:
            target.load(simulator, full_refresh=True)
        for stream in NEW_FIELDS:
            found = target.ask(
                f"""SELECT "unmapped", CAST("unmapped" AS json) ->> 'brandNew' AS value FROM {target.table(stream)}"""
            )
            assert len(found) == len(STREAMS[stream].rows(api.store.logs()))
            values = [json.loads(row["value"]) for row in found if row["value"]]
            assert 0 < len(values) < len(found)
            assert all(value == {"since": 2027, "by": who, "tags": [None, 0.5]} for value in values)
            assert any(ADDRESS in (row["unmapped"] or "") for row in found) == (setting == "keep")
            count(f"{target.name}, {stream}, actor_email {setting}: rows with a new field", len(values))


@pytest.mark.long
def test_targets_page_commands_and_queries_work_as_written(project: Path, postgres: Postgres) -> None:
    page = (ROOT / "docs" / "targets.md").read_text(encoding="utf-8")
    commands = [each.text for each in commands_of("targets.md", page) if not PLACEHOLDER.fullmatch(each.text)]
    variables = {
        # `uv run` is to find what this process runs in, and to install nothing there.
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        "UV_PROJECT_ENVIRONMENT": sys.prefix,
        "UV_NO_SYNC": "1",
        **postgres.variables(),
    }
    for command in commands:
        done = run(["bash", "-euo", "pipefail", "-c", command], project, **variables)
        assert done.returncode == 0, (command, done.stderr)
    for folder in ("demo", "pipe"):
        files = {
            re.sub(r"\d{8}T[\d.]+Z", "TIME", path.name) for path in (project / "output" / folder).iterdir()
        }
        assert files == {"activity_logs.jsonl", "activity_logs-TIME.csv", "sequence.duckdb"}
        ((loaded,),) = [
            row.values() for row in postgres.rows(f"SELECT count(*) FROM sequence_{folder}.activity_logs")
        ]
        assert loaded > 1000
    (block,) = blocks_in(page, language="sql")
    query, _, rest = block.text.partition(";")
    assert rest == "\n"
    assert [list(row) for row in postgres.rows(query)] == [["createdAt", "verb", "summary", "actor"]] * 10
    count("docs/targets.md: commands run", len(commands))
