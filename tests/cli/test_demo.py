"""The demo as a newcomer calls it: the sample photographs, and a picture at the end."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin.cli.main import main
from fiftyone_plugin.cli.shared import Exit

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory, backbone) -> tuple[Path, str]:
    """The folder that the demo wrote, and what it said."""
    out, said = tmp_path_factory.mktemp("demo") / "out", io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(["demo", "--out", str(out)]) == Exit.DONE
    return out, said.getvalue()


def test_it_ends_with_a_picture_and_says_where(demo):
    out, said = demo
    assert "5 classes" in said
    assert f"contact sheet: {out / 'contact_sheet.png'}" in said
    photos = sorted(path.name for path in (out / "images").iterdir())
    assert {"astronaut.png", "china.jpg"} < set(photos)
    run = json.loads((out / "run.json").read_text())
    assert run["counts"] == {"images": len(photos), "labelled": len(photos), "skipped": 0}
    assert sum(np.asarray(Image.open(path)).any() for path in (out / "masks").iterdir()) >= len(photos) - 1
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.width > 1000


def test_demo_where_nothing_can_be_written(tmp_path, capfd):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        assert main(["demo", "--out", str(out), "-q"]) == 2
        assert "cannot write to" in capfd.readouterr().err


def test_demo_leaves_a_folder_of_others_alone(tmp_path, capfd, backbone):
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "mine.png").write_text("precious")
    assert main(["demo", "--out", str(tmp_path), "-q"]) == 2
    assert "was not written by a run" in capfd.readouterr().err
    assert (tmp_path / "masks" / "mine.png").read_text() == "precious"
