"""From photographs to named labels of the accepted ones in the real App, and how many clicks that takes."""

from __future__ import annotations

import json
import zipfile

import pytest

from fiftyone_plugin._version import PLUGIN_NAME
from fiftyone_plugin.dataset.cluster_names import cards

from .driving import SECONDS, click, modal, open_dataset, picture, settle, wait_for_tiles

BOLT = f'[data-item-id="{PLUGIN_NAME}/quick_label"]'
MOST = 12  # clicks, besides typing names
NAMES = ["sky", "wall", "person", "cup", "cat", "flower", "rocket", "grass"]


class Person:
    """Counts what a person clicks; a click that has to be tried again is one."""

    def __init__(self):
        self.clicks = []

    def click(self, what, button, heard, state="visible", **options):
        """Click a button until it is heard."""
        click(button, heard, state, **options)
        self.clicks.append(what)


@pytest.mark.usefixtures("backbone")
def test_from_photographs_to_coco_labels_of_the_accepted(dataset, page, tmp_path):
    person = Person()
    open_dataset(page, dataset)
    panel = page.locator("[data-cy=panel-content-pseudomasks]")
    person.click("the bolt", page.locator(BOLT), panel)
    panel.get_by_text("Labelling pseudomask").wait_for(timeout=SECONDS * 1000)
    assert modal(page).count() == 0
    picture(page, "journey_progress")
    panel.get_by_text("Classes (a click shows").wait_for(timeout=SECONDS * 1000)
    assert modal(page).count() == 0
    wait_for_tiles(page, len(dataset))
    page.locator('[data-cy="checkbox-pseudomask"] input:checked').wait_for()
    picture(page, "journey_labelled")

    dataset.reload()
    found = cards(dataset, "pseudomask")

    def card(number):
        return panel.get_by_text(f", {number} of {len(found)}")

    person.click("Name classes", panel.get_by_role("button", name="Name classes", exact=True), card(1))
    box = panel.get_by_role("combobox").last
    person.click("the name", box, box)
    for number in range(len(found)):
        page.keyboard.type(NAMES[number % len(NAMES)])
        page.keyboard.press("Enter")
        (
            card(number + 2) if number + 1 < len(found) else panel.get_by_text("All classes were seen")
        ).wait_for()
    write = panel.get_by_role("button", name="Write the names")
    person.click("Write the names", write, modal(page))
    settle(page)
    named = panel.get_by_text("pseudomask_named \u00b7")
    person.click("Write", modal(page).get_by_role("button", name="Write", exact=True), named)
    panel.get_by_text("Classes (a click shows").wait_for(timeout=SECONDS * 1000)
    assert modal(page).count() == 0
    settle(page)
    picture(page, "journey_named")

    export = panel.get_by_role("button", name="Export the accepted")
    person.click("Tag accepted", panel.get_by_role("button", name="Tag accepted / to review"), export)
    person.click("Export the accepted", export, modal(page))
    modal(page).get_by_text("Only samples tagged").first.wait_for()
    settle(page)
    start = modal(page).get_by_role("button", name="Execute", exact=True)
    with page.expect_download() as download:
        person.click("Execute", start, page.get_by_text("Written to"))
    picture(page, "journey_exported")
    download.value.save_as(tmp_path / "labels.zip")
    with zipfile.ZipFile(tmp_path / "labels.zip") as archive:
        (name,) = [each for each in archive.namelist() if each.endswith("instances.json")]
        labels = json.loads(archive.read(name))
    dataset.reload()
    assert len(labels["images"]) == len(dataset.match_tags("accepted")) > 0
    assert {each["name"] for each in labels["categories"]} <= set(NAMES)
    assert len(person.clicks) <= MOST, person.clicks
