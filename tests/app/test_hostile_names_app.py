"""Names that anybody may have given, in the real App: shown as text, and no address in them is asked for."""

from __future__ import annotations

import re

import pytest

from fiftyone_plugin.common.text import shorten

from .driving import (
    change,
    execute,
    open_form,
    open_more,
    open_pseudomasks,
    picture,
    settle,
)

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


def test_names_are_text_in_panel_forms_plots_and_messages(hostile, page):
    asked = []
    page.context.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: asked.append(f"dialog {HOST}"))
    panel = open_pseudomasks(page, hostile)
    text = text_of(panel)
    for shown in SHOWN:
        assert text.count(shown) == 1  # in the table
    assert panel.locator(MADE_OF_NAMES).count() == 0
    picture(page, "hostile_names_panel")

    hide = open_more(page, panel, panel.get_by_role("button", name="Hide classes", exact=True))
    form = open_form(page, hide, "Masks")
    text = text_of(form)
    for shown in SHOWN:
        assert f"Hide {shown}" in text
    assert form.locator(MADE_OF_NAMES).count() == 0
    picture(page, "hostile_names_form")
    change(page, form.locator("input[type=checkbox]").nth(1).check, sent='":true')
    execute(page, "Images changed")
    settle(page)
    assert page.locator(MADE_OF_NAMES).count() == 0

    back = open_more(page, panel, panel.get_by_role("button", name="Take back an edit"))
    form = open_form(page, back, "Masks")
    assert SHOWN[1] in text_of(form)
    assert form.locator(MADE_OF_NAMES).count() == 0
    assert [url for url in asked if HOST in url] == []
