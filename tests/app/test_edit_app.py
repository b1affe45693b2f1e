"""Edits of masks in the real App: split a class, take it back, hide another, make detections of regions."""

from __future__ import annotations

import pytest

from .driving import (
    call,
    change,
    choose,
    click,
    execute,
    modal,
    open_dataset,
    open_form,
    open_more,
    open_panel,
    picture,
    settle,
    wait_for_tiles,
    wait_until_said,
)

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
    """The photographs, labelled; the App opens with their masks shown."""
    from fiftyone.core.odm import ActiveFields

    from fiftyone_plugin import label_dataset

    label_dataset(dataset, "auto", out=tmp_path / "auto", **FAST)
    dataset.app_config.active_fields = ActiveFields(paths=["auto"])
    dataset.save()
    return dataset


def targets(dataset):
    dataset.reload()
    return dict(dataset.mask_targets["auto"])


def test_split_take_back_hide_and_hand_out(labelled, page):
    before = targets(labelled)
    masks = labelled.values("auto.mask_path")
    open_dataset(page, labelled)
    wait_for_tiles(page, len(labelled))
    picture(page, "edit_before")

    form = call(page, "Split a class", "Masks")
    choose(page, form.get_by_role("combobox").last, "class 1 (1", sent='"class_id":"1"')
    picture(page, "edit_split_form")
    execute(page, "Class split.")
    picture(page, "edit_split_output")
    assert modal(page).count() == 0
    assert targets(labelled) == {**before, 1: "class 1 a", 5: "class 1 b"}
    changed = [path for path in labelled.values("auto.mask_path") if path not in masks]
    assert changed
    wait_for_tiles(page, len(labelled))
    picture(page, "edit_split_done")

    call(page, "Take back an edit", "Masks")
    page.get_by_text("This is taken back").wait_for()
    picture(page, "edit_undo_form")
    execute(page, "Edits left")
    assert targets(labelled) == before
    assert labelled.values("auto.mask_path") == masks

    form = call(page, "Hide or show classes", "Masks")
    change(page, form.get_by_text("Hide class 2").click, sent='auto__hide__2":true')
    picture(page, "edit_hide_form")
    execute(page, "Images changed")
    assert targets(labelled) == {id_: name for id_, name in before.items() if id_ != 2}
    wait_for_tiles(page, len(labelled))
    picture(page, "edit_hide_done")

    form = call(page, "Edit pseudo-masks as detections", "Masks")
    picture(page, "edit_detections_form")
    execute(page, "Masks not read")
    labelled.reload()
    assert labelled.count("auto_detections") == len(labelled)
    wait_for_tiles(page, len(labelled))
    picture(page, "edit_detections_done")

    # what a person corrects in the annotation mode ends up in the same field
    sample = labelled.first()
    region = max(sample.auto_detections.detections, key=lambda detection: detection.mask.sum())
    region.label = "suit"
    sample.save()
    call(page, "Put edited detections back", "Masks")
    picture(page, "edit_fold_form")
    execute(page, "Masks changed")
    picture(page, "edit_fold_output")
    assert targets(labelled)[5] == "suit"

    call(page, "Propagate corrections", "Masks")
    page.get_by_text("Corrected masks: 1").wait_for()
    picture(page, "edit_propagate_form")
    execute(page, "Regions moved")
    picture(page, "edit_propagate_output")
    assert modal(page).count() == 0


def test_the_panel_leads_to_the_forms(labelled, page):
    open_dataset(page, labelled)
    wait_for_tiles(page, len(labelled))
    panel = open_panel(page, "pseudomasks")
    panel.locator(".js-plotly-plot").last.wait_for()
    button = open_more(page, panel, panel.get_by_role("button", name="Split a class"))
    picture(page, "edit_panel")
    form = open_form(page, button)
    for id_ in (2, 1):  # at once: each answer is about what was chosen last
        choose(page, form.get_by_role("combobox").last, f"class {id_} ({id_}", sent=f'"class_id":"{id_}"')
    settle(page)
    assert form.get_by_text("Required property").count() == 0
    picture(page, "edit_panel_form")
    execute(page, "Class split.")
    part = panel.get_by_role("cell", name="class 1 b")
    part.wait_for(timeout=30_000)
    assert modal(page).count() == 0
    picture(page, "edit_panel_done")
    undo = panel.get_by_role("button", name="Undo: class split 'class 1'")
    click(undo, part, "detached")
    wait_until_said(page, "Taken back: class split")
    picture(page, "edit_undone")
    assert 5 not in targets(labelled)
