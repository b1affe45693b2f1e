"""Four tiny images, and a finished run on them that no backbone has made: for what happens to runs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["make_images", "make_run"]

SIZE = (48, 64)
IDS = ((1, 2), (1, 3), (2, 3), (3, 3))  # of the two halves of every mask


def make_images(folder: Path) -> None:
    folder.mkdir(parents=True)
    for i in range(4):
        Image.fromarray(np.full((*SIZE, 3), 40 * i, np.uint8)).save(folder / f"{i}.png")


def make_run(out: Path, images: Path, classes: int) -> None:
    """Write a finished run, as labelling the images leaves it."""
    from fiftyone_plugin.masks.areas import class_shares
    from fiftyone_plugin.runs.folder import RunDirectory
    from fiftyone_plugin.runs.record import RunDocument
    from fiftyone_plugin.runs.samples import SampleRow, total_areas

    directory = RunDirectory(out)
    rows = []
    for i, halves in enumerate(IDS):
        mask = np.zeros(SIZE, np.uint8)
        mask[:24], mask[24:40] = (min(id_, classes) for id_ in halves)
        for folder in (directory.masks, directory.confidence):
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(folder / f"{i}.png")
        ids, shares = class_shares(mask)
        row = SampleRow(f"{i}.png", f"{i}.png", "labelled", 64, 48, ids, shares)
        row.qualities = (0.5,) * len(ids)
        row.coverage, row.quality = float((mask > 0).mean()), 0.2 + i / 10
        rows.append(row)
    names = {id_: f"class {id_}" for id_ in range(1, classes + 1)}
    directory.write_classes(names)
    directory.write_samples(rows)
    document = RunDocument(
        {"method": "none", "classes": classes},
        status="complete",
        counts={"images": 4, "labelled": 4, "skipped": 0},
        classes={str(id_): name for id_, name in names.items()},
        areas={str(id_): share for id_, share in total_areas(rows).items()},
        images_root=str(images) + os.sep,
        seconds={"total": 1.0},
    )
    directory.write_run(document)
