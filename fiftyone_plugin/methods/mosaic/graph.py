"""The graph over the regions of all images, from which the classes are cut, at any K."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ...clustering.agreement import Witnesses
from ...clustering.normalize import VectorNormalizer, l2_normalize
from ...clustering.spectral import SHARPNESS, LandmarkSpectral, View, cut_embedding, diffusion_rows, majority
from ...common.parallel import one_thread
from ...errors import UsageError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from ..saved import SavedArrays
    from .config import MosaicConfig
    from .regions import RegionTable

__all__ = [
    "RegionGraph",
    "cluster_regions",
    "foreground_weight",
    "links_between_images",
    "number_of_neighbours",
]

logger = logging.getLogger(__name__)

FIT_ROWS = 50_000  # regions that a whitening is learnt from
CHUNK = 16_384
FEW_CLASSES = 10
LINK_SHARPNESS = 3  # of links between images: what the score of a class was learnt with
AUTO_GUESS = 20  # classes, where their number is yet to be found


def foreground_weight(n_classes: int | Literal["auto"]) -> float:
    """Return what a region's foreground probability weighs beside a unit vector, for K classes: 2 / K.

    Two classes alone should differ in it. Among more than ten it gained nothing, so that it need
    not be computed: benchmarks/notes/mosaic.md.
    """
    return 2.0 / n_classes if n_classes != "auto" and n_classes <= FEW_CLASSES else 0.0


def cluster_regions(
    descriptors: np.ndarray,
    foreground: np.ndarray,
    n_classes: int | Literal["auto"],
    *,
    whiten: Sequence[int],
    foreground_weight: float,
    neighbours: int,
    max_landmarks: int = 12_000,
    random_state: int = 0,
    device: str = "cpu",
) -> tuple[LandmarkSpectral, VectorNormalizer]:
    """Cluster region descriptors on what their neighbour graphs under several whitenings agree on.

    One number of components fits no data set: which regions are neighbours changes with it, and with it
    which classes are found. Edges that are there under most of them can be relied on, see
    benchmarks/notes/mosaic.md.

    Args:
        descriptors: (n, D) float mean tokens of regions, n >= 1.
        foreground: (n,) float foreground probability of each.
        n_classes: K or ``auto``.
        whiten: numbers of PCA components, one graph each; rows beyond the landmarks follow their neighbours
            under the first.
        foreground_weight: weight of the foreground probability beside a unit vector; 0 leaves it out.
        neighbours: of every region in each graph.
        max_landmarks: regions in the graphs.
        random_state: seed.
        device: torch device that neighbours are looked for on.

    Returns:
        The clusters, and the first whitening.
    """
    rows = np.sort(np.random.default_rng(random_state).permutation(len(descriptors))[:FIT_ROWS])
    sample = descriptors[rows].astype(np.float32)

    # n centred vectors span n - 1 dimensions, and few regions say little about many of them
    limit = max(1, len(sample) // 4)

    with one_thread():
        widest = VectorNormalizer(whiten=min(max(whiten), limit)).fit(sample)
        starts = range(0, len(descriptors), CHUNK)
        whitened = np.concatenate([widest.project(descriptors[i : i + CHUNK]) for i in starts])

    def view(n_components: int) -> View:
        def describe(rows: np.ndarray) -> np.ndarray:
            vectors = l2_normalize(whitened[rows, : min(n_components, limit)])
            if not foreground_weight:
                return vectors
            inside = foreground_weight * foreground[rows]
            return l2_normalize(np.column_stack([vectors, inside, foreground_weight - inside]))

        return describe

    first, *others = map(view, whiten)
    spectral = LandmarkSpectral(
        n_classes,
        neighbours=neighbours,
        max_landmarks=max_landmarks,
        random_state=random_state,
        device=device,
    )
    if len(descriptors) > max_landmarks:
        logger.info(
            "%s regions: the classes are found on %s of them, drawn at random, and the others follow the "
            "most similar of these; max_landmarks sets how many",
            f"{len(descriptors):,}",
            f"{max_landmarks:,}",
        )
    spectral.fit(first(np.arange(len(descriptors))), views=others)
    return spectral, widest.first(min(whiten[0], limit))


def number_of_neighbours(config: MosaicConfig, n_regions: int, n_cuts: int) -> int:
    """Return how many neighbours a region has in the graph: no more than half the regions of a class."""
    classes = AUTO_GUESS if config.n_classes == "auto" else config.n_classes
    limit = min(n_regions, config.max_landmarks) // (2 * classes)
    return max(5, min(config.neighbours * n_cuts, limit))


def links_between_images(graph: csr_matrix, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges between regions of different images that at least half of the whitenings have.

    Args:
        graph: (m, m) symmetric, see :func:`~..clustering.spectral.agreement`.
        owners: (m,) numbers of the images that the regions are from.

    Returns:
        (e, 2) int32 pairs of regions, each pair once, and their (e,) float32 weights: the third power of the
        share of the whitenings that have them.
    """
    from scipy.sparse import triu

    upper = triu(graph, k=1).tocoo()
    keep = (upper.data >= 0.5**SHARPNESS) & (owners[upper.row] != owners[upper.col])
    pairs = np.column_stack([upper.row[keep], upper.col[keep]])
    weights = upper.data[keep] ** (LINK_SHARPNESS / SHARPNESS)
    return pairs.astype(np.int32), weights.astype(np.float32)


