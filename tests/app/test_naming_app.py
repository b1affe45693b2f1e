"""Naming in the real App: cards in the panel, by the keyboard alone, and the masks made of the names."""

from __future__ import annotations

import pytest

from fiftyone_plugin.dataset.cluster_names import cards
from fiftyone_plugin.dataset.name_drafts import drafted, keep_ideas
from fiftyone_plugin.dataset.record import finished_run

from .driving import click, execute, open_form, open_pseudomasks, picture, settle

FAST = {"size": 224, "classes": 8, "refine": "none", "backbone": "offline-vits14", "jobs": 1}

THINGS = ["wall", "tree", "grass", "sky", "person", "cup", "table", "rocket"]


@pytest.fixture
def labelled(dataset, backbone, tmp_path):
    from fiftyone_plugin import label_dataset

    label_dataset(dataset, "auto", out=tmp_path / "auto", **FAST)
    return dataset


def words_for(found):
    """Return what is typed for each card, and class -> name that comes of it."""
    words, said = ["building", "=", "-", ">"], {}
    for number, card in enumerate(found):
        if number >= len(words):
            words.append("~" if said.get(card.nearest) else THINGS[number])
        word = words[number]
        said[card.cluster] = {
            "=": "building",
            "-": "background",
            ">": "",
            "~": said.get(card.nearest),
        }.get(word, word)
    return words, {id_: name for id_, name in said.items() if name}


def test_classes_are_named_by_the_keyboard_and_written(labelled, page):
    found = cards(labelled, "auto")
    words, said = words_for(found)
    files = dict(zip(labelled.values("id"), labelled.values("auto.mask_path"), strict=True))
    panel = open_pseudomasks(page, labelled)

    def card(number):
        return panel.get_by_text(f", {number} of {len(found)}")

    click(panel.get_by_role("button", name="Name classes", exact=True), card(1))
    panel.get_by_role("combobox").last.click()
    for number, word in enumerate(words[:-2], 2):
        page.keyboard.type(word)
        page.keyboard.press("Enter")
        card(number).wait_for()
    settle(page)
    picture(page, "naming_card")
    run, ideas = finished_run(labelled, "auto"), [("window", 0.61), ("door", 0.22), ("roof", 0.05)]
    keep_ideas(labelled, run, {found[-2].cluster: ideas, found[-3].cluster: [("wall", 0.5)]})
    click(panel.get_by_role("button", name="Back (<)"), panel.get_by_role("button", name="wall (0.50)"))
    click(panel.get_by_role("button", name="Leave it (>)"), card(len(found) - 1))
    panel.get_by_role("button", name="window (0.61)").wait_for()
    picture(page, "naming_ideas")
    panel.get_by_role("combobox").last.click()
    page.keyboard.type("<")
    page.keyboard.press("Enter")
    card(len(found) - 2).wait_for()
    settle(page)  # the sign is out of the input: together with it the words would go back once more
    for word in (words[-3], "late", "later"):  # faster than the server answers
        page.keyboard.type(word, delay=30)
        page.keyboard.press("Enter")
    panel.get_by_text("All classes were seen").wait_for()
    said |= {found[-2].cluster: "late", found[-1].cluster: "later"}
    settle(page)
    assert drafted(labelled, finished_run(labelled, "auto")) == said

    open_form(page, panel.get_by_role("button", name="Write the names"), "7 of 8 classes have a name")
    picture(page, "naming_form")
    execute(page, "auto_named", "Write")
    panel.get_by_role("cell", name="building").wait_for()
    settle(page)
    picture(page, "naming_done")
    labelled.reload()
    names = {*said.values(), f"class {found[3].cluster}"} - {"background"}
    assert set(labelled.mask_targets["auto_named"].values()) == names
    assert dict(zip(labelled.values("id"), labelled.values("auto.mask_path"), strict=True)) == files
