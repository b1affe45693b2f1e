"""Semantic pseudo-masks for image datasets, without labels and without prompts.

The public names below are loaded when they are first used: importing this package is quick and brings in
neither torch nor FiftyOne.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ._moved import install as _find_old_names
from ._version import DISTRIBUTION, __version__
from .errors import ImageReadError, MissingDependencyError, PseudoMaskError, UsageError

if TYPE_CHECKING:
    from .dataset.comparing import compare
    from .dataset.frames import sample_frames
    from .dataset.labelling import label_dataset, undo
    from .dataset.ontology import save_ontology
    from .evaluation import evaluate
    from .formats import export, import_masks
    from .runs.api import label
    from .runs.config import LabelConfig
    from .runs.joining import join
    from .runs.naming import name_clusters
    from .runs.result import LabelResult
    from .runs.suggesting import suggest

__all__ = ["DISTRIBUTION", "ImageReadError", "MissingDependencyError", "PseudoMaskError", "UsageError"]
__all__ += ["LabelConfig", "LabelResult", "__version__", "compare", "evaluate", "export", "import_masks"]
__all__ += ["join", "label", "label_dataset", "name_clusters", "sample_frames", "save_ontology"]
__all__ += ["suggest", "undo"]

_LAZY = {
    "LabelConfig": "runs.config",
    "LabelResult": "runs.result",
    "compare": "dataset.comparing",
    "evaluate": "evaluation",
    "export": "formats",
    "import_masks": "formats",
    "join": "runs.joining",
    "label": "runs.api",
    "label_dataset": "dataset.labelling",
    "name_clusters": "runs.naming",
    "sample_frames": "dataset.frames",
    "save_ontology": "dataset.ontology",
    "suggest": "runs.suggesting",
    "undo": "dataset.labelling",
}

_find_old_names()


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_LAZY[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
