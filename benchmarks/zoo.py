"""Published benchmarks, downloaded on first use: COCO 2017 validation and PASCAL VOC 2012 val.

Both lie in FiftyOne's dataset zoo folder (``fiftyone.config.dataset_zoo_dir``); no database is needed.

COCO comes through FiftyOne's zoo. Its instance masks are painted into one mask an image, kept in the cache.

VOC comes through torchvision, which FiftyOne's zoo uses underneath: the zoo's own ``voc-2012`` is a detection
dataset and throws the segmentation masks of the same archive away. It is kept in ``voc-2012/raw`` of the
zoo folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.data import BenchmarkData
from fiftyone_plugin.common.paths import cache_dir
from fiftyone_plugin.errors import MissingDependencyError, UsageError
from fiftyone_plugin.features.backbones import Backbone
from fiftyone_plugin.images.listing import list_images

if TYPE_CHECKING:
    from torchvision.datasets import VOCSegmentation

BACKGROUND, IGNORED = 0, 255
PAINTING = "crowd regions ignored where no instance covers them; of overlapping instances the smallest on top"
COCO_PAPERS = (
    "papers differ: COMUS matches on IoU, CAUSE and TransFGU on pixel counts (protocol count-hungarian); "
    "TransFGU resizes to a square, CAUSE to a short side of 320 px with a centre crop"
)
VOC_PAPERS = (
    "as published by MaskContrast, Deep Spectral Methods and COMUS with matching on IoU (protocol "
    "iou-hungarian) at native size; papers differ: Leopart scores at 100 x 100 px, CAUSE at 320 px and with "
    "STEGO and TransFGU matches on pixel counts (protocol count-hungarian)"
)


def load_zoo(name: str, limit: int | None = None) -> BenchmarkData:
    """Return a published benchmark; what is missing is downloaded (COCO: about 1 GB, VOC: 2 GB).

    The ground truth holds ids 0 (background) to C - 1, and 255 where a pixel takes no part:

    * ``coco-2017-val``: the images of COCO 2017 validation that have annotations, 81 classes: background,
      and the 80 things in the order of their category ids. What is stuff in other datasets is background.
    * ``voc-2012-val``: the 1,449 images of the segmentation val split of PASCAL VOC 2012, 21 classes.

    Args:
        name: one of :data:`ZOO`.
        limit: only the first ``limit`` images; of COCO only those are then downloaded.

    Raises:
        UsageError: unknown name, or the download fails.
        MissingDependencyError: pycocotools is not installed.
    """
    if name not in ZOO:
        raise UsageError(f"unknown benchmark {name!r}: use one of {', '.join(ZOO)}, or a folder")
    return ZOO[name](limit)


def require_genuine_weights(backbone: Backbone, named: bool) -> None:
    """Refuse the offline checkpoint for published benchmarks, unless it was named.

    It is fine-tuned for saliency, so figures under a published protocol would be taken for what they are not.

    Args:
        backbone: what was loaded.
        named: the user asked for this backbone.

    Raises:
        UsageError: the backbone is the offline checkpoint and was not named.
    """
    if backbone.loaded.origin == "offline" and not named:
        raise UsageError(
            "the published benchmarks need the published weights, and only the offline checkpoint, which is "
            "fine-tuned for saliency, is on this machine: connect to the model hub, pass a weights file as "
            f"--backbone PATH, or name the checkpoint to use it nonetheless: --backbone {backbone.name}"
        )


def load_coco(limit: int | None = None) -> BenchmarkData:
    """Return COCO 2017 validation with painted instance masks; see :func:`load_zoo`."""
    import fiftyone.zoo as foz

    options: dict[str, Any] = {"split": "validation", "label_types": ["segmentations"]}
    with _downloading("coco-2017"):
        # a limited download names its images, and the annotations that tell which come with the first of them
        partial = {} if limit is None else {"max_samples": 1}
        root = Path(foz.download_zoo_dataset("coco-2017", **options, **partial)[1])
        annotations = root / "raw" / "instances_val2017.json"
        raw = annotations.read_bytes()
        document = json.loads(raw)
        labelled = {a["image_id"] for a in document["annotations"]}
        images = sorted((i for i in document["images"] if i["id"] in labelled), key=lambda i: i["id"])
        chosen = images[:limit]
        if limit is not None:
            foz.download_zoo_dataset("coco-2017", **options, image_ids=[i["id"] for i in chosen])
    categories = sorted(document["categories"], key=lambda category: category["id"])
    ids = {category["id"]: index for index, category in enumerate(categories, start=1)}
    # other annotations or another way of painting make another folder
    digest = hashlib.sha256(PAINTING.encode() + raw).hexdigest()[:12]
    masks = cache_dir() / "ground_truth" / f"coco-2017-val-{digest}"
    _write_masks(document["annotations"], ids, chosen, masks)
    classes = {BACKGROUND: "background"} | {ids[c["id"]]: c["name"] for c in categories}
    return BenchmarkData(
        "coco-2017-val",
        tuple(list_images([root / "validation" / "data" / i["file_name"] for i in chosen])),
        masks,
        (IGNORED,),
        classes,
        foreground=False,
        note=f"{_share(chosen, images)} images with annotations; things and background, {PAINTING}; "
        f"fitted on the images it is scored on; {COCO_PAPERS}",
    )


def load_voc(limit: int | None = None) -> BenchmarkData:
    """Return the segmentation val split of PASCAL VOC 2012; see :func:`load_zoo`."""
    import fiftyone as fo
    from fiftyone.utils.voc import VOC_DETECTION_CLASSES

    root = Path(fo.config.dataset_zoo_dir) / "voc-2012" / "raw"
    data = _voc_on_disk(root)
    if data is None:
        from torchvision.datasets import VOCSegmentation

        with _downloading("PASCAL VOC 2012"):
            data = VOCSegmentation(str(root), year="2012", image_set="val", download=True)
    chosen = data.images[:limit]
    return BenchmarkData(
        "voc-2012-val",
        tuple(list_images(chosen)),
        Path(data.masks[0]).parent,
        (IGNORED,),
        dict(enumerate(["background", *VOC_DETECTION_CLASSES])),
        foreground=False,
        note=f"{_share(chosen, data.images)} images; fitted on the images it is scored on; {VOC_PAPERS}",
    )


ZOO: dict[str, Callable[[int | None], BenchmarkData]] = {
    "coco-2017-val": load_coco,
    "voc-2012-val": load_voc,
}


def _share(chosen: Sequence[Any], images: Sequence[Any]) -> str:
    if len(chosen) == len(images):
        return f"all {len(images)}"
    return f"NOT THE PUBLISHED SET: the first {len(chosen)} of {len(images)}"


@contextmanager
def _downloading(what: str) -> Any:
    """Turn what a download may fail with into an error that says what to do."""
    import fiftyone as fo
    from eta.core.web import WebSessionError

    try:
        yield
    # torchvision raises RuntimeError where an archive is damaged; requests' and urllib's errors are OSErrors
    except (OSError, RuntimeError, WebSessionError) as error:
        raise UsageError(
            f"{what} is not complete in {fo.config.dataset_zoo_dir}, and could not be downloaded: {error}; "
            "run this once where there is a network, or set FIFTYONE_DATASET_ZOO_DIR to a folder that has it"
        ) from error


def _voc_on_disk(root: Path) -> VOCSegmentation | None:
    """Return the split if all of its files are there: torchvision would extract the archive every time."""
    from torchvision.datasets import VOCSegmentation

    try:
        data = VOCSegmentation(str(root), year="2012", image_set="val", download=False)
    except (RuntimeError, OSError):
        return None
    return data if all(map(os.path.isfile, [*data.images, *data.masks])) else None


def _write_masks(
    annotations: Sequence[dict[str, Any]],
    ids: dict[int, int],
    images: Sequence[dict[str, Any]],
    folder: Path,
) -> None:
    """Write the masks that are not there yet, one PNG an image, by the image's stem."""
    from PIL import Image

    by_image: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in annotations:
        by_image[annotation["image_id"]].append(annotation)
    folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        path = folder / f"{Path(image['file_name']).stem}.png"
        if not path.is_file():
            mask = paint(by_image[image["id"]], ids, (image["height"], image["width"]))
            partial = path.with_suffix(f".{os.getpid()}.tmp")
            Image.fromarray(mask).save(partial, format="PNG")
            partial.replace(path)


