"""What `--help` and `--about` print, as files to review. `UPDATE_SNAPSHOTS=1 pytest tests/singer/test_snapshots.py` rewrites them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tap_sequence.singer.tap import SequenceTap

FOLDER = Path(__file__).with_name("snapshots")
SNAPSHOTS = {
    "help.txt": ["--help"],
    "about.txt": ["--about"],
    "about.md": ["--about", "--format=markdown"],
}


def printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the output for 80 columns and version 0.0.0, whatever they are here."""
    command = SequenceTap.get_singer_command()
    user_agent: dict[str, Any] = SequenceTap.config_jsonschema["properties"]["user_agent"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        patch.setattr(sys, "excepthook", sys.excepthook)
        patch.setitem(user_agent, "default", "tap-sequence/0.0.0")
        for method in ("get_plugin_version", "get_sdk_version"):
            patch.setattr(SequenceTap, method, lambda: "0.0.0")
        with pytest.raises(SystemExit, match="0"):
            command.main(arguments, prog_name="tap-sequence")
    return capsys.readouterr().out


@pytest.mark.parametrize(("name", "arguments"), SNAPSHOTS.items())
def test_output_is_the_snapshot(name: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    output, path = printed(arguments, capsys), FOLDER / name
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.write_text(output, encoding="utf-8")
    assert output == path.read_text(encoding="utf-8")


def test_snapshots_folder_has_no_other_file() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(SNAPSHOTS)
