"""Which clusters are alike: the order and the tree against SciPy's own, and the picture of a run."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.cluster.hierarchy import cophenet, dendrogram, linkage
from scipy.spatial.distance import pdist, squareform

from fiftyone_plugin.runs.likeness import CROP, MOST, ROW, draw_tree, likeness, write_dendrogram

IDS = [2, 3, 5, 8, 9]


class Method:
    """What knows the means of ten clusters."""

    def cluster_means(self):
        rows = np.random.default_rng(0).normal(size=(10, 4))
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def rows_of(ids):
    return Method().cluster_means()[np.array(ids) - 1]


def test_order_nearest_and_tree_are_scipys():
    found = likeness(Method(), IDS)
    tree = linkage(pdist(rows_of(IDS), "cosine"), "average", optimal_ordering=True)
    assert list(found.order) == [IDS[i] for i in dendrogram(tree, no_plot=True)["leaves"]]
    apart = squareform(pdist(rows_of(IDS), "cosine"))
    for number, id_ in enumerate(IDS):
        others = [(distance, IDS[i]) for i, distance in enumerate(apart[number]) if i != number]
        near, cosine = found.nearest[id_]
        assert near == min(others)[1]
        assert cosine == pytest.approx(1 - min(others)[0])
    places = [found.order.index(id_) for id_ in IDS]
    heights = squareform(cophenet(found.tree))[np.ix_(places, places)]
    assert np.allclose(squareform(heights), cophenet(tree))


def test_classes_that_the_method_does_not_know_come_last():
    found = likeness(Method(), [*IDS, 11, 12])
    assert found.order == (*likeness(Method(), IDS).order, 11, 12)
    assert not {11, 12} & set(found.nearest)
    for method in (None, object()):
        assert likeness(method, IDS).order == tuple(IDS)
        assert not len(likeness(method, IDS).tree)
    assert likeness(Method(), [4]).order == (4,)


def test_the_picture_has_a_row_a_leaf_and_each_its_crop(tmp_path):
    found = likeness(Method(), IDS)
    (tmp_path / "exemplars").mkdir()
    for id_ in IDS[1:]:
        red = Image.new("RGB", (96, 96), (255, 0, 0))
        red.save(tmp_path / "exemplars" / f"class_{id_:04d}.jpg")
    picture = draw_tree(tmp_path, found, {id_: f"class {id_}" for id_ in IDS})
    for row, id_ in enumerate(found.order):
        red, green, _ = picture.getpixel((4 + CROP // 2, ROW + row * ROW + ROW // 2))
        assert (red > 200 and green < 60) == (id_ != IDS[0]), "the one without a strip has no crop"
    assert picture.height >= ROW * (1 + len(IDS))


def test_nothing_is_drawn_of_one_class_or_of_too_many(tmp_path):
    from types import SimpleNamespace

    many = SimpleNamespace(cluster_means=lambda: np.eye(MOST + 2))
    run = SimpleNamespace(root=tmp_path)
    write_dendrogram(run, many, dict.fromkeys(range(1, MOST + 2), "x"))
    write_dendrogram(run, Method(), {1: "x"})
    assert not list(tmp_path.iterdir())
    write_dendrogram(run, Method(), dict.fromkeys(IDS, "x"))
    assert [path.name for path in tmp_path.iterdir()] == ["dendrogram.png"]