def paint(annotations: Sequence[dict[str, Any]], ids: dict[int, int], size: tuple[int, int]) -> np.ndarray:
    """Paint the instances of an image into one mask.

    Crowd regions come first, as 255: they are outlined roughly and hold instances that are outlined apart.
    Instances follow by falling number of pixels, so that small ones stay visible on large ones; equal ones
    follow by annotation id.

    Args:
        annotations: COCO annotations: ``id``, ``category_id``, ``iscrowd``, and ``segmentation`` as polygons
            or run lengths.
        ids: category id -> class id, 1 to 254.
        size: (height, width) in pixels.

    Returns:
        (H, W) uint8: class ids, 0 background, 255 ignored.

    Raises:
        MissingDependencyError: pycocotools is not installed.
    """
    regions = [(annotation, _decode(annotation["segmentation"], size)) for annotation in annotations]
    regions.sort(key=lambda pair: (not pair[0]["iscrowd"], -int(pair[1].sum()), pair[0]["id"]))
    mask = np.full(size, BACKGROUND, np.uint8)
    for annotation, region in regions:
        mask[region] = IGNORED if annotation["iscrowd"] else ids[annotation["category_id"]]
    return mask


def _decode(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """Return the (H, W) bool mask of COCO polygons, run lengths, or compressed run lengths."""
    try:
        from pycocotools import mask as coco
    except ImportError as error:
        raise MissingDependencyError(
            "reading COCO's instance masks needs pycocotools: pip install pycocotools"
        ) from error
    if isinstance(segmentation, list):
        rle = coco.merge(coco.frPyObjects(segmentation, *size))
    elif isinstance(segmentation["counts"], list):
        rle = coco.frPyObjects(segmentation, *size)
    else:
        rle = segmentation
    return coco.decode(rle).astype(bool)
