"""Where a run is done, as a form: only where an engine over machines is installed."""

from __future__ import annotations

from typing import Any

from fiftyone.operators import types

from fiftyone_plugin.engines.registry import engines_here

from ..params import Params
from .fields import choose, refuse

__all__ = ["add_engine", "engine_values", "read_engine"]

HERE = "local"
LABELS = {HERE: "this machine", "ray": "a Ray cluster"}
WORKERS = (0, 10_000)


def add_engine(inputs: types.Object, params: Params) -> None:
    """Add the choice of an engine, and what that needs; nothing where there is no choice."""
    names = engines_here()
    if len(names) < 2:
        return
    text = "Masks are written to the run's folder, which all machines must share"
    choices = {name: LABELS[name] for name in names}
    choose(inputs, "engine", choices, default=HERE, label="Where", description=text)
    if params.one_of("engine", names, HERE) == HERE:
        return
    text = "HOST:PORT, or auto on a machine of it; empty: a cluster of this machine alone, for this run"
    inputs.str("address", default="", label="Address of the cluster", description=text)
    address = params.text("address")
    if address and address != "auto" and ":" not in address:
        refuse(inputs, "address", "HOST:PORT, or auto")
    text = "Worker processes; 0: as many as there is room for"
    low, high = WORKERS
    inputs.int("workers", default=0, min=low, max=high, label="Workers", description=text)


def read_engine(params: Params) -> dict[str, Any]:
    """Return the fields of :class:`fiftyone_plugin.LabelConfig` that these values stand for."""
    if params.one_of("engine", engines_here(), HERE) == HERE:
        return {}
    workers = params.whole("workers", 0, *WORKERS)
    return {"engine": "ray", "address": params.text("address") or None, "workers": workers or None}


def engine_values(
    engine: str = HERE, address: str | None = None, workers: int | None = None
) -> dict[str, Any]:
    """Return the form's values for settings given in Python; the inverse of :func:`read_engine`."""
    return {"engine": engine, "address": address or "", "workers": workers or 0}
