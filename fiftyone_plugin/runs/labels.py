"""What a person hands over: masks of some of the images. Read and checked before anything costly is done."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from ..common.classes import MAX_ID, read_class_names
from ..common.folders import files_below
from ..common.matching import match_names
from ..common.skipped import Skipped
from ..errors import ImageReadError, UsageError
from ..images.listing import ImageItem
from ..images.reading import image_size
from ..masks.files import mask_ids, read_mask

__all__ = ["DEFAULT_IGNORE", "GivenLabels", "given_labels", "pair_files", "read_labels"]

logger = logging.getLogger(__name__)

DEFAULT_IGNORE = (0, 255)
SUFFIXES = frozenset({".png", ".bmp", ".tif", ".tiff", ".webp"})
FEW_PIXELS = 64  # of a class, in all masks together
NAMED = 5  # in an error

Mask = Path | np.ndarray


@dataclass(frozen=True)
class GivenLabels:
    """Masks of some images, of the same size as these."""

    masks: Mapping[str, Mask]  # key of an image -> its mask, a file or (H, W) ids
    names: dict[int, str]  # of the classes that the masks show
    ignore: frozenset[int]  # ids that mean nothing
    skipped: tuple[Skipped, ...] = ()  # masks that were left out, and why
    sha256: str = ""  # of all that is learnt from, to tell two runs apart
    discover: int = 0  # clusters without a label that stay as classes of their own

    def mask(self, key: str) -> np.ndarray:
        """Return the (H, W) ids of an image.

        Raises:
            ImageReadError: it cannot be read any more.
        """
        return _read(self.masks[key])

    def describe(self) -> dict[str, object]:
        """Return what a run's settings say of the labels; another run learns the same if it has the same."""
        return {
            "images": len(self.masks),
            "sha256": self.sha256,
            "classes": {str(id_): name for id_, name in self.names.items()},
            "ignore": sorted(self.ignore),
            "discover": self.discover,
        }


def read_labels(
    items: Sequence[ImageItem],
    labels: str | Path | Mapping[str, Mask | str],
    *,
    names: str | Path | Mapping[int, str] | None = None,
    ignore: Collection[int] = DEFAULT_IGNORE,
    discover: int = 0,
) -> GivenLabels:
    """Pair masks with images and check them; masks that cannot be used are listed in the result and logged.

    Args:
        items: the images of the run.
        labels: folder of masks, which pair by their path without extension; or key of an image -> file of a
            mask or (H, W) ids.
        names: file of class names, or id -> name; ``None``: ``class 7`` and so on.
        ignore: ids that mean nothing, such as those of pixels that nobody has labelled.
        discover: clusters that no labelled image shows and that stay as classes of their own, at most.

    Raises:
        UsageError: there is no folder or no mask of an image, all masks show one class, or ids have no name.
    """
    paths = {item.key: item.path for item in items}
    if isinstance(labels, (str, Path)):
        given, skipped = pair_files(items, labels)
    else:
        given = {key: Path(mask) if isinstance(mask, str) else mask for key, mask in labels.items()}
        skipped = [Skipped(key, "no image of this name") for key in sorted(given.keys() - paths.keys())]
    known = names if names is None or isinstance(names, Mapping) else read_class_names(names)[0]
    masks: dict[str, Mask] = {}
    pixels: Counter[int] = Counter()
    digest = hashlib.sha256()
    for key in sorted(given.keys() & paths.keys()):
        try:
            mask = _usable(_read(given[key]), paths[key], ignore)
        except ImageReadError as error:
            skipped.append(Skipped(key, error.reason))
            continue
        ids, counts = np.unique(mask, return_counts=True)
        pixels.update(dict(zip(ids.tolist(), counts.tolist(), strict=True)))
        masks[key] = given[key]
        digest.update(f"{key} {mask.shape} ".encode("utf-8", "surrogatepass"))
        digest.update(np.ascontiguousarray(mask.astype("<u2")).data)
    for each in skipped:
        logger.warning("label of %s", each)
    counted = {id_: pixels[id_] for id_ in sorted(pixels.keys() - set(ignore))}
    shown = _check(counted, skipped, known and {int(k): str(v) for k, v in known.items()}, ignore, labels)
    digest.update(repr((shown, sorted(ignore), discover)).encode())
    return GivenLabels(masks, shown, frozenset(ignore), tuple(skipped), digest.hexdigest(), discover)


