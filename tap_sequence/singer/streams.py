"""The streams of `tap_sequence.catalog` as classes for the SDK. To add a stream, edit the catalog."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tap_sequence.api.schemas import SCHEMAS
from tap_sequence.catalog import STREAMS, StreamSpec
from tap_sequence.singer.reader_stream import ReaderStream
from tap_sequence.singer.shared_stream import SharedPageStream


def stream_types(specs: Iterable[StreamSpec]) -> Sequence[type[SharedPageStream]]:
    """Return a class for each stream: the first of an endpoint reads, the others are its children."""
    readers: dict[str, type[SharedPageStream]] = {}
    types = []
    for spec in specs:
        reader = readers.get(spec.endpoint.path)
        attributes = {
            "__doc__": SCHEMAS[spec.name]["description"],
            "name": spec.name,
            "spec": spec,
            "primary_keys": spec.primary_keys,
            "replication_key": spec.replication_key,
            "selected_by_default": spec.is_selected_by_default,
            "parent_stream_type": reader,
        }
        class_name = "".join(map(str.capitalize, spec.name.split("_"))) + "Stream"
        stream_type = type(class_name, (SharedPageStream if reader else ReaderStream,), attributes)
        readers.setdefault(spec.endpoint.path, stream_type)
        types.append(stream_type)
    return types


STREAM_TYPES = stream_types(STREAMS)
