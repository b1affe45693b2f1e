"""Labelling on the device against the same in NumPy, image by image; and from what is kept of an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix, diags

from fiftyone_plugin.clustering.agreement import PROBED, cohesion
from fiftyone_plugin.clustering.normalize import l2_normalize
from fiftyone_plugin.clustering.region_classes import pool_regions, stack_layers
from fiftyone_plugin.clustering.spectral import diffusion_rows
from fiftyone_plugin.clustering.spreading import n_neighbours
from fiftyone_plugin.masks.quality import image_quality
from fiftyone_plugin.masks.scores import DeviceScores, LabelScores
from fiftyone_plugin.methods.mosaic.labelling import ASKED
from fiftyone_plugin.methods.mosaic.method import Mosaic
from fiftyone_plugin.methods.mosaic.reduction import Reduced
from fiftyone_plugin.methods.mosaic.regions import owner_of

from ..synthetic import MemorySource, batch_of, make_image, scene, scenes

OPTIONS = {"layers": ["out"], "cuts": [("out", 2), ("stack", 3)], "cue": "out", "whiten": 8, "blur": 0.0}


@pytest.fixture(scope="module")
def source() -> MemorySource:
    """Features noisy enough for doubtful patches."""
    return MemorySource(make_image(scene(i), f"{i}.png", noise=2.0, memo=True) for i in range(60))


@pytest.fixture(scope="module")
def fitted(source) -> Mosaic:
    return Mosaic(5, **OPTIONS).fit(source)


def spread_in_numpy(scores: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Thirty steps of F <- a S F + (1 - a) Y, as before they were taken on the device."""
    n, k = len(vectors), n_neighbours(len(vectors))
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    near = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
    directed = csr_matrix((np.ones(n * k), (np.repeat(np.arange(n), k), near.ravel())), shape=(n, n))
    graph = (directed + directed.T) * 0.5
    root = np.sqrt(np.asarray(graph.sum(1)))
    walk = diags(1 / root.ravel()) @ graph @ diags(1 / root.ravel())
    start = scores * root
    spread = start
    for _ in range(30):
        spread = 0.9 * (walk @ spread) + 0.1 * start
    return np.asarray(spread / root)


