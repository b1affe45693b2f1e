"""What is kept of single images: on disk from the fit on, in memory while one is labelled."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import numpy as np

from ..common.files import atomic
from .types import Memo

__all__ = ["MEMO_BYTES", "DirectoryMemo", "MemoFolder", "ScratchMemo"]

logger = logging.getLogger(__name__)

MEMO_BYTES = 3 << 29  # of a run: some 4,900 images of the default method at 448 px


class MemoFolder:
    """The arrays that methods derive from images, in a folder of bounded size, made when it is needed."""

    def __init__(self, directory: Path, limit_bytes: int = MEMO_BYTES) -> None:
        self.directory = directory
        self.limit_bytes = limit_bytes
        self._taken: int | None = None
        self._lock = threading.Lock()

    def of(self, digest: str) -> DirectoryMemo:
        """Return the memo of one image."""
        return DirectoryMemo(self, digest)

    def take(self, size: int) -> bool:
        """Reserve room; says so once when there is none left."""
        with self._lock:
            if self._taken is None:
                self._taken = sum(path.stat().st_size for path in self.directory.rglob("*.npz"))
            if self._taken > self.limit_bytes:
                return False
            self._taken += size
            if full := self._taken > self.limit_bytes:
                logger.warning(
                    "%.1f GB are kept of the images, which is the limit: further ones are computed twice",
                    self.limit_bytes / 1e9,
                )
            return not full


class DirectoryMemo:
    """Keeps derived arrays of one image as ``.npz`` files, see :class:`~.types.Memo`."""

    def __init__(self, folder: MemoFolder, digest: str) -> None:
        self.folder = folder
        self.digest = digest

    def _path(self, name: str) -> Path:
        return self.folder.directory / name / self.digest[:2] / f"{self.digest}.npz"

    def get(self, name: str) -> dict[str, np.ndarray] | None:
        """Return the arrays, or ``None`` where there are none or the file is damaged."""
        try:
            with np.load(self._path(name)) as arrays:
                return dict(arrays)
        except Exception:  # not there; or damaged, of which numpy and zipfile tell by a dozen types
            return None

    def put(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Write the arrays, where there is room; the file appears whole or not at all."""
        if not self.folder.take(sum(array.nbytes for array in arrays.values())):
            return
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        # maps of regions shrink to a hundredth; floats hardly do, and it takes longer than to compute them
        save = np.savez if any(array.dtype.kind == "f" for array in arrays.values()) else np.savez_compressed
        with atomic(path) as partial_path, partial_path.open("wb") as file:
            save(file, **arrays)  # type: ignore[arg-type]


class ScratchMemo:
    """Reads what another memo keeps, and keeps what is new in memory, as long as the image itself."""

    def __init__(self, kept: Memo) -> None:
        self._kept = kept
        self._new: dict[str, dict[str, np.ndarray]] = {}

    def get(self, name: str) -> dict[str, np.ndarray] | None:
        """Return what was put under ``name``, or ``None``."""
        return self._new.get(name) or self._kept.get(name)

    def put(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Keep ``arrays`` under ``name``."""
        self._new[name] = arrays
