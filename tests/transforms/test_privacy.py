"""Actors' e-mail addresses kept, hashed or dropped, in all records and schemas."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from tap_sequence.api.record_types import type_from_schema
from tap_sequence.api.schemas import ACTIVITY_LOGS_SCHEMA
from tap_sequence.simulator import Simulator
from tap_sequence.singer.tap import SequenceTap
from tap_sequence.transforms.metadata import TEXT, to_schema
from tap_sequence.transforms.privacy import ActorEmail
from tests.support.harness import (
    Run,
    as_sent,
    catalog_entry,
    command_arguments,
    config_for,
    discover,
    parse_lines,
    run_command,
    run_here,
    run_process,
    select,
)

Simulate = Callable[..., Simulator]

SALT = "pepper-ß"
# Computed with coreutils' sha256sum, and with `openssl dgst -sha256 -hmac 'pepper-ß'`.
HASHES = {
    "ada.lovelace@example.com": (
        "e814ff3dc480a94c7ce9334062ec4733c75a002f4bcec0197f62ffea64059e2f",
        "43c186deda02cbedab4e3863354ff68b869d9ee40967f6bdf77400321b369257",
    ),
    "grace.hopper@example.com": (
        "a460d7fa831915bb17b55b9151a5278e916f2de6480dc2171845c4b305620428",
        "a305ed69acb0cca73b4541f2b039a368456351f9522f06b061a484da12d906e9",
    ),
    "søren.kierkegaard@example.com": (
        "a2bda0fd51aab410f56e2e7da81133ae6e77ed79968854ee8e429b859be216cf",
        "88b7481b6eb586c976deafca68ed2709fe2eb321eb82729f8f4cc3a9fedaa028",
    ),
    "山田.花子@example.com": (
        "b870e2c5896a10ee0937b81bcfe67744effe4eb0a702c844ac49dee1400c1487",
        "d6e99aff3a07c2cf808ddafba3e225f30e9f5c317ac66579ffbc019cb3e7d269",
    ),
}
ACTOR = ("activityLogItems", "activityLogActor")


def actors(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [item["activityLogActor"] for item in record["activityLogItems"]]


def actor_fields(schema: Mapping[str, Any]) -> dict[str, Any]:
    item = schema["properties"]["activityLogItems"]["items"]
    fields: dict[str, Any] = item["properties"]["activityLogActor"]["properties"]
    return fields


def field_paths(schema: Mapping[str, Any], *path: str) -> Iterator[tuple[str, ...]]:
    for name, definition in schema.get("properties", {}).items():
        yield (*path, name)
        yield from field_paths(definition, *path, name)
    if "items" in schema:
        yield from field_paths(schema["items"], *path)


# The function


@pytest.mark.parametrize("address", HASHES)
@pytest.mark.parametrize("spell", [str.lower, str.upper, str.title])
def test_hash_is_sha256_of_the_lower_cased_address(address: str, spell: Callable[[str], str]) -> None:
    plain, keyed = HASHES[address]
    assert ActorEmail("hash", None).hash(spell(address)) == plain
    assert ActorEmail("hash", SALT).hash(spell(address)) == keyed


def test_keyed_hash_is_hmac_sha256_of_rfc_4231() -> None:
    digest = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert ActorEmail("hash", "Jefe").hash("what do ya want for nothing?") == digest


ADA = "Ada.Lovelace@Example.com"


def a_record(*actors: dict[str, Any]) -> Any:
    """Return a decoded log with one item for each actor."""
    place = {"id": "o", "entityType": "INVOICE"}
    texts = dict.fromkeys(["id", "activityLogId", "verb", "name", "summary"], "text")
    texts_of_log = dict.fromkeys(["id", "sequenceAccountId", "activityType", "origin"], "text")
    items = [{**texts, "activityLogActor": actor, "activityLogObject": place} for actor in actors]
    log = {**texts_of_log, "createdAt": "1970-01-01T00:00:00Z", "activityLogItems": items}
    return msgspec.convert(log, type_from_schema(ACTIVITY_LOGS_SCHEMA, "ActivityLog"))


FOUR_ACTORS = (
    {"id": "a", "entityType": "USER", "email": ADA},
    {"id": "b", "entityType": "USER", "email": None},
    {"id": "c", "entityType": "SYSTEM"},
    {"id": "d", "entityType": "USER", "email": ADA.lower()},
)


def test_apply_keeps_null_and_absent() -> None:
    digest = HASHES[ADA.lower()][0]
    hashed = actors(msgspec.to_builtins(ActorEmail("hash", None).apply(a_record(*FOUR_ACTORS))))
    assert [actor.get("email", "absent") for actor in hashed] == [digest, None, "absent", digest]
    assert [actor["id"] for actor in hashed] == ["a", "b", "c", "d"]
    dropped = actors(msgspec.to_builtins(ActorEmail("drop", None).apply(a_record(*FOUR_ACTORS))))
    assert [set(actor) for actor in dropped] == [{"id", "entityType"}] * 4


def test_apply_twice_hashes_once() -> None:
    record, privacy = a_record(*FOUR_ACTORS), ActorEmail("hash", SALT)
    assert privacy.apply(record) == privacy.apply(record)
    assert record.activityLogItems[0].activityLogActor.email == ADA


@pytest.mark.parametrize("address", [None, "", " "])
def test_apply_hashes_no_address_that_is_missing(address: str | None) -> None:
    record = a_record({"id": "a", "entityType": "USER", "email": address})
    assert ActorEmail("hash", SALT).apply(record) == record


def test_apply_keep_returns_the_log_itself() -> None:
    record = a_record(*FOUR_ACTORS)
    assert ActorEmail("keep", None).apply(record) is record


def test_apply_to_log_without_items_changes_nothing() -> None:
    record = a_record()
    assert msgspec.to_builtins(ActorEmail("drop", None).apply(record)) == msgspec.to_builtins(record)


# The schema


def test_schema_has_no_other_address() -> None:
    found = [path for path in field_paths(ACTIVITY_LOGS_SCHEMA) if "mail" in path[-1].lower()]
    assert found == [(*ACTOR, "email")]


def test_to_schema_changes_the_address_alone() -> None:
    before = copy.deepcopy(ACTIVITY_LOGS_SCHEMA)
    assert ActorEmail("keep", None).to_schema(ACTIVITY_LOGS_SCHEMA) == before

    dropped = ActorEmail("drop", None).to_schema(ACTIVITY_LOGS_SCHEMA)
    assert set(field_paths(before)) - set(field_paths(dropped)) == {(*ACTOR, "email")}

    hashed = ActorEmail("hash", None).to_schema(ACTIVITY_LOGS_SCHEMA)
    field = actor_fields(hashed)["email"]
    assert field["type"] == ["string", "null"]
    assert "SHA-256" in field["description"]
    actor_fields(hashed)["email"] = actor_fields(before)["email"]
    assert hashed == before
    assert before == ACTIVITY_LOGS_SCHEMA


@pytest.mark.parametrize("now", ["keep", "hash", "drop"])
@pytest.mark.parametrize("earlier", ["keep", "hash", "drop"])
def test_to_schema_of_earlier_catalog_follows_the_setting(earlier: str, now: str) -> None:
    catalogued = ActorEmail(earlier, None).to_schema(ACTIVITY_LOGS_SCHEMA)
    result = ActorEmail(now, None).to_schema(ACTIVITY_LOGS_SCHEMA, catalogued)
    assert result == ActorEmail(now, None).to_schema(ACTIVITY_LOGS_SCHEMA)


@pytest.mark.parametrize("action", ["keep", "hash", "drop"])
@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"properties": {"id": {"type": "string"}}},
        {"properties": {"activityLogItems": {"type": "array", "items": {}}}},
        {"properties": {"activityLogItems": True}},
    ],
)
def test_to_schema_without_actors_changes_nothing(action: str, schema: dict[str, Any]) -> None:
    assert ActorEmail(action, None).to_schema(ACTIVITY_LOGS_SCHEMA, schema) == schema


# The command line


def addresses(simulator: Simulator) -> set[str]:
    """Return every address in the simulator's logs."""
    logs = simulator.store.logs()
    found = {str(actor["email"]) for log in logs for actor in actors(log) if "email" in actor}
    assert len(found) >= 4  # Otherwise a search for them would prove little.
    return found


