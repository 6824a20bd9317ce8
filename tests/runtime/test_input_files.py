"""Files named on the command line: read once, with errors that name the file and quote nothing of it."""

from __future__ import annotations

import json
import os
import threading
from decimal import Decimal
from pathlib import Path

import pytest

from tap_sequence.errors import (
    EmptyFileError,
    InlineInputError,
    InputFileError,
    InvalidJsonError,
    NotAnObjectError,
    UnreadableFileError,
)
from tap_sequence.runtime.input_files import read_object
from tap_sequence.singer.input_files import ConfigInput


def write(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def test_read_several_files_and_env_merges_in_order(tmp_path: Path) -> None:
    first = write(tmp_path, "first.json", '{"page_size": 1, "environment": "demo", "x": 0.1}')
    second = write(tmp_path, "second.json", '{"page_size": 2}')
    given = ConfigInput.read([first, "ENV", second])
    assert given == ConfigInput({"page_size": 2, "environment": "demo", "x": Decimal("0.1")}, parse_env=True)
    assert ConfigInput.read([]) == ConfigInput({}, parse_env=False)


@pytest.mark.parametrize(
    "content",
    [
        ' {"client_secret": "s3cr3t"}',
        "client_id: an-id\nclient_secret: s3cr3t",
        "client_secret: s3cr3t",
        '"client_secret"="s3cr3t"',
        "[s3cr3t]",
    ],
)
@pytest.mark.parametrize("name", ["config", "state", "catalog"])
def test_read_content_in_place_of_a_file_is_refused(name: str, content: str) -> None:
    with pytest.raises(InlineInputError) as caught:
        read_object(content, name)
    assert str(caught.value).startswith(f"--{name} must be the name of a file (got its content).")
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("value", ["s3cr3t", "client_secret=s3cr3t", "client_secret:s3cr3t", "s3cr3t" * 100])
def test_read_name_that_may_be_a_secret_is_not_quoted(value: str) -> None:
    with pytest.raises(UnreadableFileError, match=r"^The config file cannot be read: .* Check --config\.$"):
        ConfigInput.read([value])


def test_read_pipe_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=['{"page_size": 1}'])
    writer.start()
    assert ConfigInput.read([str(path)]).config == {"page_size": 1}
    writer.join()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("name", ["config", "state", "catalog"])
def test_read_is_utf8_with_or_without_byte_order_mark(tmp_path: Path, name: str, encoding: str) -> None:
    path = write(tmp_path, "input.json", '{"a": "Zoë"}'.encode(encoding))
    assert read_object(path, name) == {"a": "Zoë"}


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (" \n", EmptyFileError, "is empty. Omit --config"),
        ("{s3cr3t", InvalidJsonError, "is not valid JSON: "),
        ('{"a": "s3cr3t", "b": NaN}', InvalidJsonError, "b is NaN, which is not a JSON number"),
        ('{"a": {"b": ["s3cr3t", [-Infinity]]}}', InvalidJsonError, "b is -Infinity, which"),
        ('{"a": ' + "[" * 100_000, InvalidJsonError, "nested too deeply"),
        ("[NaN]", NotAnObjectError, "must be a JSON object (got list)"),
        ("7", NotAnObjectError, "(got int)"),
        (b'{"a": "\xff"}', UnreadableFileError, "cannot be read: not UTF-8 text. Check --config."),
    ],
)
def test_read_bad_file_names_file_and_problem(
    tmp_path: Path, content: str | bytes, error: type[InputFileError], words: str
) -> None:
    path = write(tmp_path, "config.json", content)
    with pytest.raises(error) as caught:
        ConfigInput.read([path])
    assert str(caught.value).startswith(f"The config file {path} ")
    assert words in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_read_missing_file_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"cannot be read: No such file.*\. Check --config\.$"):
        ConfigInput.read([str(tmp_path / "none.json")])


def test_read_object_keeps_numbers_exact(tmp_path: Path) -> None:
    path = write(
        tmp_path, "state.json", '{"a": 0.1234567890123456789, "b": 1e400, "c": 12345678901234567890}'
    )
    value = read_object(path, "state")
    assert value == {"a": Decimal("0.1234567890123456789"), "b": Decimal("1e400"), "c": 12345678901234567890}
    assert json.dumps(value["c"]) == "12345678901234567890"
