"""LightCluster on made-up features, small and fast."""

from __future__ import annotations

import json

import numpy as np

from fiftyone_plugin.masks.scores import LabelScores
from fiftyone_plugin.methods.lightcluster.method import LightCluster

FAST = {"layer": "out", "n_classes": 3, "refine": "none", "n_jobs": 1, "n_dataset_clusters": 5}


def method(**options) -> LightCluster:
    return LightCluster(**{**FAST, **options})


def check_scores(scores: LabelScores, size: tuple[int, int], n_classes: int) -> np.ndarray:
    """What every result must hold; returns the mask."""
    assert scores.refined
    assert scores.labels[0] == 0
    assert (np.diff(scores.labels) > 0).all()
    assert scores.labels[-1] <= n_classes
    assert scores.scores.shape == (len(scores.labels), *size)
    assert scores.scores.dtype == np.float32
    assert scores.scores.min() >= 0
    np.testing.assert_allclose(scores.scores.sum(0), 1, atol=1e-5)
    mask = scores.argmax()
    assert mask.shape == size
    return mask


def state_bytes(fitted: LightCluster) -> dict[str, bytes]:
    values, arrays = fitted.get_state()
    return {"values": json.dumps(values).encode()} | {name: array.tobytes() for name, array in arrays.items()}
