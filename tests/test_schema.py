"""The schema of activity logs, the types derived from it, and the decoder that checks pages with them."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_sequence.decoding import PageDecoder, _drop_unknown_fields, type_from_schema
from tap_sequence.errors import RecordError, TransientRequestError
from tap_sequence.schema import ACTIVITY_LOGS_SCHEMA
from tap_sequence.simulator import SimulatedApi
from tests.harness import VENDOR_SCHEMA

_API = SimulatedApi()
_API.store.grow(60)
LOGS = _API.store.logs()
# One that has every optional field, so that there is something to change everywhere.
FULL_LOG: dict[str, Any] = json.loads(
    """
    {"id": "0199c82c-c000-745c-80c4-8412902ea288", "sequenceAccountId": "a", "activityType": "CHANGE",
     "apiVersion": "V1", "origin": "API", "traceId": "t", "createdAt": "2025-10-09T08:53:20.5Z",
     "activityLogItems": [{"id": "i", "activityLogId": "l", "verb": "SENT", "name": "n", "summary": "s",
       "reason": "r", "metadata": [{"key": 1}, "text", null],
       "activityLogActor": {"id": "a", "entityType": "USER", "entityId": "e", "email": "ada@example.com"},
       "activityLogObject": {"id": "o", "entityType": "INVOICE", "entityId": "e"},
       "activityLogTarget": {"id": "t", "entityType": "SEQUENCE_USER", "entityId": "e"}}]}
    """
)
ENCODER = msgspec.json.Encoder(decimal_format="number")


def decoder() -> PageDecoder:
    return PageDecoder(ACTIVITY_LOGS_SCHEMA, logging.getLogger("tests"))


def body_of(*logs: Any, **pagination: Any) -> bytes:
    return ENCODER.encode({"items": logs, "pagination": pagination})


def records_of(body: bytes) -> list[bytes]:
    return [ENCODER.encode(log.record) for log in decoder().decode(body, asked_at=0).logs]


# The schema


def nodes(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield a schema and all schemas within it, each with its path."""
    yield path, schema
    for field, definition in schema.get("properties", {}).items():
        yield from nodes(definition, f"{path}.{field}" if path else field)
    if "items" in schema:
        yield from nodes(schema["items"], path + "[]")


NODES = dict(nodes(ACTIVITY_LOGS_SCHEMA))
METADATA_ELEMENT = "activityLogItems[].metadata[]"


def test_the_schema_is_a_valid_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(ACTIVITY_LOGS_SCHEMA)


@pytest.mark.parametrize("path", [path for path, node in NODES.items() if "properties" in node])
def test_required_fields_are_not_nullable_and_optional_ones_are(path: str) -> None:
    node = NODES[path]
    for field, definition in node["properties"].items():
        kinds = definition["type"]
        if field in node["required"]:
            assert isinstance(kinds, str), field
        else:
            assert kinds == [kinds[0], "null"], field
    assert set(node["required"]) <= node["properties"].keys()


@pytest.mark.parametrize("path", sorted(NODES.keys() - {METADATA_ELEMENT}))
def test_every_field_is_described_and_none_is_an_enumeration(path: str) -> None:
    assert NODES[path]["description"].endswith(".")
    assert NODES[path].keys().isdisjoint({"enum", "const", "pattern"})


def test_created_at_is_a_time_and_the_elements_of_metadata_are_anything() -> None:
    assert {path for path, node in NODES.items() if "format" in node} == {"createdAt"}
    assert NODES["createdAt"]["format"] == "date-time"
    assert NODES[METADATA_ELEMENT] == {}


def vendor_nodes() -> dict[str, Mapping[str, Any]]:
    """Return the vendor's schema of a log and all schemas within it, each with its path."""
    components = json.loads(VENDOR_SCHEMA.read_text(encoding="utf-8"))["components"]["schemas"]

    def resolve(schema: Any) -> Any:
        if isinstance(schema, dict):
            if "$ref" in schema:
                return resolve(components[schema["$ref"].rpartition("/")[2]])
            return {key: resolve(value) for key, value in schema.items() if key != "example"}
        return schema

    return dict(nodes(resolve(components["ActivityLogResponse"])))


@pytest.mark.skipif(not VENDOR_SCHEMA.is_file(), reason=f"the vendor's schema is not at {VENDOR_SCHEMA}")
def test_the_schema_agrees_with_the_vendors() -> None:
    vendors = vendor_nodes()
    assert NODES.keys() == vendors.keys()
    for path, node in NODES.items():
        theirs = vendors[path]
        kinds = [node.get("type")] if isinstance(node.get("type"), str) else node.get("type", [])
        assert [kind for kind in kinds if kind != "null"] == ([theirs["type"]] if theirs else []), path
        assert set(node.get("required", [])) == set(theirs.get("required", [])), path
        assert node.get("format") == theirs.get("format"), path
        assert "enum" not in theirs, path


