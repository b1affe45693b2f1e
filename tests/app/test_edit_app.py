"""Edits of masks in the real App: split a class, take it back, hide another, make detections of regions."""

from __future__ import annotations

from pathlib import Path

import pytest

ARTIFACTS = Path(__file__).resolve().parents[2] / "test-artifacts"
FAST = {
    "method": "mosaic",
    "size": 224,
    "classes": 4,
    "refine": "none",
    "backbone": "offline-vits14",
    "jobs": 1,
}


@pytest.fixture
def labelled(fo, dataset, backbone, tmp_path):
    """The photographs, labelled; their classes are drawn in the colours of the contact sheet."""
    from fiftyone.core.odm import ActiveFields

    from fiftyone_plugin import label_dataset
    from fiftyone_plugin.images.drawing import hex_color

    label_dataset(dataset, "auto", out=tmp_path / "auto", **FAST)
    dataset.app_config.active_fields = ActiveFields(paths=["auto"])
    colours = [{"intTarget": id_, "color": hex_color(id_)} for id_ in range(1, 8)]
    dataset.app_config.color_scheme = fo.ColorScheme(color_by="value", default_mask_targets_colors=colours)
    dataset.save()
    return dataset


def picture(page, name):
    ARTIFACTS.mkdir(exist_ok=True)
    page.wait_for_timeout(1500)  # dialogs fade in, masks are decoded
    page.screenshot(path=ARTIFACTS / f"{name}.png")


def wait_for_tiles(page, count):
    page.wait_for_timeout(2500)  # the tiles of before may still be there
    page.wait_for_function(
        "n => document.querySelectorAll('canvas[canvas-loaded=true]').length >= n", arg=count
    )


def open_form(page, label):
    page.keyboard.press("Backquote")
    page.locator("[data-cy=operators-browser]").wait_for()
    page.keyboard.type(label)
    page.wait_for_timeout(800)
    page.keyboard.press("Enter")
    form = page.locator("[data-cy=operators-prompt-modal]")
    form.get_by_text("Masks", exact=True).wait_for()
    page.wait_for_timeout(1200)  # a dynamic form asks the server after every change
    return form


def execute(page, done):
    page.get_by_role("button", name="Execute", exact=True).click()
    page.get_by_text(done).first.wait_for(timeout=180_000)


def close(page, button="Done"):
    page.get_by_role("button", name=button).click()
    page.locator("[data-cy=operators-prompt-modal]").wait_for(state="detached")


def targets(dataset):
    dataset.reload()
    return dict(dataset.mask_targets["auto"])


def test_split_take_back_hide_and_hand_out(labelled, page):
    before = targets(labelled)
    masks = labelled.values("auto.mask_path")
    page.goto(f"/datasets/{labelled.name}")
    wait_for_tiles(page, len(labelled))
    picture(page, "edit_before")

    form = open_form(page, "Split a class")
    form.get_by_role("combobox").last.click()
    page.get_by_role("option", name="class 1 (1").click()
    page.wait_for_timeout(1500)
    picture(page, "edit_split_form")
    execute(page, "class 1 a")
    picture(page, "edit_split_output")
    assert targets(labelled) == {**before, 1: "class 1 a", 5: "class 1 b"}
    changed = [path for path in labelled.values("auto.mask_path") if path not in masks]
    assert changed
    close(page)
    wait_for_tiles(page, len(labelled))
    picture(page, "edit_split_done")

    open_form(page, "Take back an edit")
    page.get_by_text("This is taken back").wait_for()
    picture(page, "edit_undo_form")
    execute(page, "Edits left")
    close(page)
    assert targets(labelled) == before
    assert labelled.values("auto.mask_path") == masks

    form = open_form(page, "Hide or show classes")
    form.get_by_text("Hide class 2").click()
    page.wait_for_timeout(1500)
    picture(page, "edit_hide_form")
    execute(page, "Images changed")
    close(page)
    assert targets(labelled) == {id_: name for id_, name in before.items() if id_ != 2}
    wait_for_tiles(page, len(labelled))
    picture(page, "edit_hide_done")

    form = open_form(page, "Edit pseudo-masks as detections")
    picture(page, "edit_detections_form")
    execute(page, "Masks not read")
    close(page)
    labelled.reload()
    assert labelled.count("auto_detections") == len(labelled)
    wait_for_tiles(page, len(labelled))
    picture(page, "edit_detections_done")

    # what a person corrects in the annotation mode ends up in the same field
    sample = labelled.first()
    region = max(sample.auto_detections.detections, key=lambda detection: detection.mask.sum())
    region.label = "suit"
    sample.save()
    open_form(page, "Put edited detections back")
    picture(page, "edit_fold_form")
    execute(page, "Masks changed")
    picture(page, "edit_fold_output")
    close(page)
    assert targets(labelled)[5] == "suit"

    open_form(page, "Propagate corrections")
    page.get_by_text("Corrected masks: 1").wait_for()
    picture(page, "edit_propagate_form")
    execute(page, "Regions moved")
    picture(page, "edit_propagate_output")
    close(page)


def test_the_panel_leads_to_the_forms(labelled, page):
    page.goto(f"/datasets/{labelled.name}")
    wait_for_tiles(page, len(labelled))
    page.locator("[data-cy=new-panel-btn]").first.click()
    page.locator("[data-cy=new-panel-option-pseudomasks]").click()
    panel = page.locator("[data-cy=panel-content-pseudomasks]")
    panel.locator(".js-plotly-plot").last.wait_for()
    button = panel.get_by_role("button", name="Split a class")
    button.scroll_into_view_if_needed()
    picture(page, "edit_panel")
    button.click()
    form = page.locator("[data-cy=operators-prompt-modal]")
    form.get_by_role("combobox").last.click()
    page.get_by_role("option", name="class 1 (1").click()
    page.wait_for_timeout(1500)
    picture(page, "edit_panel_form")
    execute(page, "class 1 a")
    close(page)
    panel.get_by_role("cell", name="class 1 b").wait_for(timeout=30_000)
    picture(page, "edit_panel_done")
