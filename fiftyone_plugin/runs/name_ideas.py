"""Names that an image-text model suggests for the clusters of a run; nothing is named by them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..common.untrusted import read_text
from ..errors import UsageError
from ..features.image_text import ImageText, load_image_text
from .exemplars import crops_of
from .result import finished_run

__all__ = ["Idea", "read_vocabulary", "suggest_names"]

Idea = tuple[str, float]
"""A name, and its share of the softmax over the vocabulary, 0..1."""
MAX_BYTES = 8 << 20
MOST_WORDS = 20_000


def read_vocabulary(path: Path) -> list[str]:
    """Read words to choose names from, one a line; empty lines and repeated words are left out.

    Raises:
        UsageError: it cannot be read, or holds fewer than two words or more than 20,000.
    """
    text = read_text(path, what="a vocabulary, one name a line", max_bytes=MAX_BYTES)
    words = list(dict.fromkeys(" ".join(line.split()) for line in text.splitlines() if line.strip()))
    if not 2 <= len(words) <= MOST_WORDS:
        raise UsageError(f"{path} holds {len(words)} words; 2 to {MOST_WORDS:,} can be chosen from")
    return words


def suggest_names(
    run: str | Path, vocabulary: Sequence[str] | str | Path, model: ImageText | str, count: int = 3
) -> dict[int, list[Idea]]:
    """Hold the crops of every cluster against words.

    The vocabulary is the words, or a file of them, see :func:`read_vocabulary`; the model is an image-text
    model, or its name, see :func:`~fiftyone_plugin.features.image_text.load_image_text`. The vectors of a
    cluster's crops are averaged before they are compared.

    Returns:
        cluster id -> ``count`` ideas, best first; clusters without crops have none.

    Raises:
        UsageError: the folder holds no finished run, no vocabulary, or the model cannot be had.
    """
    directory, _, rows = finished_run(Path(run))
    words = read_vocabulary(Path(vocabulary)) if isinstance(vocabulary, (str, Path)) else list(vocabulary)
    model = load_image_text(model) if isinstance(model, str) else model
    clusters = sorted({id_ for row in rows if row.status == "labelled" for id_ in row.classes if id_ > 0})
    crops = {id_: found for id_ in clusters if (found := crops_of(directory.root, id_))}
    if not crops:
        return {}
    from scipy.special import softmax

    texts = model.words(words)
    ideas: dict[int, list[Idea]] = {}
    for id_, images in crops.items():
        mean = model.images(images).mean(0)
        mean = mean / max(float(np.linalg.norm(mean)), 1e-12)
        shares = softmax(model.scale * (texts @ mean).astype(np.float64))
        best = np.argsort(-shares, kind="stable")[:count]
        ideas[id_] = [(words[i], float(shares[i])) for i in best]
    return ideas
