"""Semantic pseudo-masks for image datasets, without labels and without prompts.

The public names below are loaded when they are first used: importing this package is quick and brings in
neither torch nor FiftyOne.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import DISTRIBUTION, __version__

if TYPE_CHECKING:
    from .datasets import label_dataset, undo
    from .evaluation import evaluate
    from .export import export, import_masks
    from .pipeline import LabelConfig, LabelResult, label

__all__ = [
    "DISTRIBUTION",
    "LabelConfig",
    "LabelResult",
    "__version__",
    "evaluate",
    "export",
    "import_masks",
    "label",
    "label_dataset",
    "undo",
]

_LAZY = {
    "LabelConfig": "pipeline",
    "LabelResult": "pipeline",
    "evaluate": "evaluation",
    "import_masks": "export",
    "label": "pipeline",
    "label_dataset": "datasets",
    "undo": "datasets",
}


def __getattr__(name: str) -> Any:
    if name == "export":  # a package that can be called
        return import_module(".export", __name__)
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_LAZY[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
