"""Links, blocks, options and modules in the documentation exist."""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tap_sequence.airbyte.cli import parser as source_parser
from tap_sequence.simulator.__main__ import _parser as simulator_parser
from tap_sequence.singer.tap import SequenceTap
from tests.support.harness import ROOT
from tests.support.pages import Block, blocks, blocks_in, prose

PAGES = sorted(path for folder in (ROOT, ROOT / "docs") for path in folder.glob("*.md"))
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
LINKING = [*PAGES, *sorted((ROOT / ".github").rglob("*.*"))]

_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_IMAGE = re.compile(r"<img[^>]* src=\"([^\"]+)\"")
_OPTION = re.compile(r"(?<!\S)--[a-z][\w-]*")

OTHER_OPTIONS = {
    "--environment": "meltano",
    "--force": "meltano run",
    "--from-ref": "meltano add",
    "--full-refresh": "meltano run",
    "--log-level": "meltano",
    "--peers-python": "python -m benchmarks",
    "--quick": "python -m benchmarks",
    "--refresh-catalog": "meltano run",
    "--state-id-suffix": "meltano run",
}
"""Options that pages name without their command, by the command that has them."""


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE):
        text = re.sub(r"[^\w\- ]", "", _LINK.sub(lambda link: link[0].split("]")[0], heading.lower()))
        anchor = base = text.replace(" ", "-")
        number = 0
        while anchor in found:
            number += 1
            anchor = f"{base}-{number}"
        found.add(anchor)
    return found


BLOCKS = [block for page in PAGES for block in blocks(page)]


def written_in(language: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", [each for each in BLOCKS if each.language == language], ids=str)


def tap_options() -> set[str]:
    return {option for parameter in SequenceTap.get_singer_command().params for option in parameter.opts} | {
        "--help"
    }


def source_options() -> set[str]:
    (commands,) = [
        action.choices.values()
        for action in source_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    ]
    return {option for command in commands for option in parser_options(command)}


def parser_options(parser: argparse.ArgumentParser) -> set[str]:
    return set(_OPTION.findall(parser.format_help()))


@pytest.mark.parametrize("page", LINKING, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_a_page_and_an_anchor(page: Path) -> None:
    text = _CODE.sub("", prose(page))
    for link in (*_LINK.findall(text), *_IMAGE.findall(text)):
        if "://" in link:
            assert link.startswith("https://"), link
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target), link


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    listed = re.findall(
        r"^\| \[([\w-]+\.md)\]\(\1\) \| .+ \|$", index.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(listed) == sorted({page.name for page in index.parent.glob("*.md")} - {index.name})


@written_in("json")
def test_every_json_block_parses(block: Block) -> None:
    json.loads(block.text)


@written_in("yaml")
def test_every_yaml_block_parses(block: Block) -> None:
    assert isinstance(yaml.safe_load(block.text), dict)


@written_in("toml")
def test_every_toml_block_parses(block: Block) -> None:
    assert tomllib.loads(block.text)


@written_in("python")
def test_every_python_block_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec")


@written_in("shell")
def test_every_shell_block_is_shell(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_block_says_what_it_is() -> None:
    known = {"json", "yaml", "toml", "python", "shell", "sql", "text"}
    assert {str(block): block.language for block in BLOCKS if block.language not in known} == {}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_option_exists(page: Path) -> None:
    shell = [line for block in blocks(page, "shell") for line in block.text.splitlines()]
    code = _CODE.findall(prose(page))
    simulator_options = parser_options(simulator_parser())
    for command in (part for line in [*shell, *code] for part in re.split(r"[|;]|&&|#|>", line)):
        given = set(_OPTION.findall(command))
        if re.search(r"(?<![\w./-])tap-sequence --", command):
            assert given <= tap_options(), command
        elif "source-sequence" in command:
            assert given <= source_options(), command
        elif "tap_sequence.simulator" in command:
            assert given <= simulator_options, command
        elif command.startswith("--"):
            assert given <= tap_options() | source_options() | simulator_options | set(OTHER_OPTIONS), command


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_module_that_is_run_exists(page: Path) -> None:
    for module in re.findall(r"python -m ([\w.]+)", page.read_text(encoding="utf-8")):
        assert importlib.util.find_spec(module) is not None, module


def test_architecture_page_lists_every_module_and_no_other() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    package = ROOT / "tap_sequence"
    paths = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    folders = {"simulator/", "errors/"}
    modules = {
        path for path in paths if not path.startswith(tuple(folders)) and not path.endswith("__init__.py")
    }
    table = page.split("\n## The rooms\n")[1].split("\n## ")[0]
    named = [name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in _CODE.findall(row)]
    assert sorted(named) == sorted(modules | folders)
    others = set(re.findall(r"(?<![\w/])\w+\.py\b", page)) - {"__init__.py"}
    assert others <= modules


def test_helpers_find_anchors_blocks_and_options(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `title`: of *two* (things)\n\n## Same\n\n## Same\n\n- in a list\n\n  ```json\n  {}\n  ```\n\n```text\n# no heading\n```\n"
    )
    assert anchors(page) == {"a-title-of-two-things", "same", "same-1"}
    found = [(block.language, block.text) for block in blocks_in(page.read_text())]
    assert found == [("json", "{}\n"), ("text", "# no heading\n")]
    assert "--no-such" not in tap_options()
    assert {"--config", "--state", "--catalog", "--discover", "--test", "--about"} <= tap_options()
