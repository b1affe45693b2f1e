"""Plots are pictures that show what they say, drawn without a window."""

from __future__ import annotations

import numpy as np
from PIL import Image

from fiftyone_plugin.images.plots import plot_eigenvalues, plot_filtering


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_the_gap_that_was_chosen_is_marked(tmp_path):
    values = np.concatenate([np.linspace(0, 0.1, 8), np.linspace(0.5, 0.9, 13)])
    columns = []
    for k in (4, 12):
        plot_eigenvalues(values, k, tmp_path / f"{k}.png")
        found = pixels(tmp_path / f"{k}.png")
        orange = (found[..., 0] > 230) & (found[..., 2] < 200) & (found[..., 1] > 150)
        assert orange.sum() > 500
        columns.append(np.nonzero(orange)[1].mean() / found.shape[1])
    assert columns[0] < 0.35 < 0.5 < columns[1]


def test_curves_rise_to_the_right_where_filtering_helps(tmp_path):
    kept = (1.0, 0.8, 0.6, 0.4, 0.2)
    plot_filtering(kept, {"margin": (0.4, 0.45, 0.5, 0.55, 0.6)}, tmp_path / "a.png")
    found = pixels(tmp_path / "a.png")
    blue = (found[..., 2] > 150) & (found[..., 0] < 100)
    rows, columns = np.nonzero(blue)
    left, right = columns < np.median(columns), columns > np.median(columns)
    assert rows[left].mean() > rows[right].mean()


def test_the_same_plot_is_the_same_file(tmp_path):
    for name in ("a", "b"):
        plot_eigenvalues(np.linspace(0, 1, 20), 5, tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