def expected_logs(simulator: Simulator, change: Callable[[dict[str, Any]], None]) -> list[dict[str, Any]]:
    logs = copy.deepcopy(simulator.store.logs())
    for log in logs:
        for actor in actors(log):
            change(actor)
    return logs


def drop(actor: dict[str, Any]) -> None:
    actor.pop("email", None)


def hash_with(column: int) -> Callable[[dict[str, Any]], None]:
    def change(actor: dict[str, Any]) -> None:
        if "email" in actor:
            actor["email"] = HASHES[actor["email"]][column]

    return change


MODES: list[tuple[dict[str, Any], Callable[[dict[str, Any]], None]]] = [
    ({"actor_email": "hash"}, hash_with(0)),
    ({"actor_email": "hash", "actor_email_salt": SALT}, hash_with(1)),
    ({"actor_email": "drop"}, drop),
]
NAMES = ["hash", "hash-with-salt", "drop"]
each_mode = pytest.mark.parametrize(("settings", "change"), MODES, ids=NAMES)


def run_text(folder: Path, *arguments: str, **variables: str) -> tuple[str, str]:
    """Run the command line successfully; return standard output and standard error."""
    done = run_command(folder, *arguments, env=variables)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def assert_silent_about(words: set[str], *texts: str) -> None:
    for text in texts:
        # Unescaped, and with JSON's escapes.
        assert not [word for word in words if word in text or json.dumps(word)[1:-1] in text]


