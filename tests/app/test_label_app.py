"""Labelling in the real App: the form and what it says, progress, the masks on the tiles, and a stop."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap

import pytest

from fiftyone_plugin._version import PLUGIN_NAME
from fiftyone_plugin.dataset.record import list_runs

from .driving import (
    SECONDS,
    call,
    change,
    click,
    close,
    modal,
    open_dataset,
    open_form,
    open_more,
    open_panel,
    picture,
    wait_for_tiles,
)

QUICK = f'[data-item-id="{PLUGIN_NAME}/quick_label"]'
BUTTON = f'[data-item-id="{PLUGIN_NAME}/label_dataset"]'


@pytest.mark.usefixtures("backbone")
def test_button_form_and_masks(fo, dataset, page):
    open_dataset(page, dataset)
    form = open_form(page, page.locator(BUTTON), "Number of classes")
    form.get_by_text("7 images: about").wait_for()
    form.get_by_text("offline checkpoint").first.wait_for()
    picture(page, "label_form")
    start = form.get_by_role("button", name="Execute", exact=True)
    click(start, start, "hidden")
    panel = page.locator("[data-cy=panel-content-pseudomasks]")
    panel.get_by_text("Labelling pseudo_mask").wait_for(timeout=SECONDS * 1000)
    panel.get_by_role("button", name="Stop", exact=True).wait_for()
    assert modal(page).count() == 0
    picture(page, "label_progress")
    panel.get_by_text("Classes (a click shows").wait_for(timeout=SECONDS * 1000)
    picture(page, "label_done")
    dataset.reload()
    assert len(dataset.exists("pseudo_mask")) == len(dataset)
    page.locator('[data-cy="checkbox-pseudo_mask"] input:checked').wait_for()
    wait_for_tiles(page, len(dataset))
    picture(page, "label_masks")
    # the same field again: the form says what is wrong, where, and does not run
    label = open_more(page, panel, panel.get_by_role("button", name="Label again"))
    form = open_form(page, label, "Number of classes")
    field = form.locator("input[type=string]").first
    change(page, lambda: field.fill("pseudo_mask"), sent='"field":"pseudo_mask"')
    form.get_by_text("was filled by an earlier run").first.wait_for()
    assert form.get_by_role("button", name="Execute", exact=True).is_disabled()
    picture(page, "label_form_taken")


def test_a_view_that_cannot_be_labelled(fo, dataset, page):
    for sample in dataset.iter_samples(autosave=True):
        box = fo.Detection(label="middle", bounding_box=[0.2, 0.2, 0.6, 0.6])
        sample["boxes"] = fo.Detections(detections=[box])
    dataset.save_view("crops", dataset.to_patches("boxes"))
    open_dataset(page, dataset, "?view=crops")
    form = open_form(page, page.locator(BUTTON), "this is a view of patches")
    assert form.get_by_role("button", name="Execute", exact=True).is_disabled()
    picture(page, "label_form_patches")
    close(page, "Cancel")
    click(page.locator(QUICK), page.get_by_text("this is a view of patches").first)
    picture(page, "quick_label_refused")
    dataset.reload()
    assert dataset.list_runs() == []


WAITS_AT_THE_SECOND_MASK = """
import sys
import fiftyone as fo
from fiftyone_plugin import label_dataset
from fiftyone_plugin.common.progress import CallbackProgress

def wait(stage, done, total):
    print(stage, done, flush=True)
    if (stage, done) == ("masks", 1):
        sys.stdin.readline()

settings = dict(method="lightcluster", size=96, classes=3, refine="none", jobs=1, backbone=sys.argv[2])
label_dataset(fo.load_dataset(sys.argv[1]), "auto", progress=CallbackProgress(wait, 0), **settings)
"""


def test_a_run_at_work_is_stopped_and_can_go_on(dataset, page, tiny_weights):
    command = [sys.executable, "-c", textwrap.dedent(WAITS_AT_THE_SECOND_MASK), dataset.name, tiny_weights]
    open_dataset(page, dataset)
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = subprocess.Popen(command, text=True, **pipes)
    try:
        for line in process.stdout:
            if line.startswith("masks 1"):
                break
        form = call(page, "Stop labelling", "Its run ends within one batch")
        picture(page, "stop_form")
        asked = page.get_by_text("Asked to stop within one batch")
        click(form.get_by_role("button", name="Stop", exact=True), asked)
        _, errors = process.communicate("go on\n", timeout=SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert "masks are done, and kept" in errors
    close(page, "Close")
    form = open_form(page, page.locator(BUTTON), "Number of classes")
    form.locator("input[type=string]").first.fill("auto")
    form.get_by_text("holds an unfinished run").wait_for()
    picture(page, "label_form_unfinished")
    close(page, "Cancel")
    # from the panel it goes on with its own settings, of which nobody is asked again
    panel = open_panel(page, "pseudomasks")
    panel.get_by_text("of 7 masks are done").wait_for()
    picture(page, "panel_unfinished")
    form = open_form(
        page, panel.get_by_role("button", name="Go on", exact=True), "Its images and settings are used"
    )
    picture(page, "resume_form")
    click(
        form.get_by_role("button", name=re.compile("^(Execute|Go on)$")),
        panel.get_by_text("Classes (a click shows"),
    )
    picture(page, "resume_done")
    dataset.reload()
    assert len(dataset.exists("auto")) == len(dataset)
    (run,) = list_runs(dataset)
    assert run.is_complete
    assert run.settings["method_config"]["n_classes"] == 3
