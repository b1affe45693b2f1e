"""Agreement of two segmentations, against scikit-learn and slow loops."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from fiftyone_plugin.cli import main
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.evaluation.comparison import compare_folders, compare_masks, match_classes
from fiftyone_plugin.evaluation.confusion import count

SHAPE = (6, 7)


def masks(ids):
    return arrays(np.uint8, SHAPE, elements=st.sampled_from(ids))


PAIRS = st.lists(st.tuples(masks([0, 1, 2, 3]), masks([0, 4, 5, 9, 11])), min_size=1, max_size=3)


def slow_agreement(a, b):
    """Try every one-to-one matching of the classes; 0 stands for 0."""
    a_ids, b_ids = ([int(k) for k in np.unique(mask) if k] for mask in (a, b))
    zero = int(((a == 0) & (b == 0)).sum())
    free = [*b_ids, *[None] * len(a_ids)]
    best = 0
    for chosen in itertools.permutations(free, len(a_ids)):
        hits = sum(
            int(((a == i) & (b == j)).sum()) for i, j in zip(a_ids, chosen, strict=True) if j is not None
        )
        best = max(best, hits)
    return (zero + best) / a.size


@settings(deadline=None, max_examples=60)
@given(PAIRS)
def test_against_scikit_learn_and_all_matchings(pairs):
    result = compare_masks((str(i), a, b) for i, (a, b) in enumerate(pairs))
    a, b = (np.concatenate([pair[k].ravel() for pair in pairs]) for k in (0, 1))
    assert result.agreement == pytest.approx(slow_agreement(a, b))
    assert result.ari == pytest.approx(adjusted_rand_score(a, b))
    assert result.nmi == pytest.approx(normalized_mutual_info_score(a, b))
    assert result.images == len(pairs)
    assert result.pixels == a.size
    matching = match_classes(count(a[None], b[None]))
    for i, (first, second) in enumerate(pairs):
        mapped = np.vectorize(lambda k: matching.get(int(k), -1))(first)
        assert result.per_image[str(i)] == pytest.approx((mapped == second).mean())


@settings(deadline=None, max_examples=40)
@given(PAIRS)
def test_classes_are_listed_once_with_their_iou(pairs):
    result = compare_masks((str(i), a, b) for i, (a, b) in enumerate(pairs))
    a, b = (np.concatenate([pair[k].ravel() for pair in pairs]) for k in (0, 1))
    for match in result.classes:
        first = a == match.a if match.a is not None else np.zeros_like(a, bool)
        second = b == match.b if match.b is not None else np.zeros_like(b, bool)
        assert match.iou == pytest.approx((first & second).sum() / (first | second).sum())
    listed = [match.a for match in result.classes if match.a is not None]
    assert sorted(listed) == [k for k in np.unique(a) if k]
    listed = [match.b for match in result.classes if match.b is not None]
    assert sorted(listed) == [k for k in np.unique(b) if k]
    ious = [match.iou for match in result.classes]
    assert ious == sorted(ious)


def test_a_renumbered_segmentation_agrees_wholly():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 6, (40, 30))
    b = np.array([0, 9, 300, 4, 7, 1])[a]
    result = compare_masks([("a", a, b)])
    assert (result.agreement, result.per_image) == (1.0, {"a": 1.0})
    assert result.ari == pytest.approx(1)
    assert {(match.a, match.b) for match in result.classes} == {(1, 9), (2, 300), (3, 4), (4, 7), (5, 1)}


def test_unlabelled_is_not_matched_with_a_class():
    result = compare_masks([("a", np.zeros((3, 3), int), np.ones((3, 3), int))])
    assert result.agreement == 0
    assert [(match.a, match.b) for match in result.classes] == [(None, 1)]


def test_masks_of_two_sizes_are_left_out():
    good, bad = np.ones((3, 3), int), np.ones((3, 4), int)
    result = compare_masks([("good", good, good), ("bad", good, bad)])
    assert result.images == 1
    assert [entry.key for entry in result.skipped] == ["bad"]
    assert "3x3 and 3x4" in result.skipped[0].reason
    with pytest.raises(UsageError, match=r"bad: .*3x4"):
        compare_masks([("bad", good, bad)])


@pytest.fixture
def runs(tmp_path):
    """Two run folders of four images; one mask is broken, one has no counterpart."""
    rng = np.random.default_rng(1)
    for i in range(4):
        a = rng.integers(1, 4, (4, 4)).repeat(5, axis=0).repeat(5, axis=1).astype(np.uint8)
        b = a + 10
        b[: 4 * i] = 11
        for run, mask in (("a", a), ("b", b)):
            path = tmp_path / run / "masks" / "sub" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(path)
    (tmp_path / "a/masks/broken.png").write_bytes(b"no image")
    Image.fromarray(a).save(tmp_path / "b/masks/broken.png")
    Image.fromarray(a).save(tmp_path / "b/masks/lonely.png")
    (tmp_path / "a/classes.json").write_text('{"1": "sky", "2": "tree", "3": "road"}')
    return tmp_path


def test_folders(runs):
    result = compare_folders(runs / "a", runs / "b")
    assert result.images == 4
    assert {entry.key for entry in result.skipped} == {"broken", "lonely"}
    shares = [result.per_image[f"sub/{i}"] for i in range(4)]
    assert shares[0] == 1
    assert shares == sorted(shares, reverse=True)


def test_the_command(runs, capsys):
    out = runs / "result.json"
    assert main(["compare", str(runs / "a"), str(runs / "b"), "--json", str(out), "--worst", "1"]) == 3
    printed = capsys.readouterr()
    document = json.loads(out.read_text())
    assert f"{document['agreement']:.4f}" in printed.out
    assert "sky" in printed.out
    assert "id 12" in printed.out
    assert printed.out.rstrip().endswith("sub/3")
    assert "broken" in printed.err
    assert document["per_image"]["sub/0"] == 1
    assert {(row["a"], row["b"]) for row in document["classes"]} == {(1, 11), (2, 12), (3, 13)}


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    assert main(["compare", str(tmp_path / "none"), str(tmp_path)]) == 2
    assert "none" in capsys.readouterr().err
