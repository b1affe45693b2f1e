"""Labelling in the real App: the button above the grid, the form, progress, and the masks on the tiles."""

from __future__ import annotations

from pathlib import Path

import pytest

from fiftyone_plugin.plugin_install import PLUGIN_NAME

ARTIFACTS = Path(__file__).resolve().parents[2] / "test-artifacts"
BUTTON = f'[data-item-id="{PLUGIN_NAME}/label_dataset"]'


@pytest.mark.usefixtures("backbone")
def test_button_form_and_masks(fo, dataset, page):
    page.goto(f"/datasets/{dataset.name}")
    page.locator("[data-cy=looker]").first.wait_for()
    page.locator(BUTTON).click()
    form = page.locator("[data-cy=operators-prompt-modal]")
    form.get_by_text("Number of classes").wait_for()
    page.wait_for_timeout(1200)
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / "label_form.png")
    form.get_by_role("button", name="Execute", exact=True).click()
    page.get_by_text("Images labelled").wait_for(timeout=180_000)
    page.wait_for_timeout(800)
    page.screenshot(path=ARTIFACTS / "label_done.png")
    dataset.reload()
    assert len(dataset.exists("pseudo_mask")) == len(dataset)
    page.get_by_role("button", name="Done").click()
    page.locator('[data-cy="checkbox-pseudo_mask"]').click()
    page.wait_for_function(
        "n => document.querySelectorAll('canvas[canvas-loaded=true]').length >= n", arg=len(dataset)
    )
    page.wait_for_timeout(1500)
    page.screenshot(path=ARTIFACTS / "label_masks.png")
