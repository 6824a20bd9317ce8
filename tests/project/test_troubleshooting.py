"""docs/troubleshooting.md lists every message that the code can make, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.harness import ROOT

PLACEHOLDER = "…"
FEWEST_WORDS = 3

NO_MESSAGES = (
    # Nouns that a message is completed with.
    *(
        "text or null",
        "a time or null",
        "a count or null",
        "an object of texts",
        "a list of texts",
        "a list of objects",
    ),
    *("a whole number", "a text that is not empty", "a JSON object", "the value from your Sequence API"),
    *("The config file", "The state file", "The catalog file", "not UTF-8 text", "it is closed"),
    *(
        "a page ahead",
        "from the start",
        "REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE",
        "the proxy in HTTPS_PROXY or ALL_PROXY",
        "… above …, up to …",
        "a text of printable ASCII",
        "true or false",
    ),
    # What to do, in the words with which a message goes on.
    *(
        "Check HTTPS_PROXY",
        "Check the file",
        "If there is a proxy or a private",
        "Check the user and password",
    ),
    *(" Did you mean …?", "… attempt… in … s"),
    # Why no cursors are guessed, in a line at level info.
    *("its cursors are of a kind", "too many", "the API refuses them", "the API answers them with"),
    "requests for them fail",
    # Help, and what --test says where all is well.
    *(
        "| Stream |",
        "Use --test to ask",
        "Settings (in the --config file",
        "Hash of the actor's e-mail address",
    ),
    *("Connected to …", "the newest log is from", "there is no log yet", ", … logs in all"),
    # How far a run is, and what it was.
    *("… emitted, … skipped", "… skipped as invalid"),
    *("logs that differ from the documentation", "not in the schema", "not a string", "not a list"),
    *("not an object", "NUL or a lone", "NaN or infinite", "nested too deeply, or a number"),
    # The SDK's words, and those for who changes a schema.
    *("An unhandled error occurred", "…: no type for …"),
)
"""Beginnings of the texts in the code that are no messages to end or warn with. All other ones are."""


def texts(path: Path) -> Iterator[str]:
    """Yield every text of some words in a module, with `…` for what is put into it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant()):  # A docstring.
                skipped.add(node.value)
            case ast.JoinedStr():
                skipped.update(node.values)
            case (
                ast.keyword(arg="title" | "description")
                | ast.Call(func=ast.Attribute(attr="info" | "debug" | "log"))
                | ast.Call(func=ast.Name(id="Row"))
            ):
                skipped.update(ast.walk(node))
    for node in ast.walk(tree):
        text = ""
        if node in skipped:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = re.sub(r"%\.?\d*[sdf]|\{\w+\}", PLACEHOLDER, node.value)
        elif isinstance(node, ast.JoinedStr):
            text = "".join(
                str(part.value) if isinstance(part, ast.Constant) else PLACEHOLDER for part in node.values
            )
        if len(re.findall(r"[^\W\d_]\S*", text)) >= FEWEST_WORDS:
            yield text


PACKAGE = ROOT / "tap_sequence"
TEXTS = {
    text
    for path in PACKAGE.rglob("*.py")
    if not path.is_relative_to(PACKAGE / "simulator")
    for text in texts(path)
}
MESSAGES = {text.strip() for text in TEXTS if not text.startswith(NO_MESSAGES)}
ENTRIES = [
    entry.strip()
    for row in (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8").splitlines()
    if row.startswith("| `")
    for entry in re.findall(r"`([^`]+)`", row.split(" | ")[0])
]


def test_every_message_is_listed_once() -> None:
    listed = {message: [entry for entry in ENTRIES if message.startswith(entry)] for message in MESSAGES}
    assert {message for message, entries in listed.items() if not entries} == set()
    assert {message: entries for message, entries in listed.items() if len(entries) > 1} == {}


def test_everything_listed_is_the_beginning_of_one_message() -> None:
    found = {entry: [message for message in MESSAGES if message.startswith(entry)] for entry in ENTRIES}
    assert {entry: messages for entry, messages in found.items() if len(messages) != 1} == {}


def test_what_is_taken_for_no_message_is_in_the_code() -> None:
    assert [start for start in NO_MESSAGES if not any(text.startswith(start) for text in TEXTS)] == []


def test_each_message_has_a_cause_and_a_cure() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    rows = [row.strip("| ").split(" | ") for row in text.splitlines() if row.startswith("| `")]
    assert all(len(row) == 3 and all(cell.strip() for cell in row) for row in rows)


def test_a_message_that_is_added_is_noticed(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        'def f(x):\n    """A docstring of some words."""\n    log.info("not a message this one")\n'
        '    log.warning("Something new at %s happened", x)\n    raise E(f"Something new with {x} in it")\n'
    )
    assert sorted(texts(module)) == ["Something new at … happened", "Something new with … in it"]
