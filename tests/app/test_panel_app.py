"""The panel "Pseudo-masks" in the real App: figures, clicks that lead to images, renaming, deletion."""

from __future__ import annotations

from pathlib import Path

import pytest

from fiftyone_plugin.dataset.comparison import list_comparisons
from fiftyone_plugin.dataset.summary import class_rows, list_runs, score_histogram

ARTIFACTS = Path(__file__).resolve().parents[2] / "test-artifacts"
PANEL = "pseudomasks"


@pytest.fixture
def labelled(dataset, fill):
    """The photographs, labelled twice."""
    fill("first", 1)
    fill("second", images=4)
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


def show_all(page, panel):
    panel.get_by_role("button", name="Show all images").click()
    page.get_by_text("7 samples").first.wait_for()


def click_last_bar(page, panel, title):
    bar = panel.locator(".js-plotly-plot", has_text=title).locator(".bars .point path").last
    bar.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    box = bar.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def test_crops_areas_saved_views_and_comparison(labelled, page):
    panel = open_panel(page, labelled)
    _crops_and_areas(labelled, page, panel)
    _saved_view(labelled, page, panel)
    _comparison(labelled, page, panel)


def _crops_and_areas(labelled, page, panel):
    rows = class_rows(labelled, "second", list_runs(labelled)[0].areas)
    crops = panel.locator("img[alt^='Crops of']")
    shown = [row for row in rows if row.images]
    crops.nth(len(shown) - 1).wait_for()
    drawn = "() => [...document.querySelectorAll(\"img[alt^='Crops']\")].every(i => i.naturalWidth)"
    page.wait_for_function(drawn)
    crops.nth(1).scroll_into_view_if_needed()
    picture(page, "panel_crops")
    crops.last.click()
    page.get_by_text(f"{rows[crops.count() - 1].images} sample").first.wait_for()
    show_all(page, panel)
    largest = max(rows, key=lambda row: row.area)
    click_last_bar(page, panel, "Area of classes")
    page.get_by_text(f"{largest.images} sample").first.wait_for()
    picture(page, "panel_area")


def _saved_view(labelled, page, panel):
    panel.get_by_role("button", name="Review first").click()
    page.get_by_text("1 sample").first.wait_for()
    page.wait_for_url("**view=second-review-first**")
    picture(page, "panel_review")
    labelled.reload()
    worst = min(labelled.exists("second"), key=lambda sample: sample.second_quality)
    assert labelled.load_saved_view("second: review first").values("id") == [worst.id]
    show_all(page, panel)


def _comparison(labelled, page, panel):
    panel.get_by_role("button", name="Compare", exact=True).click()
    form = page.locator("[data-cy=operators-prompt-modal]")
    form.get_by_text("Second run").wait_for()
    picture(page, "compare_form")
    page.get_by_role("button", name="Execute", exact=True).click()
    page.get_by_text("Saved view, images that differ most first").wait_for()
    picture(page, "compare_output")
    page.get_by_role("button", name="Done").click()
    panel.get_by_text("of the pixels have matching classes").wait_for(timeout=20_000)
    labelled.reload()
    (stored,) = list_comparisons(labelled)
    assert {stored.a, stored.b} == {"first", "second"}
    panel.get_by_role("button", name="Where they differ").click()
    page.get_by_text("4 samples").first.wait_for()
    panel.get_by_text("Classes that agree least").scroll_into_view_if_needed()
    page.mouse.move(1300, 600)
    page.mouse.wheel(0, 300)
    picture(page, "compare_panel")
    panel.get_by_role("button", name="Delete comparison").click()
    panel.get_by_role("button", name="Compare", exact=True).wait_for()
    labelled.reload()
    assert list_comparisons(labelled) == []
    assert not labelled.has_sample_field(stored.field)


def test_runs_classes_and_clicks(labelled, page):
    panel = open_panel(page, labelled)
    panel.get_by_text("second (lightcluster, 4 images)").wait_for()  # the newest run comes first
    picture(page, "panel")
    row = [row for row in class_rows(labelled, "second") if row.images][-1]
    assert 0 < row.images < 7
    panel.locator("tr", has=page.get_by_text(row.name, exact=True)).click()
    page.get_by_text(f"{row.images} sample").first.wait_for()
    picture(page, "panel_class")
    show_all(page, panel)
    histogram = score_histogram(labelled, "second_quality")
    click_last_bar(page, panel, "second_quality")
    page.get_by_text(f"{histogram.counts[-1]} sample").first.wait_for()
    picture(page, "panel_bar")
    show_all(page, panel)

    panel.get_by_role("button", name="Delete this run").click()
    panel.get_by_text("its fields and mask files go").wait_for()
    picture(page, "panel_delete")
    labelled.reload()
    assert labelled.has_run("pseudomask_second")
    panel.get_by_role("button", name="Delete it").click()
    panel.get_by_text("first (mosaic, 7 images)").wait_for()
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
    ids = sorted(row.ids[0] for row in class_rows(labelled, "second")[:2])
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
    panel.get_by_role("cell", name=", ".join(map(str, ids)), exact=True).wait_for()
    picture(page, "rename_done")
    labelled.reload()
    assert list(labelled.mask_targets["second"].values()).count("thing") == 2
