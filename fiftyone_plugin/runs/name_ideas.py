"""Names that an image-text model suggests for the clusters of a run; nothing is named by them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

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

    Args:
        run: folder of a finished run.
        vocabulary: the words, or a file of them, see :func:`read_vocabulary`.
        model: an image-text model, or its name, see
            :func:`~fiftyone_plugin.features.image_text.load_image_text`.
        count: ideas a cluster.

    Returns:
        cluster id -> ideas, best first; clusters without crops have none. The vectors of a cluster's crops
        are averaged before they are compared.

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
    texts = model.words(words)
    return {
        id_: _best(_mean(model, images), texts, words, model.scale, count) for id_, images in crops.items()
    }


def _mean(model: ImageText, crops: Sequence[Image.Image]) -> np.ndarray:
    mean = model.images(crops).mean(0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12))


def _best(crop: np.ndarray, texts: np.ndarray, words: Sequence[str], scale: float, count: int) -> list[Idea]:
    scores = scale * (texts @ crop).astype(np.float64)
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    return [(words[i], float(shares[i])) for i in np.argsort(-shares, kind="stable")[:count]]
