from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_sequence.sync.timestamps import format_timestamp, parse_timestamp


def test_parse_timestamp_varying_digits_sort_as_times() -> None:
    earlier, later = "2024-05-02T14:26:48.63793Z", "2024-05-02T14:26:48.637932Z"
    assert earlier > later
    assert parse_timestamp(earlier) < parse_timestamp(later)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2024-05-02", "2024-05-02T00:00:00Z"),
        ("2024-05-02T14:26:48", "2024-05-02T14:26:48Z"),
        ("2024-05-02T16:26:48+02:00", "2024-05-02T14:26:48Z"),
        ("2024-05-02t14:26:48z", "2024-05-02T14:26:48Z"),
        ("2024-05-02T14:26:48.123456789Z", "2024-05-02T14:26:48.123456Z"),
        ("2024-05-02T14:26:48,5Z", "2024-05-02T14:26:48.5Z"),
        (" 2024-05-02 14:26:48 UTC\n", "2024-05-02T14:26:48Z"),
        ("2024-05-02T14:26:48 Z", "2024-05-02T14:26:48Z"),
        ("20240502T142648+0000", "2024-05-02T14:26:48Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("2016-12-31T23:59:60.25Z", "2017-01-01T00:00:00.25Z"),
        ("2017-01-01T00:59:60+01:00", "2017-01-01T00:00:00Z"),
        ("20161231T235960Z", "2017-01-01T00:00:00Z"),
        ("2016-12-31T24:00:00Z", "2017-01-01T00:00:00Z"),
        ("2016-12-31t24:00:00.000z", "2017-01-01T00:00:00Z"),
        ("2016-12-31 24:00", "2017-01-01T00:00:00Z"),
        ("2016-12-31T24:00:00-05:00", "2017-01-01T05:00:00Z"),
    ],
)
def test_parse_timestamp_accepts_common_forms(text: str, same: str) -> None:
    assert parse_timestamp(text) == parse_timestamp(same)


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "2024-13-01", "1714660008", "2024-05-02T14:26:61Z", "2024-05-02T14:60:60Z"),
        *("2024-05-02T24:00:01Z", "2024-05-02T25:00:00Z", "12:00:60", "Z", "2024-05-02T14:26:60+24:00"),
    ],
)
def test_parse_timestamp_invalid_text_raises(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_timestamp(text)


def test_format_timestamp_out_of_range_returns_nearest_time() -> None:
    assert format_timestamp(parse_timestamp("0001-01-01") - 1) == "0001-01-01T00:00:00Z"
    assert format_timestamp(parse_timestamp("9999-12-31T24:00:00Z")).startswith("9999-12-31T23:59:59")


@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2200, 1, 1)))  # noqa: DTZ001  # made aware below
def test_parse_timestamp_of_formatted_time_returns_it(moment: datetime) -> None:
    microseconds = parse_timestamp(moment.replace(tzinfo=UTC).isoformat())
    assert parse_timestamp(format_timestamp(microseconds)) == microseconds
