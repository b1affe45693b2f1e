"""Foreground at three levels: patches clustered over the data set, over a category, within one image.

Follows the abstract of LightCluster (Cheung et al., arXiv 2311.18628); what it leaves open (features, numbers
of clusters, foreground rule, grouping) is a documented choice here. The levels are fitted together on a
sample, and vote on one image at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...clustering.kmeans import ReproducibleKMeans, squared_distances
from ...clustering.normalize import VectorNormalizer, l2_normalize, normalizer_arrays
from ...common.parallel import one_thread, parallel_map
from ...errors import ImageReadError, UsageError
from ...features.sampling import PatchSample, image_rng
from ...masks.refine import create_refiner, refine_image
from ..saved import SavedArrays
from .config import FOREGROUND_RULES, LightClusterConfig

__all__ = [
    "CategoryLevels",
    "ForegroundClusters",
    "Levels",
    "fit_category_levels",
    "fit_dataset_level",
    "foreground_by_majority",
    "foreground_clusters",
    "foreground_map",
    "image_level",
    "soft_foreground",
]


def foreground_clusters(
    labels: np.ndarray,
    n_clusters: int,
    border: np.ndarray,
    attention: np.ndarray | None = None,
    rule: str = "border",
    border_ratio: float = 0.8,
) -> np.ndarray:
    """Decide for every cluster of a data set whether it is foreground. Ties are background.

    ``border``: objects avoid the frame, so a cluster is foreground if the share of its patches on the image
    border is below ``border_ratio`` times the share over all patches. ``attention``: its mean CLS attention,
    in units of the image's mean, is above 1. ``both``: both hold.

    Args:
        labels: (n,) int cluster of each patch.
        n_clusters: number of clusters.
        border: (n,) bool, whether the patch lies on its image's border.
        attention: (n,) float CLS attention divided by its image's mean; needed by the last two rules.
        rule: one of :data:`FOREGROUND_RULES`.
        border_ratio: see above.

    Returns:
        (n_clusters,) bool.
    """
    if rule not in FOREGROUND_RULES:
        raise UsageError(f"unknown foreground rule {rule!r}; known: {', '.join(FOREGROUND_RULES)}")
    count = np.maximum(np.bincount(labels, minlength=n_clusters), 1)
    decided = np.ones(n_clusters, dtype=bool)
    if rule in ("border", "both"):
        rate = np.bincount(labels, weights=border, minlength=n_clusters) / count
        decided &= rate < border_ratio * border.mean()
    if rule in ("attention", "both"):
        if attention is None:
            raise UsageError(
                f"foreground rule {rule!r} needs the CLS attention of a backbone with a CLS token"
            )
        decided &= np.bincount(labels, weights=attention, minlength=n_clusters) / count > 1.0
    decided &= np.bincount(labels, minlength=n_clusters) > 0
    return decided


def foreground_by_majority(labels: np.ndarray, n_clusters: int, coarser: np.ndarray) -> np.ndarray:
    """Return (n_clusters,) bool: of the patches of a cluster more than half are in (n,) bool ``coarser``."""
    count = np.bincount(labels, minlength=n_clusters)
    inside = np.bincount(labels, weights=coarser, minlength=n_clusters)
    return 2 * inside > count


def soft_foreground(distances: np.ndarray, foreground: np.ndarray, temperature: float) -> np.ndarray:
    """Turn distances to centres into the probability of foreground.

    The log-odds are the difference between the squared distances to the nearest background and the nearest
    foreground centre, divided by ``temperature``; 0.5 lies exactly where the hard decision flips.

    Args:
        distances: (n, K) squared distances to the centres.
        foreground: (K,) bool.
        temperature: > 0, in the units of ``distances``.

    Returns:
        (n,) float32 in [0, 1]; constant where all centres are on one side.
    """
    if foreground.all() or not foreground.any():
        return np.full(len(distances), float(foreground.any()), dtype=np.float32)
    margin = distances[:, ~foreground].min(1) - distances[:, foreground].min(1)
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(margin / temperature, -30.0, 30.0))), np.float32)


@dataclass
class ForegroundClusters:
    """Centres and which of them are foreground.

    Attributes:
        centers: (K, D) float32.
        foreground: (K,) bool.
    """

    centers: np.ndarray
    foreground: np.ndarray

    def hard(self, x: np.ndarray) -> np.ndarray:
        """Return (n,) bool: the nearest centre is foreground."""
        return np.asarray(self.foreground[squared_distances(x, self.centers).argmin(1)])

    def soft(self, x: np.ndarray, temperature: float) -> np.ndarray:
        """Return (n,) float32 probability of foreground, see :func:`soft_foreground`."""
        return soft_foreground(squared_distances(x, self.centers), self.foreground, temperature)


@dataclass
class CategoryLevels:
    """Image groups by CLS feature, and foreground clusters within each.

    Attributes:
        cls_centers: (C, D') float32 unit CLS centres.
        groups: C foreground clusterings.
    """

    cls_centers: np.ndarray
    groups: list[ForegroundClusters]

    def group_of(self, cls: np.ndarray) -> int:
        """Return the group of one (D',) CLS feature."""
        return int(squared_distances(l2_normalize(cls[None]), self.cls_centers)[0].argmin())


def _kmeans(n_clusters: int, config: LightClusterConfig) -> ReproducibleKMeans:
    return ReproducibleKMeans(
        n_clusters, n_init=config.n_init, batch_size=config.batch_size, random_state=config.random_state
    )


def fit_dataset_level(
    sample: PatchSample, vectors: np.ndarray, config: LightClusterConfig
) -> ForegroundClusters:
    """Cluster the (n, D) float32 ``vectors`` of ``sample`` and decide which clusters are foreground.

    Where the rule finds no foreground cluster although there are several (seen with two clusters on raw
    tokens), the cluster with the lowest border rate is taken, so that a run never comes back empty because of
    one unlucky split. A single cluster (a data set without contrast) is background.
    """
    kmeans = _kmeans(config.n_dataset_clusters, config)
    labels = kmeans.fit(vectors).labels_
    k = len(kmeans.cluster_centers_)
    rule = config.foreground_rule
    foreground = foreground_clusters(labels, k, sample.border, sample.attention, rule, config.border_ratio)
    if k > 1 and not foreground.any():
        rate = np.bincount(labels, weights=sample.border, minlength=k) / np.bincount(labels, minlength=k)
        foreground[rate.argmin()] = True
    return ForegroundClusters(kmeans.cluster_centers_, foreground)


def fit_category_levels(
    sample: PatchSample,
    vectors: np.ndarray,
    dataset: ForegroundClusters,
    n_categories: int,
    config: LightClusterConfig,
    n_jobs: int = 1,
) -> CategoryLevels:
    """Group the sampled images by CLS, cluster the patches of each group anew, in ``n_jobs`` processes.

    A cluster of a group is foreground if most of its patches are foreground at data-set level.
    """
    images = ReproducibleKMeans(n_categories, n_init=config.n_init, random_state=config.random_state)
    images.fit(l2_normalize(sample.cls))
    coarse = dataset.hard(vectors)
    group_of_patch = images.labels_[sample.image]
    inside = [group_of_patch == group for group in range(len(images.cluster_centers_))]
    kmeans = _kmeans(config.n_category_clusters, config)
    groups = parallel_map(_fit_group, [(kmeans, vectors[rows], coarse[rows]) for rows in inside], n_jobs)
    return CategoryLevels(images.cluster_centers_, groups)


def _fit_group(kmeans: ReproducibleKMeans, x: np.ndarray, coarse: np.ndarray) -> ForegroundClusters:
    kmeans.fit(x)
    centers = kmeans.cluster_centers_
    return ForegroundClusters(centers, foreground_by_majority(kmeans.labels_, len(centers), coarse))


def image_level(
    x: np.ndarray, coarse: list[np.ndarray], n_clusters: int, *, n_init: int, random_state: int
) -> list[ForegroundClusters]:
    """Cluster the (n, D) patches of one image, once, and decide its foreground against coarser levels.

    For each of ``coarse``, (n,) bool foreground of a coarser level, the same centres are returned; those
    whose patches are mostly inside it are foreground.
    """
    kmeans = ReproducibleKMeans(n_clusters, n_init=n_init, random_state=random_state).fit(x)
    centers = kmeans.cluster_centers_
    decisions = [foreground_by_majority(kmeans.labels_, len(centers), inside) for inside in coarse]
    return [ForegroundClusters(centers, foreground) for foreground in decisions]


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

        The number of images of the data set sets the number of groups where ``config`` does not.
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
        """Return (2, h, w) float32 scores of background and foreground for one image.

        Args:
            patches: (h*w, D) patch features.
            cls: (D',) CLS feature.
            grid: (h, w).
            digest: content of the image, seeds its own clustering.
        """
        with one_thread():
            votes = self.level_votes(self.normalizer.transform(patches), cls, digest)
        # the mean crosses 1/2 where at least two of the three, weighted by their certainty, agree
        vote = (votes[0] + votes[1] + votes[2]) / 3
        if not 0 < float((vote > 0.5).mean()) <= self.config.max_foreground:
            vote = votes[0]
        return np.stack([1 - vote, vote]).reshape(2, *grid)

    def level_votes(
        self, x: np.ndarray, cls: np.ndarray, digest: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the foreground probabilities, (h*w,) float32, of the data-set, category and image level.

        The category and image levels vote once for every number of categories, and count with their mean.
        ``x`` are (h*w, d) normalised patches; the rest is that of :meth:`vote`.
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
    def from_state(cls, n_groups: object, saved: SavedArrays, config: LightClusterConfig) -> Levels:
        """Rebuild what :meth:`get_state` returned.

        Raises:
            KeyError: an array is missing.
            UsageError: one does not fit.
        """
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
