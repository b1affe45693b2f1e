from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_worst_twenty(fo, dataset, backbone, tmp_path, monkeypatch, capsys):
    """The script as it is, on three photographs with brightness as truth; only the App does not open."""
    dataset.delete_samples(dataset.skip(3))
    for sample in dataset.iter_samples(autosave=True):
        grey = np.asarray(Image.open(sample.filepath).convert("L"))
        path = tmp_path / f"{Path(sample.filepath).stem}.png"
        Image.fromarray(np.digitize(grey, [85, 170]).astype(np.uint8) + 1).save(path)
        sample["ground_truth"] = fo.Segmentation(mask_path=str(path))
    opened = []

    class Session:
        def wait(self, seconds):
            assert seconds == -1

    monkeypatch.setattr(fo, "launch_app", lambda view: opened.append(view) or Session())
    monkeypatch.setattr(sys, "argv", ["worst_twenty.py", dataset.name])
    runpy.run_path(str(DOCS / "examples" / "worst_twenty.py"))
    assert "miou" in capsys.readouterr().out
    (view,) = opened
    scores = view.values("eval_pseudo_mask_iou")
    assert len(scores) == len(dataset)
    assert scores == sorted(scores)


@pytest.mark.parametrize("cells", [1, 5, 20])
def test_the_grids_of_the_documentation(data_dir, monkeypatch, capsys, cells):
    """The snippet gives the numbers of the table above it, under all of its protocols."""
    text = (DOCS / "evaluation.md").read_text()
    (code,) = re.findall(r"```python\n(import json\n.*?)```", text, re.DOTALL)
    (row,) = re.findall(rf"\n\| {cells} x {cells} \| {cells**2} \|(.*)\|\n", text)
    monkeypatch.chdir(data_dir)
    protocols = ("iou-hungarian", "majority", "datus_drop", "alignseg_per_image")
    for cell, protocol in zip(row.split("|"), protocols, strict=True):
        changed = code.replace("mask.shape, 5", f"mask.shape, {cells}").replace("iou-hungarian", protocol)
        exec(compile(changed, "evaluation.md", "exec"), {})
        scores = eval(capsys.readouterr().out, {"nan": float("nan")})
        miou, accuracy = re.findall(r"\d+\.\d", cell)
        assert (f"{100 * scores['miou']:.1f}", f"{100 * scores['pixel_accuracy']:.1f}") == (miou, accuracy)
