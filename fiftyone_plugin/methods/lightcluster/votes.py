"""The three levels of LightCluster: fitted together on a sample, they vote on one image at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...clustering.normalize import VectorNormalizer, normalizer_arrays
from ...common.parallel import one_thread
from ...errors import ImageReadError, UsageError
from ...features.sampling import PatchSample, image_rng
from ...masks.refine import create_refiner, refine_image
from ..saved import SavedArrays
from .config import LightClusterConfig
from .levels import CategoryLevels, ForegroundClusters, fit_category_levels, fit_dataset_level, image_level

__all__ = ["Levels", "foreground_map"]


@dataclass
class Levels:
    """Everything that is needed to find the foreground of one image; small enough to send to workers.

    Attributes:
        normalizer: maps patches to the vectors that are clustered.
        dataset: the data-set level.
        categories: the category level, once for every number of groups.
        config: options of the method.
    """

    normalizer: VectorNormalizer
    dataset: ForegroundClusters
    categories: list[CategoryLevels]
    config: LightClusterConfig

    @classmethod
    def fit(
        cls,
        sample: PatchSample,
        n_images: int,
        config: LightClusterConfig,
        n_jobs: int,
        advance: Callable[[], object],
    ) -> Levels:
        """Cluster a sample at data-set level, then at category level; ``advance`` is called after each.

        Args:
            sample: patches, see :func:`~fiftyone_plugin.features.sampling.sample_patches`.
            n_images: number of images of the data set; sets the number of groups where ``config`` does not.
            config: options of the method.
            n_jobs: worker processes.
            advance: called twice.
        """
        normalizer = VectorNormalizer(config.center, config.whiten).fit(sample.vectors)
        vectors = normalizer.transform(sample.vectors)
        dataset = fit_dataset_level(sample, vectors, config)
        advance()
        most = config.n_categories or int(np.clip(round(np.sqrt(n_images) / 2), 1, 32))
        numbers = sorted({most, -(-most // 2), 1}, reverse=True)
        categories = [fit_category_levels(sample, vectors, dataset, n, config, n_jobs) for n in numbers]
        advance()
        return cls(normalizer, dataset, categories, config)

    def vote(self, patches: np.ndarray, cls: np.ndarray, grid: tuple[int, int], digest: str) -> np.ndarray:
        """Vote on one image.

        Args:
            patches: (h*w, D) patch features.
            cls: (D',) CLS feature.
            grid: (h, w).
            digest: content of the image, seeds its own clustering.

        Returns:
            (2, h, w) float32 scores of background and foreground.
        """
        with one_thread():
            vote = self._soft_vote(self.normalizer.transform(patches), cls, digest)
        return np.stack([1 - vote, vote]).reshape(2, *grid)

    def _soft_vote(self, x: np.ndarray, cls: np.ndarray, digest: str) -> np.ndarray:
        """Mean of the three levels' foreground probabilities: (h*w,) float32.

        With three voters the mean crosses 1/2 where at least two of them, weighted by their certainty, agree.
        """
        votes = self.level_votes(x, cls, digest)
        vote = (votes[0] + votes[1] + votes[2]) / 3
        share = float((vote > 0.5).mean())
        return vote if 0 < share <= self.config.max_foreground else votes[0]

    def level_votes(
        self, x: np.ndarray, cls: np.ndarray, digest: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the foreground probabilities, (h*w,) float32, of the data-set, category and image level.

        The category and image levels vote once for every number of categories, and count with their mean.

        Args:
            x: (h*w, d) normalised patches.
            cls: (D',) CLS feature.
            digest: content of the image, seeds its own clustering.
        """
        config = self.config
        temperature = config.temperature
        groups = [level.groups[level.group_of(cls)] for level in self.categories]
        seed = int(image_rng(config.random_state, digest).integers(2**31))
        own = image_level(
            x, [group.hard(x) for group in groups], config.n_image_clusters, n_init=2, random_state=seed
        )
        dataset_vote = self.dataset.soft(x, temperature)
        category_vote = np.mean([group.soft(x, temperature) for group in groups], axis=0)
        image_vote = np.mean([clusters.soft(x, temperature) for clusters in own], axis=0)
        return dataset_vote, category_vote, image_vote

    def get_state(self) -> tuple[list[int], dict[str, np.ndarray]]:
        """Return the number of groups of every category level, and all arrays by name."""
        arrays = normalizer_arrays(self.normalizer)
        clusters = [("dataset", self.dataset)]
        for i, category in enumerate(self.categories):
            arrays[f"category{i}.cls_centers"] = category.cls_centers
            clusters += [(f"category{i}.{j}", group) for j, group in enumerate(category.groups)]
        for name, level in clusters:
            arrays[f"{name}.centers"] = level.centers
            arrays[f"{name}.foreground"] = level.foreground.astype(np.uint8)
        return [len(category.groups) for category in self.categories], arrays

    @classmethod
    def from_state(
        cls, n_groups: list[int], arrays: dict[str, np.ndarray], config: LightClusterConfig, prefix: str
    ) -> Levels:
        """Rebuild what :meth:`get_state` returned; the arrays are found under ``prefix`` + name.

        Raises:
            KeyError: an array is missing.
            UsageError: one does not fit.
        """
        saved = SavedArrays(arrays, prefix)
        normalizer = saved.normalizer()

        def clusters(name: str) -> ForegroundClusters:
            centers = saved.floats(f"{name}.centers", None, normalizer.dim_)
            if len(centers) == 0:
                raise UsageError(f"{name} has no clusters")
            inside = saved.indices(f"{name}.foreground", len(centers), below=2)
            return ForegroundClusters(centers, inside.astype(bool))

        if not isinstance(n_groups, list) or not n_groups or not all(type(n) is int for n in n_groups):
            raise UsageError(f"n_groups must be numbers of groups, got {n_groups!r:.60}")
        dataset = clusters("dataset")
        categories = []
        for i, n in enumerate(n_groups):
            if n < 1:
                raise UsageError(f"n_groups must be numbers of groups, got {n}")
            cls_centers = saved.floats(f"category{i}.cls_centers", n, None)
            categories.append(CategoryLevels(cls_centers, [clusters(f"category{i}.{j}") for j in range(n)]))
        return cls(normalizer, dataset, categories, config)


def foreground_map(
    levels: Levels,
    patches: np.ndarray,
    cls: np.ndarray,
    grid: tuple[int, int],
    digest: str,
    size: tuple[int, int],
    read_image: Callable[[], np.ndarray],
) -> np.ndarray | ImageReadError:
    """Foreground of one image: vote of the three levels, refined; runs in a worker process.

    Returns:
        (h', w') uint8 probability x 255 at the refiner's working resolution; or the error of an image that
        cannot be read, returned and not raised so that it does not end the whole chunk.
    """
    with one_thread():
        scores = levels.vote(patches, cls, grid, digest)
        try:
            refined = refine_image(create_refiner(levels.config.refine), scores, size, read_image)
        except ImageReadError as error:
            return error
    return np.asarray(np.round(refined[1] * 255), np.uint8)
