"""Decoding bodies into pages: by compiled code if they are as documented, and with equal results if not."""

from __future__ import annotations

import copy
import json
import logging
import tracemalloc
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_sequence.api.conform import Kind
from tap_sequence.api.decoder import PageDecoder
from tap_sequence.api.differences import DifferenceReport
from tap_sequence.api.lenient_json import read_json
from tap_sequence.api.page_checks import MAX_VALUES
from tap_sequence.api.schemas import ACTIVITY_LOGS_SCHEMA
from tap_sequence.errors import PageTooLargeError, RecordError, TransientRequestError
from tap_sequence.sync.models import Record
from tap_sequence.transforms.privacy import ActorEmail
from tests.api.test_schemas import FULL_LOG, LOGS

ENCODER = msgspec.json.Encoder(decimal_format="number")
NOTHING = {"unmapped": None}


def decoder(**options: Any) -> PageDecoder:
    return PageDecoder(ACTIVITY_LOGS_SCHEMA, logging.getLogger("tests"), **options)


def body_of(*logs: Any, **pagination: Any) -> bytes:
    return ENCODER.encode({"items": logs, "pagination": pagination})


def records_of(body: bytes, **options: Any) -> list[bytes]:
    return [ENCODER.encode(log.data) for log in decoder(**options).decode(body, asked_at=0).records]


def with_metadata(metadata: Any, **fields: Any) -> dict[str, Any]:
    log = {**copy.deepcopy(FULL_LOG), **fields}
    log["activityLogItems"][0]["metadata"] = metadata
    return log


# Logs as documented


@given(st.sampled_from([FULL_LOG, *LOGS]), st.booleans())
def test_decode_valid_log_keeps_it_unchanged(log: dict[str, Any], with_odd_log: bool) -> None:  # noqa: FBT001
    others = [{**LOGS[0], "origin": 7}] if with_odd_log else []
    record = records_of(body_of(log, *others), metadata_as_text=False)[0]
    assert record == ENCODER.encode(json.loads(ENCODER.encode({**log, **NOTHING}), parse_float=Decimal))


EXACT = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**63)
    # Minus zero without a fraction is an integer, and integers have no minus zero.
    | st.decimals(allow_nan=False, allow_infinity=False).filter(lambda number: str(number) != "-0")
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=8,
)


@given(st.lists(EXACT, max_size=3), st.sampled_from([{}, {"brandNew": 1}, {"origin": 7}]))
def test_decode_metadata_keeps_every_digit(metadata: list[Any], odd: dict[str, Any]) -> None:
    body = body_of(with_metadata(metadata, **odd))
    if b"\\u0000" in body:
        return
    for body_or_again in (body, body):  # The second time, the unknown field is known.
        (as_values,) = records_of(body_or_again, metadata_as_text=False)
        found = msgspec.json.decode(as_values, type=dict[str, msgspec.Raw])["activityLogItems"]
        assert b'"metadata":' + ENCODER.encode(metadata) in bytes(found)
        (as_texts,) = records_of(body_or_again)
        texts = json.loads(as_texts)["activityLogItems"][0]["metadata"]
        assert texts == [ENCODER.encode(element).decode() for element in metadata]


def test_decode_metadata_as_text_keeps_the_source_text() -> None:
    elements = [
        b"0.10",
        b"-1E+400",
        b'"\xe2\x80\xa8 \\u00df \\ud83d\\ude00"',
        b'{ "a":\n[1.0 ] }',
        b"null",
        b'""',
    ]
    body = body_of(with_metadata("HERE")).replace(b'"HERE"', b"[" + b", ".join(elements) + b"]")
    (record,) = records_of(body)
    expected = [element.decode() for element in elements]
    assert json.loads(record)["activityLogItems"][0]["metadata"] == expected
    assert b"\n" not in record
    # The same in a log that compiled code rejects.
    odd = body.replace(b'"origin":"API"', b'"origin":7')
    assert json.loads(records_of(odd)[0])["activityLogItems"][0]["metadata"] == expected


def test_decode_empty_and_missing_metadata_stay_distinct() -> None:
    log = with_metadata([])
    log["activityLogItems"] += [{"metadata": None}, {}]
    items = json.loads(records_of(body_of(log))[0])["activityLogItems"]
    assert [item.get("metadata", "missing") for item in items] == [[], None, "missing"]


