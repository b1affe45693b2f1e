"""Results of an evaluation as FiftyOne stores, loads and shows them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import fiftyone.utils.eval.segmentation as fous
import numpy as np

from ..common.skipped import Skipped
from .matching import Mapping
from .options import Choices, EvaluationOptions
from .per_image import ImageCounts, pack, unpack
from .result import EvaluationResult
from .scoring import MappedImages
from .summary import map_images, score

if TYPE_CHECKING:
    import fiftyone.core.collections as foc


__all__ = ["LabelIds", "PseudoMaskResults", "options_of"]

MISSING = "(none)"
"""FiftyOne's word for "no class": unlabelled and unmatched pixels."""


@dataclass(frozen=True)
class LabelIds:
    """Ids of samples and of their labels, one an image each; 24 hexadecimal digits."""

    samples: list[str]
    pred: list[str]
    true: list[str]

    def pack(self) -> dict[str, str]:
        """Return the ids as short JSON values."""
        ids = {name: bytes.fromhex("".join(found)) for name, found in vars(self).items()}
        return {name: pack(np.frombuffer(found, "V12")) for name, found in ids.items()}

    @classmethod
    def unpack(cls, document: dict[str, str]) -> LabelIds:
        """Restore what :meth:`pack` returned."""
        found = {name: unpack(text, "V12") for name, text in document.items()}
        return cls(**{name: [bytes(one).hex() for one in ids] for name, ids in found.items()})


class PseudoMaskResults(fous.SegmentationResults):
    """Results of an evaluation.

    Stored with the dataset are counts, not scores: some hundred bytes an image. Where this package is not
    installed, FiftyOne loads them as its own segmentation results, without the links to samples.

    Attributes:
        evaluation: every score, :class:`~fiftyone_plugin.evaluation.result.EvaluationResult`; image names are
            sample ids.
    """

    def __init__(
        self,
        samples: foc.SampleCollection,
        config: fous.SegmentationEvaluationConfig,
        eval_key: str | None,
        mapped: MappedImages,
        evaluation: EvaluationResult,
        labels: LabelIds,
        custom_metrics: dict[str, dict[str, object]] | None = None,
        backend: fous.SegmentationEvaluation | None = None,
    ) -> None:
        classes = [*_unique(mapped.names), MISSING]
        super().__init__(
            samples,
            config,
            eval_key,
            _square(mapped),
            classes,
            matches=_matches(mapped, classes, labels),
            missing=MISSING,
            custom_metrics=custom_metrics,
            backend=backend,
        )
        self.evaluation = evaluation
        self._mapped = mapped
        self._labels = labels

    @property
    def mapping(self) -> Mapping | None:
        """Clusters to classes; ``None`` where every image was matched on its own."""
        return self.evaluation.mapping

    @property
    def skipped(self) -> list[Skipped]:
        """Images left out because their masks are damaged, missing or do not fit: path and reason."""
        return self.evaluation.skipped

    @property
    def pseudomask(self) -> dict[str, object]:
        """What :meth:`_from_dict` needs to build the results again, JSON-serialisable."""
        summary = self.evaluation.to_dict()
        return {
            "images": self._mapped.images.encode(),
            "labels": self._labels.pack(),
            "names": {str(key): name for key, name in self._mapped.names.items()},
            **{key: summary[key] for key in ("mapping", "scores", "confidence", "settings")},
        }

    def attributes(self) -> list[str]:
        """Return what is stored: FiftyOne's own fallback reads all but the last."""
        return ["cls", "pixel_confusion_matrix", "classes", "missing", "custom_metrics", "pseudomask"]

    @classmethod
    def _from_dict(  # type: ignore[override]  # the bases name the last argument differently
        cls,
        d: dict[str, Any],
        samples: foc.SampleCollection,
        config: fous.SegmentationEvaluationConfig,
        eval_key: str,
        **kwargs: fous.SegmentationEvaluation | None,
    ) -> PseudoMaskResults:
        stored = d["pseudomask"]
        labels = LabelIds.unpack(stored["labels"])
        names = {int(key): name for key, name in stored["names"].items()}
        options = replace(options_of(config, names), replicates=0)
        if stored["mapping"] and not options.spec.binary:
            options = replace(options, mapping=Mapping.from_dict(stored["mapping"]))
        mapped = map_images(ImageCounts.decode(stored["images"], labels.samples), options)
        evaluation = score(mapped)
        evaluation.confidence = {key: (low, high) for key, (low, high) in stored["confidence"].items()}
        evaluation.settings = stored["settings"]
        return cls(samples, config, eval_key, mapped, evaluation, labels, d.get("custom_metrics"), **kwargs)


def options_of(config: fous.SegmentationEvaluationConfig, names: dict[int, str] | None) -> EvaluationOptions:
    """Return the options that a config stands for; its ``ignore`` may be unknown, then it is empty."""
    given = {
        name: getattr(config, name) for name in ("protocol", "ignore", "mapping", *Choices.__annotations__)
    }
    return EvaluationOptions.of(classes=names, **given)


def _unique(names: dict[int, str]) -> list[str]:
    """Return the names of the classes, with their ids where two share one: FiftyOne knows names only."""
    shared = [name for name, n in Counter(names.values()).items() if n > 1]
    return [f"{name} ({id_})" if name in shared else name for id_, name in names.items()]


def _square(mapped: MappedImages) -> np.ndarray:
    """Return FiftyOne's confusion matrix, (C + 1, C + 1): rows true, columns predicted, "(none)" last."""
    rows, columns = mapped.shape
    square = np.zeros((columns + 1, columns + 1), np.int64)
    square[:columns, :rows] = mapped.pooled.T
    return square


def _matches(
    mapped: MappedImages, classes: list[str], labels: LabelIds
) -> list[tuple[str, str, int, str, str]]:
    """Return FiftyOne's matches: true and predicted class, pixels, ids of true and predicted label."""
    cells = mapped.matrices.tocoo()
    predicted, true = np.divmod(cells.col, mapped.shape[1])
    columns = (values.tolist() for values in (true, predicted, cells.data, cells.row))
    return [
        (classes[t], classes[p], n, labels.true[i], labels.pred[i])
        for t, p, n, i in zip(*columns, strict=True)
    ]
