"""docs/troubleshooting.md has a row for every message of the code, and for nothing else.

Messages are the templates of the errors in tap_sequence/errors/, what is logged as a warning, and the problems and
reasons that complete either. A module declares those in an enum named `...Problem` or `...Reason`, in a table named
`...FAILURES`, `...PROBLEMS`, `...REASONS` or `...WARNINGS`, or yields them.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from itertools import pairwise

import pytest

import tap_sequence
from tap_sequence.errors import FailureKind, TapSequenceError
from tests.support.harness import ROOT

PACKAGE = ROOT / "tap_sequence"
PAGE = ROOT / "docs" / "troubleshooting.md"
PLACEHOLDER = "…"
FIELD = re.compile(r"%\.?\d*[sdf]|(?<!\{)\{\w[^{}]*\}")

DECLARES_REASONS = re.compile(r".*(Problem|Reason)|\w*(FAILURES|PROBLEMS|REASONS|WARNINGS)")
FEWEST_WORDS = 3
"""A text with fewer words is a name or a part of a message."""

NOT_FOR_USERS = {"AttributeError", "NotImplementedError", "RuntimeError"}
"""Exceptions that report a bug in the source."""


def text_of(node: ast.AST | None) -> str:
    """Return a literal text as written, with `…` for its fields; "" for anything else."""
    match node:
        case ast.Constant(value=str(text)):
            return FIELD.sub(PLACEHOLDER, text).replace("{{", "{").replace("}}", "}")
        case ast.JoinedStr(values=parts):
            return "".join(
                part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else PLACEHOLDER
                for part in parts
            )
        case ast.BinOp(left=left, op=ast.Add()):
            return text_of(left)
    return ""


def texts(node: ast.AST) -> Iterator[str]:
    """Yield the literal texts of several words in a piece of code, without docstrings."""
    parts = {
        part
        for found in ast.walk(node)
        if isinstance(found, ast.JoinedStr | ast.Expr)
        for part in ast.iter_child_nodes(found)
    }
    for found in ast.walk(node):
        text = text_of(found) if found not in parts and not isinstance(found, ast.BinOp) else ""
        if len(re.findall(r"[^\W\d_]\S*", text)) >= FEWEST_WORDS:
            yield text


def names(node: ast.AST | None) -> set[str]:
    """Return the names in a piece of code."""
    return {found.id for found in ast.walk(node) if isinstance(found, ast.Name)} if node else set()


def names_used(module: ast.Module) -> Iterator[str]:
    """Yield the names in a module, without those that only compare a type or annotate."""
    skipped: set[ast.AST] = set()
    for node in ast.walk(module):
        match node:
            case ast.ExceptHandler(type=ast.expr() as compared):
                skipped.update(ast.walk(compared))
            case ast.Call(func=ast.Name(id="isinstance"), args=[_, compared]):
                skipped.update(ast.walk(compared))
            case ast.arg(annotation=ast.expr() as annotation) | ast.AnnAssign(annotation=annotation):
                skipped.update(ast.walk(annotation))
            case ast.FunctionDef(returns=ast.expr() as annotation):
                skipped.update(ast.walk(annotation))
    yield from (node.id for node in ast.walk(module) if isinstance(node, ast.Name) and node not in skipped)


def messages_of(module: ast.Module) -> Iterator[str]:
    """Yield the texts that a module raises, warns of, yields, or declares as problems and reasons."""
    not_for_users = {
        assigned
        for node in ast.walk(module)
        for assigned, raised in pairwise(ast.iter_child_nodes(node))
        if isinstance(raised, ast.Raise) and NOT_FOR_USERS & names(raised)
    }
    for node in ast.walk(module):
        match node:
            case ast.Raise(exc=ast.Call(func=ast.Name(id=name), args=[text, *_])) if (
                name not in NOT_FOR_USERS
            ):
                yield from texts(text)
            case ast.Assign(targets=[ast.Name(id="msg")], value=text) if node not in not_for_users:
                yield from texts(text)
            case ast.Call(func=ast.Attribute(attr="warning"), args=[text, *_]):
                yield from texts(text)
            case ast.Yield(value=ast.Tuple(elts=[*_, text])) | ast.Yield(value=ast.expr() as text):
                yield from texts(text)
            case ast.ClassDef(name=name) if DECLARES_REASONS.fullmatch(name):
                yield from texts(node)
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=table)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as table)
            ) if DECLARES_REASONS.fullmatch(name):
                yield from (text for text in texts(table) if not is_advice(name, text))


def is_advice(table: str, text: str) -> bool:
    """Whether a text in a table of failures is the sentence that says what to do."""
    return table.endswith("FAILURES") and text[0].isupper() and text.endswith(".")


def error_classes() -> list[type[TapSequenceError]]:
    """Return every class of error of the package."""
    for module in pkgutil.walk_packages(tap_sequence.__path__, "tap_sequence."):
        # dlt is an extra; its module has no errors of its own.
        if not module.name.endswith(("__main__", ".dlt")):
            importlib.import_module(module.name)
    found: list[type[TapSequenceError]] = []
    waiting = [TapSequenceError]
    while waiting:
        waiting += [each for each in waiting.pop().__subclasses__() if each not in found]
        found = list(dict.fromkeys([*found, *waiting]))
    return [each for each in found if each.__module__.startswith("tap_sequence.")]


def template_of(error: type[TapSequenceError]) -> str:
    return FIELD.sub(PLACEHOLDER, error.template).replace("{{", "{").replace("}}", "}")


MODULES = {
    path: ast.parse(path.read_text(encoding="utf-8"))
    for path in PACKAGE.rglob("*.py")
    if not path.is_relative_to(PACKAGE / "simulator")
}
ERRORS = error_classes()
RAISED = {
    name
    for path, module in MODULES.items()
    if PACKAGE / "errors" not in path.parents
    for name in names_used(module)
}
TEMPLATES = {template for error in ERRORS if re.search(r"\w", template := template_of(error))}
MESSAGES = {
    *(text.strip() for module in MODULES.values() for text in messages_of(module)),
    *(template.strip() for template in TEMPLATES),
}
ROWS = [
    row.strip("| ").split(" | ")
    for row in PAGE.read_text(encoding="utf-8").splitlines()
    if row.startswith("| `")
]
ENTRIES = [entry.strip() for row in ROWS for entry in re.findall(r"`([^`]+)`", row[0])]


def test_messages_each_begin_like_one_entry_of_the_page() -> None:
    listed = {message: [entry for entry in ENTRIES if message.startswith(entry)] for message in MESSAGES}
    assert {message: entries for message, entries in listed.items() if len(entries) != 1} == {}


def test_entries_are_each_the_beginning_of_a_text_in_the_code() -> None:
    in_code = {text.strip() for module in MODULES.values() for text in texts(module)} | MESSAGES
    assert [entry for entry in ENTRIES if not any(text.startswith(entry) for text in in_code)] == []
    assert sorted(set(ENTRIES)) == sorted(ENTRIES)


def test_rows_have_a_cause_and_a_cure() -> None:
    assert [row for row in ROWS if len(row) != 3 or not all(cell.strip() for cell in row)] == []


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_error_class_has_a_kind_and_is_raised(error: type[TapSequenceError]) -> None:
    assert isinstance(error.kind, FailureKind)
    assert error.__name__ in RAISED or error.__subclasses__()


def test_messages_of_a_module_are_found() -> None:
    module = ast.parse(
        '''
class SomeProblem(StrEnum):
    """Docstring that is not a message."""

    WRONG = "it is not {what} at all"

_FAILURES = (Failure(OSError, "the file of {host} is missing", "Check the name of the file."),)
ADVICE = "Not one of the messages."

def f(x):
    """A docstring of some words."""
    log.info("not a message this one")
    log.warning("Something new at %s happened" + more, x)
    yield "name", f"{x} is not a number"
    msg = f"The setting {x} is wrong"
    raise E(msg)

def g(x):
    raise E(f"Something new with {x} in it {{}}")
'''
    )
    assert sorted(messages_of(module)) == [
        "Something new at … happened",
        "Something new with … in it {}",
        "The setting … is wrong",
        "it is not … at all",
        "the file of … is missing",
        "… is not a number",
    ]
