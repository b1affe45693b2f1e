"""Plots of a run: the evidence for its number of classes, and what filtering by quality gains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_eigenvalues", "plot_filtering"]


@contextmanager
def _axes(path: Path, x_label: str, y_label: str, title: str) -> Iterator[Axes]:
    """Yield the axes of a PNG that is then written; no window, no global state, so that threads may draw."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(xlabel=x_label, ylabel=y_label, title=title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    yield axes
    figure.savefig(path, format="png", metadata={"Software": None})


def plot_eigenvalues(eigenvalues: np.ndarray, n_classes: int, path: Path) -> None:
    """Draw the spectrum of a region graph and the gap that ``auto`` chose.

    Args:
        eigenvalues: (m,) ascending, of the normalised Laplacian, in [0, 2].
        n_classes: K chosen; the gap lies between eigenvalues K and K + 1, counted from 1.
        path: PNG to write.
    """
    title = f"largest relative gap after K = {n_classes}"
    with _axes(path, "number of classes K", "eigenvalue of the Laplacian", title) as axes:
        axes.plot(np.arange(1, len(eigenvalues) + 1), eigenvalues, "o-", markersize=3, linewidth=1)
        if n_classes < len(eigenvalues):
            axes.axvspan(n_classes, n_classes + 1, color="tab:orange", alpha=0.35)


def plot_filtering(kept: Sequence[float], curves: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw the mean IoU of what is kept as the lowest-scored images are filtered out.

    Args:
        kept: shares of the images that are kept, in [0, 1].
        curves: name of a score -> mean IoU in [0, 1] at every share.
        path: PNG to write.
    """
    labels = "share of the images that is kept", "mean IoU of these", "filtering by quality"
    with _axes(path, *labels) as axes:
        for name, values in curves.items():
            axes.plot(kept, values, "o-", markersize=3, label=name)
        axes.invert_xaxis()
        axes.legend(frameon=False)
