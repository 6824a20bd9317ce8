"""Every query of docs/sql.md, on PostgreSQL and DuckDB, over simulated logs. Installs the targets that load them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import pytest

from tap_sequence.api.schemas import SCHEMAS
from tap_sequence.simulator import Drift, Options, SimulatedApi, Simulator
from tap_sequence.simulator.store import Timeline
from tests.support.duckdb_file import ask_duckdb
from tests.support.harness import (
    ROOT,
    config_for,
    discover,
    environment_of_others,
    run_here,
    select,
    utc,
    uv,
)
from tests.support.meltano_project import LOADERS
from tests.support.pages import blocks_in
from tests.support.postgres import run_postgres

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

Row: TypeAlias = dict[str, Any]
Ask: TypeAlias = Callable[[str], list[Row]]
"""Runs a query."""

# The page's times are of March 2026: logs from the evening before, every few minutes, into April.
FIRST_LOG = datetime(2026, 2, 28, 20, tzinfo=UTC)
MICROSECONDS_PER_STEP = 3600 * 1_000_000
LOGS = 1000

PAGE = (ROOT / "docs" / "sql.md").read_text(encoding="utf-8")
POSTGRES_SCHEMA = LOADERS["target-postgres"]["config"]["default_target_schema"].replace(
    "$MELTANO_ENVIRONMENT", "prod"
)
ENGINES = ("PostgreSQL", "DuckDB")


# The page


def queries() -> Iterator[tuple[str, str, str]]:
    """Yield each query of the page with its heading, once for each database that it is for."""
    for section in PAGE.split("\n## ")[1:]:
        heading = section.splitlines()[0]
        for query in (block.text for block in blocks_in(section, language="sql")):
            engines = [engine for engine in ENGINES if query.startswith(f"-- {engine}\n")] or list(ENGINES)
            for engine in engines:
                yield heading, engine, query


QUERIES = list(queries())


# The databases


def load(
    scripts: Path, target: str, config: Mapping[str, Any], messages: Iterable[Mapping[str, Any]]
) -> None:
    """Install a target into a new environment and let it load messages."""
    uv("venv", "--python", sys.executable, scripts.parent)
    uv("pip", "install", "--python", scripts / "python", *LOADERS[target]["pip_url"].split())
    config_file = scripts.parent / "config.json"
    config_file.write_text(json.dumps(config), encoding="utf-8")
    done = subprocess.run(
        [scripts / target, "--config", config_file],
        input="".join(json.dumps(message) + "\n" for message in messages),
        env=environment_of_others(**LOADERS[target].get("env", {})),
        capture_output=True,
        encoding="utf-8",
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def messages() -> list[dict[str, Any]]:
    """What the tap writes of all streams."""
    timeline = Timeline(int(FIRST_LOG.timestamp() * 1_000_000), MICROSECONDS_PER_STEP)
    # Fields that the schema does not know: for the queries of `unmapped`.
    drift = (Drift("unknown-field"), Drift("unknown-field-item"))
    api = SimulatedApi(Options(drift=drift), timeline=timeline)
    api.store.grow(LOGS)
    with Simulator(api) as simulator:
        config = config_for(simulator)
        return run_here(config, catalog=select(discover(config), streams=tuple(SCHEMAS))).messages


@pytest.fixture(scope="module")
def ask_postgres(messages: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    # A zone other than UTC, so that a query that depends on the server's would be noticed.
    with run_postgres("America/New_York") as server:
        config = {
            "host": "127.0.0.1",
            "port": server.port,
            "user": server.user,
            "password": server.password,
            "database": server.database,
            "default_target_schema": POSTGRES_SCHEMA,
        }
        load(tmp_path_factory.mktemp("postgres") / "venv" / "bin", "target-postgres", config, messages)
        server.run(f"ALTER DATABASE {server.database} SET search_path TO {POSTGRES_SCHEMA}")
        yield lambda query: server.rows(query.rstrip().rstrip(";"))


@pytest.fixture(scope="module")
def ask_duckdb_file(messages: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Ask:
    folder = tmp_path_factory.mktemp("duckdb")
    scripts, file = folder / "venv" / "bin", folder / "sequence.duckdb"
    load(scripts, "target-duckdb", {"path": str(file), "default_target_schema": "main"}, messages)

    return lambda query: ask_duckdb(scripts / "python", file, query)


@pytest.fixture(scope="module")
def ask(ask_postgres: Ask, ask_duckdb_file: Ask) -> dict[str, Ask]:
    return {"PostgreSQL": _plainly(ask_postgres), "DuckDB": _plainly(ask_duckdb_file)}


def _plainly(ask: Ask) -> Ask:
    return lambda query: [_plain(row) for row in ask(query)]


def _plain(row: Mapping[str, Any]) -> Row:
    """Return a row with its columns in lower case, as target-duckdb makes them."""
    return {column.lower(): _plain_value(value) for column, value in row.items()}


def _plain_value(value: Any) -> Any:
    match value:
        case Decimal() | float():
            return round(float(value), 6)
        case str() if re.match(r"\d{4}-\d\d-\d\dT\d\d:", value):
            return utc(value)
    return value


# Expected rows, computed from the logs


class Facts:
    """The items of all logs, with times as times."""

    def __init__(self, messages: Iterable[Mapping[str, Any]]) -> None:
        records = [message for message in messages if message["type"] == "RECORD"]
        self.logs = [_timed(each["record"]) for each in records if each["stream"] == "activity_logs"]
        self.items = [_timed(each["record"]) for each in records if each["stream"] == "activity_log_items"]
        self.users = [each["record"] for each in records if each["stream"] == "users"]
        self.accounts = [each["record"] for each in records if each["stream"] == "sequence_accounts"]

    def between(self, start: str, end: str = "2999-01-01") -> list[Row]:
        return [item for item in self.items if utc(start) <= item["createdAt"] < utc(end)]


def _timed(record: Row) -> Row:
    return {**record, "createdAt": utc(record["createdAt"])}


def _pick(items: Iterable[Row], *columns: str) -> list[Row]:
    return [{column: item[column] for column in columns} for item in items]


def _by_time(items: Iterable[Row]) -> list[Row]:
    return sorted(items, key=lambda item: (item["createdAt"], item["id"]))


def _groups(items: Iterable[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    groups: dict[Any, list[Row]] = defaultdict(list)
    for item in _by_time(items):
        groups[key(item)].append(item)
    return groups


def _actor(item: Row) -> str:
    return str(item["actorEmail"] or item["actorEntityId"] or item["actorEntityType"])


def of_an_invoice(facts: Facts) -> list[Row]:
    found = [item for item in facts.items if item["objectEntityId"] == "c0cd9b33-4ed5-4968-b51a-4fdd546b662b"]
    return _pick(_by_time(found), "createdAt", "verb", "summary", "reason", "actorEntityType", "actorEmail")


def of_a_person(facts: Facts) -> list[Row]:
    week = facts.between("2026-03-09", "2026-03-16")
    found = [item for item in week if item["actorEmail"] == "ada.lovelace@example.com"]
    return _pick(_by_time(found), "createdAt", "verb", "objectEntityType", "objectEntityId", "summary")


def most_active(facts: Facts) -> list[Row]:
    rows = [
        {
            "actor": actor,
            "items": len(items),
            "logs": len({item["activityLogId"] for item in items}),
            "first_time": items[0]["createdAt"],
            "last_time": items[-1]["createdAt"],
        }
        for actor, items in _groups(facts.between("2026-03-01", "2026-04-01"), _actor).items()
    ]
    return sorted(rows, key=lambda row: (-row["items"], row["actor"]))


def by_state(facts: Facts) -> list[Row]:
    users = {user["id"]: user for user in facts.users}
    companies = {account["id"]: account["companyName"] for account in facts.accounts}
    counts = Counter(
        (companies[item["sequenceAccountId"]], user["state"], user["email"])
        for item in facts.items
        if (user := users.get(item["actorEntityId"]))
    )
    assert len(counts) == 4
    columns = ("companyName", "state", "email")
    return [{**dict(zip(columns, key, strict=True)), "items": count} for key, count in sorted(counts.items())]


def outside_office_hours(facts: Facts) -> list[Row]:
    users = [item for item in facts.items if item["actorEntityType"] == "USER"]
    rows = []
    for email, items in _groups(users, lambda item: item["actorEmail"]).items():
        times = [item["createdAt"].astimezone(ZoneInfo("Europe/London")) for item in items]
        at_weekends = [time for time in times if time.isoweekday() > 5]
        at_night = [time for time in times if time.isoweekday() <= 5 and not 8 <= time.hour < 18]
        assert at_weekends
        assert at_night
        rows.append(
            {
                "actorEmail": email,
                "items": len(items),
                "at_weekends": len(at_weekends),
                "at_night": len(at_night),
            }
        )
    return rows


def deleted(facts: Facts) -> list[Row]:
    found = [
        {**item, "actor": _actor(item)}
        for item in facts.between("2026-03-30")
        if item["verb"] in {"DELETED", "VOIDED", "ARCHIVED"}
    ]
    return _pick(
        _by_time(found), "createdAt", "verb", "objectEntityType", "objectEntityId", "actor", "reason"
    )


def without_reason(facts: Facts) -> list[Row]:
    rows = []
    found = [item for item in facts.items if item["verb"] in {"DELETED", "VOIDED"}]
    for actor, items in _groups(found, _actor).items():
        without = sum(item["reason"] is None for item in items)
        percent = round(100 * without / len(items), 1)
        rows.append({"actor": actor, "items": len(items), "without_reason": without, "percent": percent})
    return rows


def changed_between(facts: Facts) -> list[Row]:
    found = facts.between("2026-03-31T18:00", "2026-04-02T09:30")
    return [
        {
            "objectEntityType": kind,
            "verb": verb,
            "items": len(items),
            "objects": len({item["objectEntityId"] for item in items}),
        }
        for (kind, verb), items in _groups(
            found, lambda item: (item["objectEntityType"], item["verb"])
        ).items()
    ]


def last_of_each_invoice(facts: Facts) -> list[Row]:
    invoices = [item for item in facts.items if item["objectEntityType"] == "INVOICE"]
    last = [items[-1] for items in _groups(invoices, lambda item: item["objectEntityId"]).values()]
    return _pick(last, "objectEntityId", "verb", "createdAt", "summary")


def by_way(facts: Facts) -> list[Row]:
    origins = {log["id"]: log["origin"] for log in facts.logs}
    groups = _groups(facts.items, lambda item: (origins[item["activityLogId"]], item["actorEntityType"]))
    return [
        {
            "origin": origin,
            "actorEntityType": kind,
            "items": len(items),
            "logs": len({item["activityLogId"] for item in items}),
        }
        for (origin, kind), items in groups.items()
    ]


def new_actors(facts: Facts) -> list[Row]:
    known = [item for item in facts.items if item["actorEntityId"]]
    return [
        {
            "actorEntityType": kind,
            "actorEntityId": entity,
            "email": items[0]["actorEmail"],
            "first_time": items[0]["createdAt"],
        }
        for (kind, entity), items in _groups(
            known, lambda item: (item["actorEntityType"], item["actorEntityId"])
        ).items()
        if items[0]["createdAt"] >= utc("2026-03-01")
    ]


def new_deeds(facts: Facts) -> list[Row]:
    known = [item for item in facts.items if item["actorEmail"]]
    columns = ("actorEmail", "verb", "objectEntityType")
    return [
        {
            **_pick(items, *columns)[0],
            "first_time": items[0]["createdAt"],
            "since_then": len(items),
        }
        for items in _groups(known, lambda item: tuple(item[column] for column in columns)).values()
        if items[0]["createdAt"] >= utc("2026-03-25")
    ]


def silences(facts: Facts) -> list[Row]:
    rows = [
        {
            "silent_from": before["createdAt"],
            "silent_until": after["createdAt"],
            "minutes": round((after["createdAt"] - before["createdAt"]).total_seconds() / 60, 1),
        }
        for before, after in pairwise(_by_time(facts.logs))
    ]
    return sorted(rows, key=lambda row: (-row["minutes"], row["silent_from"]))[:10]


def whole(facts: Facts) -> list[Row]:
    return [
        {
            "logs": LOGS,
            "different_logs": LOGS,
            "items": sum(len(log["activityLogItems"]) for log in facts.logs),
            "items_without_log": 0,
            "logs_without_items": 0,
        }
    ]


def due_dates(facts: Facts) -> list[Row]:
    return [
        {
            "createdAt": item["createdAt"],
            "summary": item["summary"],
            "old_date": element["from"],
            "new_date": element["to"],
        }
        for item in _by_time(facts.items)
        for element in map(json.loads, item["metadata"] or [])
        if isinstance(element, dict) and element.get("field") == "dueDate"
    ]


def new_fields(facts: Facts) -> list[Row]:
    places: dict[str, list[Row]] = defaultdict(list)
    for log in facts.logs:
        for place in json.loads(log["unmapped"] or "{}"):
            places[place].append(log)
    assert {"brandNew", "activityLogItems[0].brandNew"} <= places.keys()
    return [
        {
            "place": place,
            "logs": len(logs),
            "first_time": min(log["createdAt"] for log in logs),
            "last_time": max(log["createdAt"] for log in logs),
        }
        for place, logs in places.items()
    ]


def new_values(facts: Facts) -> list[Row]:
    return [
        {"createdAt": item["createdAt"], "summary": item["summary"], "year": str(value["since"])}
        for item in facts.items
        if item["unmapped"] and (value := json.loads(item["unmapped"])["brandNew"])
    ]


EXPECTED: dict[str, Callable[[Facts], list[Row]]] = {
    "Who changed this invoice?": of_an_invoice,
    "What did this person do in that week?": of_a_person,
    "Who is most active?": most_active,
    "What did users of each state do, and for which company?": by_state,
    "What happens outside office hours and at weekends?": outside_office_hours,
    "What was deleted, voided or archived?": deleted,
    "Who acts without giving a reason?": without_reason,
    "What changed between two times?": changed_between,
    "What happened last to each invoice?": last_of_each_invoice,
    "Who acts through the API, who through the dashboard?": by_way,
    "Which actors were never seen before this month?": new_actors,
    "Who did something that they had never done before?": new_deeds,
    "When was the log silent for longest?": silences,
    "Is the load complete?": whole,
    "Which items mention a due date?": due_dates,
    "Which fields did the API add?": new_fields,
    "What does a field hold that the API added?": new_values,
}


def _sorted(rows: Iterable[Row]) -> list[str]:
    return sorted(str(sorted(row.items())) for row in rows)


def test_sql_page_has_exactly_the_checked_questions() -> None:
    assert list(dict.fromkeys(heading for heading, _, _ in QUERIES)) == list(EXPECTED)
    assert f"`SET search_path TO {POSTGRES_SCHEMA}`" in PAGE
    assert Counter(engine for _, engine, _ in QUERIES) == dict.fromkeys(ENGINES, len(EXPECTED) + 1)


@pytest.mark.parametrize(
    ("heading", "engine", "query"), QUERIES, ids=[f"{heading}-{engine}" for heading, engine, _ in QUERIES]
)
def test_sql_query_returns_what_the_logs_hold(
    ask: dict[str, Ask], messages: list[dict[str, Any]], heading: str, engine: str, query: str
) -> None:
    rows = ask[engine](query)
    expected = [_plain(row) for row in EXPECTED[heading](Facts(messages))]
    assert expected
    if "metadata" in rows[0]:
        # Its text is the database's own.
        assert all("dueDate" in row["metadata"] for row in rows)
        places = [
            [{key: row[key] for key in ("createdat", "summary")} for row in found]
            for found in (rows, expected)
        ]
        assert set(_sorted(places[0])) == set(_sorted(places[1]))
    else:
        assert _sorted(rows) == _sorted(expected)


@pytest.mark.parametrize(
    "query", dict.fromkeys(query for _, _, query in QUERIES if not query.startswith("-- ")), ids=str.split
)
def test_sql_query_on_every_database_returns_rows_in_the_same_order(ask: dict[str, Ask], query: str) -> None:
    first, second = (
        [
            {column: value for column, value in row.items() if column != "metadata"}
            for row in ask[engine](query)
        ]
        for engine in ENGINES
    )
    assert first == second
