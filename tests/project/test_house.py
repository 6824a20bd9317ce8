"""The workflow, the issue forms, the checks and the gate agree with pyproject.toml."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.harness import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ISSUE_FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*_*.yml"))
PUBLISHED = [
    ROOT / "SECURITY.md",
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / ".github").rglob("*.*"),
]


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def workflow() -> dict[str, Any]:
    return _read(ROOT / ".github" / "workflows" / "ci.yml")


@pytest.fixture(scope="module")
def gate(workflow: dict[str, Any]) -> dict[str, Any]:
    (job,) = workflow["jobs"].values()
    assert isinstance(job, dict)
    return job


def _classified() -> list[str]:
    pattern = re.compile(r"Programming Language :: Python :: (3\.\d+)")
    return [found[1] for line in PROJECT["project"]["classifiers"] if (found := pattern.fullmatch(line))]


def test_gate_tests_every_supported_python() -> None:
    first, last = _classified()[0], _classified()[-1]
    minors = range(int(first.removeprefix("3.")), int(last.removeprefix("3.")) + 1)
    assert _classified() == [f"3.{minor}" for minor in minors]
    assert PROJECT["project"]["requires-python"] == f">={first},<3.{minors.stop}"
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert f"${{CI_PYTHONS:-{' '.join(_classified())}}}" in gate


def test_workflow_jobs_run_the_gate_on_their_own_python(gate: dict[str, Any]) -> None:
    assert gate["strategy"]["matrix"] == {"python": _classified()}
    assert not gate["strategy"]["fail-fast"]
    python = "${{ matrix.python }}"
    (setup,) = [step for step in gate["steps"] if step.get("uses", "").startswith("actions/setup-python@")]
    assert setup["with"] == {"python-version": python}
    (command,) = [step for step in gate["steps"] if "run" in step]
    assert command == {"run": "bash .ci/run", "env": {"CI_PYTHONS": python}}


def test_workflow_has_read_permission_and_no_secrets(workflow: dict[str, Any], gate: dict[str, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    assert "permissions" not in gate
    assert "secrets." not in str(workflow)
    # YAML 1.1 reads the word `on` as true.
    assert dict[Any, Any](workflow)[True] == {"push": {"branches": ["main"]}, "pull_request": None}


def test_actions_are_pinned_to_a_commit_with_its_version() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    uses = re.findall(r"uses: (.*)", text)
    assert uses
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each) for each in uses)


def test_workflow_for_a_newer_commit_cancels_the_older_run(
    workflow: dict[str, Any], gate: dict[str, Any]
) -> None:
    assert workflow["concurrency"]["cancel-in-progress"] is True
    assert "github.ref" in workflow["concurrency"]["group"]
    assert 0 < gate["timeout-minutes"] <= 90


@pytest.mark.parametrize("path", ISSUE_FORMS, ids=lambda path: path.stem)
def test_issue_form_ids_are_unique(path: Path) -> None:
    """check-jsonschema knows the rest of what GitHub requires."""
    ids = [field["id"] for field in _read(path)["body"] if field["type"] != "markdown"]
    assert ids
    assert len(set(ids)) == len(ids)


def test_bug_report_asks_for_version_output_and_state() -> None:
    form = _read(ROOT / ".github" / "ISSUE_TEMPLATE" / "bug_report.yml")
    assert {"version", "about", "line", "runner", "state"} <= {field.get("id") for field in form["body"]}
    assert "tap-sequence --about" in str(form)
    assert "SECURITY.md" in str(form)


def test_checks_run_only_installed_programs() -> None:
    (repository,) = _read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    hooks = {hook["id"]: hook for hook in repository["hooks"]}
    assert len(hooks) == len(repository["hooks"])
    for hook in hooks.values():
        assert hook["language"] == "system"
        uv, run, program, *_ = hook["entry"].split()
        assert (uv, run) == ("uv", "run")
        assert shutil.which(program, path=str(Path(sys.executable).parent)), program
    programs = {hook["entry"].split()[2] for hook in hooks.values()}
    assert {"check-jsonschema", "deptry", "mypy", "ruff", "shellcheck", "typos"} <= programs


def test_pictures_are_shown_with_a_description_and_load_nothing() -> None:
    shown: set[str] = set()
    for page in PUBLISHED:
        for image in re.findall(r"<img [^>]*>", page.read_text(encoding="utf-8")):
            attributes = dict(re.findall(r'(\w+)="([^"]*)"', image))
            assert len(attributes["alt"]) > len("a picture of something")
            shown.add(Path(attributes["src"]).name)
    pictures = sorted((ROOT / "docs" / "pictures").iterdir())
    assert {picture.name for picture in pictures} == shown
    for picture in pictures:
        svg = picture.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert "//" not in svg
        assert "@import" not in svg
        assert "<script" not in svg


def test_gate_is_valid_bash_and_runs_checks_and_long_tests() -> None:
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for command in ("pre-commit run --all-files", "pytest -m long"):
        assert f"uv run {command}" in script
