"""Pairs of mask files in two folders."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..common.workshop import settle
from ..errors import ImageReadError, UsageError
from .summary import parse_classes

__all__ = ["FolderPairs", "pair_masks", "read_classes", "read_mask"]

SUFFIXES = frozenset({".png", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True)
class FolderPairs:
    """Mask files of two folders, paired by relative path without extension.

    Attributes:
        pairs: (name, prediction, ground truth), sorted by name.
        only_pred: predictions without ground truth, by name.
        only_true: ground truth without prediction, by name.
    """

    pairs: list[tuple[str, Path, Path]]
    only_pred: list[str]
    only_true: list[str]


def _masks(folder: Path, what: str) -> dict[str, Path]:
    settle(folder)
    if not folder.is_dir():
        raise UsageError(f"the folder of {what} does not exist: {folder}")
    root = folder / "masks" if (folder / "masks").is_dir() else folder
    found: dict[str, Path] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or any(
            part.startswith(".") for part in path.relative_to(root).parts
        ):
            continue
        name = path.relative_to(root).with_suffix("").as_posix()
        if name in found:
            raise UsageError(
                f"{found[name]} and {path} have the same stem: masks pair by stem, so remove one of them"
            )
        found[name] = path
    if not found:
        raise UsageError(f"no masks ({', '.join(sorted(SUFFIXES))}) in {root}, the folder of {what}")
    return found


def pair_masks(pred_dir: str | Path, true_dir: str | Path) -> FolderPairs:
    """Pair the masks of two folders; a folder that holds ``masks/`` stands for that one.

    Raises:
        UsageError: a folder is missing or without masks, a stem is not unique, or no masks pair.
    """
    pred, true = _masks(Path(pred_dir), "predictions"), _masks(Path(true_dir), "ground truth")
    common = sorted(pred.keys() & true.keys())
    if not common:
        raise UsageError(
            f"no mask of {pred_dir} has the stem of a mask of {true_dir}, e.g. {min(pred)!r} and "
            f"{min(true)!r}: masks pair by relative path without extension"
        )
    return FolderPairs(
        [(name, pred[name], true[name]) for name in common],
        sorted(pred.keys() - true.keys()),
        sorted(true.keys() - pred.keys()),
    )


def read_mask(path: str | Path) -> np.ndarray:
    """Return the (H, W) ids of a single-channel mask file; palette files give their indices.

    Raises:
        ImageReadError: not readable, or not a single channel of integers.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            mask = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageReadError(path, f"cannot be read as a mask ({error})") from error
    if mask.ndim != 2 or mask.dtype.kind not in "iub":
        raise ImageReadError(
            path,
            f"not a mask of class ids: expected one integer channel, got {mask.dtype} of shape {mask.shape}",
        )
    return mask


def read_classes(path: str | Path) -> dict[int, str]:
    """Read class names: a JSON list, where position is the id, or an object ``{"1": "sky", ...}``.

    Raises:
        UsageError: not readable, or neither of the two.
    """
    try:
        document = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the classes {path}: {error}") from error
    try:
        if not isinstance(document, list | dict):
            raise UsageError("neither a list nor an object")
        return parse_classes(document) or {}
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
