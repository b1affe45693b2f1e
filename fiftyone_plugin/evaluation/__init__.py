"""Evaluation against ground truth: confusion, matching of clusters to classes, scores, protocols.

:func:`evaluate_pairs` works on arrays; :func:`evaluate` and :func:`apply_mapping` work on FiftyOne datasets,
and import FiftyOne when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .confusion import ConfusionMatrix, Contingency, count
from .matching import Mapping
from .protocols import PROTOCOLS, EvaluationProtocol, get_protocol
from .result import EvaluationResult, over_seeds
from .summary import collect, evaluate_pairs, map_images, parse_classes, score

if TYPE_CHECKING:
    from .fiftyone_evaluation import evaluate
    from .fiftyone_naming import apply_mapping

__all__ = [
    "PROTOCOLS",
    "ConfusionMatrix",
    "Contingency",
    "EvaluationProtocol",
    "EvaluationResult",
    "Mapping",
    "apply_mapping",
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

_LAZY = {"apply_mapping": "fiftyone_naming", "evaluate": "fiftyone_evaluation"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_LAZY[name]}", __name__), name)
