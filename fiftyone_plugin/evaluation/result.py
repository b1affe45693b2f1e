"""What an evaluation found, as values that go into JSON and come back."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..common.files import write_json
from ..common.skipped import Skipped
from ..errors import UsageError
from .confusion import Contingency
from .matching import Mapping
from .protocols import get_protocol

__all__ = ["EvaluationResult", "over_seeds"]

FORMAT = 1
MEASURED = ("coverage", "kept", "scores", "confidence", "per_class")
COUNTED = ("pred_ids", "true_ids", "counts")


@dataclass
class EvaluationResult:
    """Scores of one set of predictions under one protocol.

    Attributes:
        protocol: name of the protocol.
        scores: score name -> value in its own range (all in [0, 1] but ``ari``); nan: nothing to measure.
        confidence: score name -> (low, high), the central 95 % of bootstrap replicates over images, the
            mapping held fixed; empty if not asked for.
        per_class: one entry a class: ``id``, ``name``, ``iou``, ``f1``, ``accuracy``, ``precision``,
            ``pixels`` (true), ``clusters`` (mapped to it).
        mapping: clusters to classes; ``None`` where every image was matched on its own.
        n_images: images compared.
        n_pixels: pixels not ignored.
        n_clusters: K, predicted ids that occur among them, without unlabelled.
        n_classes: C, classes of the ground truth, declared ones included.
        coverage: share of pixels that carry a prediction.
        kept: share of pixels the scores saw; below 1 only where the protocol drops some.
        settings: what else decides the numbers: ``ignore``, ``unlabelled``, ``background``, ``skipped``,
            ``unnamed``, ...
        images: columns of the per-image table: ``name`` and values, one an image.
        table: pixels by predicted and true id, before mapping.
    """

    protocol: str
    scores: dict[str, float]
    confidence: dict[str, tuple[float, float]]
    per_class: list[dict[str, Any]]
    mapping: Mapping | None
    n_images: int
    n_pixels: int
    n_clusters: int
    n_classes: int
    coverage: float
    kept: float
    settings: dict[str, Any]
    images: dict[str, list[Any]]
    table: Contingency = field(repr=False)

    @property
    def skipped(self) -> list[Skipped]:
        """Images that could not be compared: a mask is damaged, missing, of another size or kind.

        The key is the name of a pair in the shell, and the path of the image in FiftyOne. Images that lack
        one of the two masks are not among them.
        """
        return [Skipped(key, reason) for key, reason in self.settings.get("skipped", ())]

    @property
    def unnamed(self) -> dict[int, int]:
        """Ids of the ground truth that have no name and are ignored for that -> their pixels.

        The hundred with most pixels; ``settings["unnamed"]`` has the totals.
        """
        found = self.settings.get("unnamed") or {}
        return {int(id_): pixels for id_, pixels in found.get("ids", {}).items()}

    def worst(self, n: int, by: str = "iou") -> list[str]:
        """Return the names of the ``n`` images of lowest ``by``, worst first, without unmeasured ones."""
        rows = zip(self.images[by], self.images["name"], strict=True)
        return [name for _, name in sorted(row for row in rows if not math.isnan(row[0]))[:n]]

    def to_dict(self) -> dict[str, object]:
        """Return JSON-serialisable values; nan becomes ``None``."""
        return {
            "format": FORMAT,
            "protocol": self.protocol,
            "explanation": get_protocol(self.protocol).explanation,
            "n": self.n_images,
            "pixels": self.n_pixels,
            "K": self.n_clusters,
            "classes": self.n_classes,
            **_plain({name: getattr(self, name) for name in MEASURED}),
            "mapping": self.mapping.to_dict() if self.mapping else None,
            "settings": _plain(self.settings),
            "images": _plain(self.images),
            "confusion": _plain({name: getattr(self.table, name) for name in COUNTED}),
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> EvaluationResult:
        """Restore what :meth:`to_dict` returned.

        Raises:
            UsageError: written in a format this version does not read.
        """
        if document.get("format") != FORMAT:
            raise UsageError(
                f"the evaluation has format {document.get('format')}, this version reads {FORMAT}"
            )
        pred_ids, true_ids, counts = (np.array(document["confusion"][name], np.int64) for name in COUNTED)
        measured = {name: _with_nan(document[name]) for name in (*MEASURED, "images")}
        measured["confidence"] = {key: tuple(bounds) for key, bounds in measured["confidence"].items()}
        return cls(
            protocol=document["protocol"],
            **measured,
            mapping=Mapping.from_dict(document["mapping"]) if document["mapping"] else None,
            n_images=document["n"],
            n_pixels=document["pixels"],
            n_clusters=document["K"],
            n_classes=document["classes"],
            settings=document["settings"],
            table=Contingency(pred_ids, true_ids, counts.reshape(pred_ids.size, true_ids.size)),
        )

    def save(self, path: str | Path) -> None:
        """Write the result as JSON, whole or not at all.

        Raises:
            PseudoMaskError: the file cannot be written.
        """
        write_json(Path(path), self.to_dict(), sort_keys=False)


def _with_nan(value: Any) -> Any:
    """Return a document with nan for ``None``."""
    if isinstance(value, dict):
        return {key: _with_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_nan(inner) for inner in value]
    return math.nan if value is None else value


def _plain(value: Any) -> Any:
    """Return ``value`` with numpy numbers and tuples as Python's own, and nan as ``None``."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def over_seeds(results: Iterable[EvaluationResult]) -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation of every score over repeated runs.

    Args:
        results: one result a seed, of the same data and protocol.

    Returns:
        score name -> (mean, sample standard deviation); the deviation is nan for a single run.

    Raises:
        UsageError: no results, or of different protocols.
    """
    runs = list(results)
    if len({run.protocol for run in runs}) != 1:
        raise UsageError("seeds are averaged over one or more results of one protocol")
    columns = {name: np.array([run.scores[name] for run in runs]) for name in runs[0].scores}
    return {
        name: (float(values.mean()), float(values.std(ddof=1)) if values.size > 1 else math.nan)
        for name, values in columns.items()
    }
