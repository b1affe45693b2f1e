"""What holds for every refiner, alone and in batches, and how batches are made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fiftyone_plugin.common.parallel import Threads, one_thread
from fiftyone_plugin.errors import ImageReadError, UsageError
from fiftyone_plugin.images.reading import resize_image
from fiftyone_plugin.masks.refine import (
    REFINERS,
    Refiner,
    create_refiner,
    guide_of,
    make_guide,
    refine_all,
    refine_image,
)
from fiftyone_plugin.masks.scores import DeviceScores

from .scenes import accuracy, patch_scores, random_scores, refine_one, two_colours


@pytest.fixture(params=REFINERS)
def name(request) -> str:
    if request.param == "pydensecrf":
        pytest.importorskip("pydensecrf")
    return request.param


@pytest.fixture
def refiner(name) -> Refiner:
    return create_refiner(name)


def guides(refiner: Refiner, n: int) -> torch.Tensor:
    side = max(1, refiner.guide_side)
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8))


SIZES = [(480, 640), (640, 480), (20, 3000), (333, 333)]


@pytest.mark.parametrize("shape", [(1, 6, 6), (3, 32, 32), (7, 5, 9), (2, 1, 1), (2, 300, 200)])
def test_results_are_probabilities(refiner, shape):
    scores = torch.from_numpy(random_scores(*shape))[None]
    certain = (scores == scores.amax(1, keepdim=True)).float()
    for given in (scores, certain):
        before = given.clone()
        found = refiner(given, guides(refiner, 1), SIZES[:1])
        assert found.shape[:2] == (1, shape[0])
        assert found.dtype == torch.float32
        assert found.min() >= 0
        torch.testing.assert_close(found.sum(1), torch.ones_like(found[:, 0]), atol=1e-5, rtol=0)
        assert torch.equal(given, before)
        assert torch.equal(found, refiner(given, guides(refiner, 1), SIZES[:1]))


def test_an_image_does_not_depend_on_its_batch_nor_on_labels_that_it_has_not(refiner):
    counts = (2, 5, 1, 3)
    guide = guides(refiner, len(counts))
    batch = torch.zeros((len(counts), max(counts), 8, 8))
    for i, n in enumerate(counts):
        batch[i, :n] = torch.from_numpy(random_scores(n, 8, 8, seed=i))
    together = refiner(batch, guide, SIZES)
    for i, n in enumerate(counts):
        alone = refiner(batch[i : i + 1, :n], guide[i : i + 1], SIZES[i : i + 1])[0]
        torch.testing.assert_close(together[i, :n], alone, atol=2e-5, rtol=0)
        assert not together[i, n:].any()


def test_order_of_labels_does_not_matter(refiner):
    image, truth = two_colours(side=40)
    scores = patch_scores(truth, flipped=0.1)
    swapped = refine_one(refiner, scores[::-1], image)[::-1]
    np.testing.assert_allclose(swapped, refine_one(refiner, scores, image), atol=1e-4)


def test_outlines_follow_the_photograph(name, refiner):
    image, truth = two_colours()
    scores = patch_scores(truth, grid=6)
    refined = accuracy(refine_one(refiner, scores, image), truth)
    if name == "none":
        assert refined == accuracy(scores, truth)
    else:
        assert 1 - refined < (1 - accuracy(scores, truth)) / 2


def test_outlines_of_photos_get_better(name, refiner, data_dir):
    """Ground truth brought down to 16 x 16 patches and back up again, with and without the colours."""
    from fiftyone_plugin.images.reading import read_image

    folder = data_dir / "ecssd"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    before, after = [], []
    for photo in sorted((folder / "images").glob("*.jpg"))[:100:10]:
        image = read_image(photo)
        truth = read_image(folder / "masks" / f"{photo.stem}.png")[..., 0] > 127
        scores = patch_scores(truth, grid=16)
        before.append(accuracy(scores, truth))
        after.append(accuracy(refine_one(refiner, scores, image), truth))
    assert len(before) == 10
    assert np.mean(after) > np.mean(before) or name == "none"


def test_many_images_of_any_shape_are_each_refined_as_if_alone(refiner):
    shapes = [(2, 8, 8), (4, 8, 8), (3, 8, 8), (2, 4, 6), (1, 8, 8), (2, 50, 60)]
    scores = [
        DeviceScores(np.arange(s[0]), torch.from_numpy(random_scores(*s, seed=i)), refined=i == 5)
        for i, s in enumerate(shapes)
    ]
    guide, sizes = guides(refiner, len(shapes)), [*SIZES, (9, 9), (70, 50)]
    found = refine_all(refiner, scores, guide, sizes)
    for i, each in enumerate(scores):
        if each.refined or len(each.labels) == 1:
            assert found[i] is each.scores
        else:
            with one_thread():  # the last bits depend on their number
                alone = refiner(each.scores[None], guide[i : i + 1], sizes[i : i + 1])[0]
            assert torch.equal(found[i], alone)
    with Threads() as threads:
        at_once = refine_all(refiner, scores, guide, sizes, threads)
    assert all(torch.equal(a, b) for a, b in zip(found, at_once, strict=True))
    # in another order, with others beside them
    turned = refine_all(refiner, scores[::-1], guide.flip(0), sizes[::-1])[::-1]
    assert all(torch.equal(a, b) for a, b in zip(found, turned, strict=True))
    assert (
        refine_all(refiner, [replace(s, refined=True) for s in scores], guide, sizes)[3] is scores[3].scores
    )


def test_one_image_in_memory(name, refiner):
    image, truth = two_colours()
    scores = patch_scores(truth)
    found = refine_image(refiner, scores, truth.shape, lambda: image)
    np.testing.assert_array_equal(found, refine_one(refiner, scores, image))

    def refuse() -> np.ndarray:
        raise ImageReadError("a.jpg", "gone")

    if name == "none":
        np.testing.assert_array_equal(refine_image(refiner, scores, truth.shape, refuse), scores)
    else:
        with pytest.raises(ImageReadError, match="gone"):
            refine_image(refiner, scores, truth.shape, refuse)


def test_refiners_by_name():
    with pytest.raises(UsageError, match=f"unknown refinement 'blur'; known: {', '.join(REFINERS)}"):
        create_refiner("blur")


def test_a_guide_is_the_mean_over_areas():
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3), dtype=np.uint8))
    found = make_guide(pixels, 4)
    means = pixels.numpy().reshape(2, 4, 3, 4, 3, 3).mean(axis=(2, 4))
    assert found.dtype == torch.uint8
    assert np.abs(found.numpy() - means).max() <= 0.5 + 1e-4
    assert make_guide(pixels, 12) is pixels
    assert make_guide(pixels, 5).shape == (2, 5, 5, 3)
    with pytest.raises(ValueError, match="cannot be made from 12"):
        make_guide(pixels, 13)


def test_the_guide_of_a_photograph_is_squeezed_to_a_square():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    np.testing.assert_array_equal(guide_of(image, 16)[0].numpy(), resize_image(image, 16, 16))


def test_batches_off_the_cpu_hold_equal_grids_and_as_many_images_as_fit():
    """On the meta device, where tensors have shapes alone."""

    class Recording:
        guide_side = 64

        def __init__(self) -> None:
            self.batches: list[tuple[int, ...]] = []

        def __call__(self, scores, guide, sizes):
            assert guide.shape == (len(scores), 64, 64, 3)
            assert len(sizes) == len(scores)
            self.batches.append(tuple(scores.shape))
            return scores.new_zeros((*scores.shape[:2], 64, 64))

    shapes = [(2, 8, 8), (9, 8, 8), (3, 4, 4), (1, 8, 8), (5, 8, 8), (2, 8, 8)]
    scores = [DeviceScores(np.arange(s[0]), torch.empty(s, device="meta")) for s in shapes]
    guide = torch.empty((len(shapes), 64, 64, 3), dtype=torch.uint8, device="meta")
    refiner = Recording()
    found = refine_all(refiner, scores, guide, [(9, 9)] * len(shapes))
    assert sorted(refiner.batches) == [(1, 3, 4, 4), (4, 9, 8, 8)]
    assert [tuple(f.shape) for f in found] == [(n, 64, 64) if n > 1 else (n, *grid) for n, *grid in shapes]
    many = Recording()
    large = [DeviceScores(np.arange(200), torch.empty((200, 512, 512), device="meta"))] * 9
    refine_all(many, large, torch.empty((9, 64, 64, 3), device="meta"), [(9, 9)] * 9)
    assert [batch[0] for batch in many.batches] == [4, 4, 1]