def assert_valid(run: Run) -> None:
    """Check that each record matches the SCHEMA, and that actors have only the fields of the SCHEMA."""
    (message,) = run.of_type("SCHEMA")
    validator = jsonschema.Draft202012Validator(message["schema"])
    for record in [message["record"] for message in run.of_type("RECORD")]:
        validator.validate(record)
        for actor in actors(record):
            assert actor.keys() <= actor_fields(message["schema"]).keys()


@each_mode
def test_run_writes_no_address(
    settings: dict[str, Any],
    change: Callable[[dict[str, Any]], None],
    simulate: Simulate,
    tmp_path: Path,
) -> None:
    simulator = simulate(250)
    arguments = command_arguments(tmp_path, config_for(simulator, **settings))
    stdout, stderr = run_text(tmp_path, *arguments, TAP_SEQUENCE_LOGLEVEL="debug")
    assert_silent_about({*addresses(simulator), SALT, "@example"}, stdout, stderr)

    run = Run(0, parse_lines(stdout), stderr)
    assert run.records == expected_logs(simulator, change)
    assert_valid(run)
    (message,) = run.of_type("SCHEMA")
    discovered = catalog_entry(json.loads(run_text(tmp_path, *arguments, "--discover")[0]))["schema"]
    expected = to_schema(ActorEmail(settings["actor_email"], None).to_schema(ACTIVITY_LOGS_SCHEMA), TEXT)
    assert discovered == message["schema"] == expected
    assert ("email" in actor_fields(discovered)) == (settings["actor_email"] == "hash")


