"""Touching objects apart: AP and AR of exported instances, as connected parts and with --instances.

    python -m benchmarks.instances [--data FOLDER] [--labels RUN]

FOLDER holds images/ and instances.json in COCO's format. The masks are drawn from its annotations, small
objects on top, every pixel of one class, so that nothing but the cutting is measured; with --labels they are
those of a run of the same images. Both go through ``export --format coco-results --min-area 64``, and
pycocotools compares outlines without looking at classes. Scores are areas, since masks say nothing about
single objects; crowds count for neither side.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks.data import default_folder
from fiftyone_plugin import export
from fiftyone_plugin.common.tables import format_table
from fiftyone_plugin.masks.files import write_mask

FIGURES = {"AP": 0, "AP50": 1, "AP75": 2, "AP small": 3, "AP medium": 4, "AP large": 5, "AR100": 8}


def draw_masks(truth: dict[str, Any], images: Path, folder: Path) -> None:
    """Write images/, masks/ and classes.json of the annotations."""
    coco = quiet(lambda: _index(truth))
    (folder / "masks").mkdir(parents=True)
    (folder / "images").symlink_to(images.resolve())
    for image in truth["images"]:
        mask = np.zeros((image["height"], image["width"]), np.uint8)
        for entry in sorted(coco.imgToAnns[image["id"]], key=lambda entry: -entry["area"]):
            if not entry["iscrowd"]:
                mask[coco.annToMask(entry).astype(bool)] = entry["category_id"]
        write_mask(folder / "masks" / f"{Path(image['file_name']).stem}.png", mask)
    names = {str(entry["id"]): entry["name"] for entry in truth["categories"]}
    (folder / "classes.json").write_text(json.dumps(names))


def score(truth: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, float]:
    """Return pycocotools' figures in %, of outlines alone."""
    objects = [{**entry, "category_id": 1} for entry in truth["annotations"]]
    coco = quiet(
        lambda: _index({**truth, "annotations": objects, "categories": [{"id": 1, "name": "object"}]})
    )
    largest = max(image["height"] * image["width"] for image in truth["images"])

    def run() -> COCOeval:
        found = coco.loadRes([{**entry, "category_id": 1} for entry in results])
        for entry in found.dataset["annotations"]:
            entry["score"] = entry["area"] / largest
        evaluation = COCOeval(coco, found, "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return evaluation

    stats = quiet(run).stats
    return {name: 100 * float(stats[index]) for name, index in FIGURES.items()}


def quiet(work: Any) -> Any:
    """Return what work returns, without what pycocotools prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        return work()


def _index(document: dict[str, Any]) -> COCO:
    coco = COCO()
    coco.dataset = document
    coco.createIndex()
    return coco


def compare(data: Path, labels: Path | None, work: Path) -> list[list[str]]:
    """Return the rows of the table."""
    truth = json.loads((data / "instances.json").read_text(encoding="utf-8"))
    ids = {image["file_name"]: image["id"] for image in truth["images"]}
    if labels is None:
        draw_masks(truth, data / "images", work / "drawn")
    rows = []
    for name, cut in (("connected parts", False), ("--instances", True)):
        out = work / f"out-{cut}"
        start = time.process_time()
        export(labels or work / "drawn", out=out, format="coco-results", min_area=64, instances=cut, jobs=1)
        spent = (time.process_time() - start) / len(ids)
        results = json.loads((out / "results.json").read_text(encoding="utf-8"))
        order = sorted(ids)  # ids of an export count the images by path
        for entry in results:
            entry["image_id"] = ids[order[entry["image_id"] - 1]]
        cells = [f"{value:.1f}" for value in score(truth, results).values()]
        rows.append([name, str(len(results)), *cells, f"{1000 * spent:.0f}"])
    return rows


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instances", description=__doc__)
    parser.add_argument("--data", type=Path, default=default_folder() / "coco_instances")
    parser.add_argument("--labels", type=Path, help="masks of a run instead of those of the annotations")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="pseudomask-instances-") as work:
        rows = compare(args.data, args.labels, Path(work))
    print(format_table(["instances", "found", *FIGURES, "CPU ms an image"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
