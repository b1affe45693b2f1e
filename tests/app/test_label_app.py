"""Labelling in the real App: the form and what it says, progress, the masks on the tiles, and a stop."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fiftyone_plugin._version import PLUGIN_NAME

ARTIFACTS = Path(__file__).resolve().parents[2] / "test-artifacts"
QUICK = f'[data-item-id="{PLUGIN_NAME}/quick_label"]'
BUTTON = f'[data-item-id="{PLUGIN_NAME}/label_dataset"]'


def picture(page, name):
    ARTIFACTS.mkdir(exist_ok=True)
    page.wait_for_timeout(1200)  # dialogs fade in
    page.screenshot(path=ARTIFACTS / f"{name}.png")


def open_form(page, dataset):
    page.goto(f"/datasets/{dataset.name}")
    page.locator("[data-cy=looker]").first.wait_for()
    page.locator(BUTTON).click()
    form = page.locator("[data-cy=operators-prompt-modal]")
    form.get_by_text("Number of classes", exact=True).wait_for()
    return form


@pytest.mark.usefixtures("backbone")
def test_button_form_and_masks(fo, dataset, page):
    form = open_form(page, dataset)
    form.get_by_text("7 images: about").wait_for()
    form.get_by_text("offline checkpoint").first.wait_for()
    picture(page, "label_form")
    form.get_by_role("button", name="Execute", exact=True).click()
    page.get_by_role("progressbar").first.wait_for()
    page.wait_for_timeout(2500)
    page.screenshot(path=ARTIFACTS / "label_progress.png")
    page.get_by_text("Images labelled").wait_for(timeout=180_000)
    picture(page, "label_done")
    dataset.reload()
    assert len(dataset.exists("pseudo_mask")) == len(dataset)
    page.get_by_role("button", name="Done").click()
    assert page.locator('[data-cy="checkbox-pseudo_mask"] input').is_checked()
    page.wait_for_function(
        "n => document.querySelectorAll('canvas[canvas-loaded=true]').length >= n", arg=len(dataset)
    )
    picture(page, "label_masks")
    # the same field again: the form says what is wrong, where, and does not run
    page.locator(BUTTON).click()
    form.get_by_text("was filled by an earlier run").first.wait_for()
    assert form.get_by_role("button", name="Execute", exact=True).is_disabled()
    picture(page, "label_form_taken")


def test_a_view_that_cannot_be_labelled(fo, dataset, page):
    for sample in dataset.iter_samples(autosave=True):
        box = fo.Detection(label="middle", bounding_box=[0.2, 0.2, 0.6, 0.6])
        sample["boxes"] = fo.Detections(detections=[box])
    dataset.save_view("crops", dataset.to_patches("boxes"))
    page.goto(f"/datasets/{dataset.name}?view=crops")
    page.locator("[data-cy=looker]").first.wait_for()
    page.locator(BUTTON).click()
    form = page.locator("[data-cy=operators-prompt-modal]")
    form.get_by_text("this is a view of patches").first.wait_for()
    assert form.get_by_role("button", name="Execute", exact=True).is_disabled()
    picture(page, "label_form_patches")
    form.get_by_role("button", name="Cancel").click()
    page.locator(QUICK).click()
    page.get_by_text("this is a view of patches").first.wait_for()
    picture(page, "quick_label_refused")
    dataset.reload()
    assert dataset.list_runs() == []


SLOW = """
import sys, time
import fiftyone as fo
from fiftyone_plugin import label_dataset
from fiftyone_plugin.common.progress import CallbackProgress

def slow(stage, done, total):
    print(stage, done, flush=True)
    time.sleep(1.0 if stage == "masks" else 0.0)

settings = dict(method="lightcluster", size=96, classes=3, refine="none", jobs=1, backbone=sys.argv[2])
label_dataset(fo.load_dataset(sys.argv[1]), "auto", progress=CallbackProgress(slow, 0), **settings)
"""


def test_a_run_at_work_is_stopped_and_can_go_on(dataset, page, tiny_weights):
    command = [sys.executable, "-c", textwrap.dedent(SLOW), dataset.name, tiny_weights]
    page.goto(f"/datasets/{dataset.name}")
    page.locator("[data-cy=looker]").first.wait_for()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            if line.startswith("masks 1"):
                break
        page.keyboard.press("Backquote")
        page.locator("[data-cy=operators-browser]").wait_for()
        page.keyboard.type("Stop labelling")
        page.keyboard.press("Enter")
        form = page.locator("[data-cy=operators-prompt-modal]")
        form.get_by_text("Its run ends within one batch").wait_for()
        picture(page, "stop_form")
        form.get_by_role("button", name="Stop", exact=True).click()
        page.get_by_text("Asked to stop within one batch").wait_for()
        _, errors = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert "masks are done, and kept" in errors
    page.get_by_role("button", name="Close").click()
    page.locator(BUTTON).click()
    form.get_by_text("Number of classes", exact=True).wait_for()
    form.locator("input[type=string]").first.fill("auto")
    form.get_by_text("holds an unfinished run").wait_for()
    picture(page, "label_form_unfinished")
