"""Says how the house stands: packages, modules in the root, levels of imports, and circles.

    python scripts/rooms.py [FOLDER]

Imports inside functions and for type checkers count: they are imports all the same.
"""

from __future__ import annotations

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

Graph = dict[str, set[str]]

PACKAGE, OPERATORS = "fiftyone_plugin", "operators"


def module_graph(root: Path) -> Graph:
    """Return module -> the modules of this project that it imports, by dotted name."""
    files = {
        _name(path.relative_to(root)): path
        for top in (PACKAGE, OPERATORS)
        for path in (root / top).rglob("*.py")
    }
    return {name: set(_imported(name, path, frozenset(files))) - {name} for name, path in files.items()}


def room_graph(modules: Graph) -> Graph:
    """Return room -> the rooms that it imports; a module that stands in the package's root is no room."""
    rooms: Graph = {
        room_of(module): set() for module in modules if module.count(".") > 1 or module == OPERATORS
    }
    for module, imported in modules.items():
        if (here := room_of(module)) in rooms:
            rooms[here] |= set(map(room_of, imported)) & rooms.keys() - {here}
    return rooms


def room_of(module: str) -> str:
    """Return the package below ``fiftyone_plugin``, or ``operators``; empty for modules of the root."""
    parts = module.split(".")
    return OPERATORS if parts[0] == OPERATORS else next(iter(parts[1:2]), "")


def levels(graph: Graph) -> dict[str, int]:
    """Return node -> 1 for what imports nothing, else one above the highest that it imports.

    Raises:
        graphlib.CycleError: there is a circle.
    """
    found: dict[str, int] = {}
    for node in TopologicalSorter(graph).static_order():
        found[node] = 1 + max((found[below] for below in graph[node]), default=0)
    return found


def _name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(name: str, path: Path, known: frozenset[str]) -> list[str]:
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *filter(None, [node.module])])
            found += [f"{source}.{a.name}" if f"{source}.{a.name}" in known else source for a in node.names]
        elif isinstance(node, ast.Import):
            found += [a.name for a in node.names]
    return [module for module in found if module in known]


def _report(what: str, graph: Graph) -> None:
    try:
        print(f"{what}: {len(graph)}, {max(levels(graph).values())} levels, no circle")
    except CycleError as error:
        print(f"{what}: {len(graph)}, circle: {' <- '.join(error.args[1])}")


def main() -> None:
    """Print what every room imports, then the counts."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    modules = module_graph(root)
    rooms = room_graph(modules)
    for name, imported in sorted(rooms.items()):
        print(f"{name:12} imports {', '.join(sorted(imported)) or 'nothing'}")
    print(f"modules in the root: {len([*(root / PACKAGE).glob('*.py')])}")
    _report("modules", modules)
    _report("rooms", rooms)


if __name__ == "__main__":
    main()