INVALID = [
    *(
        b"01",
        b"1.",
        b".5",
        b"+1",
        b"-",
        b"1e",
        b"tru",
        b"'x'",
        b"[1,]",
        b'{"a":1,}',
        b"{1:2}",
        b'{"a" 1}',
        b"1 2",
    ),
    *(
        rb'"\q"',
        rb'"\u12"',
        b'"\x01"',
        b'"\n"',
        b'"\x00"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"[",
        b'"',
        b"{]",
        b"",
    ),
]


@pytest.mark.parametrize("element", INVALID)
@pytest.mark.parametrize("around", [b"[%s]", b'[{"a": %s}]', b"[[1, %s]]", b'[{"\\u00df": [%s]}]'])
@pytest.mark.parametrize("as_text", [True, False])
def test_decode_invalid_json_in_metadata_is_not_a_page(element: bytes, around: bytes, as_text: bool) -> None:  # noqa: FBT001
    """Compiled code does not decode elements that become text, but must still validate them."""
    if not element and around.endswith((b"[%s]", b"[%s]}]")):
        return  # An empty list.
    body = body_of(with_metadata("HERE")).replace(b'"HERE"', around.replace(b"%s", element))
    with pytest.raises(TransientRequestError):
        decoder(metadata_as_text=as_text).decode(body, asked_at=0)


def test_decode_log_with_id_and_created_at_only() -> None:
    bare: dict[str, Any] = {"id": "a", "createdAt": "2026-01-01"}
    nulls: dict[str, Any] = {**dict.fromkeys(ACTIVITY_LOGS_SCHEMA["properties"]), **bare}
    nothing_in_it = {**bare, "activityLogItems": [{}, None, {"activityLogActor": None, "metadata": None}]}
    for log in (bare, nulls, nothing_in_it):
        assert json.loads(records_of(body_of(log))[0]) == {**log, **NOTHING}


# Logs that differ from the documentation


def odd_page() -> bytes:
    log: dict[str, Any] = with_metadata(
        [{"brandNew": "metadata may hold anything"}], brandNew={"a": 1.50}, unmapped="the API's"
    )
    log["activityLogItems"][0]["activityLogActor"]["shoe size"] = "43"
    return body_of(log, {**log, "id": "second"})


def test_decode_unknown_field_is_kept_under_its_path() -> None:
    page_decoder = decoder()
    for _ in range(3):
        for log in page_decoder.decode(odd_page(), asked_at=0).records:
            assert json.loads(log.data.unmapped, parse_float=str) == {
                "brandNew": {"a": "1.5"},
                "unmapped": "the API's",
                'activityLogItems[0].activityLogActor["shoe size"]': "43",
            }


def learnable_page(**fields: Any) -> bytes:
    log = with_metadata([1], brandNew={"a": [1.5]}, **fields)
    log["activityLogItems"] += [None, {"new one": None, "activityLogTarget": {"é.": [{}]}}]
    return body_of(log, LOGS[0])


def test_decode_learned_field_gives_the_same_record() -> None:
    page_decoder = decoder()
    slow, fast = (page_decoder.decode(learnable_page(), asked_at=0) for _ in range(2))
    assert [log.id for log in fast.records] == [log.id for log in slow.records]
    assert set(fast.records[0].differences) == set(slow.records[0].differences)
    for one, other in zip(slow.records, fast.records, strict=True):
        a, b = (json.loads(ENCODER.encode(log.data)) for log in (one, other))
        assert json.loads(a.pop("unmapped") or "{}") == json.loads(b.pop("unmapped") or "{}")
        assert a == b
    assert len(fast.records[0].differences) == 3
    assert fast.records[1].differences == ()
    assert page_decoder._types.gatherer is not None
    # Values that need a closer look are found.
    deep = b"[" * 300 + b"]" * 300
    page = page_decoder.decode(
        learnable_page(HERE="").replace(b'"HERE":""', b'"brandNew":' + deep), asked_at=0
    )
    assert json.loads(page.records[0].data.unmapped)["brandNew"] == deep.decode()


def test_decode_many_unknown_fields_learns_a_bounded_number() -> None:
    page_decoder = decoder()
    for number in range(80):
        (log,) = page_decoder.decode(body_of({**FULL_LOG, f"field{number}": number}), asked_at=0).records
        assert log.data.unmapped == f'{{"field{number}":{number}}}'
    assert sum(map(len, page_decoder._types.learned.values())) == 50


@pytest.mark.parametrize("as_text", [True, False])
def test_decode_odd_log_leaves_others_unchanged(as_text: bool) -> None:  # noqa: FBT001
    good = records_of(body_of(*LOGS), metadata_as_text=as_text)
    for odd in (
        b'{"id":"x","createdAt":"2026-01-01","origin":7}',
        b'{"id":"x","createdAt":"2026-01-01","origin":NaN}',
    ):
        body = body_of(*LOGS).replace(b'"items":[', b'"items":[' + odd + b",")
        assert records_of(body, metadata_as_text=as_text)[1:] == good


