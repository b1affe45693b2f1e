"""Speed and stored size of an evaluation, beside FiftyOne's own, on the same samples in the same run.

    python -m benchmarks.evaluation_speed --images 200

Both get the same masks on disk and the same mask targets. FiftyOne's ``evaluate_segmentations`` compares ids
as they are, so the predictions here carry class ids, and ours runs under ``identity`` too: the confusion
matrices must be equal. The protocol with matching is timed as well.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np


def make_masks(folder: Path, n: int, size: tuple[int, int], classes: int) -> list[tuple[str, str]]:
    """Write pairs of masks: smooth regions with ragged edges, four fifths of the prediction right."""
    from PIL import Image
    from scipy.ndimage import zoom

    rng, paths = np.random.default_rng(0), []
    scale = (size[0] / 12, size[1] / 16)
    for i in range(n):
        here = rng.choice(np.arange(1, classes + 1), 6, replace=False)
        fields = np.stack([zoom(rng.random((12, 16)), scale, order=1) for _ in here])
        true = here[fields.argmax(0)]
        noisy = here[(fields + rng.normal(0, 0.02, fields.shape)).argmax(0)]
        pred = np.where(zoom(rng.random((12, 16)), scale, order=1) > 0.3, noisy, rng.integers(1, classes + 1))
        pair = (folder / f"{i}_pred.png", folder / f"{i}_true.png")
        for path, mask in zip(pair, (pred, true), strict=True):
            Image.fromarray(mask.astype(np.uint8)).save(path)
        paths.append((str(pair[0]), str(pair[1])))
    return paths


def stored_bytes(dataset, key: str) -> int:
    document = dataset._doc.evaluations[key]
    document.results.seek(0)
    return len(document.results.read())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--classes", type=int, default=27)
    arguments = parser.parse_args()

    import fiftyone as fo

    from fiftyone_plugin import evaluate

    dataset = fo.Dataset()
    with tempfile.TemporaryDirectory() as folder:
        targets = {i: f"class {i}" for i in range(1, arguments.classes + 1)}
        try:
            pairs = make_masks(Path(folder), arguments.images, tuple(arguments.size), arguments.classes)
            dataset.add_samples(
                fo.Sample(
                    filepath=str(Path(folder) / f"{i}.jpg"),
                    pred=fo.Segmentation(mask_path=pred),
                    gt=fo.Segmentation(mask_path=true),
                )
                for i, (pred, true) in enumerate(pairs)
            )
            dataset.mask_targets = {"gt": targets}
            dataset.save()
            runs = {
                "evaluate_segmentations": lambda: dataset.evaluate_segmentations(
                    "pred", "gt", eval_key="theirs", mask_targets=targets, progress=False
                ),
                "evaluate, identity": lambda: evaluate(dataset, "pred", "gt", "same", "identity"),
                "evaluate, iou-hungarian": lambda: evaluate(dataset, "pred", "gt", "matched"),
            }
            results, seconds = {}, {}
            for name, run in runs.items():
                start = time.perf_counter()
                results[name] = run()
                seconds[name] = time.perf_counter() - start
            theirs, same, _ = results.values()
            equal = np.array_equal(theirs.pixel_confusion_matrix, same.pixel_confusion_matrix[:-1, :-1])
            keys = dict(zip(runs, ("theirs", "same", "matched"), strict=True))
            slowest = seconds["evaluate_segmentations"]
            height, width = arguments.size
            print(
                f"{arguments.images} images, {height}x{width}, {arguments.classes} classes, masks on disk\n"
            )
            print("| | ms an image | times as fast | stored bytes an image |")
            print("| --- | ---: | ---: | ---: |")
            for name, taken in seconds.items():
                size = stored_bytes(dataset, keys[name]) / arguments.images
                print(
                    f"| {name} | {1e3 * taken / arguments.images:.1f} | {slowest / taken:.1f} | {size:.0f} |"
                )
            print(f"\nconfusion matrices equal: {'yes' if equal else 'NO'}")
        finally:
            dataset.delete()


if __name__ == "__main__":
    main()