@dataclass(frozen=True)
class RegionGraph:
    """What is kept of a fit to cut its regions into another number of classes, without any image.

    Attributes:
        embedding: (m, E) float32 eigenvectors of the landmarks.
        eigenvalues: (E,) float64, ascending.
        voters: (n, V) int32 landmarks that decide about each region.
        vectors: (m, d) float16 whitened descriptors of the landmarks.
        owners: (m,) int64 numbers of the images that they are from.
        links: (e, 2) int32 landmarks of different images that are alike, see :func:`links_between_images`.
        link_weights: (e,) float32.
        region_of_patch: (p, cuts) int32 regions that the head's patches lie in.
        patches: (p, d') float16 vectors that the head learns from.
    """

    embedding: np.ndarray
    eigenvalues: np.ndarray
    voters: np.ndarray
    vectors: np.ndarray
    owners: np.ndarray
    links: np.ndarray
    link_weights: np.ndarray
    region_of_patch: np.ndarray
    patches: np.ndarray

    @classmethod
    def of(
        cls, spectral: LandmarkSpectral, normalizer: VectorNormalizer, regions: RegionTable
    ) -> RegionGraph:
        """Keep of the clustered regions what is needed to cut them again."""
        rows = spectral.landmark_rows_
        owners = regions.owners[rows]
        # of a variance of about 1, as the C of the head expects
        head_vectors = l2_normalize(regions.patches) * np.float32(np.sqrt(regions.patches.shape[1]))
        return cls(
            np.ascontiguousarray(spectral.embedding_),  # as it is loaded: sums depend on the order in memory
            spectral.eigenvalues_,
            spectral.voters_.astype(np.int32),
            normalizer.transform(regions.descriptors[rows]).astype(np.float16),
            owners,
            *links_between_images(spectral.graph_, owners),
            regions.region_of_patch,
            head_vectors.astype(np.float16),
        )

    def cut(self, n_classes: int) -> np.ndarray:
        """Return the (m,) int64 clusters of the landmarks for K classes.

        Raises:
            UsageError: K is larger than the number of eigenvectors that were kept.
        """
        most = self.embedding.shape[1]
        if not 1 <= n_classes <= most:
            raise UsageError(
                f"this model can be cut into 1 to {most} classes, not {n_classes}: fit a new one with that K"
                if most
                else "this model cannot be cut anew: it was fitted on too few different regions"
            )
        return cut_embedding(self.embedding, self.eigenvalues, n_classes)

    def votes(self, clusters: np.ndarray) -> np.ndarray:
        """Return the (p, K) float32 share of cuts that give each patch each of the landmarks' clusters."""
        labels = majority(clusters[self.voters], int(clusters.max()) + 1)
        p, cuts = self.region_of_patch.shape
        votes = np.zeros((p, int(clusters.max()) + 1), np.float32)
        for regions in self.region_of_patch.T:
            votes[np.arange(p), labels[regions]] += 1 / cuts
        return votes

    def witnesses(self, clusters: np.ndarray, device: str) -> Witnesses | None:
        """Return the landmarks as witnesses of (m,) classes; ``None`` if they were too few for a graph."""
        if not self.embedding.shape[1]:
            return None
        # more eigenvectors than the classes were cut from: they tell kinds within a class apart
        columns = min(2 * (int(clusters.max()) + 1), self.embedding.shape[1])
        rows = diffusion_rows(self.embedding, self.eigenvalues, columns)
        return Witnesses(self.vectors, rows, clusters, self.owners, device)

    def cluster_means(self, clusters: np.ndarray) -> np.ndarray | None:
        """Return (K, E) unit means of the landmarks of each cluster; ``None`` if there is no graph.

        Of a third as many eigenvectors as there are clusters: by as many, all clusters are equally far apart.
        """
        k = int(clusters.max()) + 1
        columns = min(max(2, k // 3), self.embedding.shape[1])
        if not columns:
            return None
        sums = np.zeros((k, columns))
        np.add.at(sums, clusters, diffusion_rows(self.embedding, self.eigenvalues, columns))
        return l2_normalize(sums)

    @classmethod
    def restore(cls, saved: SavedArrays, d: int, d_head: int) -> RegionGraph:
        """Rebuild a graph from its arrays.

        Args:
            saved: the arrays.
            d: dimensions of a whitened descriptor.
            d_head: dimensions of what the head learns from.

        Raises:
            KeyError: one of them is not there.
            UsageError: one does not fit.
        """
        voters = saved.indices("voters", None, None, below=2**31)
        vectors = saved.floats("vectors", None, d)
        n, m = len(voters), len(vectors)
        if not m or not voters.size:
            raise UsageError("its graph is empty")
        saved.indices("voters", None, None, below=m)
        eigenvalues = saved.floats("eigenvalues", None, low=-0.01, high=2.01)  # of a normalised Laplacian
        region_of_patch = saved.indices("region_of_patch", None, None, below=n)
        links = saved.indices("links", None, 2, below=m)
        return cls(
            embedding=saved.floats("embedding", m, len(eigenvalues)),
            eigenvalues=eigenvalues,
            voters=voters,
            vectors=vectors,
            owners=saved.indices("owners", m, below=2**62),
            links=links,
            link_weights=saved.floats("link_weights", len(links), low=0),
            region_of_patch=region_of_patch,
            patches=saved.floats("patches", len(region_of_patch), d_head),
        )