def test_decode_nul_and_lone_surrogates_are_replaced() -> None:
    log = with_metadata([{"a\0": "b\ud83d"}], traceId="x\0y", brandNew={"\ud800": "\0"})
    record = json.loads(records_of(json.dumps({"items": [log], "pagination": {}}).encode())[0])
    assert record["traceId"] == "x\ufffdy"
    assert [json.loads(text) for text in record["activityLogItems"][0]["metadata"]] == [
        {"a\ufffd": "b\ufffd"}
    ]
    assert json.loads(record["unmapped"]) == {"brandNew": {"\ufffd": "\ufffd"}}


@pytest.mark.parametrize("backslashes", [0, 1, 199, 200, 201, 5000])
def test_decode_nul_after_backslashes_is_found(backslashes: int) -> None:
    log = {**FULL_LOG, "origin": "\\" * backslashes + "\0", "traceId": "\n" * backslashes}
    assert json.loads(records_of(body_of(log))[0])["origin"] == "\\" * backslashes + "\ufffd"


def test_actor_email_of_empty_log_is_left_unchanged() -> None:
    log = {**FULL_LOG, "activityLogItems": [None, {"activityLogActor": None}, {}]}
    for logs in (log, {**FULL_LOG, "activityLogItems": None}):
        (decoded,) = decoder().decode(body_of(logs), asked_at=0).records
        changed = ActorEmail("hash", None).apply(decoded.data)
        assert json.loads(ENCODER.encode(changed)) == {**logs, **NOTHING}


# Invalid logs

INVALID_LOGS: list[tuple[dict[str, Any], str, str]] = [
    ({"id": None}, "number 2", "it has no id"),
    ({"id": ""}, "number 2", "it has no id"),
    ({"createdAt": None}, repr(FULL_LOG["id"]), "it has no createdAt"),
    ({"createdAt": 1_760_000_000}, repr(FULL_LOG["id"]), "createdAt is not a string"),
    ({"createdAt": "yesterday"}, repr(FULL_LOG["id"]), "createdAt is not a time: 'yesterday'"),
    ({"id": 7, "createdAt": "ada@example.com"}, "'7'", "createdAt is not a time: '<e-mail>'"),
]


@pytest.mark.parametrize(("fields", "name", "reason"), INVALID_LOGS)
def test_decode_invalid_log_names_log_reason_and_setting(
    fields: dict[str, Any], name: str, reason: str
) -> None:
    with pytest.raises(RecordError) as error:
        decoder().decode(body_of(LOGS[0], {**FULL_LOG, **fields}, LOGS[1]), asked_at=0)
    assert str(error.value).startswith(f"Log {name} on the page cannot be loaded: {reason}.")
    assert "Set invalid_logs to skip" in str(error.value)


@pytest.mark.parametrize("log", [None, "text", 7, [], {}])
def test_decode_item_that_is_not_a_log_is_invalid(log: Any) -> None:
    with pytest.raises(RecordError, match="Log number 2 on the page cannot be loaded"):
        decoder().decode(body_of(LOGS[0], log), asked_at=0)


def test_decode_with_skip_warns_once_per_reason_and_counts_logs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    page_decoder = decoder(skip_invalid=True)
    bad = [{**FULL_LOG, **fields} for fields, _, _ in INVALID_LOGS]
    for _ in range(2):
        page = page_decoder.decode(body_of(LOGS[0], *bad, LOGS[1]), asked_at=0)
        assert [log.id for log in page.records] == [LOGS[0]["id"], LOGS[1]["id"]]
    assert page_decoder.skipped == len(bad)
    assert len(caplog.records) == 4
    assert "Log number 2 of a page is skipped (invalid_logs is skip): it has no id." in caplog.text


def test_decode_numeric_id_becomes_a_string() -> None:
    (log,) = decoder().decode(body_of({**FULL_LOG, "id": 12}), asked_at=0).records
    assert (log.id, log.data.id) == ("12", "12")


@pytest.mark.parametrize("time", ["2016-12-31T23:59:60Z", "2016-12-31T24:00:00Z", "2017-01-01 00:00:00z"])
def test_decode_unusual_time_is_accepted_and_kept_as_written(time: str) -> None:
    (log,) = decoder().decode(body_of({**FULL_LOG, "createdAt": time}), asked_at=0).records
    assert (log.created_at, log.created_at_text, log.data.createdAt) == (1_483_228_800_000_000, time, time)


