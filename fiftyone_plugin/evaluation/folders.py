"""Pairs of mask files in two folders."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..common.classes import read_class_names
from ..common.folders import files_below
from ..common.matching import match_names
from ..common.remote import folder_of, join_url, url_of
from ..common.workshop import settle
from ..errors import UsageError
from ..masks.files import read_mask

__all__ = ["FilePair", "FolderPairs", "mask_files", "pair_masks", "read_classes", "read_mask"]

SUFFIXES = frozenset({".png", ".bmp", ".tif", ".tiff"})
FilePair = tuple[str, str | Path, str | Path]  # name, prediction, ground truth


@dataclass(frozen=True)
class FolderPairs:
    """Mask files of two folders, paired by relative path without extension.

    Attributes:
        pairs: sorted by name.
        only_pred: predictions without ground truth, by name.
        only_true: ground truth without prediction, by name.
    """

    pairs: list[FilePair]
    only_pred: list[str]
    only_true: list[str]


def mask_files(folder: str | Path) -> dict[str, str]:
    """Return the mask files below a folder, without extension -> with it, as sorted relative POSIX paths.

    Raises:
        UsageError: two files differ in the extension only.
    """
    found: dict[str, str] = {}
    for path in sorted(files_below(folder)):
        name, suffix = os.path.splitext(path)
        if suffix.lower() in SUFFIXES:
            if name in found:
                both = f"{folder}/{found[name]} and {folder}/{path}"
                raise UsageError(f"{both} have the same stem: masks pair by stem, so remove one")
            found[name] = path
    return found


def _masks(folder: Path, what: str) -> dict[str, str | Path]:
    """Return relative POSIX path without extension -> file, or its address."""
    root: str | Path
    files: dict[str, str | Path]
    if (url := url_of(folder)) is not None:
        root = join_url(url, "masks")
        if not (found := mask_files(root)):
            root, found = url, mask_files(url)
        files = {name: join_url(root, path) for name, path in found.items()}
    else:
        settle(folder)
        if not folder.is_dir():
            raise UsageError(f"the folder of {what} does not exist: {folder}")
        root = folder / "masks" if (folder / "masks").is_dir() else folder
        files = {name: root / path for name, path in mask_files(root).items()}
    if not files:
        raise UsageError(f"no masks ({', '.join(sorted(SUFFIXES))}) in {root}, the folder of {what}")
    return files


def pair_masks(pred_dir: str | Path, true_dir: str | Path) -> FolderPairs:
    """Pair the masks of two folders; a folder that holds ``masks/`` stands for that one.

    Masks pair by their path below the folder without extension, in any form of Unicode, and without regard to
    case where that finds no other. Linked folders are followed. ``a.jpg.png`` is the mask of ``a`` too.

    Raises:
        UsageError: a folder is missing or without masks, a stem is not unique, or no masks pair.
    """
    pred = _masks(folder_of(pred_dir), "predictions")
    true = _masks(folder_of(true_dir), "ground truth")
    matches = match_names(pred, [(name, name) for name in true], whole=True)
    common = matches.found | _named_after_images(pred, true, matches.found)
    if not common:
        raise UsageError(
            f"no mask of {pred_dir} has the stem of a mask of {true_dir}, e.g. {min(pred)!r} and "
            f"{min(true)!r}: masks pair by relative path without extension"
        )
    return FolderPairs(
        [(name, pred[name], true[common[name]]) for name in sorted(common)],
        sorted(pred.keys() - common.keys()),
        sorted(true.keys() - set(common.values())),
    )


def _named_after_images(
    pred: Collection[str], true: Collection[str], found: Mapping[str, str]
) -> dict[str, str]:
    """Pair what is left where one side names masks after the whole image: ``a.jpg.png`` and ``a.png``."""
    from ..images.reading import image_extensions

    extensions = image_extensions()

    def stem(name: str) -> str:
        bare, suffix = os.path.splitext(name)
        return bare if suffix.lower() in extensions else name

    stems = Counter(map(stem, pred))
    left = {stem(name): name for name in pred if name not in found and stems[stem(name)] == 1}
    matches = match_names(left, [(stem(name), name) for name in true], whole=True)
    paired = set(found.values())
    return {left[bare]: name for bare, name in matches.found.items() if name not in paired}


def read_classes(path: str | Path) -> dict[int, str]:
    """Read the names of a class file, see :func:`fiftyone_plugin.common.classes.read_class_names`.

    Raises:
        UsageError: not readable, or neither of the two.
    """
    names, _ = read_class_names(path)
    if not names:
        raise UsageError(f"{path}: classes need at least one name")
    return names
