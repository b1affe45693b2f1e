"""Calibrate the quality scores of a run by the ground truth that there is for some of its images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from .common.files import atomic
from .common.tables import TableWriter
from .errors import UsageError
from .plots import plot_filtering
from .quality.calibration import KEPT, QualityCalibration, filtering_curve
from .rundir import CALIBRATION, NAMES, SampleRow, read_samples

__all__ = ["calibrate_run"]


def calibrate_run(run: Path, iou: Mapping[str, float]) -> str:
    """Learn the IoU to expect from the quality of a run's images, and write it beside them.

    Writes ``calibration.json``, ``expected_iou.csv`` (a row a labelled image: quality, expected IoU, true IoU
    where it is known) and ``filtering.png`` into the run's folder; the masks and the table stay as they are.

    Args:
        run: output folder of ``label``.
        iou: path of a mask below ``masks/``, without extension -> its true IoU, NaN if unknown.

    Returns:
        A line on what was learnt.

    Raises:
        UsageError: ``run`` is not the folder of a run, or too few of its images have ground truth.
    """
    table = run / "samples.csv"
    if not table.is_file():
        raise UsageError(f"{run} has no samples.csv: calibration needs the folder of a run of `label`")
    rows = [row for row in read_samples(table) if row.status == "labelled"]
    quality = np.array([row.quality for row in rows])
    true = np.array([iou.get(PurePosixPath(row.mask).with_suffix("").as_posix(), math.nan) for row in rows])
    calibration = QualityCalibration.fit(quality, true)
    expected = calibration.predict(quality)
    document, columns, picture = (run / name for name in CALIBRATION)
    calibration.save(document)
    _write_columns(columns, rows, expected, true)
    seen = ~np.isnan(true)
    with atomic(picture) as partial:
        plot_filtering(KEPT, {"quality": filtering_curve(quality[seen], true[seen])}, partial)
    return (
        f"calibrated on {calibration.n_images} of {len(rows)} images: expected IoU {expected.min():.2f} to "
        f"{expected.max():.2f}, see {columns}"
    )


def _write_columns(path: Path, rows: list[SampleRow], expected: np.ndarray, true: np.ndarray) -> None:
    """Write the table of the images and their expected IoU; every cell is text to a spreadsheet."""
    with atomic(path) as partial, partial.open("w", newline="", encoding="utf-8", errors=NAMES) as file:
        writer = TableWriter(file)
        writer.write(["image", "quality", "expected_iou", "true_iou"])
        for row, guess, value in zip(rows, expected, true, strict=True):
            known = "" if math.isnan(value) else f"{value:.4f}"
            writer.write([row.image, f"{row.quality:.4f}", f"{guess:.4f}", known])
