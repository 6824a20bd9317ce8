"""The import rule of docs/architecture.md, and the size of files."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter

import pytest

from tests.support.harness import ROOT

PACKAGE = ROOT / "tap_sequence"

LAYERS = (
    ("__main__",),
    ("singer", "airbyte"),
    ("source",),
    ("connection",),
    ("catalog", "settings_checks"),
    ("settings",),
    ("api", "prefetch", "transforms", "runtime"),
    ("sync",),
    ("text", "errors", ""),
)
"""From top to bottom: a room imports only from itself and from the layers below its own."""

# The simulator is not a layer: it stands for the API.
ALONE = "simulator"
ONLY_IMPORTER = {"singer_sdk": "singer", "click": "singer", "requests": "api", "urllib3": "api"}

MOST_LINES = 300
LEVELS = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}


def room_of(module: str) -> str:
    """Return the room of a module of the package, which is a folder or a file of its own; "" is the package itself."""
    return module.removeprefix("tap_sequence").lstrip(".").partition(".")[0]


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        yield name, ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.Module) -> Iterator[str]:
    """Yield the full names of the modules that a module imports, including those for types only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where things come from"
            assert node.module is not None
            yield node.module


OWN = {
    name: {found for found in imports(tree) if found.partition(".")[0] == "tap_sequence"}
    for name, tree in modules()
}


def test_rooms_all_have_a_layer() -> None:
    assert {room_of(name) for name in OWN} == {*LEVELS, ALONE}


@pytest.mark.parametrize("name", OWN)
def test_module_imports_only_from_its_room_and_from_below(name: str) -> None:
    room = room_of(name)
    for found in OWN[name]:
        other = room_of(found)
        if other == room:
            continue
        if room == ALONE:
            assert other in {"", "sync"}, found
        elif other == ALONE:
            assert room in {"connection", "singer"}, found
        else:
            assert LEVELS[other] > LEVELS[room], found


def test_files_have_at_most_300_lines() -> None:
    too_long = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES
    }
    assert too_long == set()


def test_libraries_are_imported_by_one_room() -> None:
    importers = {
        (library, room_of(name))
        for name, tree in modules()
        for library in {found.partition(".")[0] for found in imports(tree)} & ONLY_IMPORTER.keys()
    }
    assert importers == set(ONLY_IMPORTER.items())


def test_modules_have_no_import_cycle() -> None:
    # Raises if they do.
    tuple(TopologicalSorter(OWN).static_order())


@pytest.mark.parametrize(
    "room", ["api.client", "sync.incremental", "prefetch.pool", "transforms.items", "airbyte.read"]
)
def test_rooms_but_one_load_neither_the_sdk_nor_click_nor_jsonschema(room: str) -> None:
    code = f"import sys, tap_sequence.{room}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    names = {name.partition(".")[0] for name in loaded.stdout.split()}
    assert "tap_sequence" in names
    assert not {"singer_sdk", "click", "jsonschema"} & names


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("import a.b, c", {"a.b", "c"}),
        ("if x:\n    from a.b import c", {"a.b"}),
        ("def f():\n    from a import b", {"a"}),
    ],
)
def test_imports_are_found_at_any_depth(code: str, names: set[str]) -> None:
    assert set(imports(ast.parse(code))) == names
