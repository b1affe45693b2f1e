"""The panel "Pseudo-masks" in the real App: figures, clicks that lead to images, renaming, deletion."""

from __future__ import annotations

from pathlib import Path

import pytest

from fiftyone_plugin.app_summary import class_rows, score_histogram

ARTIFACTS = Path(__file__).resolve().parents[2] / "test-artifacts"
PANEL = "pseudomasks"
FAST = {
    "method": "lightcluster",
    "size": 140,
    "classes": 4,
    "refine": "none",
    "backbone": "offline-vits14",
    "jobs": 1,
}


@pytest.fixture
def labelled(dataset, backbone, tmp_path):
    """The photographs, labelled twice."""
    from fiftyone_plugin import label_dataset

    label_dataset(dataset, "first", out=tmp_path / "first", **FAST)
    label_dataset(dataset.limit(3), "second", out=tmp_path / "second", **FAST)
    return dataset


def picture(page, name):
    ARTIFACTS.mkdir(exist_ok=True)
    page.wait_for_timeout(1200)  # panels and dialogs fade in
    page.screenshot(path=ARTIFACTS / f"{name}.png")


def open_panel(page, dataset):
    page.goto(f"/datasets/{dataset.name}")
    page.locator("[data-cy=looker]").first.wait_for()
    page.locator("[data-cy=new-panel-btn]").first.click()
    page.locator(f"[data-cy=new-panel-option-{PANEL}]").click()
    panel = page.locator(f"[data-cy=panel-content-{PANEL}]")
    panel.locator(".js-plotly-plot").last.wait_for(timeout=30_000)
    return panel


def test_runs_classes_and_clicks(labelled, page):
    panel = open_panel(page, labelled)
    panel.get_by_text("second (lightcluster, 3 images)").wait_for()  # the newest run comes first
    picture(page, "panel")
    row = class_rows(labelled, "second")[-1]
    assert 0 < row.images < 7
    panel.locator("tr", has=page.get_by_text(row.name, exact=True)).click()
    page.get_by_text(f"{row.images} sample").first.wait_for()
    picture(page, "panel_class")
    panel.get_by_role("button", name="Show all images").click()
    page.get_by_text("7 samples").first.wait_for()
    histogram = score_histogram(labelled, "second_quality")
    bar = panel.locator(".js-plotly-plot").first.locator(".bars .point path").last.bounding_box()
    page.mouse.click(bar["x"] + bar["width"] / 2, bar["y"] + bar["height"] / 2)
    page.get_by_text(f"{histogram.counts[-1]} sample").first.wait_for()
    picture(page, "panel_bar")

    panel.get_by_role("button", name="Delete this run").click()
    panel.get_by_text("its fields and mask files go").wait_for()
    picture(page, "panel_delete")
    labelled.reload()
    assert labelled.has_run("pseudomask_second")
    panel.get_by_role("button", name="Delete it").click()
    panel.get_by_text("first (lightcluster, 7 images)").wait_for()
    page.get_by_text("7 samples").first.wait_for()
    picture(page, "panel_deleted")
    labelled.reload()
    assert labelled.list_runs() == ["pseudomask_first"]
    assert not labelled.has_sample_field("second")
    assert len(labelled.exists("first")) == 7


def test_classes_are_renamed_and_merged_from_the_panel(labelled, page):
    panel = open_panel(page, labelled)
    panel.get_by_role("button", name="Rename classes").click()
    form = page.locator("[data-cy=operators-prompt-modal]")
    form.get_by_text("Restore original names").wait_for()
    lines = form.locator("input[type=string]")
    for line in (0, 1):
        lines.nth(line).fill("thing")
    page.wait_for_timeout(1500)
    picture(page, "rename_form")
    page.get_by_role("button", name="Execute", exact=True).click()
    page.get_by_text("Images whose list of classes changed").wait_for()
    picture(page, "rename_output")
    page.get_by_role("button", name="Close").click()
    panel.get_by_role("cell", name="thing").wait_for(timeout=20_000)
    panel.get_by_role("cell", name="1, 2", exact=True).wait_for()
    picture(page, "rename_done")
    labelled.reload()
    assert list(labelled.mask_targets["second"].values()).count("thing") == 2
