"""An evaluation as text: aligned tables for the terminal, Markdown for the App."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..common.tables import format_table
from ..common.text import plain_markdown, printable, short_list
from .protocols import get_protocol
from .result import EvaluationResult

__all__ = ["LISTED_IDS", "format_markdown", "format_result", "left_out_lines", "short_ids"]

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


LISTED = 10  # images left out that the App lists
LISTED_IDS = 100  # ids without a name that a result lists, those with most pixels first


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
    lines += [f"| {' | '.join(row)} |" for row in _score_rows(result)]
    notes = [plain_markdown(line) for line in left_out_lines(result)]
    listed = [f"- {plain_markdown(str(entry))}" for entry in result.skipped[:LISTED]]
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
    classes = [
        [
            f"{entry['id']} {entry['name']}" if entry["name"] != str(entry["id"]) else entry["name"],
            *(percent(entry[score]) for score in ("iou", "accuracy", "f1")),
            percent(entry["pixels"] / result.n_pixels),
            " ".join(map(str, entry["clusters"])) or "-",
        ]
        for entry in result.per_class
    ]
    tables = [format_table(["score", "%", "95 % interval"], _score_rows(result))]
    if not spec.per_image:
        tables.append(format_table(["class", "IoU", "accuracy", "F1", "share", "clusters"], classes))
    return "\n\n".join(["\n".join(head), *tables])


def _score_rows(result: EvaluationResult) -> list[list[str]]:
    """Return what every score is called, its value and its interval."""
    return [
        [LABELS.get(name, name), percent(value), " .. ".join(map(percent, result.confidence.get(name, ())))]
        for name, value in result.scores.items()
    ]


def short_ids(ids: Iterable[int]) -> str:
    """Return the lowest ids as text, and how many more there are."""
    return short_list(sorted(ids))[1:-1]


def left_out_lines(result: EvaluationResult) -> list[str]:
    """Return a line on images that could not be compared, and one on pixels without a name, as far as any."""
    lines = []
    if skipped := result.skipped:
        left_out = f"{_count(len(skipped), 'image')} left out, with masks that cannot be compared"
        rest = f"; and {len(skipped) - 1:,} more" if len(skipped) > 1 else ""
        lines.append(f"{left_out}: {skipped[0]}{rest}")
    if unnamed := result.settings.get("unnamed"):
        n = unnamed["n_ids"]
        more = f", and {n - LISTED_IDS:,} more" if n > LISTED_IDS else ""
        lines.append(
            f"ids of the ground truth without a name take no part: {short_ids(result.unnamed)}{more} "
            f"({_count(unnamed['pixels'], 'pixel')} in {_count(unnamed['images'], 'image')})"
        )
    return lines


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