# The types derived from it

FIELDS = sorted({path.rpartition(".")[2].rstrip("[]") for path in NODES if path} | {"unknown"})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda values: (
        st.lists(values, max_size=2) | st.dictionaries(st.sampled_from(FIELDS), values, max_size=3)
    ),
    max_leaves=6,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every place in a JSON value, as the container and the key or index in it."""
    if not isinstance(value, dict | list):
        return []
    keys = list(value) if isinstance(value, dict) else range(len(value))
    return [place for key in keys for place in ((value, key), *places(value[key]))]


@st.composite
def changed_logs(draw: st.DrawFn) -> dict[str, Any]:
    """Draw good logs with one to three fields anywhere dropped, nulled or retyped."""
    log: dict[str, Any] = copy.deepcopy(draw(st.sampled_from([FULL_LOG, *LOGS])))
    for _ in range(draw(st.integers(1, 3))):
        container, key = draw(st.sampled_from(places(log) or [({"gone": None}, "gone")]))
        if draw(st.booleans()):
            del container[key]
        else:
            container[key] = draw(st.none() | JSON)
    return log


def is_accepted(log: dict[str, Any]) -> bool:
    """Whether msgspec takes a log, unknown fields aside."""
    log = copy.deepcopy(log)
    list(_drop_unknown_fields(log, ACTIVITY_LOGS_SCHEMA, ""))
    try:
        msgspec.convert(log, type_from_schema(ACTIVITY_LOGS_SCHEMA, "Log"))
    except msgspec.ValidationError:
        return False
    return True


def test_the_derived_types_accept_and_refuse_what_the_schema_does() -> None:
    validator = jsonschema.Draft202012Validator(ACTIVITY_LOGS_SCHEMA)
    verdicts = set()

    @given(changed_logs())
    def check(log: dict[str, Any]) -> None:
        verdict = validator.is_valid(log)
        verdicts.add(verdict)
        assert is_accepted(log) is verdict

    check()
    assert verdicts == {True, False}  # Otherwise the comparison would prove little.


def test_a_type_that_the_derivation_does_not_know_is_an_error_not_a_guess() -> None:
    with pytest.raises(NotImplementedError, match="integer"):
        type_from_schema({"type": "object", "properties": {"count": {"type": "integer"}}}, "Log")


# The decoder


@given(st.sampled_from([FULL_LOG, *LOGS]), st.booleans())
def test_a_good_log_comes_out_as_it_went_in(log: dict[str, Any], with_unknown_field: bool) -> None:  # noqa: FBT001
    body = body_of({**log, "unknown": 1} if with_unknown_field else log)
    (record,) = records_of(body)
    assert record == ENCODER.encode(json.loads(ENCODER.encode(log), parse_float=Decimal))


EXACT = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**63)
    # Minus zero without a fraction is an integer, and integers have no minus zero.
    | st.decimals(allow_nan=False, allow_infinity=False).filter(lambda number: str(number) != "-0")
    | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=8,
)


def with_metadata(metadata: Any, **fields: Any) -> dict[str, Any]:
    log = {**copy.deepcopy(FULL_LOG), **fields}
    log["activityLogItems"][0]["metadata"] = metadata
    return log


@given(st.lists(EXACT, max_size=3), st.booleans())
def test_values_in_metadata_survive_digit_for_digit(metadata: list[Any], with_unknown_field: bool) -> None:  # noqa: FBT001
    unknown = {"unknown": 1} if with_unknown_field else {}  # A body with one is decoded in another way.
    (record,) = records_of(body_of(with_metadata(metadata, **unknown)))
    assert record == ENCODER.encode(with_metadata(metadata))


def test_numbers_that_no_float_holds_survive() -> None:
    metadata = b'[0.10,1.0000000000000000000001,123456789012345678901234567890,-1E+400,"\xe2\x80\xa8\\u0000\xf0\x9f\xa7\xbe"]'
    body = body_of(with_metadata("HERE")).replace(b'"HERE"', metadata)
    assert metadata in records_of(body)[0]


ITEM = "activityLogItems[0]"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("origin", None),
        ("createdAt", 7),
        ("createdAt", "yesterday"),
        ("activityLogItems", {}),
        (f"{ITEM}.verb", 7),
        (f"{ITEM}.metadata", "text"),
        (f"{ITEM}.activityLogActor.email", 7),
        (f"{ITEM}.activityLogObject.id", None),
        (f"{ITEM}.activityLogTarget.entityType", False),
    ],
)
def test_a_log_that_does_not_fit_is_named_with_the_field(field: str, value: Any) -> None:
    log = copy.deepcopy(FULL_LOG)
    container: Any = log
    *parents, last = field.replace("[0]", ".0").split(".")
    for parent in parents:
        container = container[int(parent) if parent.isdecimal() else parent]
    container[last] = value
    with pytest.raises(RecordError) as error:
        decoder().decode(body_of(LOGS[0], log), asked_at=0)
    assert FULL_LOG["id"] in str(error.value)
    assert field in str(error.value)


@pytest.mark.parametrize("field", ["createdAt", "sequenceAccountId", "id"])
def test_a_log_that_lacks_a_field_is_named_with_it(field: str) -> None:
    log = {name: value for name, value in FULL_LOG.items() if name != field}
    with pytest.raises(RecordError, match=f"missing required field `{field}`") as error:
        decoder().decode(body_of(log), asked_at=0)
    named = repr(log["id"]) if "id" in log else "number 1 of the page"
    assert f"Log {named} does not fit" in str(error.value)


def test_an_unknown_field_is_left_out_and_warned_of_once_with_its_path(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = with_metadata([{"brandNew": "metadata may hold anything"}])
    expected = ENCODER.encode(log)
    log["brandNew"] = {"a": 1}
    log["activityLogItems"][0]["activityLogActor"]["shoeSize"] = 43
    page_decoder = decoder()
    for _ in range(2):
        page = page_decoder.decode(body_of(log, log), asked_at=0)
        assert [ENCODER.encode(each.record) for each in page.logs] == [expected] * 2
    assert [record.args for record in caplog.records if record.levelno == logging.WARNING] == [
        ("activityLogItems[].activityLogActor.shoeSize",),
        ("brandNew",),
    ]


def test_a_broken_byte_in_a_key_does_not_end_the_list() -> None:
    body = body_of(FULL_LOG, after="cursor").replace(b'"after"', b'"afte\x80r"')
    with pytest.raises(TransientRequestError, match="0x80"):
        decoder().decode(body, asked_at=0)


@pytest.mark.parametrize("pagination", [{}, {"after": None}, {"after": ""}])
def test_the_list_ends_where_after_is_absent_null_or_empty(pagination: dict[str, Any]) -> None:
    assert decoder().decode(body_of(FULL_LOG, **pagination), asked_at=0).after is None


def test_a_page_holds_what_the_body_says() -> None:
    page = decoder().decode(body_of(FULL_LOG, after="cursor", before="x", totalResultSize=7), asked_at=5)
    assert (page.after, page.total, page.asked_at) == ("cursor", 7, 5)
    (log,) = page.logs
    assert (log.id, log.created_at, log.created_at_text) == (
        FULL_LOG["id"],
        1_760_000_000_500_000,
        FULL_LOG["createdAt"],
    )


PERSON = "ada.lovelace@example.com"


@pytest.mark.parametrize(
    "body",
    [
        "",
        f"<html>write to {PERSON}</html>",
        f'["{PERSON}"]',
        f'"{PERSON}"',
        "null",
        f'{{"items": null, "pagination": {{}}, "by": "{PERSON}"}}',
        f'{{"items": {{}}, "pagination": {{}}, "by": "{PERSON}"}}',
        f'{{"items": [], "by": "{PERSON}"}}',
        f'{{"pagination": {{}}, "by": "{PERSON}"}}',
        f'{{"items": [], "pagination": null, "by": "{PERSON}"}}',
        f'{{"items": [], "pagination": {{"after": 7}}, "by": "{PERSON}"}}',
        f'{{"items": [], "pagination": {{"totalResultSize": "7"}}, "by": "{PERSON}"}}',
        f'{{"items": [], "pagination": {{}}, "by": "{PERSON}"}} and more',
        f'{{"items": [], "pagination": {{"after": "\xff {PERSON}"}}}}',
        f'{{"items": [{{"id": "\xff {PERSON}"}}], "pagination": {{}}}}',
    ],
)
def test_what_is_no_page_can_be_tried_again_and_is_quoted_without_addresses(body: str) -> None:
    with pytest.raises(TransientRequestError, match=r"not a page of activity logs .*begins with") as error:
        decoder().decode(body.encode("latin-1"), asked_at=0)
    assert "@" not in str(error.value)
    assert ("<e-mail>" in str(error.value)) == (PERSON in body)


def test_a_body_that_was_cut_anywhere_can_be_tried_again_and_shows_no_address() -> None:
    body = body_of(FULL_LOG, after="cursor")
    for end in range(len(body)):
        with pytest.raises(TransientRequestError) as error:
            decoder().decode(body[:end], asked_at=0)
        assert "@" not in str(error.value)
        assert len(str(error.value)) < 400
