"""Evaluation against ground truth: confusion, matching of clusters to classes, scores, protocols.

:func:`evaluate_pairs` works on arrays; :func:`evaluate` works on FiftyOne datasets, and imports FiftyOne
when it is first used. May import common, images and masks.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .confusion import ConfusionMatrix, Contingency, count
from .matching import Mapping
from .options import EvaluationOptions, parse_classes
from .protocols import PROTOCOLS, EvaluationProtocol, get_protocol
from .result import EvaluationResult, over_seeds
from .summary import collect, evaluate_pairs, map_images, score

if TYPE_CHECKING:
    from .fiftyone_evaluation import evaluate

__all__ = [
    "PROTOCOLS",
    "ConfusionMatrix",
    "Contingency",
    "EvaluationOptions",
    "EvaluationProtocol",
    "EvaluationResult",
    "Mapping",
    "collect",
    "count",
    "evaluate",
    "evaluate_pairs",
    "get_protocol",
    "map_images",
    "over_seeds",
    "parse_classes",
    "score",
]


def __getattr__(name: str) -> Any:
    if name == "evaluate":  # the only part that imports FiftyOne
        return import_module(".fiftyone_evaluation", __name__).evaluate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
