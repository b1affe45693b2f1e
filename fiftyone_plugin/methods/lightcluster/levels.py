"""Foreground at three levels: patches clustered over the data set, over a category, within one image.

Follows the abstract of LightCluster (Cheung et al., arXiv 2311.18628); what it leaves open (features, numbers
of clusters, foreground rule, grouping) is a documented choice here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...clustering.kmeans import ReproducibleKMeans, squared_distances
from ...clustering.normalize import l2_normalize
from ...common.parallel import parallel_map
from ...features.sampling import PatchSample
from .config import LightClusterConfig
from .rules import foreground_by_majority, foreground_clusters, soft_foreground

__all__ = ["CategoryLevels", "ForegroundClusters", "fit_category_levels", "fit_dataset_level", "image_level"]


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
        """Return (n,) float32 probability of foreground, see :func:`~.foreground.soft_foreground`."""
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

    Args:
        x: (n, D) float32 patches.
        coarse: (n,) bool foreground at the coarser level, one array a decision.
        n_clusters: clusters in the image.
        n_init: restarts.
        random_state: seed.

    Returns:
        For each of ``coarse`` the same centres; those whose patches are mostly inside it are foreground.
    """
    kmeans = ReproducibleKMeans(n_clusters, n_init=n_init, random_state=random_state).fit(x)
    centers = kmeans.cluster_centers_
    decisions = [foreground_by_majority(kmeans.labels_, len(centers), inside) for inside in coarse]
    return [ForegroundClusters(centers, foreground) for foreground in decisions]
