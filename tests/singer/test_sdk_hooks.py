"""The parts of the SDK that the tap overrides or calls although they are private: a new SDK that moves one fails here."""

from __future__ import annotations

import inspect
import re

import pytest
from singer_sdk import Stream, Tap
from singer_sdk.contrib.msgspec import MsgSpecWriter, serialize_jsonl
from singer_sdk.mapper import PluginMapper, SameRecordTransform, StreamMap
from singer_sdk.plugin_base import PluginBase, SingerCommand
from singer_sdk.singerlib import RecordMessage

from tap_sequence.settings import PREFIX
from tap_sequence.singer.reader_stream import ReaderStream
from tap_sequence.singer.shared_stream import SharedPageStream, _is_not_announcement
from tap_sequence.singer.streams import STREAM_TYPES
from tap_sequence.singer.tap import SequenceTap


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (Stream, "_sync_records", ["self", "context", "write_messages"]),
        (Stream, "_generate_record_messages", ["self", "record"]),
        (Stream, "_write_activate_version_message", ["self", "full_table_version"]),
        (Stream, "_check_max_record_limit", ["self", "current_record_index"]),
        (Stream, "finalize_state_progress_markers", ["self", "state"]),
        (Tap, "_handle_termination", ["self", "signum", "frame"]),
        (Tap, "setup_mapper", ["self"]),
        (PluginMapper, "__init__", ["self", "plugin_config", "logger"]),
        (Tap, "invoke", ["about", "about_format", "config", "state", "catalog"]),
        (PluginBase, "_validate_config", ["self", "raise_errors"]),
        (MsgSpecWriter, "format_message", ["self", "message"]),
        (SingerCommand, "__init__", ["self", "args", "logger", "kwargs"]),
    ],
)
def test_sdk_member_has_the_expected_parameters(owner: type, name: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(owner, name)).parameters) == parameters


def test_sdk_calls_the_overridden_members() -> None:
    assert "self._sync_records(" in inspect.getsource(Stream.sync)
    assert "and self.emit_activate_version_messages" in inspect.getsource(Stream.sync)
    assert "self._validate_config(raise_errors=validate_config)" in inspect.getsource(PluginBase.__init__)
    assert "config_dict.update(self._env_var_config)" in inspect.getsource(PluginBase.__init__)
    assert "self._handle_termination" in inspect.getsource(PluginBase._setup_signal_handlers)
    assert "stream.finalize_state_progress_markers()" in inspect.getsource(Tap.sync_all)
    assert "self.setup_mapper()" in inspect.getsource(Tap.__init__)


def test_environment_prefix_is_the_sdks() -> None:
    assert SequenceTap._env_var_prefix == PREFIX


def test_sdk_processes_a_record_only_as_the_page_writer_expects() -> None:
    way = inspect.getsource(Stream._generate_record_messages)
    assert re.findall(r"self\.(\w+)", way) == [
        *("effective_schema", "schema", "mask", "name", "TYPE_CONFORMANCE_LEVEL", "logger"),
        *("stream_maps", "_stream_version"),
    ]
    assert re.findall(r"stream_map\.(\w+)", way) == ["transform", "stream_alias"]
    assert "_generate_record_messages" in inspect.getsource(Stream._write_record_message)
    assert "return super().transform(record)" in inspect.getsource(SameRecordTransform.transform)
    assert "return self.flatten_record(record)" in inspect.getsource(StreamMap.transform)
    keys = inspect.getsource(RecordMessage.to_dict)
    assert re.findall(r'"(\w+)"[]:]', keys) == ["type", "stream", "record", "version", "time_extracted"]
    assert "encoder.encode_into(" in inspect.getsource(serialize_jsonl)


def test_sdk_error_announcement_matches_the_filter() -> None:
    assert "An unhandled error occurred while syncing" in inspect.getsource(Stream.sync)
    assert _is_not_announcement.__doc__


def test_tap_overrides_no_other_private_member() -> None:
    def overridden(child: type, parent: type) -> set[str]:
        names = {name for name in vars(child) if name.startswith("_") and not name.startswith("__")}
        return {name for name in names if name in dir(parent) and not name.startswith("_abc")}

    assert overridden(SharedPageStream, Stream) == overridden(ReaderStream, Stream) == {"_sync_records"}
    assert all(overridden(stream_type, Stream) == set() for stream_type in STREAM_TYPES)
    assert overridden(SequenceTap, Tap) == {"_env_var_config", "_validate_config", "_handle_termination"}
