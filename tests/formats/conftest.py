from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from fiftyone_plugin.features.backbones.offline import BESIDE
from fiftyone_plugin.masks.files import read_mask

sys.path.append(str(BESIDE))  # tools that read exports, see scripts/install_optional.py

# examples run on a shared machine: how long one takes says nothing
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

NAMES = {"1": "night", "2": "dusk", "5": "dawn", "9": "day"}


def brightness_mask(path: Path) -> np.ndarray:
    """Levels of brightness, blockwise: many parts, holes, and corners that touch; ids with gaps."""
    with Image.open(path) as image:
        small = image.convert("L").resize((image.width // 8, image.height // 8), Image.Resampling.BOX)
        level = np.digitize(np.asarray(small), [32, 90, 150, 210])
        ids = np.array([0, 1, 2, 5, 9], np.uint8)[level]
        return np.asarray(Image.fromarray(ids).resize(image.size, Image.Resampling.NEAREST))


@pytest.fixture(scope="session")
def levels(photos, tmp_path_factory) -> Path:
    """A folder with images/ (in train/ and val/), masks/ and classes.json."""
    root = tmp_path_factory.mktemp("levels")
    for i, path in enumerate(sorted(photos.iterdir())):
        split = "val" if i % 3 == 0 else "train"
        for name in ("images", "masks"):
            (root / name / split).mkdir(parents=True, exist_ok=True)
        image = root / "images" / split / path.name
        with Image.open(path) as photo:
            photo.resize((photo.width // 3, photo.height // 3)).save(image)
        Image.fromarray(brightness_mask(image)).save(root / "masks" / split / f"{path.stem}.png")
    (root / "classes.json").write_text(json.dumps(NAMES))
    return root


@pytest.fixture(scope="session")
def originals(levels) -> dict[str, np.ndarray]:
    """Stem -> mask of ``levels``."""
    return read_folder(levels / "masks")


def read_folder(folder: Path) -> dict[str, np.ndarray]:
    paths = sorted(folder.rglob("*.png"))
    return {path.relative_to(folder).with_suffix("").as_posix(): read_mask(path) for path in paths}


@pytest.fixture
def small(tmp_path):
    """``small(masks)`` makes a folder of grey images with these masks, for what needs no photographs."""

    def make(masks: dict[str, np.ndarray], names: dict[int, str] | None = None) -> Path:
        root = tmp_path / "small"
        for name, mask in masks.items():
            for folder, suffix, values in (("images", ".jpg", None), ("masks", ".png", mask)):
                path = root / folder / f"{name}{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                image = Image.new("L", mask.shape[::-1], 99) if values is None else Image.fromarray(values)
                image.save(path)
        if names is not None:
            (root / "classes.json").write_text(json.dumps({str(k): v for k, v in names.items()}))
        return root

    return make


@pytest.fixture
def view(fo, levels, originals):
    """Four samples with masks on disk, three in the database; qualities and tags."""
    dataset = fo.Dataset(f"test-{uuid.uuid4().hex[:12]}")
    for i, path in enumerate(sorted((levels / "images").rglob("*.*"))):
        stem = path.relative_to(levels / "images").with_suffix("").as_posix()
        label = {"mask": originals[stem]} if i % 2 else {"mask_path": str(levels / "masks" / f"{stem}.png")}
        sample = fo.Sample(filepath=str(path), tags=[path.parent.name], masks=fo.Segmentation(**label))
        sample["masks_quality"] = i / 10
        dataset.add_sample(sample)
    dataset.mask_targets = {"masks": {int(k): v for k, v in NAMES.items()}}
    dataset.info = {"categories": [{"id": 1, "name": "night", "supercategory": "dark"}]}
    dataset.save()
    yield dataset
    fo.delete_dataset(dataset.name)


@pytest.fixture
def folders(fo, tmp_path):
    """``folders(names)`` makes a dataset of small pictures at these paths below a folder."""
    made = []

    def folders(*names):
        paths = [tmp_path / "set" / name for name in names]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(path)
        dataset = fo.Dataset(f"test-{uuid.uuid4().hex[:12]}")
        dataset.add_samples([fo.Sample(filepath=str(path)) for path in paths])
        made.append(dataset)
        return dataset

    yield folders
    for dataset in made:
        fo.delete_dataset(dataset.name)
