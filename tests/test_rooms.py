"""The rooms of the house: how many, and that imports run one way."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.rooms import levels, module_graph, room_graph, room_of

ROOT = Path(__file__).parents[1]

#: room -> what it may import besides the modules in the package's root; CONTRIBUTING.md says the same
ALLOWED = {
    "common": (),
    "images": ("common",),
    "masks": ("common", "images"),
    "features": ("common", "images"),
    "clustering": ("common",),
    "methods": ("common", "images", "masks", "features", "clustering"),
    "engines": ("common",),
    "evaluation": ("common", "engines", "images", "masks"),
    "runs": ("common", "engines", "images", "masks", "features", "clustering", "methods"),
    "dataset": ("common", "images", "masks", "features", "clustering", "methods", "evaluation", "runs"),
    "formats": ("common", "engines", "images", "masks", "evaluation", "runs", "dataset"),
}
ALLOWED["cli"] = ALLOWED["operators"] = tuple(ALLOWED)


@pytest.fixture(scope="module")
def modules() -> dict[str, set[str]]:
    return module_graph(ROOT)


def test_the_house_has_these_rooms_and_at_most_five_modules_in_its_root(modules: dict[str, set[str]]) -> None:
    assert set(room_graph(modules)) == set(ALLOWED)
    assert len(list((ROOT / "fiftyone_plugin").glob("*.py"))) <= 5


def test_imports_run_one_way(modules: dict[str, set[str]]) -> None:
    wrong = {room: imported - set(ALLOWED[room]) for room, imported in room_graph(modules).items()}
    assert not {room: imported for room, imported in wrong.items() if imported}


def test_there_is_no_circle_between_modules(modules: dict[str, set[str]]) -> None:
    assert levels(modules)["fiftyone_plugin.errors"] == 1  # raises CycleError, which names the circle


def test_the_root_imports_no_room_but_to_name_what_is_public(modules: dict[str, set[str]]) -> None:
    rooms = room_graph(modules)
    root = {
        m
        for m in modules
        if room_of(m) not in rooms and m not in ("fiftyone_plugin", "fiftyone_plugin.__main__")
    }
    assert not {m: modules[m] for m in root if any(room_of(i) in rooms for i in modules[m])}


def test_a_contributor_finds_every_room_in_the_map() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    missing = [room for room in ALLOWED if f"{room}/ " not in text]
    assert not missing
