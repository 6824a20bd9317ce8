"""What `select` and `metadata` in meltano.yml make of the catalog. Installs the tap and target-jsonl as plugins."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml

from tests.support.meltano_project import copy_project, meltano

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("project"), "tap-sequence", "target-jsonl")


def load(
    project: Path, select: Sequence[str], **extras: Any
) -> tuple[list[dict[str, Any]], CompletedProcess[str]]:
    """Run the demo with this `select`; return what was loaded, and the process."""
    file = project / "meltano.yml"
    original = file.read_text(encoding="utf-8")
    content = yaml.safe_load(original)
    extractor = content["plugins"]["extractors"][0]
    extractor.update(select=list(select), **extras)
    output = project / "output" / "demo"
    for old in output.iterdir():
        old.unlink()
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    try:
        done = meltano(project, "run", "--full-refresh", "demo")
    finally:
        file.write_text(original, encoding="utf-8")
    text = "".join(each.read_text(encoding="utf-8") for each in output.iterdir())
    return [json.loads(line) for line in text.split("\n") if line], done


@pytest.mark.parametrize(
    "exclusion", ["!activity_logs.*email", "!activity_logs.activityLogItems.activityLogActor.email"]
)
def test_field_excluded_within_the_list_is_not_loaded(project: Path, exclusion: str) -> None:
    rows, done = load(project, ["activity_logs.*", exclusion])
    assert done.returncode == 0, done.stderr
    actors = [item["activityLogActor"] for row in rows for item in row["activityLogItems"]]
    assert len(actors) > 1000
    assert any(actors)
    assert not any("email" in (actor or {}) for actor in actors)


def test_list_selected_with_its_fields_is_loaded_whole(project: Path) -> None:
    rows, done = load(project, ["activity_logs.id", "activity_logs.activityLogItems*"])
    assert done.returncode == 0, done.stderr
    assert {key for row in rows for key in row} == {"id", "createdAt", "activityLogItems"}
    assert any(
        "email" in (item["activityLogActor"] or {}) for row in rows for item in row["activityLogItems"]
    )


def test_list_selected_without_its_fields_is_refused(project: Path) -> None:
    rows, done = load(project, ["activity_logs.id", "activity_logs.activityLogItems"])
    assert done.returncode != 0
    assert rows == []
    assert "activityLogItems of activity_logs is selected, but none of its fields is" in done.stderr
    assert "with Meltano, all of them by activity_logs.activityLogItems*" in done.stderr


@pytest.mark.parametrize("select", [["!activity_logs.traceId"], ["activity_log.*"]])
def test_run_that_loads_nothing_says_what_to_select(project: Path, select: list[str]) -> None:
    rows, done = load(project, select)
    assert done.returncode == 0, done.stderr
    assert rows == []
    assert "No stream is selected, so nothing is loaded." in done.stderr
    assert "list activity_logs.* under select" in done.stderr


def test_replication_method_in_small_letters_is_followed(project: Path) -> None:
    rows, done = load(
        project, ["activity_logs.*"], metadata={"activity_logs": {"replication-method": "full_table"}}
    )
    assert done.returncode == 0, done.stderr
    assert len(rows) > 1000
    assert "ACTIVATE_VERSION" in done.stderr  # target-jsonl says that it does not know it.
