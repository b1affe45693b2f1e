"""Speed of a COCO instances export, beside FiftyOne's own route, on the same masks in the same run.

    python -m benchmarks.export_speed --images 200

FiftyOne exports no Segmentation field to COCO. Its route is ``segmentations_to_detections``, which turns
masks into Detections, then its COCO exporter. Both write annotation files only (images stay where they are),
with all cores. The table also says whose masks are right: annotations are decoded with pycocotools and
compared with the source, pixel by pixel.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np


def make_mask(rng, size: tuple[int, int], classes: int) -> np.ndarray:
    """Smooth regions of eight classes and of nothing, some tens of components, as refined masks have them."""
    from scipy.ndimage import zoom

    here = np.array([0, *rng.choice(np.arange(1, classes + 1), 8, replace=False)])
    fields = np.stack([zoom(rng.random((9, 12)), (size[0] / 9, size[1] / 12), order=1) for _ in here])
    return here[fields.argmax(0)].astype(np.uint8)


def make_dataset(folder: Path, n: int, size: tuple[int, int], classes: int):
    import fiftyone as fo
    from PIL import Image

    dataset = fo.Dataset()
    blank = folder / "blank.jpg"
    Image.new("RGB", (size[1], size[0])).save(blank)
    samples, rng = [], np.random.default_rng(0)
    for i in range(n):
        image, mask = folder / f"{i:06d}.jpg", folder / f"{i:06d}.png"
        image.symlink_to(blank)
        Image.fromarray(make_mask(rng, size, classes)).save(mask)
        samples.append(fo.Sample(filepath=str(image), masks=fo.Segmentation(mask_path=str(mask))))
    dataset.add_samples(samples)
    dataset.mask_targets = {"masks": {i: f"class {i}" for i in range(1, classes + 1)}}
    dataset.save()
    dataset.compute_metadata()
    return dataset


def theirs(dataset, out: Path) -> Path:
    import fiftyone as fo
    import fiftyone.utils.labels as foul

    foul.segmentations_to_detections(dataset, "masks", "objects", mask_types="thing", progress=False)
    dataset.export(
        dataset_type=fo.types.COCODetectionDataset,
        labels_path=str(out),
        label_field="objects",
        export_media=False,
        abs_paths=True,
        progress=False,
    )
    return out


def ours(dataset, out: Path) -> Path:
    from fiftyone_plugin import export

    export(dataset, "masks", out=out, images="reference")
    return out / "annotations" / "instances.json"


def fidelity(path: Path, dataset) -> tuple[int, float, float]:
    """Return annotations, share of wrong pixels, share of annotations with the area of their mask."""
    from pycocotools import mask as coco_mask

    from fiftyone_plugin.formats.coco_shapes import decode_segmentation
    from fiftyone_plugin.masks.files import read_mask

    document = json.loads(path.read_text())
    names = {entry["id"]: entry["name"] for entry in document["categories"]}
    masks = dict(zip(*dataset.values(["filepath", "masks.mask_path"]), strict=True))
    drawn, sizes, areas = {}, {}, []
    by_id = {entry["id"]: entry for entry in document["images"]}
    for entry in document["annotations"]:
        image = by_id[entry["image_id"]]
        height, width = image["height"], image["width"]
        shape = decode_segmentation(entry["segmentation"], height, width)
        canvas = drawn.setdefault(image["file_name"], np.zeros((height, width), np.int32))
        canvas[shape] = int(names[entry["category_id"]].split()[-1])
        sizes[image["file_name"]] = height * width
        areas.append(int(coco_mask.area(coco_mask.encode(np.asfortranarray(shape)))) == entry["area"])
    wrong = sum(int((canvas != read_mask(masks[name])).sum()) for name, canvas in drawn.items())
    return len(areas), wrong / max(1, sum(sizes.values())), float(np.mean(areas))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--classes", type=int, default=27)
    arguments = parser.parse_args()

    from fiftyone_plugin.common.parallel import usable_cores

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = make_dataset(folder, arguments.images, tuple(arguments.size), arguments.classes)
        try:
            rows = []
            for label, route in (("segmentations_to_detections + COCO exporter", theirs), ("export", ours)):
                start = time.perf_counter()
                path = route(dataset, folder / route.__name__)
                seconds = time.perf_counter() - start
                rows.append((label, seconds, path, *fidelity(path, dataset)))
        finally:
            dataset.delete()
        height, width = arguments.size
        cores = usable_cores()
        print(f"{arguments.images} images, {height}x{width}, {arguments.classes} classes, {cores} cores\n")
        print("| | annotations | ms a mask | times as fast | wrong pixels | right areas | file, MB |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        first = rows[0][1] / rows[0][3]
        for label, seconds, path, count, wrong, areas in rows:
            each = seconds / count
            print(
                f"| {label} | {count} | {1e3 * each:.2f} | {first / each:.1f} | {wrong:.2%} | {areas:.0%} | "
                f"{path.stat().st_size / 1e6:.1f} |"
            )


if __name__ == "__main__":
    main()
