"""What an interrupted fit has got done: the regions of images, kept in files until the fit is over."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...common.files import atomic
from .regions import ImageRegions

__all__ = ["RegionStore"]

IMAGES = 64  # in a file


class RegionStore:
    """Regions of images by their digest, in memory, and in files of a folder as more come in.

    What is read back is what was put in, or nothing: a file is written whole, and its checksums are checked.

    Args:
        folder: where the files are, made on demand; ``None`` keeps none.
        identity: of all that the regions depend on, besides the image.
    """

    def __init__(self, folder: Path | None, identity: str) -> None:
        self.folder = folder
        self.identity = identity
        self.found: dict[str, ImageRegions] = {}
        self._new: list[str] = []
        self._files = 0
        for path in sorted(folder.glob(f"regions-{identity}-*.npz")) if folder is not None else []:
            self.found |= _read(path)
            self._files += 1

    def __contains__(self, digest: str) -> bool:
        return digest in self.found

    def add(self, digest: str, regions: ImageRegions) -> None:
        """Keep the regions of one image.

        Raises:
            OSError: the disk is full.
        """
        self.found[digest] = regions
        self._new.append(digest)
        if len(self._new) >= IMAGES:
            self.flush()

    def flush(self) -> None:
        """Write what is not in a file yet."""
        if self.folder is None or not self._new:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        arrays = {f"{d}.{k}": v for d in self._new for k, v in self.found[d].arrays().items()}
        path = self.folder / f"regions-{self.identity}-{self._files:05}.npz"
        with atomic(path) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        self._files += 1
        self._new.clear()


def _read(path: Path) -> dict[str, ImageRegions]:
    by_image: dict[str, dict[str, np.ndarray]] = {}
    try:
        with np.load(path) as arrays:
            for name in arrays.files:
                digest, field = name.rsplit(".", 1)
                by_image.setdefault(digest, {})[field] = arrays[name]
        return {digest: ImageRegions(**found) for digest, found in by_image.items()}
    except Exception:  # damaged, of which numpy and zipfile tell by a dozen types
        return {}
