"""The panel "Pseudo-masks" in the real App: figures, clicks that lead to images, renaming, deletion."""

from __future__ import annotations

import pytest

from fiftyone_plugin.dataset.colours import COLOURS
from fiftyone_plugin.dataset.comparison import list_comparisons
from fiftyone_plugin.dataset.summary import class_rows, list_runs, score_histogram
from fiftyone_plugin.images.palette import COLOUR_BLIND, hex_color

from .driving import (
    act,
    change,
    click,
    close,
    execute,
    modal,
    open_form,
    open_more,
    open_pseudomasks,
    picture,
    settle,
)


@pytest.fixture
def labelled(dataset, fill):
    """The photographs, labelled twice."""
    fill("first", 1)
    fill("second", images=4)
    return dataset


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


def row_of(page, panel, name):
    return panel.locator("tr", has=page.get_by_text(name, exact=True))


def test_the_table_saved_views_and_comparison(labelled, page):
    panel = open_pseudomasks(page, labelled)
    _one_table(labelled, page, panel)
    _saved_view(labelled, page, panel)
    _comparison(labelled, page, panel)


def _one_table(labelled, page, panel):
    rows = class_rows(labelled, "second", list_runs(labelled)[0].areas)
    assert panel.locator("tbody tr").count() == len(rows)
    for name in {row.name for row in rows}:
        assert panel.get_by_text(name, exact=True).count() == 1, "a class is one row"
    look = "e => [getComputedStyle(e, '::before').backgroundColor, getComputedStyle(e).backgroundImage]"
    cells = panel.locator("tbody tr").first.locator("td")
    chip, _ = cells.nth(0).evaluate(look)
    saved = {each["intTarget"]: each["color"] for each in labelled.app_config.color_scheme.fields[0][COLOURS]}
    wanted = saved[rows[0].ids[0]]
    assert chip == f"rgb({', '.join(str(int(wanted[i : i + 2], 16)) for i in (1, 3, 5))})"
    assert "data:image/webp" in cells.nth(1).evaluate(look)[1]
    picture(page, "panel_crops")
    area = panel.get_by_role("columnheader", name="Area")
    click(area, panel.get_by_role("columnheader", name="Area \u2193"))
    settle(page)
    largest = max(rows, key=lambda row: row.area)
    assert panel.locator("tbody tr").first.inner_text().strip().startswith(largest.name)
    click(area, panel.get_by_role("columnheader", name="Area \u2191"))
    picture(page, "panel_area")
    some = next(row for row in rows if 0 < row.images < 7)
    click(row_of(page, panel, some.name), images(page, some.images), stays=True)
    picture(page, "panel_class")
    click(row_of(page, panel, some.name), images(page, 7), stays=True)


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
    execute(page, "Two runs compared.")
    picture(page, "compare_output")
    assert modal(page).count() == 0
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
    assert panel.get_by_text("lightcluster").last.is_visible()
    histogram = score_histogram(labelled, "second_quality")
    click_last_bar(page, panel, "second_quality", images(page, histogram.counts[-1]))
    picture(page, "panel_bar")
    show_all(page, panel)

    click(panel.get_by_role("button", name="Review first"), images(page, 1))
    page.wait_for_url("**view=second-review-first**")
    warning = panel.get_by_text("its fields and mask files go")
    delete = panel.get_by_role("button", name="Delete this run")
    click(open_more(page, panel, delete), warning)
    picture(page, "panel_delete")
    labelled.reload()
    assert labelled.has_run("pseudomask_second")
    left = panel.get_by_text("first \u00b7 mosaic")
    click(panel.get_by_role("button", name="Delete it"), left)
    images(page, 7).wait_for()
    picture(page, "panel_deleted")
    labelled.reload()
    assert labelled.list_runs() == ["pseudomask_first"]
    assert not labelled.has_sample_field("second")
    assert len(labelled.exists("first")) == 7


def test_classes_are_renamed_and_merged_from_the_panel(labelled, page):
    panel = open_pseudomasks(page, labelled)
    first, second = class_rows(labelled, "second")[:2]
    row = row_of(page, panel, first.name)
    form = open_form(page, row.get_by_label("Rename").get_by_role("button"), "Restore original names")
    lines = form.locator("input[type=string]")
    assert lines.count() == 1, "of the class in the row alone"
    picture(page, "rename_one")
    close(page, "Cancel")
    button = panel.get_by_role("button", name="Rename or merge classes")
    form = open_form(page, open_more(page, panel, button), "Restore original names")
    for line in (0, 1):
        change(page, lambda line=line: lines.nth(line).fill("thing"), sent="thing")
    picture(page, "rename_form")
    execute(page, "Classes renamed.")
    picture(page, "rename_output")
    assert modal(page).count() == 0
    panel.get_by_role("cell", name="thing").wait_for()
    # no row of the longer table before is left
    shown = panel.locator("tbody tr td:first-of-type").all_inner_texts()
    labelled.reload()
    rows = class_rows(labelled, "second")
    assert sorted(text.strip() for text in shown) == sorted(row.name for row in rows)
    panel.get_by_role("cell", name="thing").locator("span").hover()
    ids = sorted((*first.ids, *second.ids))
    page.get_by_role("tooltip", name=f"thing: ids {', '.join(map(str, ids))}").wait_for()
    picture(page, "rename_done")
    assert list(labelled.mask_targets["second"].values()).count("thing") == 2


def test_colours_for_colour_blind_eyes_and_other_ways_to_see(labelled, page):
    panel = open_pseudomasks(page, labelled)
    usual = panel.get_by_role("button", name="Usual colours")
    blind = panel.get_by_role("button", name="Colours for colour-blind eyes")
    click(open_more(page, panel, blind), usual)
    settle(page)
    first = class_rows(labelled, "second")[0]
    wanted = hex_color(first.ids[0], COLOUR_BLIND)
    look = "e => getComputedStyle(e, '::before').backgroundColor"
    chip = row_of(page, panel, first.name).locator("td").first.evaluate(look)
    assert chip == f"rgb({', '.join(str(int(wanted[i : i + 2], 16)) for i in (1, 3, 5))})"
    picture(page, "panel_colour_blind")

    open_form(page, panel.get_by_role("button", name="Outlines, doubt, differences"), "Show")
    picture(page, "overlay_form")
    execute(page, "Shown.", "Show")
    assert modal(page).count() == 0
    page.locator('[data-cy="checkbox-second_outlines"] input:checked').wait_for()
    gone = panel.get_by_role("button", name="Take away second_outlines")
    gone.wait_for()
    settle(page)
    annotate = page.get_by_text("Annotate", exact=True)
    tile, below = page.locator("[data-cy=looker] canvas").nth(2), {"x": 60, "y": 50}  # of its check box
    act(lambda wait: tile.click(position=below, timeout=wait), annotate)
    picture(page, "overlay_sample")
    act(lambda wait: page.keyboard.press("Escape"), annotate, "detached")
    click(gone, gone, "detached")
    labelled.reload()
    assert not labelled.has_sample_field("second_outlines")
