"""The tests themselves: each asserts something, and none knows another room's private names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent

LIBRARY = ("fiftyone_plugin", "operators")
#: Calls that check: of pytest, of NumPy and unittest, and helpers whose names say so
CHECKS = ("assert", "check", "raises", "warns", "expect", "wait_for", "fail")


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(TESTS.rglob("*.py")):
        yield path.relative_to(TESTS).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def name_of(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def asserts(node: ast.AST, checking: set[str]) -> bool:
    return any(
        isinstance(part, ast.Assert)
        or (
            isinstance(part, ast.Call)
            and (name_of(part).lstrip("_") in checking or name_of(part).lstrip("_").startswith(CHECKS))
        )
        for part in ast.walk(node)
    )


def test_every_test_asserts_something() -> None:
    """Itself, or through a helper of the same file that does."""
    silent = []
    for name, tree in modules():
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        checking: set[str] = set()
        while more := {f.name.lstrip("_") for f in functions if asserts(f, checking)} - checking:
            checking |= more
        silent += [
            f"{name}:{function.lineno} {function.name}"
            for function in functions
            if function.name.startswith("test_") and not asserts(function, checking)
        ]
    assert not silent


def room(module: str) -> str:
    """Return the room of a module by its dotted name, or of a file of tests by its path."""
    return module.removeprefix("fiftyone_plugin.").replace("/", ".").split(".")[0]


def foreign_private_names(file: str, tree: ast.Module) -> Iterator[str]:
    """Private names of other rooms that a file takes, by import, as an attribute or by monkeypatch."""
    imported: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(LIBRARY):
            for alias in node.names:
                imported[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                if is_private(alias.name) and room(node.module or "") != room(file):
                    yield f"{file}:{node.lineno} {node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            imported.update({a.asname or a.name: a.name for a in node.names if a.asname})
    for node in ast.walk(tree):
        owner, name = None, ""
        if isinstance(node, ast.Attribute):
            owner, name = node.value, node.attr
        elif isinstance(node, ast.Call) and name_of(node) == "setattr" and len(node.args) >= 2:
            owner, name = node.args[0], getattr(node.args[1], "value", "")
        whole = imported.get(owner.id, "") if isinstance(owner, ast.Name) else ""
        if whole.startswith(LIBRARY) and is_private(name) and room(whole) != room(file):
            yield f"{file}:{node.lineno} {whole}.{name}"


def is_private(name: object) -> bool:
    return isinstance(name, str) and name.startswith("_") and not name.endswith("__") and name != "_version"


def test_no_test_takes_a_private_name_of_another_room() -> None:
    assert not [found for name, tree in modules() for found in foreign_private_names(name, tree)]
