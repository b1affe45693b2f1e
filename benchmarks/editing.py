"""What edits that look at features gain: parts of a split class, and corrections that others follow.

    python -m benchmarks.editing [--data DATA] [--every 4] [--classes 8 20]

Images are labelled by the default method without refinement. Ground truth plays the person: it names every
class by the true class of most of its pixels, and tells how good the parts of a class are, and which regions
of a few images are wrong.

**Split.** Every class is split in two. Gain: by how much the share of pixels whose part is named rightly
exceeds that share before; beside it, the same for parts of shuffled regions, and the best that two groups of
whole true classes can give.

**Propagate.** In a few images, regions whose true class is not that of their name get it (a class of that
name, or a new one). Pixel accuracy and mIoU of all other images, before and after.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.data import BenchmarkData, default_folder, load_folder
from benchmarks.quality import build, predictions
from fiftyone_plugin.clustering.normalize import VectorNormalizer
from fiftyone_plugin.clustering.region_classes import stack_layers
from fiftyone_plugin.common.paths import cache_dir
from fiftyone_plugin.common.progress import NullProgress
from fiftyone_plugin.common.tables import format_table
from fiftyone_plugin.dataset.editing.corrections import MIN_SHARE, WHITEN, Examples, reassign
from fiftyone_plugin.dataset.editing.regions import NOT_PATCHES, patch_shares, pool_tokens
from fiftyone_plugin.dataset.editing.split import RegionParts
from fiftyone_plugin.features.backbones import Backbone, load_backbone
from fiftyone_plugin.features.source import ImageFeatureSource, store_spec
from fiftyone_plugin.features.store import FeatureStore
from fiftyone_plugin.masks.regions import find_regions

MARGINS = (0.0, 0.05, 0.1, 0.2)
FEWEST = 8  # regions of a class that is split
SHUFFLES = 20
NEW = 1000  # ids of classes that a correction makes begin after it


@dataclass
class Regions:
    """All regions of a run: (R,) image, class, share of the image, (R, D) vectors, (R, C) true pixels."""

    image: np.ndarray
    label: np.ndarray
    share: np.ndarray
    vectors: np.ndarray
    truth: np.ndarray

    @cached_property
    def whitened(self) -> tuple[VectorNormalizer, np.ndarray]:
        """The whitening of propagation, fitted on regions that are not small, and the (R, d) vectors."""
        normalizer = VectorNormalizer(whiten=WHITEN).fit(self.vectors[self.share >= MIN_SHARE])
        return normalizer, normalizer.transform(self.vectors)

    def names(self) -> dict[int, int]:
        """Return class -> true class of most of its pixels."""
        return {int(c): int(self.truth[self.label == c].sum(0).argmax()) for c in np.unique(self.label)}


def label_regions(data: BenchmarkData, backbone: Backbone, k: int, seed: int, every: int) -> Regions:
    method = build("mosaic", k, seed, "none", {})
    method.n_jobs = 1
    items = data.items[::every]
    store = FeatureStore(cache_dir(), store_spec(backbone, 448), limit_bytes=None)
    source = ImageFeatureSource(items, backbone, method.inputs, size=448, store=store)
    method.fit(source, progress=NullProgress())
    masks = dict(predictions(method, source, "none"))
    layers = [layer for layer in method.inputs if layer not in NOT_PATCHES]
    by_key = {item.key: item for item in items}
    size = max(data.classes) + 1
    found: list[tuple] = []
    for number, image in enumerate(source):
        regions, truth = find_regions(masks[image.key]), data.truth(by_key[image.key])
        shares = patch_shares(regions.map, len(regions), image.grid)
        pixels = np.zeros((len(regions) + 1, 256), np.int64)
        np.add.at(pixels, (regions.map.ravel(), truth.ravel()), 1)
        pixels[:, list(data.ignore)] = 0
        vectors = pool_tokens(stack_layers([image[layer] for layer in layers]), shares)
        area = regions.area / truth.size
        found.append((np.full(len(regions), number), regions.label, area, vectors, pixels[1:, :size]))
    return Regions(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def split_gain(regions: Regions, seed: int) -> tuple[float, float, float]:
    """Return the gain of parts, of parts of shuffled regions, and of the best two groups of true classes."""
    gains, total = np.zeros(3), regions.truth.sum()
    rng = np.random.default_rng(seed)
    for class_id in np.unique(regions.label):
        rows = regions.label == class_id
        if rows.sum() < FEWEST:
            continue
        truth = regions.truth[rows]
        parts = RegionParts(random_state=seed).fit(regions.vectors[rows], regions.share[rows]).labels_

        def right(groups: np.ndarray, truth: np.ndarray = truth) -> int:
            return sum(int(truth[groups == group].sum(0).max()) for group in np.unique(groups))

        majority = truth.argmax(1)
        best = max(right(majority == true) for true in np.unique(majority))
        shuffled = np.mean([right(rng.permutation(parts)) for _ in range(SHUFFLES)])
        gains += np.array([right(parts), shuffled, best]) - truth.sum(0).max()
    return tuple(gains / total)


def score(regions: Regions, names: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return pixel accuracy and mIoU of regions named by true classes."""
    confusion = np.zeros((regions.truth.shape[1],) * 2)
    np.add.at(confusion, names[rows], regions.truth[rows])
    inside, true = np.diag(confusion), confusion.sum(0)
    union = true + confusion.sum(1) - inside
    return np.array([inside.sum() / true.sum(), (inside / np.maximum(union, 1))[true > 0].mean()])


