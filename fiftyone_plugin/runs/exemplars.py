"""A strip of crops for every class of a run, to see what the class is before it gets a name."""

from __future__ import annotations

import base64
import heapq
import io
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from PIL import Image

from ..common.files import atomic
from ..common.parallel import batched, usable_cores
from ..common.untrusted import read_bytes
from ..errors import ImageReadError, UsageError
from ..images.palette import class_color
from ..images.reading import read_reduced, resize_image
from ..masks.files import read_mask
from .folder import RunDirectory
from .samples import SampleRow

__all__ = ["crops_of", "exemplar_path", "exemplar_uri", "thumbnail_uri", "write_exemplars"]

PER_CLASS = 6
SIDE = 96  # pixels of a crop
GAP = 3
THUMBNAIL = 48  # pixels of the height of a small strip
MARGIN = 1.15  # of the crop's side around the region
COARSE = 160  # longest side of the mask in which regions are looked for
CLASSES_AT_ONCE = 64  # their crops are held: 64 x 6 x 96 x 96 x 3 bytes are 11 MB
QUALITY = 85
MAX_BYTES = 1 << 20  # of a strip, which has about 20,000
THREADS = 4  # each holds an image and its mask
OUTSIDE = 0.4  # brightness of what is not of the class
Box = tuple[slice, slice]  # rows and columns


def exemplar_path(root: Path, class_id: int) -> Path:
    """Return where the strip of a class lies in a run's folder ``root``; many classes may have none."""
    return root / "exemplars" / f"class_{class_id:04d}.jpg"


def exemplar_uri(root: Path, class_id: int) -> str | None:
    """Return the strip of a class as a ``data:`` URI, ``None`` where there is none."""
    try:
        return f"data:image/jpeg;base64,{base64.b64encode(_read_strip(root, class_id)).decode()}"
    except UsageError:
        return None


def thumbnail_uri(root: Path, class_id: int) -> str | None:
    """Return the first three crops of a class, small, as a ``data:`` URI; ``None`` where there are none."""
    try:
        return _thumbnail(_read_strip(root, class_id))
    except (OSError, UsageError):  # none, or no picture
        return None


def _read_strip(root: Path, class_id: int) -> bytes:
    return read_bytes(exemplar_path(root, class_id), what="a strip of crops", max_bytes=MAX_BYTES)


