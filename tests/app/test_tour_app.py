"""The whole flow in the real App, from photographs without masks to the images of one class.

It leaves pictures and ``tour.json`` in ``test-artifacts``; ``scripts/pictures.py`` makes an animation
of them.
"""

from __future__ import annotations

import json
import re

import pytest

from fiftyone_plugin._version import PLUGIN_NAME
from fiftyone_plugin.dataset.summary import class_rows

from .driving import (
    ARTIFACTS,
    SECONDS,
    click,
    open_dataset,
    picture,
    settle,
    wait_for_tiles,
)

BUTTON = f'[data-item-id="{PLUGIN_NAME}/quick_label"]'
FIELD = "pseudomask"
ZOOM = -3


class Tour:
    """Takes the pictures, and keeps what each one shows and where the next click goes."""

    def __init__(self, page):
        self.page = page
        self.frames = []

    def frame(self, caption, click=None):
        """Take a picture; ``click`` is the element that is clicked next."""
        name = f"tour_{len(self.frames) + 1}"
        picture(self.page, name)
        box = click.bounding_box() if click is not None else None
        point = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2] if box else None
        self.frames.append({"file": f"{name}.png", "caption": caption, "click": point})

    def save(self):
        """Write what the animation needs besides the pictures."""
        (ARTIFACTS / "tour.json").write_text(json.dumps(self.frames, indent=1) + "\n")


@pytest.mark.usefixtures("backbone")
def test_from_photographs_to_the_images_of_a_class(dataset, page):
    for name in (dataset.name, str(dataset._doc.id)):  # large tiles
        page.add_init_script(f"localStorage.setItem('gridZoomStore-{name}', '{ZOOM}')")
    tour = Tour(page)
    open_dataset(page, dataset)
    wait_for_tiles(page, len(dataset))
    bolt = page.locator(BUTTON)
    bolt.wait_for()
    tour.frame("Images without labels: one click on the bolt", click=bolt)
    panel = page.locator("[data-cy=panel-content-pseudomasks]")
    click(bolt, panel)
    panel.get_by_text(re.compile("(features|sample|regions|classes|masks): [1-9]")).wait_for(
        timeout=SECONDS * 1000
    )
    tour.frame("Features, classes, masks: how far it is, and a button to stop it")
    panel.get_by_text("Classes (a click shows").wait_for(timeout=SECONDS * 1000)
    wait_for_tiles(page, len(dataset))
    page.get_by_role("alert").wait_for(state="detached")
    panel.locator(".js-plotly-plot").last.wait_for()
    settle(page)
    dataset.reload()
    chosen = next(row for row in class_rows(dataset, FIELD) if row.images < len(dataset))
    row = panel.locator("tr", has=page.get_by_text(chosen.name, exact=True))
    tour.frame("A mask on every image, and what each class looks like", click=row)
    click(row, page.get_by_text(f"{chosen.images} sample").first, stays=True)
    wait_for_tiles(page, chosen.images)
    tour.frame("The images with this class: rename it, merge it, export")
    tour.save()
    dataset.reload()
    page.locator(f'[data-cy="checkbox-{FIELD}"] input:checked').wait_for()
    assert len(dataset.exists(FIELD)) == len(dataset)
