"""What else a person finds in the real App: masks of other tools, and ontologies."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import pytest

from fiftyone_plugin.dataset.summary import class_rows

from .driving import (
    call,
    change,
    close,
    execute,
    modal,
    open_dataset,
    open_form,
    open_more,
    open_panel,
    picture,
    settle,
    wait_for_tiles,
)


@pytest.fixture
def labelled(dataset, fill):
    fill("auto")
    return dataset


def fill_in(page, form, number, text):
    """Type into an input of a form."""
    change(
        page, lambda: form.locator("input[type=text], input[type=string]").nth(number).fill(text), sent=text
    )


def test_masks_of_another_tool_are_imported(labelled, page, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for sample in labelled.limit(3):
        shutil.copy(sample.auto.mask_path, theirs / f"{Path(sample.filepath).stem}.png")
    open_dataset(page, labelled)
    form = call(page, "Import masks", "Source")
    fill_in(page, form, 0, str(tmp_path / "nowhere"))
    form.get_by_text("there is no such file or folder").wait_for()
    fill_in(page, form, 0, str(theirs))
    picture(page, "import_form")
    execute(page, "Samples with a mask")
    picture(page, "import_done")
    close(page)
    wait_for_tiles(page, 3)
    labelled.reload()
    assert len(labelled.exists("imported_mask")) == 3
    page.locator('[data-cy="checkbox-imported_mask"] input:checked').wait_for()


@pytest.fixture
def ontology(fo):
    """The name of an ontology, which is deleted afterwards."""
    name = f"things {uuid.uuid4().hex[:8]}"
    yield name
    for each in (name, f"{name}-classes"):
        if fo.ontology_exists(each):
            fo.delete_ontology(each, force=True)


def test_saved_views_are_made_anew(labelled, page):
    view = "auto: review first"
    open_dataset(page, labelled)
    panel = open_panel(page, "pseudomasks")
    panel.locator(".js-plotly-plot").last.wait_for()
    settle(page)
    labelled.delete_saved_view(view)
    open_form(page, open_more(page, panel, panel.get_by_role("button", name="Renew saved views")), "Masks")
    picture(page, "views_form")
    execute(page, "Views saved.")
    picture(page, "views_done")
    assert modal(page).count() == 0
    labelled.reload()
    assert labelled.has_saved_view(view)


def test_the_panel_saves_an_ontology(fo, labelled, ontology, page):
    open_dataset(page, labelled)
    panel = open_panel(page, "pseudomasks")
    panel.locator(".js-plotly-plot").last.wait_for()
    settle(page)
    button = panel.get_by_role("button", name="Save as ontology")
    form = open_form(page, open_more(page, panel, button), "Name")
    fill_in(page, form, 0, ontology)
    picture(page, "ontology_form")
    execute(page, f"Classes: {len(class_rows(labelled, 'auto'))}", "Save")
    assert modal(page).count() == 0
    names = {row.name for row in class_rows(labelled, "auto")}
    assert {node.name for node in fo.load_ontology(f"{ontology}-classes").root.values} == names
