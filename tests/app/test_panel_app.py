"""The panel "Pseudo-masks" in the real App: figures, clicks that lead to images, renaming, deletion."""

from __future__ import annotations

import pytest

from fiftyone_plugin.dataset.comparison import list_comparisons
from fiftyone_plugin.dataset.summary import class_rows, list_runs, score_histogram

from .driving import act, change, click, close, execute, open_dataset, open_form, open_panel, picture, settle


@pytest.fixture
def labelled(dataset, fill):
    """The photographs, labelled twice."""
    fill("first", 1)
    fill("second", images=4)
    return dataset


def open_pseudomasks(page, dataset):
    open_dataset(page, dataset)
    panel = open_panel(page, "pseudomasks")
    panel.locator(".js-plotly-plot").last.wait_for()
    settle(page)
    return panel


def images(page, count):
    """Return what the grid says where it shows so many images."""
    return page.get_by_text(f"{count} sample").first


def show_all(page, panel):
    click(panel.get_by_role("button", name="Show all images"), images(page, 7))


def click_last_bar(page, panel, title, heard):
    bar = panel.locator(".js-plotly-plot", has_text=title).locator(".bars .point path").last

    def click_it(wait):
        bar.scroll_into_view_if_needed(timeout=wait)
        box = bar.bounding_box()  # what listens is a transparent layer over the bars
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    act(click_it, heard)


def test_crops_areas_saved_views_and_comparison(labelled, page):
    panel = open_pseudomasks(page, labelled)
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
    click(crops.last, images(page, rows[crops.count() - 1].images))
    show_all(page, panel)
    largest = max(rows, key=lambda row: row.area)
    click_last_bar(page, panel, "Area of classes", images(page, largest.images))
    picture(page, "panel_area")


def _saved_view(labelled, page, panel):
    click(panel.get_by_role("button", name="Review first"), images(page, 1))
    page.wait_for_url("**view=second-review-first**")
    picture(page, "panel_review")
    labelled.reload()
    worst = min(labelled.exists("second"), key=lambda sample: sample.second_quality)
    assert labelled.load_saved_view("second: review first").values("id") == [worst.id]
    show_all(page, panel)


def _comparison(labelled, page, panel):
    open_form(page, panel.get_by_role("button", name="Compare", exact=True), "Second run")
    picture(page, "compare_form")
    execute(page, "Saved view, images that differ most first")
    picture(page, "compare_output")
    close(page)
    panel.get_by_text("of the pixels have matching classes").wait_for()
    labelled.reload()
    (stored,) = list_comparisons(labelled)
    assert {stored.a, stored.b} == {"first", "second"}
    click(panel.get_by_role("button", name="Where they differ"), images(page, 4))
    panel.get_by_text("Classes that agree least").scroll_into_view_if_needed()
    page.mouse.move(1300, 600)
    page.mouse.wheel(0, 300)
    picture(page, "compare_panel")
    compare = panel.get_by_role("button", name="Compare", exact=True)
    click(panel.get_by_role("button", name="Delete comparison"), compare)
    labelled.reload()
    assert list_comparisons(labelled) == []
    assert not labelled.has_sample_field(stored.field)


def test_runs_classes_and_clicks(labelled, page):
    panel = open_pseudomasks(page, labelled)
    panel.get_by_text("second (lightcluster, 4 images)").wait_for()  # the newest run comes first
    picture(page, "panel")
    row = [row for row in class_rows(labelled, "second") if row.images][-1]
    assert 0 < row.images < 7
    click(panel.locator("tr", has=page.get_by_text(row.name, exact=True)), images(page, row.images))
    picture(page, "panel_class")
    show_all(page, panel)
    histogram = score_histogram(labelled, "second_quality")
    click_last_bar(page, panel, "second_quality", images(page, histogram.counts[-1]))
    picture(page, "panel_bar")
    show_all(page, panel)

    warning = panel.get_by_text("its fields and mask files go")
    click(panel.get_by_role("button", name="Delete this run"), warning)
    picture(page, "panel_delete")
    labelled.reload()
    assert labelled.has_run("pseudomask_second")
    left = panel.get_by_text("first (mosaic, 7 images)")
    click(panel.get_by_role("button", name="Delete it"), left)
    images(page, 7).wait_for()
    picture(page, "panel_deleted")
    labelled.reload()
    assert labelled.list_runs() == ["pseudomask_first"]
    assert not labelled.has_sample_field("second")
    assert len(labelled.exists("first")) == 7


def test_classes_are_renamed_and_merged_from_the_panel(labelled, page):
    panel = open_pseudomasks(page, labelled)
    button = panel.get_by_role("button", name="Rename classes")
    form = open_form(page, button, "Restore original names")
    ids = sorted(row.ids[0] for row in class_rows(labelled, "second")[:2])
    lines = form.locator("input[type=string]")
    for line in (0, 1):
        change(page, lambda line=line: lines.nth(line).fill("thing"), sent="thing")
    picture(page, "rename_form")
    execute(page, "Images whose list of classes changed")
    picture(page, "rename_output")
    close(page, "Close")
    panel.get_by_role("cell", name="thing").wait_for()
    panel.get_by_role("cell", name=", ".join(map(str, ids)), exact=True).wait_for()
    # no row of the longer table before is left
    table = panel.locator("table").filter(has=page.get_by_role("cell", name="thing"))
    shown = table.locator("tbody tr").filter(has_text="%").locator("td:first-child").all_inner_texts()
    labelled.reload()
    assert sorted(shown) == sorted(row.name for row in class_rows(labelled, "second"))
    picture(page, "rename_done")
    assert list(labelled.mask_targets["second"].values()).count("thing") == 2
