"""Evaluation against ground truth: confusion, matching of clusters to classes, scores, protocols.

:func:`evaluate_pairs` works on arrays; :func:`evaluate` works on folders and on FiftyOne datasets, and
imports FiftyOne for these alone. May import common, images and masks.
"""

from .api import evaluate, evaluate_folders
from .confusion import ConfusionMatrix, Contingency, count
from .matching import Mapping
from .options import EvaluationOptions, parse_classes
from .protocols import PROTOCOLS, EvaluationProtocol, get_protocol
from .result import EvaluationResult, over_seeds
from .summary import collect, evaluate_pairs, map_images, score

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
    "evaluate_folders",
    "evaluate_pairs",
    "get_protocol",
    "map_images",
    "over_seeds",
    "parse_classes",
    "score",
]
