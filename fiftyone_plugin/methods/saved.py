"""The arrays of a saved method, checked as they are taken out: a stranger may have written them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ..clustering.normalize import VectorNormalizer
from ..clustering.region_classes import RegionClasses
from ..common.classes import MAX_ID
from ..common.untrusted import check_arrays
from ..errors import UsageError

__all__ = ["SavedArrays"]

SOURCE = "its arrays"  # in messages that begin with the folder


class SavedArrays:
    """Arrays by name, below a prefix.

    Args:
        arrays: all arrays of the file.
        prefix: what the names given to the methods go on from.

    Every method raises ``KeyError`` for an array that is not there, and
    :class:`~fiftyone_plugin.errors.UsageError` for one of another shape, type or range.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], prefix: str = "") -> None:
        self._arrays = arrays
        self._prefix = prefix

    def below(self, prefix: str) -> SavedArrays:
        """Return the arrays whose names go on with ``prefix``."""
        return SavedArrays(self._arrays, self._prefix + prefix)

    def __contains__(self, name: str) -> bool:
        return self._prefix + name in self._arrays

    def floats(self, name: str, *shape: int | None, low: float = -1e12, high: float = 1e12) -> np.ndarray:
        """Return an array of finite numbers; ``None`` stands for any length."""
        return self._checked(name, shape, "f", low, high)

    def indices(self, name: str, *shape: int | None, below: int) -> np.ndarray:
        """Return an array of whole numbers from 0 to ``below`` - 1."""
        return self._checked(name, shape, "iu", 0, below - 1)

    def _checked(
        self, name: str, shape: Iterable[int | None], kinds: str, low: float, high: float
    ) -> np.ndarray:
        array = self._arrays[self._prefix + name]  # a KeyError says what is missing
        wanted = {self._prefix + name: tuple(shape)}
        check_arrays(self._arrays, wanted, path=SOURCE, kinds=kinds, low=low, high=high)
        return array

    def normalizer(self) -> VectorNormalizer:
        """Return the normalizer of a ``mean`` and perhaps a ``projection``."""
        mean = self.floats("mean", None)
        projection = self.floats("projection", len(mean), None) if "projection" in self else None
        normalizer = VectorNormalizer.of(mean, projection)
        if len(mean) == 0 or normalizer.dim_ == 0:
            raise UsageError(f"{SOURCE}: {self._prefix}mean or projection is empty")
        return normalizer

    def region_classes(self) -> RegionClasses:
        """Return the classes of a normalizer and ``centers``."""
        normalizer = self.normalizer()
        centers = self.floats("centers", None, normalizer.dim_)
        self.require_ids(len(centers))
        return RegionClasses.of(normalizer, centers)

    @staticmethod
    def require_ids(n_classes: int) -> None:
        """Refuse more classes than masks have ids for."""
        if n_classes > MAX_ID:
            raise UsageError(f"it has {n_classes} classes; masks hold {MAX_ID}")
