"""Any JSON value in any place: the record fits the SCHEMA, and nothing that was sent is lost."""

from __future__ import annotations

import copy
import json
import math
import re
import sys
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_sequence.api.conform import Kind, conform, join
from tap_sequence.api.lenient_json import MAX_DEPTH, Number, Value, read_json, to_plain, to_text
from tap_sequence.api.schemas import ACTIVITY_LOGS_SCHEMA
from tap_sequence.transforms.metadata import JSON, TEXT, to_schema
from tests.api.test_schemas import FIELDS, FULL_LOG, places

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
TEXTS = st.text(max_size=4) | st.sampled_from(["\0", "\ud800", "x\udc00", "\ufffd", "a.b", "[0]", '"'])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(st.sampled_from([*FIELDS, "unmapped", "a.b", "[0]", "\x01"]), values, max_size=3)
    ),
    max_leaves=8,
)
VALIDATORS = {
    form: jsonschema.Draft202012Validator(to_schema(ACTIVITY_LOGS_SCHEMA, form)) for form in (TEXT, JSON)
}


@st.composite
def odd_logs(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a log with any values in any places, and any further fields."""
    log = copy.deepcopy(FULL_LOG)
    for _ in range(draw(st.integers(1, 4))):
        container, key = draw(st.sampled_from(places(log)))
        if isinstance(container, dict) and draw(st.booleans()):
            container[draw(st.sampled_from(["brandNew", "unmapped", "a.b", 'x"y', "[0]"]))] = draw(VALUES)
        elif (container, key) not in [(log, "id"), (log, "createdAt")]:
            container[key] = draw(VALUES)
    return log


def as_stored(value: Any, *, nan_as_text: bool = False) -> Any:
    """Return a value without characters that warehouses cannot store, and with numbers as written."""
    if isinstance(value, str):
        return UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {as_stored(key): as_stored(inner, nan_as_text=nan_as_text) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_stored(inner, nan_as_text=nan_as_text) for inner in value]
    if is_non_finite(value):
        return json.dumps(value) if nan_as_text else None
    return value


def with_floats(value: Any) -> Any:
    """Return a value with floats for Decimals, as the standard library reads numbers."""
    if isinstance(value, dict):
        return {key: with_floats(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [with_floats(inner) for inner in value]
    return float(value) if isinstance(value, Decimal) else value


def is_non_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def non_finite(value: Any, place: str) -> dict[str, str]:
    """Return each NaN and infinity in a value, by its place."""
    if is_non_finite(value):
        return {place: json.dumps(value)}
    inner = [(join(place, key), each) for key, each in value.items()] if isinstance(value, dict) else []
    inner += [
        (f"{place}[{number}]", each) for number, each in enumerate(value if isinstance(value, list) else [])
    ]
    return {name: text for where, each in inner for name, text in non_finite(each, where).items()}


def expect(value: Any, schema: Mapping[str, Any], place: str, form: str) -> tuple[Any, dict[str, Any]]:
    """Return the expected value in the record, and in `unmapped`, according to the documentation."""
    if value is None or is_non_finite(value):
        return None, non_finite(value, place)
    if "properties" in schema:
        if not isinstance(value, dict):
            return None, {place: as_stored(value, nan_as_text=True)}
        record, aside = {}, {}
        for name, inner in value.items():
            where = join(place, name)
            if name in schema["properties"] and where != "unmapped":
                record[name], more = expect(inner, schema["properties"][name], where, form)
                aside.update(more)
            else:
                aside[where] = as_stored(inner, nan_as_text=True)
        return record, aside
    if "items" in schema:
        elements = value if isinstance(value, list) else [value]
        parts = []
        aside = {}
        for number, element in enumerate(elements):
            where = f"{place}[{number}]"
            if schema["items"]:
                part, more = expect(element, schema["items"], where, form)
            else:
                part, more = as_stored(element), non_finite(element, where)
                part = Json(part) if form == TEXT else part
            parts.append(part)
            aside.update(more)
        return parts, aside
    if isinstance(value, str):
        return as_stored(value), {}
    return Json(as_stored(value)), non_finite(value, place)


class Json:
    """Equal to every JSON text of a value."""

    __hash__ = None  # type: ignore[assignment]  # nothing that is equal to texts of many spellings can have one

    def __init__(self, value: Any) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and same(json.loads(other), self._value)


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same: true is not 1, and 1.0 is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@given(odd_logs(), st.sampled_from([TEXT, JSON]))
def test_conform_any_value_in_any_place_fits_the_schema_and_is_kept(log: dict[str, Any], form: str) -> None:
    source = json.dumps(log).encode()
    record, differences = conform(read_json(source), ACTIVITY_LOGS_SCHEMA, metadata_as_text=form == TEXT)
    VALIDATORS[form].validate(record)
    text = record.pop("unmapped")
    expected, aside = expect(log, ACTIVITY_LOGS_SCHEMA, "", form)
    assert with_floats(record) == expected
    assert same(json.loads(text or "{}"), as_stored(aside))
    assert (text is None) == (not aside)
    assert not UNSTORABLE.search(json.dumps(with_floats(record), ensure_ascii=False) + (text or ""))
    assert differences or not aside


def log_with(path: str, value: bytes) -> Value:
    """Read a log with JSON text in place of a field."""
    log = copy.deepcopy(FULL_LOG)
    container: Any = log
    *parents, last = path.replace("[0]", ".0").split(".")
    for parent in parents:
        container = container[int(parent) if parent.isdecimal() else parent]
    container[last] = "HERE"
    return read_json(json.dumps(log).encode().replace(b'"HERE"', value))


ITEM = "activityLogItems[0]"
DEEP = b"[" * 5_000 + b"]" * 5_000


@pytest.mark.parametrize(
    ("path", "value", "passed_on", "set_aside", "kind"),
    [
        ("origin", b"7", "7", None, Kind.NOT_STRING),
        ("origin", b" 1.50 ", "1.50", None, Kind.NOT_STRING),
        ("apiVersion", b"2.0", "2.0", None, Kind.NOT_STRING),
        (f"{ITEM}.verb", b"true", "true", None, Kind.NOT_STRING),
        (f"{ITEM}.summary", b'{"en": "x"}', '{"en": "x"}', None, Kind.NOT_STRING),
        (f"{ITEM}.name", rb'"a\u0000\ud800b"', "a\ufffd\ufffdb", None, Kind.UNSTORABLE),
        (f"{ITEM}.reason", b"NaN", None, '"NaN"', Kind.NON_FINITE),
        (f"{ITEM}.metadata", b'"text"', ['"text"'], None, Kind.NOT_LIST),
        (f"{ITEM}.metadata", b'{"a": 1}', ['{"a": 1}'], None, Kind.NOT_LIST),
        (f"{ITEM}.metadata", b"[" + DEEP + b"]", [DEEP.decode()], None, None),
        (f"{ITEM}.metadata", b"[" + b"9" * 5_000 + b"]", ["9" * 5_000], None, None),
        (f"{ITEM}.activityLogActor", b'"ada"', None, '"ada"', Kind.NOT_OBJECT),
        (f"{ITEM}.activityLogTarget", b"[1.0]", None, "[1.0]", Kind.NOT_OBJECT),
        (f"{ITEM}.activityLogActor", DEEP, None, f'"{DEEP.decode()}"', Kind.NOT_OBJECT),
        (f"{ITEM}.activityLogActor.email", b'{"a": 1}', '{"a": 1}', None, Kind.NOT_STRING),
        (ITEM, b'"text"', None, '"text"', Kind.NOT_OBJECT),
        ("activityLogItems", b"7", [None], "7", Kind.NOT_LIST),
    ],
)
def test_conform_each_documented_difference(
    path: str, value: bytes, passed_on: Any, set_aside: str | None, kind: Kind | None
) -> None:
    if path == ITEM:
        log = read_json(json.dumps({**FULL_LOG, "activityLogItems": ["text"]}).encode())
    else:
        log = log_with(path, value)
    conformed = conform(log, ACTIVITY_LOGS_SCHEMA, metadata_as_text=True)
    found: Any = conformed.record
    for step in path.replace("[0]", ".0").split("."):
        found = found[int(step) if step.isdecimal() else step]
    assert found == passed_on
    place = "activityLogItems[0]" if path == "activityLogItems" else path
    assert conformed.record["unmapped"] == (f'{{"{place}":{set_aside}}}' if set_aside else None)
    kinds = [difference.kind for difference in conformed.differences]
    assert (kinds[0] if kinds else None) is kind
    assert all(difference.field == path.replace("[0]", "[]") for difference in conformed.differences[:1])


@pytest.mark.parametrize("value", [DEEP, b"9" * 4_301, b"9" * 4_300 + b".5", b"1e9999999999999999999"])
def test_conform_unreadable_element_as_json_becomes_its_text(value: bytes) -> None:
    log = log_with(f"{ITEM}.metadata", b"[" + value + b', {"a": [' + value + b"]}, 1.50]")
    record, (difference,) = conform(log, ACTIVITY_LOGS_SCHEMA, metadata_as_text=False)
    text = value.decode()
    assert record["activityLogItems"][0]["metadata"][:2] == [text, f'{{"a": [{text}]}}']
    assert str(record["activityLogItems"][0]["metadata"][2]) == "1.50"
    assert difference.kind is Kind.TOO_DEEP


def test_conform_element_of_100_levels_stays_a_value() -> None:
    deep = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    record, differences = conform(
        log_with(f"{ITEM}.metadata", b"[" + deep + b"]"), ACTIVITY_LOGS_SCHEMA, metadata_as_text=False
    )
    assert json.dumps(record["activityLogItems"][0]["metadata"][0]) == deep.decode()
    assert differences == ()


def test_conform_many_unknown_fields_keeps_all_and_reports_some() -> None:
    log = {**FULL_LOG, **{f"field {number}": number for number in range(20_000)}}
    record, differences = conform(
        read_json(json.dumps(log).encode()), ACTIVITY_LOGS_SCHEMA, metadata_as_text=True
    )
    assert len(json.loads(record["unmapped"])) == 20_000
    assert len(differences) <= 50


# The reader


@given(VALUES)
def test_read_json_valid_equals_standard_library(value: Any) -> None:
    source = json.dumps(value).encode()
    read = read_json(source)
    assert same(with_floats(to_plain(read)), as_stored(value))
    assert json.dumps(json.loads(to_text(read))) == json.dumps(as_stored(value))
    with_nan = json.loads(to_text(read, non_finite_as_text=True))
    assert json.dumps(with_nan) == json.dumps(as_stored(value, nan_as_text=True))


TOKENS = [
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    '"a"',
    '"',
    "\\",
    "\\u00",
    "0",
    "1",
    "-",
    ".",
    "e",
    "+",
    " ",
    "\n",
    "\x0b",
]
WORDS = ["true", "null", "NaN", "Infinity", "tru", "'", "\x01", "//", "\xa0"]


@given(st.lists(st.sampled_from([*TOKENS, *WORDS]), max_size=8).map("".join) | st.text(max_size=6))
def test_read_json_invalid_is_what_standard_library_rejects(text: str) -> None:
    if UNSTORABLE.search(text):
        return
    try:
        expected: Any = json.loads(text)
    except (ValueError, RecursionError):
        expected = ValueError
    try:
        found: Any = read_json(text.encode())
    except ValueError:
        found = ValueError
    assert (found is ValueError) == (expected is ValueError)


def test_read_json_accepts_any_depth() -> None:
    assert sys.getrecursionlimit() < 100_000
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        source = opening * 100_000 + b"NaN" + closing * 100_000
        value = read_json(source)
        assert value.depth == 100_000
        assert to_text(value) == source.replace(b"NaN", b"null").decode()


def test_read_json_number_keeps_every_digit() -> None:
    content = read_json(b"[ 1.0000000000000000000000000001 , -0.0E-7]").content
    assert isinstance(content, list)
    assert [inner.content for inner in content] == [
        Number("1.0000000000000000000000000001"),
        Number("-0.0E-7"),
    ]
