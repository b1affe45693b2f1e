"""What else is in the real App: masks of other tools, saved views, suggested names, ontologies."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fiftyone_plugin.dataset.cluster_names import cards
from fiftyone_plugin.dataset.name_drafts import drafted, ideas_of
from fiftyone_plugin.dataset.record import read_record
from fiftyone_plugin.dataset.summary import class_rows

from .driving import (
    call,
    change,
    click,
    close,
    execute,
    modal,
    open_dataset,
    open_form,
    open_more,
    open_pseudomasks,
    picture,
    wait_for_tiles,
    wait_until_said,
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
def model(tmp_path):
    """The smallest architecture that open_clip has, with random weights: what the form calls a model."""
    open_clip, torch = pytest.importorskip("open_clip"), pytest.importorskip("torch")
    path, name = tmp_path / "weights.pt", "ViT-S-32-alt"
    weights = open_clip.create_model(name).state_dict()
    torch.save(
        {key: each.half() if each.is_floating_point() else each for key, each in weights.items()}, path
    )
    return f"{name}={path}"


def test_a_model_suggests_names_for_the_cards(labelled, model, page):
    words = ["cat", "cup of coffee", "sky"]
    panel = open_pseudomasks(page, labelled)
    button = panel.get_by_role("button", name="Suggest names")
    form = open_form(page, open_more(page, panel, button), "Text model")
    fill_in(page, form, 0, ", ".join(words))
    fill_in(page, form, 1, "nothing=weights.pt")
    form.get_by_role("button", name="Suggest", exact=True).click()
    wait_until_said(page, "no architecture")
    close(page)
    form = open_form(page, open_more(page, panel, button), "Text model")
    fill_in(page, form, 0, ", ".join(words))
    fill_in(page, form, 1, model)
    picture(page, "names_form")
    execute(page, "Classes with suggestions", "Suggest")
    picture(page, "names_suggested")
    close(page)
    labelled.reload()
    run = read_record(labelled, "pseudomask_auto")
    ideas, found = ideas_of(labelled, run), cards(labelled, "auto")
    assert set(ideas) == {card.cluster for card in found}
    assert drafted(labelled, run) == {}, "nothing is taken unasked"
    first = panel.get_by_text(f", 1 of {len(found)}")
    click(panel.get_by_role("button", name="Name classes", exact=True), first)
    name, score = ideas[found[0].cluster][0]
    click(panel.get_by_role("button", name=f"{name} ({score:.2f})"), first, "hidden")
    assert drafted(labelled, run) == {found[0].cluster: name}


def test_saved_views_are_made_anew(labelled, page):
    view = "auto: review first"
    panel = open_pseudomasks(page, labelled)
    labelled.delete_saved_view(view)
    open_form(page, open_more(page, panel, panel.get_by_role("button", name="Renew saved views")), "Masks")
    picture(page, "views_form")
    execute(page, "Views saved.")
    panel.get_by_text("Begins").wait_for(state="hidden", timeout=30_000)
    picture(page, "views_done")
    assert modal(page).count() == 0
    labelled.reload()
    assert labelled.has_saved_view(view)


def test_the_panel_saves_an_ontology(fo, labelled, ontology, page):
    panel = open_pseudomasks(page, labelled)
    button = panel.get_by_role("button", name="Save as ontology")
    form = open_form(page, open_more(page, panel, button), "Name")
    fill_in(page, form, 0, ontology)
    picture(page, "ontology_form")
    execute(page, f"Classes: {len(class_rows(labelled, 'auto'))}", "Save")
    assert modal(page).count() == 0
    names = {row.name for row in class_rows(labelled, "auto")}
    assert {node.name for node in fo.load_ontology(f"{ontology}-classes").root.values} == names