# Warnings


def report_of(*logs: Record) -> DifferenceReport:
    report = DifferenceReport(logging.getLogger("tests"))
    report.add(logs)
    return report


def test_differences_are_warned_of_once_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    page_decoder = decoder()
    bodies = [odd_page(), odd_page(), body_of({**FULL_LOG, "origin": 7})]
    report = report_of(*[log for body in bodies for log in page_decoder.decode(body, asked_at=0).records])
    assert len(caplog.records) == 4
    assert all(FULL_LOG["id"] in record.getMessage() for record in caplog.records)
    assert "a field that the schema does not list: brandNew." in caplog.text
    assert report.summary() is not None
    assert "brandNew (not in the schema) in 4" in str(report.summary())
    assert "origin (not a string) in 1" in str(report.summary())
    assert report_of(*decoder().decode(body_of(FULL_LOG), asked_at=0).records).summary() is None


def test_differences_with_many_unknown_fields_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    page_decoder = decoder()
    for page in range(5):
        fields = {f"{'x' * 300}{page}-{number}": number for number in range(4_000)}
        report_of(*page_decoder.decode(body_of({**FULL_LOG, **fields}), asked_at=0).records)
    report = report_of(
        *[
            log
            for n in range(300)
            for log in decoder().decode(body_of({**FULL_LOG, f"f{n}": n}), asked_at=0).records
        ]
    )
    assert len(caplog.text) < 200_000
    assert len(str(report.summary())) < 1000
    assert "90 more" in str(report.summary())


# The envelope


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b" \r\n\t", b"\xef\xbb\xbf\n"])
@pytest.mark.parametrize("after", [b"", b"\n", b" \r\n"])
def test_decode_white_space_and_byte_order_mark_are_accepted(before: bytes, after: bytes) -> None:
    for body in (body_of(FULL_LOG, after="c"), body_of({**FULL_LOG, "traceId": "\0"}, after="c")):
        page = decoder().decode(before + body + after, asked_at=0)
        assert (page.after, len(page.records)) == ("c", 1)


def test_decode_items_null_is_an_empty_page() -> None:
    page = decoder().decode(b'{"items": null, "pagination": {"after": "c"}}', asked_at=0)
    assert (page.records, page.after) == ((), "c")


@pytest.mark.parametrize(
    "pagination", [b"null", b"7", b"[]", b'"x"', b"NaN", b"[" * 3000 + b"]" * 3000, None]
)
def test_decode_without_pagination_says_so(pagination: bytes | None) -> None:
    rest = b"" if pagination is None else b', "pagination": ' + pagination
    page = decoder().decode(b'{"items": [' + ENCODER.encode(FULL_LOG) + b"]" + rest + b"}", asked_at=0)
    assert (len(page.records), page.after, page.has_pagination) == (1, None, False)


@pytest.mark.parametrize(
    ("after", "expected"),
    [(b'"c"', "c"), (b"7", "7"), (b"1.50", "1.50"), (b"null", None), (b'""', None), (b"false", None)],
)
def test_decode_scalar_after_is_a_cursor_or_the_end(after: bytes, expected: str | None) -> None:
    body = b'{"items": [], "pagination": {"after": ' + after + b"}}"
    page = decoder().decode(body, asked_at=0)
    assert (page.after, page.has_pagination) == (expected, True)


@pytest.mark.parametrize("after", [b"true", b"{}", b"[1]"])
def test_decode_invalid_after_counts_as_no_pagination(after: bytes) -> None:
    page = decoder().decode(b'{"items": [], "pagination": {"after": ' + after + b"}}", asked_at=0)
    assert (page.after, page.has_pagination) == (None, False)


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (b"650", 650),
        (b"0", 0),
        (b'"650"', 650),
        (b'" 650 "', 650),
        (b"650.0", 650),
        (b"6.5e2", 650),
        (b"null", None),
        (b"-1", None),
        (b"650.5", None),
        (b'"many"', None),
        (b"true", None),
        (b"{}", None),
        (b"1e999999999", None),
        (b'"NaN"', None),
        (b"NaN", None),
        (b"9" * 5000, None),
    ],
)
def test_decode_total_is_its_integer_or_none(total: bytes, expected: int | None) -> None:
    body = b'{"items": [], "pagination": {"after": "c", "totalResultSize": ' + total + b"}}"
    page = decoder().decode(body, asked_at=0)
    assert (page.total, page.after) == (expected, "c")


