"""One click in the real App: the button above the grid, no form, and the masks on the tiles."""

from __future__ import annotations

from pathlib import Path

import pytest

from fiftyone_plugin._version import PLUGIN_NAME

ARTIFACTS = Path(__file__).resolve().parents[2] / "test-artifacts"
BUTTON = f'[data-item-id="{PLUGIN_NAME}/quick_label"]'


@pytest.mark.usefixtures("backbone")
def test_one_click_labels_the_view_and_shows_the_masks(dataset, page):
    page.goto(f"/datasets/{dataset.name}")
    page.locator("[data-cy=looker]").first.wait_for()
    page.locator(BUTTON).click()
    page.get_by_text("Labelling").first.wait_for()
    assert page.locator("[data-cy=operators-prompt-modal]").count() == 0
    page.locator('[data-cy="checkbox-pseudomask"]').wait_for(timeout=180_000)
    page.wait_for_function(
        "n => document.querySelectorAll('canvas[canvas-loaded=true]').length >= n", arg=len(dataset)
    )
    page.wait_for_timeout(1500)
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / "quick_label_done.png")
    page.get_by_role("button", name="Done").click()
    page.wait_for_timeout(1200)
    page.screenshot(path=ARTIFACTS / "quick_label.png")
    dataset.reload()
    assert len(dataset.exists("pseudomask")) == len(dataset)
    assert dataset.list_runs() == ["pseudomask_pseudomask"]
    assert page.locator('[data-cy="checkbox-pseudomask"] input').is_checked()


def test_a_large_view_is_scheduled_and_the_person_is_told(fo, dataset, page):
    from fiftyone.operators.delegated import DelegatedOperationService

    path = dataset.first().filepath
    dataset.add_samples([fo.Sample(filepath=path) for _ in range(3000)])
    page.goto(f"/datasets/{dataset.name}")
    page.locator("[data-cy=looker]").first.wait_for()
    page.locator(BUTTON).click()
    page.get_by_text("so the work is scheduled").first.wait_for()
    page.get_by_text("fiftyone delegated launch").first.wait_for()
    page.wait_for_timeout(1200)
    page.screenshot(path=ARTIFACTS / "quick_label_scheduled.png")
    service = DelegatedOperationService()
    (operation,) = service.list_operations(dataset_name=dataset.name)
    assert operation.operator == f"{PLUGIN_NAME}/quick_label"
    assert operation.run_state == "queued"
    service.delete_operation(operation.id)
