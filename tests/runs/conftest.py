"""Small photographs, settings of quick runs, and one that nothing happened to."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin import label


@pytest.fixture(scope="module")
def few(photos, tmp_path_factory) -> Path:
    """Four photographs in two folders, half their size."""
    folder = tmp_path_factory.mktemp("few")
    for name in ("astronaut.jpg", "chelsea.jpg", "sub/coffee.jpg", "sub/rocket.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        with Image.open(photos / Path(name).name) as image:
            image.reduce(2).save(folder / name, quality=90)
    return folder


@pytest.fixture(scope="module")
def odd(few, tmp_path_factory) -> Path:
    """Readable images of every strange kind."""
    folder = tmp_path_factory.mktemp("odd")
    photo = Image.open(few / "chelsea.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(folder / "turned.jpg", exif=exif)
    photo.convert("CMYK").save(folder / "cmyk.jpg")
    photo.convert("L").save(folder / "grey.png")
    photo.convert("P").save(folder / "palette.png", transparency=3)
    photo.convert("RGBA").save(folder / "alpha.webp")
    deep = np.asarray(photo.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "deep.png")
    frames = [photo.rotate(angle) for angle in (0, 90)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    Image.new("RGB", (1, 1), "red").save(folder / "dot.png")
    Image.effect_noise((30_000, 20), 80).convert("RGB").save(folder / "wide.png")
    photo.save(folder / "two words & ünïcode.jpg")
    shutil.copy(few / "chelsea.jpg", folder / "twice.jpg")
    return folder


@pytest.fixture(scope="module")
def settings(tiny_weights) -> dict:
    return {
        "backbone": tiny_weights, "size": 96, "classes": 3, "jobs": 1,
        "device": "cpu", "precision": "float32",
        "method": "lightcluster", "options": {"max_regions": 3},
    }  # fmt: skip


@pytest.fixture(scope="module")
def finished(few, settings, tmp_path_factory):
    """An uninterrupted run over the four photographs."""
    return label(few, out=tmp_path_factory.mktemp("finished") / "run", **settings)
