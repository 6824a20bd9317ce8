"""meltano.yml, and meltano-plugin.yml in a project of its own, as a user runs them. Installs the tap and target-jsonl as plugins."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path

import pytest

from tap_sequence.simulator import SimulatedApi, Simulator
from tap_sequence.simulator.store import demo_window
from tests.support.harness import ROOT, as_sent, uv
from tests.support.meltano_project import copy_project, meltano, new_project, own_account
from tests.support.pages import blocks_in


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("project"), "tap-sequence", "target-jsonl")


def _loaded(folder: Path) -> list[dict[str, object]]:
    files = list(folder.glob("[!.]*"))
    assert [file.name for file in files] == ["activity_logs.jsonl"]
    return [json.loads(line) for line in files[0].read_text(encoding="utf-8").split("\n") if line]


def _demo_ids() -> set[str]:
    """Return the ids that the demo account holds at this moment."""
    store = SimulatedApi.demo().store
    store.show_window(*demo_window(int(time.time() * 1_000_000)))
    return set(store.ids())


@pytest.mark.long
def test_demo_job_loads_every_log_once_and_then_new_ones(project: Path) -> None:
    before = _demo_ids()
    first = meltano(project, "--environment=demo", "run", "demo")
    assert first.returncode == 0, first.stderr
    assert "Environment 'demo' is active" in first.stderr
    assert "Running job with name 'demo:" in first.stderr
    assert "prod" not in first.stderr
    rows = _loaded(project / "output" / "demo")
    after = _demo_ids()
    ids = [str(row["id"]) for row in rows]
    assert len(set(ids)) == len(ids) > 1000
    # The demo account grows while the job runs, and drops its oldest hour at each full hour.
    assert before & after <= set(ids) <= before | after

    assert meltano(project, "--environment=demo", "run", "demo").returncode == 0
    all_rows = _loaded(project / "output" / "demo")
    all_ids = [str(row["id"]) for row in all_rows]
    assert all_rows[: len(rows)] == rows
    assert len(set(all_ids)) == len(all_ids)
    assert after & _demo_ids() <= set(all_ids)


@pytest.mark.long
def test_own_account_is_read_with_credentials_from_the_environment(project: Path) -> None:
    api = SimulatedApi()
    api.store.grow(321)
    with Simulator(api) as simulator:
        variables = own_account(simulator)
        arguments = ("--environment=prod", "run", "sequence-to-jsonl")
        first = meltano(project, *arguments, **variables)
        assert first.returncode == 0, first.stderr
        assert [row["id"] for row in _loaded(project / "output" / "prod")] == api.store.ids()

        new = api.store.grow(45)
        assert meltano(project, *arguments, **variables).returncode == 0
        rows = _loaded(project / "output" / "prod")
    assert len(rows) == 366
    assert sorted(str(row["id"]) for row in rows[321:]) == sorted(new)
    by_id = {log["id"]: log for log in api.store.logs()}
    assert all(as_sent(row) == by_id[row["id"]] for row in rows)


@pytest.mark.long
def test_plugin_definition_added_to_another_project_loads_the_demo_twice(tmp_path: Path) -> None:
    uv("build", "--wheel", "--out-dir", tmp_path / "dist", ROOT)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    project = new_project(tmp_path, wheel)
    output = project / "output"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = (block for block in blocks_in(readme, language="text") if "--from-ref" in block.text)
    add, *configure, load = (shlex.split(line)[1:] for line in block.text.splitlines())
    assert (project / add[-1]).is_file()
    for arguments in (add, *configure, load):
        done = meltano(project, *arguments)
        assert done.returncode == 0, done.stderr
    rows = _loaded(output)
    ids = {str(row["id"]) for row in rows}
    assert len(ids) == len(rows) > 1000
    listed = meltano(project, "config", "list", "tap-sequence", "--all")
    assert listed.returncode == 0, listed.stderr
    for name in ("client_id", "environment", "metadata_format", "stream_maps", "flattening_max_depth"):
        assert f"TAP_SEQUENCE_{name.upper()}" in listed.stdout

    assert meltano(project, *load).returncode == 0
    all_rows = _loaded(output)
    assert all_rows[: len(rows)] == rows
    assert len({str(row["id"]) for row in all_rows}) == len(all_rows)

    with_items = meltano(
        project,
        *(load[0], "--full-refresh", *load[1:]),
        TAP_SEQUENCE__SELECT='["activity_log_items.*"]',
    )
    assert with_items.returncode == 0, with_items.stderr
    assert {file.name for file in output.glob("[!.]*")} == {"activity_logs.jsonl", "activity_log_items.jsonl"}
