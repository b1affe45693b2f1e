"""An evaluation as text: aligned tables for the terminal, Markdown for the App."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..common.text import plain_markdown, printable
from .left_out import left_out_lines
from .protocols import get_protocol
from .result import EvaluationResult

__all__ = ["format_markdown", "format_result", "format_table"]

LABELS = {
    "miou": "mIoU",
    "fwiou": "frequency-weighted IoU",
    "pixel_accuracy": "pixel accuracy",
    "mean_class_accuracy": "mean class accuracy",
    "f1": "mean F1",
    "ari": "adjusted Rand index",
    "nmi": "normalised mutual information",
    "miou_per_image": "IoU, mean over images",
    "accuracy_per_image": "accuracy, mean over images",
    "coverage_per_image": "coverage, mean over images",
    "boundary_f": "boundary F, mean over images",
    "miou_without_first": "mIoU without an image's first class",
    "iou": "foreground IoU, mean over images",
    "iou_pooled": "foreground IoU, pooled",
    "f_beta": "F-beta (beta^2 = 0.3), mean over images",
    "mae": "mean absolute error",
    "corloc": "CorLoc",
}


# images left out that the App lists
LISTED = 10


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an aligned table: the first column to the left, the others to the right."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]
    lines = [
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]
        )
        for line in [header, ["-" * width for width in widths], *rows]
    ]
    return "\n".join(line.rstrip() for line in lines)


def percent(value: float) -> str:
    """Return a share as a percentage with one decimal, ``-`` for nan."""
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def format_markdown(result: EvaluationResult) -> str:
    """Return the scores as Markdown; shares in percent."""
    lines = [
        f"**{result.protocol}**: {get_protocol(result.protocol).explanation}",
        "",
        f"{result.n_images} images, {result.n_clusters} predicted ids, {result.n_classes} classes, "
        f"coverage {percent(result.coverage)} %",
        "",
        "| score | % | 95 % interval |",
        "| --- | ---: | ---: |",
    ]
    lines += [
        f"| {LABELS.get(name, name)} | {percent(value)} | {_interval(result.confidence.get(name))} |"
        for name, value in result.scores.items()
    ]
    notes = [plain_markdown(line) for line in left_out_lines(result)]
    listed = [f"- {plain_markdown(f'{entry.key}: {entry.reason}')}" for entry in result.skipped[:LISTED]]
    return "\n".join([*lines, *(f"\n{note}" for note in notes), *(["", *listed] if listed else [])])


def format_result(result: EvaluationResult) -> str:
    """Return the whole result as text; shares in percent."""
    spec = get_protocol(result.protocol)
    head = [
        f"protocol  {result.protocol}: {spec.explanation}",
        f"images    {result.n_images}, {result.n_pixels} pixels scored",
        f"ids       {result.n_clusters} predicted, {result.n_classes} classes",
        f"coverage  {percent(result.coverage)} % of the pixels carry a prediction",
    ]
    if result.kept < 1:
        head.append(
            f"kept      {percent(result.kept)} % of the pixels are scored, the protocol drops the rest"
        )
    head += [f"note      {printable(line)}" for line in left_out_lines(result)]
    scores = [
        [LABELS.get(name, name), percent(value), _interval(result.confidence.get(name))]
        for name, value in result.scores.items()
    ]
    classes = [
        [
            f"{entry['id']} {entry['name']}" if entry["name"] != str(entry["id"]) else entry["name"],
            percent(entry["iou"]),
            percent(entry["accuracy"]),
            percent(entry["f1"]),
            percent(entry["pixels"] / result.n_pixels),
            " ".join(map(str, entry["clusters"])) or "-",
        ]
        for entry in result.per_class
    ]
    header = ["class", "IoU", "accuracy", "F1", "share", "clusters"]
    tables = [format_table(["score", "%", "95 % interval"], scores)]
    if not spec.per_image:
        tables.append(format_table(header, classes))
    return "\n\n".join(["\n".join(head), *tables])


def _interval(bounds: tuple[float, float] | None) -> str:
    return f"{percent(bounds[0])} .. {percent(bounds[1])}" if bounds else ""
