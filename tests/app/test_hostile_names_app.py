"""Names that anybody may have given, in the real App: shown as text, and no address in them is asked for."""

from __future__ import annotations

import pytest

HOST = "names.example"
NAMES = [
    f"![a](http://{HOST}/markdown.png)",
    f"<img src=http://{HOST}/html.png onerror=alert(1)>",
    "[x](javascript:alert(1)) | `code` **b** <b>bold</b>",
    "a\nb\u202eright " + "long " * 2000,
]


@pytest.fixture
def hostile(dataset, fill):
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


def test_probe(hostile, page):
    asked = []
    page.context.on("request", lambda request: asked.append(request.url))
    page.goto(f"/datasets/{hostile.name}")
    page.locator("[data-cy=looker]").first.wait_for()
    page.locator("[data-cy=new-panel-btn]").first.click()
    page.locator("[data-cy=new-panel-option-pseudomasks]").click()
    panel = page.locator("[data-cy=panel-content-pseudomasks]")
    panel.locator(".js-plotly-plot").last.wait_for(timeout=30_000)
    page.wait_for_timeout(1500)
    page.screenshot(path="/tmp/opr1.png")
    print(panel.inner_text()[:3000])
    open("/tmp/panel.html", "w").write(panel.inner_html())
    print([u for u in asked if HOST in u])
    panel.get_by_role("button", name="Rename classes").click()
    form = page.locator("[data-cy=operators-prompt-modal]")
    form.get_by_text("Restore original names").wait_for()
    page.wait_for_timeout(1500)
    page.screenshot(path="/tmp/opr2.png")
    open("/tmp/form.html", "w").write(form.inner_html())
    print([u for u in asked if HOST in u])
    page.keyboard.press("Escape")
    page.wait_for_timeout(800)
    panel.get_by_role("button", name="Hide classes").click()
    form.get_by_text("Hidden classes are not").first.wait_for()
    page.wait_for_timeout(1500)
    page.screenshot(path="/tmp/opr3.png")
    open("/tmp/form2.html", "w").write(form.inner_html())
    print([u for u in asked if HOST in u])