def test_addresses_are_kept_by_default(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(120)
    run = run_process(tmp_path, config_for(simulator))
    assert (run.status, run.records, run.warnings) == (0, simulator.store.logs(), [])
    (message,) = run.of_type("SCHEMA")
    assert message["schema"] == to_schema(ACTIVITY_LOGS_SCHEMA, TEXT)


@each_mode
def test_catalog_that_selects_the_address_does_not_restore_it(
    settings: dict[str, Any],
    change: Callable[[dict[str, Any]], None],
    simulate: Simulate,
    tmp_path: Path,
) -> None:
    simulator = simulate(120)
    catalog = select(discover(config_for(simulator)))
    stream = catalog_entry(catalog)
    breadcrumb = ["properties", ACTOR[0], "items", "properties", ACTOR[1], "properties", "email"]
    stream["metadata"].append(
        {"breadcrumb": breadcrumb, "metadata": {"inclusion": "automatic", "selected": True}}
    )
    assert "personal data" in actor_fields(stream["schema"])["email"]["description"]
    for method in ("INCREMENTAL", "FULL_TABLE"):
        stream["replication_method"] = method
        arguments = command_arguments(tmp_path, config_for(simulator, **settings), catalog=catalog)
        stdout, stderr = run_text(tmp_path, *arguments)
        assert_silent_about(addresses(simulator), stdout, stderr)
        run = Run(0, parse_lines(stdout), stderr)
        assert run.records == expected_logs(simulator, change)
        assert len(run.of_type("ACTIVATE_VERSION")) == (method == "FULL_TABLE")
        assert_valid(run)
        (message,) = run.of_type("SCHEMA")
        expected = ActorEmail(settings["actor_email"], None).to_schema(ACTIVITY_LOGS_SCHEMA)
        assert actor_fields(message["schema"]) == actor_fields(expected)


def test_catalog_without_address_gets_it_back_with_keep(
    simulate: Simulate,
) -> None:
    simulator = simulate(120)
    config = config_for(simulator)
    catalog = discover({**config, "actor_email": "drop"})
    assert "email" not in actor_fields(catalog_entry(catalog)["schema"])
    run = run_here(config, catalog=select(catalog))
    assert [actors(record) for record in run.records] == [actors(log) for log in simulator.store.logs()]
    assert_valid(run)


def test_input_catalog_keeps_everything_else_and_copies(
    simulate: Simulate,
) -> None:
    """The given catalog is not changed in place. Streams that the tap does not know are left out, with a warning."""
    config = config_for(simulate(10), actor_email="drop")
    catalog = select(discover(config), [["properties", "traceId"]])
    catalog_entry(catalog)["schema"]["properties"]["origin"]["maxLength"] = 99
    plain = SequenceTap(config={**config, "actor_email": "keep"}, catalog=catalog).input_catalog
    assert plain is not None
    again = SequenceTap(config=config, catalog=plain).input_catalog
    assert again is not None
    assert again.to_dict()["streams"] == catalog["streams"]
    assert "email" in actor_fields(catalog_entry(plain.to_dict())["schema"])
    other = {"streams": [{**catalog_entry(catalog), "tap_stream_id": "other", "schema": {"type": "object"}}]}
    unknown = SequenceTap(config=config, catalog=other).input_catalog
    assert unknown is not None
    assert unknown.to_dict()["streams"] == []


@each_mode
def test_flattening_and_stream_maps_see_no_address(
    settings: dict[str, Any],
    change: Callable[[dict[str, Any]], None],
    simulate: Simulate,
    tmp_path: Path,
) -> None:
    simulator = simulate(120)
    expected = expected_logs(simulator, change)
    stream_map = {"who": "record['activityLogItems'][0]['activityLogActor'].get('email')", "__else__": None}
    for extra in (
        {"flattening_enabled": True, "flattening_max_depth": 5},
        {"stream_maps": {"activity_logs": {"id": "id", **stream_map}}},
    ):
        arguments = command_arguments(tmp_path, config_for(simulator, **settings, **extra))
        stdout, stderr = run_text(tmp_path, *arguments)
        assert_silent_about(addresses(simulator), stdout, stderr)
        records = Run(0, parse_lines(stdout)).records
        if "stream_maps" in extra:
            firsts = [actors(log)[0].get("email") for log in expected]
            assert [record["who"] for record in records] == firsts
        else:
            items = [list(map(as_sent, json.loads(record["activityLogItems"]))) for record in records]
            assert items == [log["activityLogItems"] for log in expected]


@each_mode
def test_get_records_yields_no_address(
    settings: dict[str, Any], change: Callable[[dict[str, Any]], None], simulate: Simulate
) -> None:
    simulator = simulate(120)
    stream = SequenceTap(config=config_for(simulator, **settings)).streams["activity_logs"]
    records = [as_sent(record) for record in stream.get_records(None) if isinstance(record, dict)]
    assert records == expected_logs(simulator, change)


@pytest.mark.parametrize("action", ["hash", "drop"])
def test_address_in_an_undocumented_place_is_not_written(
    simulate: Simulate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """Of another type, in an unknown field, as a name, and in place of the actor."""
    simulator = simulate(150)
    store, body = simulator.store, simulator.store.body
    odd = store.logs()[120]
    address = "ada.lovelace@example.com"
    item = odd["activityLogItems"][0]
    number = len(odd["activityLogItems"])
    others = [copy.deepcopy(item) for _ in range(2)]
    odd["activityLogItems"] += others
    item["activityLogActor"]["email"] = {"address": address}
    others[0]["activityLogActor"]["contact"] = {"of": [f'Ada <{address}>, "{address}'], address: 1.50}
    others[1]["activityLogActor"] = address
    text = json.dumps(odd).replace("ada.lovelace@", "ada.lovelace\\u0040")
    monkeypatch.setattr(store, "body", lambda log_id: text.encode() if log_id == odd["id"] else body(log_id))
    config = config_for(simulator, actor_email=action)
    run = run_process(
        tmp_path, config, catalog=select(discover(config), streams=["activity_logs", "activity_log_items"])
    )
    assert run.status == 0
    assert_silent_about({address, "@example"}, json.dumps(run.messages, ensure_ascii=False), run.stderr)
    (record,) = [record for record in run.records if record["id"] == odd["id"]]
    assert json.loads(record["unmapped"], parse_float=str) == {
        f"activityLogItems[{number}].activityLogActor.contact": {
            "of": ['Ada <<e-mail>>, "<e-mail>'],
            "<e-mail>": "1.5",
        },
        f"activityLogItems[{number + 1}].activityLogActor": "<e-mail>",
    }
    emails = [actor and actor.get("email") for actor in actors(record)]
    assert (len(str(emails[0])) == 64) if action == "hash" else emails[0] is None
    assert emails[-1] is None


# The salt


def test_salt_without_hashing_is_warned_of_once(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(10)
    for settings in ({}, {"actor_email": "drop"}):
        run = run_process(tmp_path, config_for(simulator, actor_email_salt=SALT, **settings))
        assert (run.status, len(run.records)) == (0, 10)
        (warning,) = run.warnings
        assert "actor_email_salt has no effect" in warning
        assert SALT not in run.stderr
    assert (
        run_process(tmp_path, config_for(simulator, actor_email="hash", actor_email_salt=SALT)).warnings == []
    )


def test_settings_from_the_environment_give_the_same_hash(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(60)
    config = config_for(simulator, actor_email="hash", actor_email_salt=SALT)
    variables = {f"TAP_SEQUENCE_{name.upper()}": str(value) for name, value in config.items()}
    stdout, stderr = run_text(tmp_path, "--config=ENV", **variables)
    assert Run(0, parse_lines(stdout)).records == expected_logs(simulator, hash_with(1))
    assert SALT not in stderr


def test_about_does_not_show_the_salt(tmp_path: Path) -> None:
    arguments = command_arguments(tmp_path, {"environment": "demo", "actor_email_salt": SALT})
    for form in ([], ["--format=json"], ["--format=markdown"]):
        stdout, stderr = run_text(tmp_path, *arguments, "--about", *form, TAP_SEQUENCE_ACTOR_EMAIL_SALT=SALT)
        assert "actor_email_salt" in stdout
        assert_silent_about({SALT}, stdout, stderr)


@pytest.mark.parametrize("settings", [{"actor_email": "Drop"}, {"actor_email_salt": 7}, {"actor_email": 7}])
def test_discover_with_wrong_settings_works(settings: dict[str, Any], tmp_path: Path) -> None:
    stdout, _ = run_text(tmp_path, *command_arguments(tmp_path, settings), "--discover")
    assert json.loads(stdout)["streams"]
