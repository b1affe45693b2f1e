"""Which clusters of a run are alike: an order, the nearest of each, and the tree drawn beside their crops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..common.files import atomic
from ..common.text import shorten
from ..images.drawing import INK
from ..images.palette import class_color
from .exemplars import crops_of

if TYPE_CHECKING:
    from PIL import Image

    from .folder import RunDirectory

__all__ = ["DENDROGRAM", "Likeness", "draw_tree", "likeness", "write_dendrogram"]

DENDROGRAM = "dendrogram.png"
MOST = 255  # clusters in a picture: more are no picture any more
ROW, CROP = 30, 26  # pixels of a leaf and of its crop
TEXT, TREE = 240, 420  # widths
GRID = (0.25, 0.5, 0.75)  # of the width of the tree
LINE, PALE = (90, 90, 90), (225, 225, 225)


@dataclass(frozen=True)
class Likeness:
    """How alike clusters are.

    Attributes:
        order: ids so that similar clusters are neighbours; those of which nothing is known come last.
        nearest: id -> the one most like it, and the cosine to that, in [-1, 1].
        tree: (m - 1, 4) float64 linkage of the first m of ``order``: two nodes, their distance (1 - cosine),
            and the leaves below; node ``i < m`` is ``order[i]``. Empty where nothing is known.
    """

    order: tuple[int, ...]
    nearest: dict[int, tuple[int, float]] = field(default_factory=dict)
    tree: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))


def likeness(method: object, clusters: Sequence[int]) -> Likeness:
    """Compare the clusters of a fitted method, ids from 1, by the means that it has of them.

    One without ``cluster_means``, or ``None``, knows nothing of them; clusters that an edit has made since
    are none of the method's. The order is that of the leaves of a dendrogram (average linkage, each branch
    turned to its nearest neighbour: Bar-Joseph, Gifford, Jaakkola, 2001).
    """
    means = getattr(method, "cluster_means", lambda: None)()
    known = [] if means is None else [id_ for id_ in clusters if id_ <= len(means)]
    if len(known) < 2:
        return Likeness(tuple(clusters))
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    rows = np.asarray(means, np.float64)[np.asarray(known) - 1]
    alike = (rows @ rows.T).clip(-1, 1)
    apart = 1 - (alike + alike.T) / 2
    np.fill_diagonal(apart, 0)
    tree = linkage(squareform(apart, checks=False), "average", optimal_ordering=True)
    leaves = leaves_list(tree)
    places = np.empty(len(known), np.int64)
    places[leaves] = np.arange(len(known))
    for column in (0, 1):
        is_leaf = tree[:, column] < len(known)
        tree[is_leaf, column] = places[tree[is_leaf, column].astype(np.int64)]
    np.fill_diagonal(alike, -np.inf)
    nearest = {
        id_: (known[int(row.argmax())], float(row.max())) for id_, row in zip(known, alike, strict=True)
    }
    others = [id_ for id_ in clusters if id_ not in nearest]
    return Likeness((*(known[i] for i in leaves), *others), nearest, tree)


def draw_tree(run: Path, alike: Likeness, captions: Mapping[int, str]) -> Image.Image:
    """Return the dendrogram of a run's clusters, each leaf with a crop and a caption, as an RGB image.

    A row is a leaf, in their order; distances grow to the right. The tree must not be empty.
    """
    from PIL import Image, ImageDraw, ImageFont

    count = len(alike.tree) + 1
    top = ROW  # of the first leaf, below the scale
    picture = Image.new("RGB", (CROP + TEXT + TREE + 24, top + count * ROW + 8), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    left = CROP + TEXT + 12
    longest = max(float(alike.tree[:, 2].max()), 1e-9)
    for share in (0.0, *GRID, 1.0):
        x = left + share * TREE
        draw.line((x, top, x, top + count * ROW), fill=PALE)
        draw.text((x, 8), f"{1 - share * longest:.2f}", fill=INK, font=font, anchor="ma")
    for row, id_ in enumerate(alike.order[:count]):
        y = top + row * ROW
        for crop in crops_of(run, id_)[:1]:
            picture.paste(crop.resize((CROP, CROP)), (4, y + (ROW - CROP) // 2))
        draw.rectangle((CROP + 10, y + 10, CROP + 20, y + 20), fill=class_color(id_))
        draw.text((CROP + 26, y + ROW / 2), shorten(captions[id_], 34), fill=INK, font=font, anchor="lm")
    nodes = [(left, top + (row + 0.5) * ROW) for row in range(count)]
    for one, two, distance, _ in alike.tree:
        (x1, y1), (x2, y2) = nodes[int(one)], nodes[int(two)]
        x = left + distance / longest * TREE
        draw.line((x1, y1, x, y1, x, y2, x2, y2), fill=LINE, width=2)
        nodes.append((x, (y1 + y2) / 2))
    return picture


def write_dendrogram(directory: RunDirectory, method: object, names: Mapping[int, str]) -> None:
    """Write ``dendrogram.png`` of a run whose method knows how alike its clusters are; else nothing.

    Its strips of crops are there.
    """
    alike = likeness(method, sorted(id_ for id_ in names if id_))
    if 0 < len(alike.tree) < MOST:
        with atomic(directory.root / DENDROGRAM) as partial:
            draw_tree(directory.root, alike, names).save(partial, format="PNG")
