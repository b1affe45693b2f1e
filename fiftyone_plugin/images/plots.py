"""Plots of a run: the evidence for its number of classes, and what filtering by quality gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["plot_eigenvalues", "plot_filtering"]

SIZE = (6.4, 3.6)  # inches, at 120 dots
DPI = 120


def _axes(x_label: str, y_label: str, title: str) -> tuple[Any, Any]:
    """Return a figure without a window and its axes; no global state, so that threads may draw."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(xlabel=x_label, ylabel=y_label, title=title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def plot_eigenvalues(eigenvalues: np.ndarray, n_classes: int, path: Path) -> None:
    """Draw the spectrum of a region graph and the gap that ``auto`` chose.

    Args:
        eigenvalues: (m,) ascending, of the normalised Laplacian, in [0, 2].
        n_classes: K chosen; the gap lies between eigenvalues K and K + 1, counted from 1.
        path: PNG to write.
    """
    figure, axes = _axes(
        "number of classes K", "eigenvalue of the Laplacian", f"largest relative gap after K = {n_classes}"
    )
    numbers = np.arange(1, len(eigenvalues) + 1)
    axes.plot(numbers, eigenvalues, "o-", markersize=3, linewidth=1)
    if n_classes < len(eigenvalues):
        axes.axvspan(n_classes, n_classes + 1, color="tab:orange", alpha=0.35)
    figure.savefig(path, format="png", metadata={"Software": None})


def plot_filtering(kept: Sequence[float], curves: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw the mean IoU of what is kept as the lowest-scored images are filtered out.

    Args:
        kept: shares of the images that are kept, in [0, 1].
        curves: name of a score -> mean IoU in [0, 1] at every share.
        path: PNG to write.
    """
    figure, axes = _axes("share of the images that is kept", "mean IoU of these", "filtering by quality")
    for name, values in curves.items():
        axes.plot(kept, values, "o-", markersize=3, label=name)
    axes.invert_xaxis()
    axes.legend(frameon=False)
    figure.savefig(path, format="png", metadata={"Software": None})
