"""Taught: Mosaic's clusters, and a head that a person has taught by masks of some images or by names.

Without labelled images and without names it is Mosaic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...common.checks import Number, option
from ...common.classes import MAX_ID
from ...common.parallel import one_thread
from ...errors import UsageError
from ...features.types import FeatureBatch, ImageFeatures
from ...masks.quality import margin
from ..base import State
from ..mosaic.config import MosaicConfig
from ..mosaic.labelling import HeadLabelling
from ..mosaic.method import Mosaic
from ..mosaic.reduction import Reduced, Reduction
from ..saved import SavedArrays
from .head import TaughtHead, discovered, learn, lifts, predict
from .labelling import TaughtLabelling, vectors_of
from .lesson import Lesson, Pupil

__all__ = ["Taught"]


@dataclass(frozen=True)
class TaughtConfig(MosaicConfig):
    """Options of :class:`Taught`: those of Mosaic, whose clusters stand behind the classes."""

    discover: int = option(
        0, Number(0, 255), "clusters that no labelled image shows and that stay as classes of their own"
    )


class Taught(Mosaic):
    """Mosaic with the classes of a person.

    Attributes:
        n_classes_: classes of the person, or clusters while nobody has taught anything.
        taught_: what was learnt; absent while nobody has taught anything.
        names_: class id -> name, of the taught classes, ids ascending.
    """

    name = "taught"
    can_recut = False
    finds_lines = False  # what a person calls a line is among their classes, or it is none
    config_class = TaughtConfig

    discover: int
    taught_: TaughtHead
    names_: dict[int, str]

    @classmethod
    def of(cls, mosaic: Mosaic, discover: int = 0) -> Taught:
        """Return a method that shares what a fitted Mosaic has learnt; names of clusters stay."""
        other = cls(**{**mosaic.get_params(), "discover": discover})
        mosaic._share_with(other)
        other.head_ = mosaic.head_
        if isinstance(mosaic, Taught) and mosaic.is_taught:
            other.taught_, other.names_ = mosaic.taught_, mosaic.names_
        other.thin_ = None
        other._bear_witness(mosaic.clusters_)
        return other

    @property
    def is_taught(self) -> bool:
        """Somebody has named clusters or labelled images."""
        return hasattr(self, "taught_")

    @property
    def n_classes_(self) -> int:
        """Number of classes that masks show."""
        return len(self.names_) if self.is_taught else super().n_classes_

    @property
    def class_names(self) -> dict[int, str]:
        """Class id -> name."""
        return dict(self.names_) if self.is_taught else super().class_names

    def cluster_means(self) -> np.ndarray | None:
        """Return what Mosaic does; ``None`` where the classes are no clusters any more."""
        return None if self.is_taught else super().cluster_means()

    # ------------------------------------------------------------------ teaching

    def name_clusters(self, class_of: Mapping[int, int], names: Mapping[int, str]) -> Taught:
        """Give clusters the classes of a person.

        Args:
            class_of: cluster id, from 1, -> class id; 0 stands for background.
            names: class id -> name; of 0 none is needed.

        Raises:
            UsageError: there is no such cluster.
        """
        k = super().n_classes_
        if wrong := sorted(set(class_of) - set(range(1, k + 1))):
            raise UsageError(f"there is no cluster {wrong[0]}: this model has 1 to {k}")
        ids = sorted(set(class_of.values()) | set(names))
        matrix = np.zeros((k, len(ids)), np.float32)
        for cluster, class_ in class_of.items():
            matrix[cluster - 1, ids.index(class_)] = 1
        self._keep(learn(Lesson([], [], matrix), self.config.spread, self.normalizer_.dim_), ids, names)
        return self

    def teach(self, labelled: Sequence[Pupil], others: Sequence[Pupil], names: Mapping[int, str]) -> Taught:
        """Learn from labelled images, beside the names of clusters that are known already.

        Args:
            labelled: images with shares of the classes of ``names``, in the order of ascending ids.
            others: images without.
            names: class id -> name. A class of the same id, or of the same name, as one that clusters have is
                the same.
        """
        matrix, all_names = self._evidence(names)
        every = sorted(all_names)
        wide = [
            _widened(pupil, [every.index(id_) for id_ in sorted(names)], len(every)) for pupil in labelled
        ]
        lesson = Lesson(wide, others, matrix)
        head = learn(lesson, self.config.spread, self.normalizer_.dim_)
        if self.discover:
            found = discovered(head, lesson, self.discover)
            matrix, all_names = _with_clusters(matrix, all_names, found)
            every = sorted(all_names)
            wide = [_widened(pupil, range(len(pupil.shares[0])), len(every)) for pupil in wide]  # type: ignore[index]
            head = learn(Lesson(wide, others, matrix), self.config.spread, self.normalizer_.dim_)
        self._keep(head, every, all_names)
        return self

    def _evidence(self, names: Mapping[int, str]) -> tuple[np.ndarray, dict[int, str]]:
        """Return the (K, C) names of clusters for the classes that are to be, and the names of those."""
        k = super().n_classes_
        if not self.is_taught:
            return np.zeros((k, len(names)), np.float32), dict(names)
        by_name = {name.strip().casefold(): id_ for id_, name in names.items()}
        all_names, becomes = dict(names), {}
        for id_, name in self.names_.items():
            becomes[id_] = by_name.get(name.strip().casefold(), id_)
            if becomes[id_] not in names and self.taught_.matrix[:, sorted(self.names_).index(id_)].any():
                all_names[id_] = name
        clash = [
            id_
            for id_, to in becomes.items()
            if to == id_ and names.get(id_, self.names_[id_]) != self.names_[id_]
        ]
        if clash and not names[clash[0]] == f"class {clash[0]}":
            raise UsageError(
                f"class {clash[0]} is {self.names_[clash[0]]!r} in the named clusters and "
                f"{names[clash[0]]!r} in the labels: give one of them another id, or the same name"
            )
        for id_ in clash:
            all_names[id_] = self.names_[id_]
        every = sorted(all_names)
        matrix = np.zeros((k, len(every)), np.float32)
        for column, id_ in enumerate(sorted(self.names_)):
            if becomes[id_] in all_names:
                matrix[:, every.index(becomes[id_])] += self.taught_.matrix[:, column]
        return matrix, all_names

    def _keep(self, head: TaughtHead, ids: Sequence[int], names: Mapping[int, str]) -> None:
        self.taught_ = head
        self.names_ = {id_: names.get(id_, "background" if id_ == 0 else f"class {id_}") for id_ in ids}
        self._labelling = {}

    def _recut(self, n_classes: int) -> Mosaic:
        raise UsageError(
            "a model whose classes a person has taught cannot be cut into another number of classes: cut "
            "the run that it was made from"
        )

    # ------------------------------------------------------------------ images in numbers

    def pupils(self, batch: FeatureBatch, shares: Mapping[str, np.ndarray]) -> list[Pupil]:
        """Return images after the network in numbers.

        Args:
            batch: the images.
            shares: key -> (n, C) shares of the classes, of those that somebody has labelled.
        """
        reduction = self._reduction(len(self.head_.weight_), self.device)
        found = []
        for row, image in enumerate(batch.images):
            with one_thread():
                tensors = {name: tensor[row : row + 1] for name, tensor in batch.tensors.items()}
                reduced = reduction(reduction.whiten(reduction.stacked(tensors)))
                found.append(self._pupil(reduction, reduced, shares.get(image.key)))
        return found

    def kept_pupil(self, image: ImageFeatures, shares: np.ndarray | None) -> Pupil | None:
        """Return an image in numbers from what a fit has left in its memo; ``None`` where that lacks it."""
        reduction = self._reduction(len(self.head_.weight_), self.device)
        arrays = reduction.kept_of(image)
        if arrays is None:
            return None
        with one_thread():
            return self._pupil(reduction, Reduced.of([arrays], self.device), shares)

    def doubts(self, pupil: Pupil) -> np.ndarray:
        """Return for each patch by how little the best class leads the second best, (n,) in [0, 1]."""
        scores = predict(self.taught_, pupil) if self.is_taught else pupil.clusters
        return np.asarray(1 - margin(scores.T[:, None])[0])

    def _pupil(self, reduction: Reduction, reduced: Reduced, shares: np.ndarray | None) -> Pupil:
        from torch.nn.functional import normalize

        head = reduced.head.float()
        d = head.shape[2]
        own = (normalize(head, dim=2) * d**0.5)[0].cpu().numpy()
        return Pupil(
            vectors_of(reduction, reduced)[0].cpu().numpy(),
            self.head_.predict_proba(own),
            reduced.neighbours[0].cpu().numpy(),
            shares,
        )

    def _make_labelling(self, reduction: Reduction) -> HeadLabelling:
        if not self.is_taught:
            return super()._make_labelling(reduction)
        head, sent = self.taught_, reduction.sent
        return TaughtLabelling(
            reduction,
            sent(self.head_.weight_),
            sent(self.head_.bias_),
            head.spread,
            (sent(head.weight), sent(head.bias)),
            sent(head.matrix),
            sent(head.seen),
            sent(lifts(head.matrix, head.seen, head.mix)),
            np.array(sorted(self.names_), np.int64),
            head.mix,
        )

    # ------------------------------------------------------------------ saving

    def _get_state(self) -> State:
        values, arrays = super()._get_state()
        values["n_classes"] = super().n_classes_
        if not self.is_taught:
            return values, arrays
        head = self.taught_
        values["taught"] = {
            "names": {str(id_): name for id_, name in self.names_.items()},
            "mix": head.mix,
            "spread": head.spread,
        }
        arrays |= {"taught.weight": head.weight, "taught.bias": head.bias, "taught.matrix": head.matrix}
        return values, arrays

    def _set_state(self, values: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
        super()._set_state(values, arrays)
        taught = values.get("taught")
        if taught is None:
            return
        if not isinstance(taught, dict) or not isinstance(taught.get("names"), dict):
            raise UsageError("what it was taught is not a record of names")
        names = {str(id_): str(name) for id_, name in taught["names"].items()}
        if not names or not all(id_.isdecimal() and int(id_) <= MAX_ID for id_ in names):
            raise UsageError(f"its classes have other ids than 0..{MAX_ID}, or it has none")
        mix = taught["mix"]
        if isinstance(mix, bool) or not isinstance(mix, (int, float)) or not 0 <= mix <= 1:
            raise UsageError(f"its mix must be 0..1, got {mix!r:.100}")
        saved, c, k = SavedArrays(arrays).below("taught."), len(names), len(self.head_.bias_)
        head = TaughtHead(
            saved.floats("weight", self.normalizer_.dim_, c),
            saved.floats("bias", c),
            saved.floats("matrix", k, c, low=0, high=1),
            float(mix),
            bool(taught["spread"]),
        )
        self._keep(head, sorted(map(int, names)), {int(id_): name for id_, name in names.items()})


def _widened(pupil: Pupil, columns: Sequence[int], count: int) -> Pupil:
    """Return a pupil whose shares are of more classes."""
    assert pupil.shares is not None
    shares = np.zeros((len(pupil.shares), count), np.float32)
    shares[:, list(columns)] = pupil.shares
    return replace(pupil, shares=shares)


def _with_clusters(
    matrix: np.ndarray, names: dict[int, str], clusters: Sequence[int]
) -> tuple[np.ndarray, dict[int, str]]:
    """Return names and names of clusters with some clusters as classes of their own behind the others."""
    more = {max(names) + i: f"other {i}" for i in range(1, len(clusters) + 1)}
    return np.hstack([matrix, np.eye(len(matrix), dtype=np.float32)[:, list(clusters)]]), names | more
