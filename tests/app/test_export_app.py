"""The export in the real App: form, progress, summary, and the download."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from .driving import call, execute, open_dataset, picture


@pytest.fixture
def labelled(fo, dataset, tmp_path):
    """The photographs with four levels of brightness as masks."""
    from PIL import Image

    for sample in dataset.iter_samples(autosave=True):
        with Image.open(sample.filepath) as image:
            small = image.convert("L").resize((image.width // 16, image.height // 16))
            level = np.digitize(np.asarray(small), [64, 128, 192]).astype(np.uint8)
            mask = Image.fromarray(level).resize(image.size, Image.Resampling.NEAREST)
        path = tmp_path / f"{Path(sample.filepath).stem}.png"
        mask.save(path)
        sample["pseudo_mask"] = fo.Segmentation(mask_path=str(path))
        sample["pseudo_mask_quality"] = 0.5
        sample.tags = ["accepted"]
    dataset.mask_targets = {"pseudo_mask": {1: "dusk", 2: "dawn", 3: "day"}}
    dataset.save()
    return dataset


def test_form_summary_and_download(labelled, page, tmp_path):
    open_dataset(page, labelled)
    call(page, "Export masks", "Smallest component")
    picture(page, "export_form")
    with page.expect_download() as download:
        execute(page, "Written to")
    picture(page, "export_done")
    download.value.save_as(tmp_path / "labels.zip")
    with zipfile.ZipFile(tmp_path / "labels.zip") as archive:
        (name,) = [n for n in archive.namelist() if n.endswith("instances.json")]
        document = json.loads(archive.read(name))
    assert len(document["images"]) == len(labelled)
    assert [c["name"] for c in document["categories"]] == ["dusk", "dawn", "day"]
    assert {a["quality"] for a in document["annotations"]} == {0.5}