@lru_cache(maxsize=1024)
def _thumbnail(data: bytes) -> str:
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as strip:
        strip.draft("RGB", (strip.width // 2, strip.height // 2))
        width, height = strip.size
        part = strip.convert("RGB").crop((0, 0, min(width, round(3.1 * height)), height))
    part.thumbnail((3 * THUMBNAIL, THUMBNAIL))
    out = io.BytesIO()
    part.save(out, "WEBP", quality=70)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"


def crops_of(root: Path, class_id: int) -> list[Image.Image]:
    """Return the crops of a class's strip, (96, 96) RGB images; none where there is no strip."""
    try:
        with Image.open(exemplar_path(root, class_id)) as file:
            strip = file.convert("RGB")
    except OSError:
        return []
    return [strip.crop((x, 0, x + SIDE, SIDE)) for x in range(0, strip.width - SIDE + 1, SIDE + GAP)]


def choose_exemplars(rows: Iterable[SampleRow], count: int = PER_CLASS) -> dict[int, list[SampleRow]]:
    """Choose the images that show each class best: largest share of the class times quality of its segment.

    Returns:
        class id -> ``count`` rows at most, best first; ids ascending.
    """
    best: dict[int, list[tuple[float, int, SampleRow]]] = {}
    for number, row in enumerate(rows):
        for id_, share in row.class_shares.items():
            heap = best.setdefault(id_, [])
            push = heapq.heappush if len(heap) < count else heapq.heappushpop
            quality = row.class_qualities.get(id_, row.quality)
            push(heap, (share * quality, -number, row))  # of equals the first
    return {id_: [row for _, _, row in sorted(best[id_], reverse=True)] for id_ in sorted(best)}


def write_exemplars(directory: RunDirectory, rows: Iterable[SampleRow], paths: Mapping[str, str]) -> None:
    """Write ``exemplars/class_0001.jpg``, ...: up to six crops of each class side by side.

    An image is read once for all its crops, so at most six reads a class; one that cannot be read any more is
    left out. ``paths`` leads from the key of an image to its file.
    """
    chosen = choose_exemplars(row for row in rows if row.status == "labelled")
    for classes in batched(chosen, CLASSES_AT_ONCE):
        wanted: dict[str, tuple[SampleRow, list[int]]] = {}
        for id_ in classes:
            for row in chosen[id_]:
                wanted.setdefault(row.image, (row, []))[1].append(id_)
        crops: dict[tuple[int, str], np.ndarray] = {}
        with ThreadPoolExecutor(min(THREADS, usable_cores())) as pool:
            cut = pool.map(partial(_crops, directory, paths), *zip(*wanted.values(), strict=True))
            for (row, _), parts in zip(wanted.values(), cut, strict=True):
                crops |= {(id_, row.image): part for id_, part in parts.items()}
        for id_ in classes:
            found = [crops[id_, row.image] for row in chosen[id_] if (id_, row.image) in crops]
            if found:
                _save(exemplar_path(directory.root, id_), found)


def _crops(
    directory: RunDirectory, paths: Mapping[str, str], row: SampleRow, ids: list[int]
) -> dict[int, np.ndarray]:
    try:
        mask = read_mask(directory.mask_file(row.mask))
        boxes = {id_: box for id_ in ids if (box := _box(mask, id_)) is not None}
        if not boxes:
            return {}
        # a crop needs few pixels; twice its own, as boxes do not begin where those of the copy do
        scale = max(2 * SIDE / (box[0].stop - box[0].start) for box in boxes.values())
        height, width = (min(n, max(1, round(n * scale))) for n in mask.shape)
        image, native = read_reduced(paths[row.image], height, width)
    except ImageReadError:  # gone since it was labelled
        return {}
    if native != mask.shape:
        return {}
    return {id_: _draw(image, mask, id_, box) for id_, box in boxes.items()}


def crop(image: np.ndarray, mask: np.ndarray, class_id: int) -> np.ndarray | None:
    """Cut a square around the largest region of a class; what is not of the class is grey and dark.

    The image is (H, W, 3) uint8, or a smaller copy, its mask (H, W) int. Returns (96, 96, 3) uint8; ``None``
    where the mask does not show the class.
    """
    box = _box(mask, class_id)
    return None if box is None else _draw(image, mask, class_id, box)


def _draw(image: np.ndarray, mask: np.ndarray, class_id: int, box: Box) -> np.ndarray:
    rows, columns = (  # of the box in the image, which may be a smaller copy
        slice(round(part.start * new / old), round(part.stop * new / old))
        for part, new, old in zip(box, image.shape, mask.shape, strict=False)
    )
    small = resize_image(image[rows, columns], SIDE, SIDE).astype(np.float32)
    inside = mask[box] == class_id
    shape = Image.fromarray(inside.view(np.uint8)).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    inside = np.asarray(shape).astype(bool)
    drawn = np.where(inside[..., None], small, OUTSIDE * small.mean(axis=2, keepdims=True))
    drawn[_outline(inside)] = class_color(class_id)
    return drawn.round().clip(0, 255).astype(np.uint8)


def _box(mask: np.ndarray, class_id: int) -> Box | None:
    """Return the square around the largest connected region of a class, found in a coarse mask."""
    from scipy import ndimage

    inside = mask == class_id
    step = max(1, max(inside.shape) // COARSE)
    coarse = inside[::step, ::step]
    if not coarse.any():  # only specks between the points looked at
        step, coarse = 1, inside
    regions, count = ndimage.label(coarse)
    if not count:
        return None
    largest = int(np.bincount(regions.ravel())[1:].argmax())
    region = [(part.start * step, part.stop * step) for part in ndimage.find_objects(regions)[largest]]
    # inside the image, and at least of a crop's own size
    wanted = max(SIDE, *(MARGIN * (high - low) for low, high in region))
    side = max(1, round(min(wanted, *mask.shape)))
    starts = (
        min(max(0, round((low + min(high, length) - side) / 2)), length - side)
        for (low, high), length in zip(region, mask.shape, strict=True)
    )
    rows, columns = (slice(start, start + side) for start in starts)
    return rows, columns


def _outline(inside: np.ndarray) -> np.ndarray:
    """Return the pixels of a shape that touch what is outside it, (H, W) bool; the frame is not outside."""
    padded = np.pad(inside, 1, mode="edge")
    core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~core


def _save(path: Path, crops: list[np.ndarray]) -> None:
    strip = np.full((SIDE, len(crops) * (SIDE + GAP) - GAP, 3), 128, np.uint8)
    for i, part in enumerate(crops):
        strip[:, i * (SIDE + GAP) : i * (SIDE + GAP) + SIDE] = part
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as partial:
        Image.fromarray(strip).save(partial, format="JPEG", quality=QUALITY)