def given_labels(
    items: Sequence[ImageItem],
    labels: str | Path | Mapping[str, Mask | str] | None,
    names: str | Path | Mapping[int, str] | None,
    ignore: Collection[int],
    discover: int,
) -> GivenLabels | None:
    """Return what :func:`read_labels` does; ``None`` where no labels are given.

    Raises:
        UsageError: as there; or something that belongs to labels is given without them.
    """
    if labels is not None:
        return read_labels(items, labels, names=names, ignore=ignore, discover=discover)
    if names is not None or discover or tuple(ignore) != DEFAULT_IGNORE:
        raise UsageError("names, ignore and discover are about labelled images: give labels too")
    return None


def pair_files(items: Sequence[ImageItem], folder: str | Path) -> tuple[dict[str, Mask], list[Skipped]]:
    """Return key -> mask file of the images that have one, and the masks of no image.

    Raises:
        UsageError: no such folder, no mask in it, none of an image, or two of one.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UsageError(f"the folder of labels does not exist: {root}")
    files = [path for path in sorted(files_below(root)) if PurePosixPath(path).suffix.lower() in SUFFIXES]
    if not files:
        raise UsageError(f"no masks ({', '.join(sorted(SUFFIXES))}) in {root}, the folder of labels")
    stems: dict[str, str] = {}
    for path in files:
        stem = str(PurePosixPath(path).with_suffix(""))
        if stem in stems:
            raise UsageError(
                f"{root / stems[stem]} and {root / path} are masks of the same image; remove one"
            )
        stems[stem] = path
    # the mask of a.jpg is a.png or a.jpg.png
    paths = [
        (path, item.key)
        for item in items
        for path in (item.key, str(PurePosixPath(item.key).with_suffix("")))
    ]
    matches = match_names(stems, paths, whole=True)
    if not matches.found:
        raise UsageError(
            f"no mask in {root} has the name of an image, e.g. {min(stems)!r} and {items[0].key!r}: masks "
            "pair by their path below the folder, without extension"
        )
    left = [Skipped(name, reason) for name, reason in sorted(matches.left.items())]
    return {key: root / stems[name] for name, key in matches.found.items()}, left


def _read(mask: Mask) -> np.ndarray:
    return read_mask(mask) if isinstance(mask, Path) else mask_ids(np.asarray(mask))


def _usable(mask: np.ndarray, image: str, ignore: Collection[int]) -> np.ndarray:
    """Return a mask if it fits its image and labels something."""
    size = image_size(image)
    if mask.shape != size:
        there, wanted = (f"{shape[1]} x {shape[0]}" for shape in (mask.shape, size))
        raise ImageReadError(image, f"its mask is {there} and the image {wanted} pixels")
    labelled = mask[~np.isin(mask, list(ignore))]
    if not labelled.size:
        raise ImageReadError(image, f"its mask labels nothing (ignored: {_listed(sorted(ignore))})")
    if (largest := int(labelled.max())) > MAX_ID:
        raise ImageReadError(image, f"its mask has id {largest}; ids go up to {MAX_ID}")
    return mask


def _check(
    pixels: Mapping[int, int],
    skipped: Sequence[Skipped],
    names: Mapping[int, str] | None,
    ignore: Collection[int],
    labels: object,
) -> dict[int, str]:
    """Return the names of the classes that masks show, or say why nothing can be learnt from them."""
    where = f"in {labels}" if isinstance(labels, (str, Path)) else "given"
    if not pixels:
        reasons = "; ".join(map(str, skipped[:NAMED]))
        raise UsageError(f"none of the masks {where} can be learnt from: {reasons or 'there are none'}")
    shown = list(pixels)
    if names is not None and (unnamed := [id_ for id_ in shown if id_ not in names]):
        raise UsageError(
            f"ids {_listed(unnamed)} in the masks {where} have no name: name them, or leave them out with "
            "--ignore"
        )
    if len(shown) == 1:
        more = "; if 0 is a class too, say --ignore 255" if 0 in ignore else ""
        raise UsageError(f"all masks {where} show one class, {shown[0]}: label a second one{more}")
    for id_, count in pixels.items():
        if count < FEW_PIXELS:
            logger.warning("class %s has only %s labelled pixels: little can be learnt of it", id_, count)
    return {id_: names[id_] if names is not None else f"class {id_}" for id_ in shown}


def _listed(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids[:NAMED])) + (", ..." if len(ids) > NAMED else "") or "none"
