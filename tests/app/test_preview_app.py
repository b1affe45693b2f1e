"""The preview in the real App: settings, and photo beside mask in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from fiftyone_plugin._version import PLUGIN_NAME

ARTIFACTS = Path(__file__).resolve().parents[2] / "test-artifacts"
BUTTON = f'[data-item-id="{PLUGIN_NAME}/preview_masks"]'


@pytest.mark.usefixtures("backbone")
def test_a_few_images_are_shown_side_by_side(dataset, page):
    fields = set(dataset.get_field_schema())
    page.goto(f"/datasets/{dataset.name}")
    page.locator("[data-cy=looker]").first.wait_for()
    page.locator(BUTTON).click()
    form = page.locator("[data-cy=operators-prompt-modal]")
    form.get_by_text("Nothing is written").wait_for()
    page.wait_for_timeout(1200)
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / "preview_form.png")
    form.get_by_role("button", name="Preview", exact=True).click()
    image = page.locator('img[src^="data:image/jpeg"]')
    image.wait_for(timeout=120_000)
    assert image.evaluate("image => image.complete && image.naturalWidth") > 800
    page.wait_for_timeout(1500)
    page.screenshot(path=ARTIFACTS / "preview.png")
    dataset.reload()
    assert set(dataset.get_field_schema()) == fields
    assert dataset.list_runs() == []
