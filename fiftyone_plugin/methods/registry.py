"""The methods by name: where each is, and what a person needs to choose one. Imported when it is used."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..common.checks import Option
from ..errors import UsageError, unknown

if TYPE_CHECKING:
    from .base import Method

__all__ = [
    "CATALOG",
    "FURTHER",
    "MethodNote",
    "create_method",
    "describe",
    "list_methods",
    "method_class",
    "register",
]


@dataclass(frozen=True)
class MethodNote:
    """What is known of a method without importing it.

    Attributes:
        path: ``package.module:Class``; a leading dot stands for this package.
        label: its name in forms.
        note: one line.
        cost: one line.
        finds_classes: ``classes`` may be ``auto``.
    """

    path: str
    label: str
    note: str
    cost: str = ""
    finds_classes: bool = False


CATALOG: dict[str, MethodNote] = {
    "mosaic": MethodNote(
        ".mosaic.method:Mosaic",
        "mosaic (default)",
        "Regions cut in several ways, on one graph over all images, then a linear head",
        "minutes for a few hundred images on two cores; new images cost little more than the forward pass",
        finds_classes=True,
    ),
    "lightcluster": MethodNote(
        ".lightcluster.method:LightCluster",
        "LightCluster",
        "Three levels of clustering of patches, foreground first; the fastest",
        "one more small forward pass a region",
    ),
    "datus": MethodNote(
        ".datus.method:DatUS",
        "DatUS²",
        "Segments from communities of patches, clustered over the data set",
        "a tenth of a second of one core an image beside the forward pass",
    ),
    "alignseg": MethodNote(
        ".alignseg.method:AlignSeg",
        "AlignSeg",
        "A decoder with prototypes, trained here; the slowest by far",
        "minutes of training, whatever the number of images",
    ),
}
"""By name, in the order of forms. A new method is one entry here; :func:`register` adds one from outside."""

FURTHER: dict[str, MethodNote] = {
    "taught": MethodNote(".taught.method:Taught", "taught", "Mosaic, taught by labelled images or names"),
}
"""Methods that nobody chooses by name: they come about, and saved models name them."""


def register(name: str, note: MethodNote) -> None:
    """Add a method, for this process.

    Raises:
        UsageError: there is one of this name.
    """
    if name in CATALOG or name in FURTHER:
        raise UsageError(f"there is a method {name!r} already")
    CATALOG[name] = note


def list_methods() -> list[str]:
    """Return the names of the methods."""
    return list(CATALOG)


def method_class(name: str) -> type[Method]:
    """Import and return the class of a method.

    Raises:
        UsageError: unknown name.
    """
    note = CATALOG.get(name) or FURTHER.get(name)
    if note is None:
        raise unknown("method", name, CATALOG)
    module, _, attribute = note.path.partition(":")
    found: type[Method] = getattr(importlib.import_module(module, __package__), attribute)
    return found


def create_method(name: str, /, **config: object) -> Method:
    """Build an unfitted method by name.

    Raises:
        UsageError: unknown name or option, or a value that an option may not have.
    """
    cls = method_class(name)
    try:
        return cls(**config)
    except UsageError as error:
        raise UsageError(f"method {name}: {error}") from error


def describe(name: str) -> list[Option]:
    """Return the options of a method: name, default, what is allowed, one line.

    Those for which a run has a setting of its own, such as ``n_classes``, are left out.

    Raises:
        UsageError: unknown name.
    """
    from .options import RUN_SETTINGS

    return [one for one in method_class(name).config_class.describe() if one.name not in RUN_SETTINGS]