def test_decode_broken_byte_in_key_is_not_a_page() -> None:
    body = body_of(FULL_LOG, after="cursor").replace(b'"after"', b'"afte\x80r"')
    with pytest.raises(TransientRequestError, match="0x80"):
        decoder().decode(body, asked_at=0)


def test_decode_broken_byte_anywhere_is_not_a_page() -> None:
    body = body_of({**FULL_LOG, "traceId": "é🧾" * 400_000})
    assert len(decoder().decode(body, asked_at=0).records) == 1
    for at in (len(body) // 2, len(body) - 100):
        with pytest.raises(TransientRequestError):
            decoder().decode(body[:at] + b"\xe2" + body[at:], asked_at=0)


@pytest.mark.parametrize("pagination", [{}, {"after": None}, {"after": ""}])
def test_decode_empty_after_is_the_end(pagination: dict[str, Any]) -> None:
    page = decoder().decode(body_of(FULL_LOG, **pagination), asked_at=0)
    assert (page.after, page.has_pagination) == (None, True)


def test_decode_page_has_cursor_total_and_record() -> None:
    page = decoder().decode(body_of(FULL_LOG, after="cursor", before="x", totalResultSize=7), asked_at=5)
    assert (page.after, page.total, page.asked_at) == ("cursor", 7, 5)
    (log,) = page.records
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
        f'{{"items": {{}}, "pagination": {{}}, "by": "{PERSON}"}}',
        f'{{"items": 7, "pagination": {{}}, "by": "{PERSON}"}}',
        f'{{"pagination": {{}}, "by": "{PERSON}"}}',
        f'{{"items": [], "pagination": {{}}, "by": "{PERSON}"}} and more',
        f'{{"items": [], "pagination": {{"after": "\xff {PERSON}"}}}}',
        f'{{"items": [{{"id": "\xff {PERSON}"}}], "pagination": {{}}}}',
    ],
)
def test_decode_other_body_is_transient_and_quoted_without_addresses(body: str) -> None:
    with pytest.raises(TransientRequestError, match=r"not a page of activity logs .*begins with") as error:
        decoder().decode(body.encode("latin-1"), asked_at=0)
    assert "@" not in str(error.value)
    assert ("<e-mail>" in str(error.value)) == (PERSON in body)


def test_decode_truncated_body_is_transient_and_shows_no_address() -> None:
    body = body_of(FULL_LOG, after="cursor")
    for end in range(len(body)):
        with pytest.raises(TransientRequestError) as error:
            decoder().decode(body[:end], asked_at=0)
        assert "@" not in str(error.value)
        assert len(str(error.value)) < 400


# Memory


def bomb(element: bytes, size: int, place: str = "metadata") -> bytes:
    count = size // (len(element) + 1)
    log = with_metadata([], brandNew="")
    text = {"metadata": b'"metadata":[]', "brandNew": b'"brandNew":""'}[place]
    return body_of(log).replace(text, text.split(b":")[0] + b":[" + b",".join([element] * count) + b"]")


@pytest.mark.sample(3)
@pytest.mark.parametrize("element", [b"[]", b"0", b'""', b'{"":[]}'])
@pytest.mark.parametrize("place", ["metadata", "brandNew"])
def test_decode_too_many_values_fails_before_taking_memory(element: bytes, place: str) -> None:
    body = bomb(element, 16 * 2**20, place)
    tracemalloc.start()
    with pytest.raises(PageTooLargeError, match=f"more than {MAX_VALUES:,} JSON values"):
        decoder().decode(body, asked_at=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * len(body)


@pytest.mark.parametrize("part", [10, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("as_text", [True, False])
def test_decode_maximum_of_values_takes_bounded_memory(as_text: bool, part: int) -> None:  # noqa: FBT001
    """Or a part of them, in that part of the memory: tracing memory takes most of the time."""
    body = bomb(b"[]", (MAX_VALUES // 2 - 100) * 3 // part)
    tracemalloc.start()
    assert len(decoder(metadata_as_text=as_text).decode(body, asked_at=0).records) == 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200 * 2**20 // part


def test_decode_long_strings_with_punctuation_are_not_counted() -> None:
    log = {**FULL_LOG, "traceId": '[,{\\"' * MAX_VALUES}
    (found,) = decoder().decode(body_of(log), asked_at=0).records
    assert found.data.traceId == log["traceId"]


def test_kinds_have_different_names() -> None:
    assert len({kind.value for kind in Kind}) == len(Kind)
    assert read_json(b"1").content == "1"
