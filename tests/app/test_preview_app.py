"""The preview in the real App: settings, and photo beside mask in seconds."""

from __future__ import annotations

import pytest

from fiftyone_plugin._version import PLUGIN_NAME

from .driving import click, open_dataset, open_form, picture

BUTTON = f'[data-item-id="{PLUGIN_NAME}/preview_masks"]'


@pytest.mark.usefixtures("backbone")
def test_a_few_images_are_shown_side_by_side(dataset, page):
    fields = set(dataset.get_field_schema())
    open_dataset(page, dataset)
    form = open_form(page, page.locator(BUTTON), "Nothing is written")
    picture(page, "preview_form")
    start = form.get_by_role("button", name="Preview", exact=True)
    click(start, start, "hidden")
    image = page.locator('img[src^="data:image/jpeg"]')
    image.wait_for()
    assert image.evaluate("image => image.complete && image.naturalWidth") > 800
    picture(page, "preview")
    dataset.reload()
    assert set(dataset.get_field_schema()) == fields
    assert dataset.list_runs() == []
