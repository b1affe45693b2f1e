"""Modules under the names that they had before they moved into rooms; for one release, with a warning.

``from fiftyone_plugin.saved_views import create_views`` goes on working, and says where the name lives now.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

__all__ = ["install"]

PACKAGE = __package__ or "fiftyone_plugin"

#: old module below the package -> the modules that its names live in now, the first that has a name wins
MOVED: dict[str, tuple[str, ...]] = {
    "app_summary": ("dataset.summary",),
    "backbones": ("features.backbones",),
    "backbones.weights": ("features.backbones.weights",),
    "class_names": ("dataset.editing.names", "dataset.editing.history"),
    "comparison": ("evaluation.comparison",),
    "config": ("runs.config",),
    "dataset_comparison": ("dataset.comparison", "dataset.comparing"),
    "datasets": ("dataset.labelling", "dataset.record", "images.listing"),
    "doctor": ("cli.doctor",),
    "editing": ("dataset.editing",),
    "estimate": ("runs.estimate",),
    "exemplars": ("runs.exemplars",),
    "explain": ("runs.explain", "images.drawing"),
    "export": ("formats",),
    "export.importing": ("formats.importing",),
    "native": ("masks.native",),
    "parallel": ("common.parallel",),
    "paths": ("common.paths",),
    "pipeline": ("runs.pipeline", "runs.api"),
    "plots": ("images.plots",),
    "plugin_install": ("cli.plugin", "_version"),
    "preview": ("runs.preview",),
    "progress": ("common.progress",),
    "provenance": ("runs.provenance", "runs.model"),
    "quality": ("runs.calibration",),
    "refinement": ("masks.refine", "masks.native", "masks.upsample"),
    "run_keys": ("dataset.keys",),
    "rundir": ("runs.folder",),
    "saved_views": ("dataset.views", "dataset.labelling"),
    "sources": ("images.listing",),
    "stopping": ("runs.stopping",),
    "view_check": ("images.listing",),
    "visual": ("images.drawing",),
}


class _StandIn(ModuleType):
    """Looks names up where they are now; can be called if it has a function of its own name."""

    def __getattr__(self, name: str) -> object:
        if not name.startswith("__"):
            for home in MOVED[self.__name__.removeprefix(f"{PACKAGE}.")]:
                found = importlib.import_module(f".{home}", PACKAGE)
                if hasattr(found, name):
                    return getattr(found, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __call__(self, *args: object, **options: object) -> object:
        return getattr(self, self.__name__.rpartition(".")[2])(*args, **options)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module that has moved and loads a stand-in that looks its names up where they are now."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        old = fullname.removeprefix(f"{PACKAGE}.")
        if old == fullname or old not in MOVED:
            return None
        is_package = any(other.startswith(f"{old}.") for other in MOVED)
        return importlib.machinery.ModuleSpec(fullname, self, is_package=is_package)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        homes = MOVED[module.__name__.removeprefix(f"{PACKAGE}.")]
        warnings.warn(
            f"{module.__name__} has moved to {PACKAGE}.{homes[0]}; the old name goes with the next release",
            DeprecationWarning,
            stacklevel=2,
        )


def install() -> None:
    """Let imports find the old names; does nothing if they can be found already."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
