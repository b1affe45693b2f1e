"""The demo as a newcomer calls it: the sample photographs, and a picture at the end."""

from __future__ import annotations

import pytest
from PIL import Image

from fiftyone_plugin.cli.exits import Exit
from fiftyone_plugin.cli.main import main

pytestmark = pytest.mark.slow


def test_it_ends_with_a_picture_and_says_where(backbone, tmp_path, capsys):
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out)]) == Exit.DONE
    said = capsys.readouterr().out
    assert "5 classes" in said
    assert f"contact sheet: {out / 'contact_sheet.png'}" in said
    with Image.open(out / "contact_sheet.png") as sheet:
        assert min(sheet.size) > 300
    images = sum(1 for _ in (out / "images").iterdir())
    assert len(list((out / "masks").rglob("*.png"))) == images > 3
