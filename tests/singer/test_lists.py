"""The streams of lists that change in place: `users` and `sequence_accounts`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tap_sequence.api.schemas import SCHEMAS
from tap_sequence.simulator import EndOfList, Fault, Simulator
from tap_sequence.simulator.directory import Directory
from tests.support.harness import Run, config_for, discover, run_here, run_process, select

Simulate = Callable[..., Simulator]

LISTS = ("users", "sequence_accounts")
DOCUMENTED = {
    "users": {"id", "email", "sequenceAccountIds", "state", "roles"},
    "sequence_accounts": {
        "id",
        "createdAt",
        "sequenceOrganisationId",
        "companyName",
        "companyNumber",
        "country",
        "sendCustomerNotifications",
        "alertEmailAddresses",
    },
}
"""The fields of an entry, from the published OpenAPI."""


def selecting(config: dict[str, Any], *streams: str, **metadata: Any) -> dict[str, Any]:
    """Return a catalog that selects these streams alone; the lists, if none is given."""
    entries = discover(config)["streams"]
    wanted = streams or LISTS
    return select(
        {"streams": [entry for entry in entries if entry["tap_stream_id"] in wanted]},
        streams=wanted,
        **metadata,
    )


def rows(run: Run, stream: str) -> list[dict[str, Any]]:
    return [message["record"] for message in run.of_type("RECORD") if message["stream"] == stream]


def listed(directory: Directory) -> list[dict[str, Any]]:
    return [{**entry, "unmapped": None} for entry in directory.entries()]


def more_users(simulator: Simulator, count: int) -> None:
    for number in range(count):
        user = {"sequenceAccountIds": [], "state": "ACTIVE", "roles": []}
        simulator.api.users.put({"id": f"user-{number:04}", "email": f"{number}@example.com", **user})


@pytest.mark.parametrize("stream", LISTS)
def test_schema_has_the_documented_fields(stream: str) -> None:
    assert set(SCHEMAS[stream]["properties"]) == DOCUMENTED[stream] | {"unmapped"}


@pytest.mark.parametrize("end_of_list", EndOfList)
@pytest.mark.parametrize("options", [{}, {"with_total": False}])
def test_run_emits_every_entry_as_sent(
    simulate: Simulate, end_of_list: EndOfList, options: dict[str, Any]
) -> None:
    simulator = simulate(0, end_of_list=end_of_list, **options)
    more_users(simulator, 250)
    config = config_for(simulator, page_size=100)
    run = run_here(config, catalog=selecting(config))
    assert rows(run, "users") == listed(simulator.api.users)
    assert rows(run, "sequence_accounts") == listed(simulator.api.accounts)
    for stream in LISTS:
        validator = Draft202012Validator(SCHEMAS[stream])
        assert not [error for row in rows(run, stream) for error in validator.iter_errors(row)]
    # These lists know no sortOrder, and no filters.
    sent = {parameter for request in simulator.api.requests for parameter in request.query}
    assert sent == {"limit", "after"}
    assert run.state == {}


def test_run_reads_what_changed_in_full_and_activates_its_version(simulate: Simulate) -> None:
    simulator = simulate(30)
    config = config_for(simulator)
    catalog = selecting(config, "activity_logs", *LISTS)
    first = run_here(config, catalog=catalog)
    user = simulator.api.users.entries()[1]
    simulator.api.users.put({**user, "state": "DEACTIVATED", "roles": ["NEW_ROLE"]})
    simulator.api.users.remove(simulator.api.users.entries()[0]["id"])
    new = simulator.store.grow(3)
    second = run_here(config, first.state, catalog)
    assert rows(second, "users") == listed(simulator.api.users)
    assert [row["id"] for row in rows(second, "activity_logs")] == new
    versions = {message["stream"]: message["version"] for message in second.of_type("ACTIVATE_VERSION")}
    assert set(versions) == set(LISTS)
    for message in second.of_type("RECORD"):
        assert message.get("version") == versions.get(message["stream"])
    assert list(second.state["bookmarks"]) == ["activity_logs"]


def test_actors_of_logs_are_users_and_accounts_of_logs_are_listed(simulate: Simulate) -> None:
    simulator = simulate(200)
    logs = simulator.store.logs()
    actors = [item["activityLogActor"] for log in logs for item in log["activityLogItems"]]
    users = {user["id"]: user["email"] for user in simulator.api.users.entries()}
    found = {actor["entityId"]: actor["email"] for actor in actors if actor["entityType"] == "USER"}
    assert len(found) == 4
    assert found.items() <= users.items()
    accounts = {account["id"] for account in simulator.api.accounts.entries()}
    assert {log["sequenceAccountId"] for log in logs} <= accounts


def requests_by_path(simulator: Simulator) -> Counter[str]:
    return Counter(request.path for request in simulator.api.requests)


@pytest.mark.long
def test_lists_and_log_share_one_rate_limit(simulate: Simulate, tmp_path: Path) -> None:
    """Counted at the simulator, which refuses what is over the limit of a minute."""
    simulator = simulate(500, rate_limit=60, rate_window=60.0)
    more_users(simulator, 300)
    config = config_for(simulator, page_size=10, requests_per_minute=60, max_in_flight_requests=1)
    run = run_process(tmp_path, config, catalog=selecting(config, "activity_logs", *LISTS))
    assert run.status == 0
    assert len(rows(run, "users")) == len(simulator.api.users.entries())
    counts = requests_by_path(simulator)
    assert counts["/api/activity-logs"] > 40
    assert counts["/api/users"] > 30
    assert counts.total() > 70
    assert {request.status for request in simulator.api.requests} == {200}


def test_fault_at_a_list_is_retried(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(0, faults=[Fault.parse("1=500"), Fault.parse("3=429")])
    config = config_for(simulator, page_size=5, retry_budget_seconds=30)
    run = run_process(tmp_path, config, catalog=selecting(config, "users"))
    assert run.status == 0
    assert rows(run, "users") == listed(simulator.api.users)
    assert "page 1 of users (from the start)" in "".join(run.warnings)
    assert "12 users emitted" in run.stderr


def test_run_that_fails_at_a_list_keeps_the_bookmark_of_the_log(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(50, faults=[Fault.parse("3-=403")])
    config = config_for(simulator, max_in_flight_requests=1)
    run = run_process(tmp_path, config, catalog=selecting(config, "activity_logs", *LISTS))
    assert run.status == 1
    assert len(rows(run, "activity_logs")) == 50
    assert run.bookmark["replication_key_value"] == simulator.store.logs()[-1]["createdAt"]
    (error,) = run.errors
    assert "of users" in error or "of accounts" in error


def sent(simulator: Simulator, **changes: Any) -> dict[str, Any]:
    account = {**simulator.api.accounts.entries()[0], **changes}
    simulator.api.accounts.put(account)
    return account


@pytest.mark.parametrize(
    ("field", "value", "loaded"),
    [
        ("sendCustomerNotifications", "yes", None),
        ("sendCustomerNotifications", 1, None),
        ("sendCustomerNotifications", None, None),
        ("sendCustomerNotifications", False, False),
        ("createdAt", "yesterday", None),
        ("createdAt", "", None),
        ("createdAt", 7, None),
        ("createdAt", None, None),
        ("country", 44, "44"),
        ("alertEmailAddresses", "ada@example.com", ["ada@example.com"]),
        ("alertEmailAddresses", None, None),
    ],
)
def test_value_that_differs_from_the_documentation_is_loaded(
    simulate: Simulate, field: str, value: Any, loaded: Any
) -> None:
    simulator = simulate(0)
    account = sent(simulator, **{field: value})
    config = config_for(simulator)
    row, _ = rows(run_here(config, catalog=selecting(config, "sequence_accounts")), "sequence_accounts")
    aside = None if loaded is not None or value is None else json.dumps({field: value}, separators=(",", ":"))
    assert row == {**account, field: loaded, "unmapped": aside}
    Draft202012Validator(SCHEMAS["sequence_accounts"]).validate(row)


def test_new_field_of_a_user_is_set_aside_with_one_warning(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(0)
    for user in simulator.api.users.entries():
        simulator.api.users.put({**user, "lastSeenAt": None})
    config = config_for(simulator)
    run = run_process(tmp_path, config, catalog=selecting(config, "users"))
    assert {row["unmapped"] for row in rows(run, "users")} == {'{"lastSeenAt":null}'}
    (warning,) = run.warnings
    assert warning.startswith("User ")
    assert "lastSeenAt" in warning


@pytest.mark.parametrize("invalid_logs", ["fail", "skip"])
def test_user_without_an_id_ends_the_run_or_is_skipped(
    simulate: Simulate, tmp_path: Path, invalid_logs: str
) -> None:
    simulator = simulate(0)
    first, *others = simulator.api.users.entries()
    simulator.api.users.put({**first, "id": first["id"], "email": None})
    simulator.api.users._entries[first["id"]]["id"] = ""  # no other way to send it
    simulator.api.users._places[""] = -1
    config = config_for(simulator, invalid_logs=invalid_logs)
    run = run_process(tmp_path, config, catalog=selecting(config, "users"))
    if invalid_logs == "fail":
        assert run.status == 1
        assert (
            "User number 1 on page 1 of users (from the start) cannot be loaded: it has no id"
            in run.errors[0]
        )
        assert not run.of_type("ACTIVATE_VERSION")
    else:
        assert run.status == 0
        assert [row["id"] for row in rows(run, "users")] == [user["id"] for user in others]
        assert "1 user skipped as invalid" in run.stderr


def addresses(row: dict[str, Any]) -> Iterator[str]:
    yield from row.get("alertEmailAddresses", ())
    if "email" in row:
        yield row["email"]


@pytest.mark.parametrize("action", ["hash", "drop"])
def test_actor_email_reaches_the_addresses_of_users_and_accounts(simulate: Simulate, action: str) -> None:
    simulator = simulate(40)
    config = config_for(simulator, actor_email=action)
    run = run_here(config, catalog=selecting(config, "activity_logs", *LISTS))
    records = [row for stream in LISTS for row in rows(run, stream)]
    assert "@" not in json.dumps(records)
    found = [address for row in records for address in addresses(row)]
    if action == "drop":
        assert found == []
        for message in run.of_type("SCHEMA"):
            assert not {"email", "alertEmailAddresses"} & set(message["schema"]["properties"])
    else:
        assert all(len(address) == 64 for address in found)
        actors = {
            item["activityLogActor"].get("email")
            for row in rows(run, "activity_logs")
            for item in row["activityLogItems"]
        } - {None}
        # So that hashed actors and hashed users still join.
        assert actors <= {row["email"] for row in rows(run, "users")}


def test_list_that_ends_before_its_total_is_loaded_with_a_warning(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(0)

    class _Counting(Directory):
        def list(self, options: Any, query: Any) -> Any:
            response = super().list(options, query)
            page = json.loads(response.body)
            page["pagination"]["totalResultSize"] = 99
            return replace(response, body=json.dumps(page).encode())

    simulator.api.route("/api/users", _Counting(simulator.api.users.entries()))
    config = config_for(simulator)
    run = run_process(tmp_path, config, catalog=selecting(config, "users"))
    assert run.status == 0
    (warning,) = run.warnings
    assert warning.startswith("The API listed 12 users, but counts 99 (totalResultSize).")


def test_catalog_that_asks_for_incremental_users_is_followed_in_full_with_a_warning(
    simulate: Simulate, tmp_path: Path
) -> None:
    config = config_for(simulate(0))
    catalog = selecting(config, "users", **{"replication-method": "INCREMENTAL"})
    run = run_process(tmp_path, config, catalog=catalog)
    assert len(rows(run, "users")) == 12
    assert len(run.of_type("ACTIVATE_VERSION")) == 1
    (warning,) = run.warnings
    assert "users to be read incrementally, which has no effect" in warning


def test_state_with_users_alone_is_no_reason_for_a_warning(simulate: Simulate, tmp_path: Path) -> None:
    config = config_for(simulate(0))
    run = run_process(
        tmp_path, config, catalog=selecting(config, "users"), state={"bookmarks": {"users": {}}}
    )
    assert run.status == 0
    assert run.warnings == []
