"""One click in the real App: the button above the grid, no form, and the masks on the tiles."""

from __future__ import annotations

import pytest

from fiftyone_plugin._version import PLUGIN_NAME

from .driving import click, modal, open_dataset, picture, wait_for_tiles

BUTTON = f'[data-item-id="{PLUGIN_NAME}/quick_label"]'


@pytest.mark.usefixtures("backbone")
def test_one_click_labels_the_view_and_shows_the_masks(dataset, page):
    open_dataset(page, dataset)
    click(page.locator(BUTTON), page.get_by_text("Labelling").first)
    assert modal(page).count() == 0
    page.locator('[data-cy="checkbox-pseudomask"]').wait_for(timeout=180_000)
    wait_for_tiles(page, len(dataset))
    panel = page.locator("[data-cy=panel-content-pseudomasks]")
    panel.get_by_text("Classes (a click shows").wait_for(timeout=180_000)
    assert modal(page).count() == 0, "nothing is left to close"
    picture(page, "quick_label")
    dataset.reload()
    assert len(dataset.exists("pseudomask")) == len(dataset)
    assert dataset.list_runs() == ["pseudomask_pseudomask"]
    page.locator('[data-cy="checkbox-pseudomask"] input:checked').wait_for()


def test_a_large_view_is_scheduled_and_the_person_is_told(fo, dataset, page):
    from fiftyone.operators.delegated import DelegatedOperationService

    path = dataset.first().filepath
    dataset.add_samples([fo.Sample(filepath=path) for _ in range(3000)])
    open_dataset(page, dataset)
    click(page.locator(BUTTON), page.get_by_text("so the work is scheduled").first)
    page.get_by_text("fiftyone delegated launch").first.wait_for()
    picture(page, "quick_label_scheduled")
    service = DelegatedOperationService()
    (operation,) = service.list_operations(dataset_name=dataset.name)
    assert operation.operator == f"{PLUGIN_NAME}/quick_label"
    assert operation.run_state == "queued"
    service.delete_operation(operation.id)
