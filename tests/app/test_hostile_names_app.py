"""Names that anybody may have given, in the real App: shown as text, and no address in them is asked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fiftyone_plugin.common.text import shorten

ARTIFACTS = Path(__file__).resolve().parents[2] / "test-artifacts"
HOST = "names.example"
NAMES = [
    f"![a](http://{HOST}/markdown.png)",
    f"<img src=http://{HOST}/html.png onerror=alert(1)> www.{HOST}",
    "[x](javascript:alert(1)) | `code` **b** <b>bold</b> <a href='x'>",
    "a\nb\u202eright " + "long " * 2000,
]
SHOWN = [shorten(name, 100) for name in NAMES]
MADE_OF_NAMES = f"[src*='{HOST}'], [href*='{HOST}'], [href*='javascript'], [*|href*='{HOST}'], [*|href='x']"


@pytest.fixture
def hostile(dataset, fill):
    """Two runs whose classes have such names, as a dataset from a stranger may have them."""
    fill("first", 1)
    fill("second")
    for field in ("first", "second"):
        old = dict(dataset.mask_targets[field])
        new = dict(zip(sorted(old), NAMES, strict=False))
        renamed = {old[id_]: name for id_, name in new.items()}
        lists = dataset.exists(field).values(["id", f"{field}_classes"])
        values = {i: [renamed.get(name, name) for name in names] for i, names in zip(*lists, strict=True)}
        dataset.set_values(f"{field}_classes", values, key_field="id")
        dataset.mask_targets = {**dataset.mask_targets, field: {**old, **new}}
    dataset.save()
    return dataset


def text_of(part):
    """Return what a person reads, without characters of no width."""
    return re.sub(r"\s+", " ", part.inner_text().replace("\u2060", ""))


def open_form(page, panel, button):
    panel.get_by_role("button", name=button).click()
    form = page.locator("[data-cy=operators-prompt-modal]")
    form.get_by_text("Masks", exact=True).first.wait_for()
    page.wait_for_timeout(1500)
    return form


def test_names_are_text_in_panel_forms_plots_and_messages(hostile, page):
    asked = []
    page.context.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: asked.append(f"dialog {HOST}"))
    page.goto(f"/datasets/{hostile.name}")
    page.locator("[data-cy=looker]").first.wait_for()
    page.locator("[data-cy=new-panel-btn]").first.click()
    page.locator("[data-cy=new-panel-option-pseudomasks]").click()
    panel = page.locator("[data-cy=panel-content-pseudomasks]")
    panel.locator(".js-plotly-plot").last.wait_for(timeout=30_000)
    panel.locator("img[alt^='Crops of']").first.wait_for()
    page.wait_for_timeout(1000)
    text = text_of(panel)
    for shown in SHOWN:
        assert text.count(shown) >= 2  # in the table, and beside the crops
    labels = panel.locator(".js-plotly-plot", has_text="Area of classes").locator(".ytick text")
    assert sorted(labels.all_text_contents()) == sorted(shorten(name, 40) for name in NAMES)
    assert panel.locator(MADE_OF_NAMES).count() == 0
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / "hostile_names_panel.png")

    form = open_form(page, panel, "Hide classes")
    text = text_of(form)
    for shown in SHOWN:
        assert f"Hide {shown}" in text
    assert form.locator(MADE_OF_NAMES).count() == 0
    page.screenshot(path=ARTIFACTS / "hostile_names_form.png")
    form.locator("input[type=checkbox]").nth(1).check()
    page.wait_for_timeout(1500)
    page.get_by_role("button", name="Execute", exact=True).click()
    page.get_by_text("Images changed").wait_for()
    page.wait_for_timeout(500)
    assert page.locator(MADE_OF_NAMES).count() == 0
    page.get_by_role("button", name="Done").click()

    form = open_form(page, panel, "Take back an edit")
    assert SHOWN[1] in text_of(form)
    assert form.locator(MADE_OF_NAMES).count() == 0
    assert [url for url in asked if HOST in url] == []