def nearness_in_numpy(fitted: Mosaic, segments: np.ndarray, classes: np.ndarray, owner: int) -> np.ndarray:
    graph, labels = fitted.graph_, fitted.clusters_
    others = graph.owners != owner
    k = int(labels.max()) + 1
    columns = min(2 * k, graph.embedding.shape[1])
    rows = diffusion_rows(graph.embedding, graph.eigenvalues, columns)[others]
    asked = min(max(5, min(ASKED, others.sum() // (2 * k))), others.sum())
    similarity = segments @ graph.vectors[others].astype(np.float32).T
    found = np.argpartition(-similarity, asked - 1, axis=1)[:, :asked]
    nearness = []
    for near, own in zip(found, classes, strict=True):
        members = rows[labels[others] == own]
        center = l2_normalize(members.mean(0, keepdims=True))[0] if len(members) else 0 * rows[0]
        nearness.append(np.clip(rows[near].mean(0) @ center, 0, 1))
    return np.array(nearness)


def trust_in_numpy(fitted: Mosaic) -> np.ndarray:
    """Of every class the root of its cohesion, times what its own regions say of it, asked one by one."""
    graph, labels = fitted.graph_, fitted.clusters_
    held = np.sqrt(cohesion(graph.links, graph.link_weights, labels))
    for own in range(len(held)):
        rows = np.flatnonzero(labels == own)
        rows = rows[:: -(-len(rows) // max(4, PROBED // len(held)))]
        vectors = graph.vectors[rows].astype(np.float32)
        near = [
            nearness_in_numpy(fitted, v[None], [own], o)[0]
            for v, o in zip(vectors, graph.owners[rows], strict=True)
        ]
        held[own] *= np.mean(np.sqrt(near)) ** 0.75
    return held


def agreement_in_numpy(
    fitted: Mosaic, segments: np.ndarray, classes: np.ndarray, owner: int, trust: np.ndarray
) -> np.ndarray | None:
    graph = fitted.graph_
    if not graph.embedding.shape[1] or not (graph.owners != owner).any():
        return None
    near = nearness_in_numpy(fitted, segments, classes, owner)
    return np.sqrt(near) ** 0.25 * trust[classes]


def in_numpy(fitted: Mosaic, image, trust: np.ndarray) -> LabelScores:
    tokens = stack_layers([image[layer] for layer in fitted.config.layers])
    d = len(fitted.head_.weight_)
    normalizer = fitted.normalizer_.of(fitted.normalizer_.mean_, fitted.normalizer_.projection_[:, :d])
    probability = fitted.head_.predict_proba(normalizer.transform(tokens) * np.float32(np.sqrt(d)))
    winners = np.unique(probability.argmax(1))
    spread = probability[:, winners]
    if len(winners) > 1:
        spread = spread_in_numpy(spread, l2_normalize(tokens))
    labels = winners[spread.argmax(1)]
    present, descriptors, _ = pool_regions(tokens, labels)
    segments = fitted.region_normalizer_.transform(descriptors)
    scores = spread[:, np.isin(winners, present)].T.reshape(len(present), *image.grid)
    agreement = agreement_in_numpy(fitted, segments, present, owner_of(image.digest), trust)
    return LabelScores(1 + present, (scores / scores.sum(0)).astype(np.float32), agreement=agreement)


def test_labels_scores_and_agreement_are_those_of_numpy(fitted, source):
    equal, quality, several, trust = [], [], 0, trust_in_numpy(fitted)
    for image in source:
        ours, theirs = fitted.predict(image), in_numpy(fitted, image, trust)
        equal.append((ours.argmax() == theirs.argmax()).mean())
        quality.append(
            image_quality(ours.scores, ours.agreement) - image_quality(theirs.scores, theirs.agreement)
        )
        if ours.labels.tolist() == theirs.labels.tolist():
            np.testing.assert_allclose(ours.scores, theirs.scores, atol=0.02)
            np.testing.assert_allclose(ours.agreement, theirs.agreement, atol=5e-3)
            several += len(ours.labels) > 1
    assert np.mean(equal) >= 0.999
    assert np.abs(quality).mean() < 1e-3
    assert several > 20


def scores_bytes(one: DeviceScores | LabelScores) -> bytes:
    scores = one.scores.numpy() if isinstance(one, DeviceScores) else one.scores
    return one.labels.tobytes() + scores.tobytes() + one.agreement.tobytes()


def test_an_image_does_not_depend_on_its_batch(fitted, source):
    alone = [scores_bytes(fitted.predict(image)) for image in source[:9]]
    for size in (2, 5, 9):
        together = fitted.predict_batch(batch_of(source[:size]))
        assert [scores_bytes(one) for one in together] == alone[:size]


def test_all_of_a_batch_at_once_as_on_other_devices(fitted, source):
    """A CPU takes the images one by one; what other devices do with a whole batch is the same code."""
    images = [*source[:7], source[0]]  # one of them twice
    labelling = fitted._labelling_on("cpu")
    reduction = labelling.reduction
    together = labelling(reduction(reduction.whiten(reduction.stacked(batch_of(images).tensors))), images)
    assert len({len(one.labels) for one in together}) > 1
    for one, image in zip(together, images, strict=True):
        expected = fitted.predict(image)
        np.testing.assert_array_equal(one.labels, expected.labels)
        np.testing.assert_allclose(one.scores.numpy(), expected.scores, atol=1e-3)
        np.testing.assert_allclose(one.agreement, expected.agreement, atol=1e-3)


def test_images_of_the_fit_are_labelled_from_what_is_kept_of_them(fitted, source):
    kept = fitted.predict_kept(source)
    assert [scores_bytes(one) for one in kept] == [
        scores_bytes(one) for one in fitted.predict_batch(batch_of(source))
    ]
    other = fitted.recut(3)
    assert [scores_bytes(one) for one in other.predict_kept(source[:5])] == [
        scores_bytes(other.predict(image)) for image in source[:5]
    ]
    fresh = make_image(scene(99), "new.png", memo=True)
    assert fitted.predict_kept([fresh, source[0], make_image(scene(98), "none.png")])[::2] == [None, None]


def test_little_is_kept(source):
    layers = torch.rand(1, 1024, 384).half()
    image = source[0]
    for arrays in image.memo.values():
        assert set(arrays) == {"head", "detail", "neighbours"}
        assert arrays["head"].dtype == np.float16
    method = Mosaic(2, layers=["a", "b"])
    method.normalizer_ = fit_normalizer(method)
    reduction = method._reduction(96, "cpu")
    reduced = reduction(reduction.whiten(reduction.stacked({"a": layers, "b": layers.flip(1)})))
    (arrays,) = reduced.arrays()
    assert sum(array.nbytes for array in arrays.values()) <= 0.33e6
    again = Reduced.of([arrays], "cpu")
    assert all(torch.equal(getattr(again, name), getattr(reduced, name)) for name in arrays)


def fit_normalizer(method: Mosaic):
    from fiftyone_plugin.clustering.normalize import VectorNormalizer

    x = np.random.default_rng(0).normal(size=(900, 768)).astype(np.float32)
    return VectorNormalizer(whiten=192).fit(x)


@pytest.mark.parametrize(
    "damage",
    [
        lambda kept: kept.pop("head"),
        lambda kept: kept.update(more=kept["head"]),
        lambda kept: kept.update(head=kept["head"][1:]),
        lambda kept: kept.update(head=kept["head"].astype(np.float32)),
        lambda kept: kept.update(head=np.full_like(kept["head"], np.nan)),
        lambda kept: kept.update(detail=kept["detail"][:, 1:]),
        lambda kept: kept.update(neighbours=kept["neighbours"] + 64),
        lambda kept: kept.update(neighbours=kept["neighbours"] - 64),
    ],
)
def test_what_is_damaged_is_not_used(fitted, source, damage):
    image = make_image(scene(0), "0.png", noise=2.0, memo=True)
    name = fitted._labelling_on("cpu").reduction.name
    arrays = dict(source[0].memo[name])
    image.memo.put(name, arrays)
    assert fitted.predict_kept([image]) != [None]
    damage(arrays)
    image.memo.put(name, arrays)
    assert fitted.predict_kept([image]) == [None]


def test_what_another_fit_has_kept_is_not_used(source):
    other = Mosaic(5, **OPTIONS, random_state=1).fit(scenes(24))
    assert other.predict_kept(source[:3]) == [None] * 3