def propagate(regions: Regions, few: int, margin: float, seed: int) -> list[float]:
    """Return the scores before, their change, and the share of pixels that moved, in images not corrected."""
    names, rng = regions.names(), np.random.default_rng(seed)
    corrected = np.isin(regions.image, rng.choice(regions.image.max() + 1, few, replace=False))
    large = regions.share >= MIN_SHARE
    examples = np.flatnonzero(corrected & large & (regions.truth.sum(1) > 0))
    was, true = regions.label[examples], regions.truth[examples].argmax(1)
    first = {name: id_ for id_, name in sorted(names.items(), reverse=True)}
    now = np.array(
        [a if names[int(a)] == t else first.get(int(t), NEW + t) for a, t in zip(was, true, strict=True)]
    )
    (normalizer, vectors), others = regions.whitened, ~corrected
    means = {}
    for class_id in np.unique(regions.label[others]):
        rows = others & (regions.label == class_id)
        means[int(class_id)] = normalizer.transform((regions.share[rows] @ regions.vectors[rows])[None])[0]
    new = regions.label.copy()
    new[others] = reassign(
        vectors[others], regions.label[others], Examples(vectors[examples], was, now), means, margin
    )
    named = [np.array([names.get(int(c), int(c) - NEW) for c in label]) for label in (regions.label, new)]
    before, after = (score(regions, name, others) for name in named)
    moved = regions.share[others & (new != regions.label)].sum() / regions.share[others].sum()
    return [*before, *(after - before), moved]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.editing", description=__doc__)
    parser.add_argument("--data", type=Path, default=default_folder() / "msrc_v2")
    parser.add_argument("--every", type=int, default=4, help="take every n-th image")
    parser.add_argument("--classes", type=int, nargs="+", default=[8, 20])
    parser.add_argument("--few", type=int, nargs="+", default=[4, 10], help="images that are corrected")
    parser.add_argument("--trials", type=int, default=5, help="draws of these images")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    data, backbone = load_folder(args.data), load_backbone(None, cache_dir=cache_dir())
    splits, moves = [], []
    for k in args.classes:
        regions = label_regions(data, backbone, k, args.seed, args.every)
        splits.append([str(k), *(f"{gain:+.3f}" for gain in split_gain(regions, args.seed))])
        for few in args.few:
            for margin in MARGINS:
                trials = [propagate(regions, few, margin, seed) for seed in range(args.trials)]
                accuracy, miou, *changes, moved = np.mean(trials, axis=0)
                texts = [f"{accuracy:.3f}", f"{miou:.3f}", *(f"{change:+.3f}" for change in changes)]
                moves.append([str(k), str(few), str(margin), *texts, f"{moved:.1%}"])
    print(format_table(["K", "parts", "shuffled", "best"], splits), end="\n\n")
    header = ["K", "corrected", "margin", "accuracy", "mIoU", "change", "change of mIoU", "pixels moved"]
    print(format_table(header, moves))
    return 0


if __name__ == "__main__":
    sys.exit(main())
