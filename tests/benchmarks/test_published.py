"""What is published or released and not in the methods: against slow references, and in whole fits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks import published
from benchmarks.published import PublishedAlignSeg, PublishedDatUS, ReleasedDecoder, ReleasedTrainer
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.methods.alignseg.model import Decoder, cosine
from fiftyone_plugin.methods.registry import CATALOG, create_method

from ..methods.synthetic import make_image, scene, scenes


def tensor(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


# ---------------------------------------------------------------------- DatUS²


def test_datus_paints_void_and_ids():
    assert PublishedDatUS().inputs == ("k-1", "cls")
    options = {"layer": "out", "min_patches": 12, "refine": "none", "n_jobs": 1}
    method = PublishedDatUS(5, **options).fit(scenes())
    native = [method.predict(make_image(scene(i, (50, 70)), "x")) for i in range(6)]
    assert all(scores.refined and scores.scores.shape[1:] == (50, 70) for scores in native)
    assert all(set(np.unique(scores.scores)) <= {0.0, 1.0} for scores in native)
    assert any(0 in scores.labels for scores in native)


def test_its_options_are_those_that_earlier_versions_saved():
    saved = PublishedDatUS().get_config()
    assert (saved["preset"], saved["crop"], saved["upsample"]) == ("published", "black", "ids")
    assert PublishedDatUS(**saved).get_config() == saved
    with pytest.raises(UsageError, match="can only be 'default' any more"):
        create_method("datus", preset="published")


def test_its_crops_are_black_outside_and_lose_their_ends():
    pixels = np.random.default_rng(0).integers(1, 255, (60, 80, 3), np.uint8)
    mask = np.zeros((60, 80), bool)
    mask[20:40, 10:70] = True
    mask[20:30, 10:20] = False
    centred = published.center_crop(pixels, mask, 112)
    assert centred.shape == (112, 112, 3)
    assert (centred != 0).mean() > 0.9  # 20 of 60 columns at the middle: the empty corner is cut off
    mask[22:38, 30:50] = False
    assert (published.center_crop(pixels, mask, 112) == 0).any()


def test_they_can_be_found_by_name():
    before = dict(CATALOG)
    try:
        published.register_all()
        assert isinstance(create_method("datus-published"), PublishedDatUS)
        assert isinstance(create_method("alignseg-published", steps=3), PublishedAlignSeg)
    finally:
        CATALOG.clear()
        CATALOG.update(before)


# ---------------------------------------------------------------------- AlignSeg


@pytest.fixture(scope="module")
def trainer() -> ReleasedTrainer:
    decoder = ReleasedDecoder(8, 4, n_heads=2, hidden=8)
    config = PublishedAlignSeg().config
    return ReleasedTrainer(decoder, config, device="cpu", checkpoint=None, identity="")


def test_image_alignment_is_a_sum_with_the_mean_put_back(trainer):
    world, local = tensor(3, 6, 8), tensor(3, 5, 8, seed=1)
    a, b = tensor(3, 6, 4, seed=3).softmax(-1), tensor(3, 5, 4, seed=4).softmax(-1)
    rng = np.random.default_rng(3)
    mask_a, mask_b = (torch.from_numpy(rng.random((3, n)) < 0.6) for n in (6, 5))
    c = cosine(world, local).double().numpy()
    target = c - c.mean(-1, keepdims=True)
    target += c.mean() - target.mean()
    expected = sum(
        -float(a[k, i] @ b[k, j]) * (target[k, i, j] - 0.11)
        for k, i, j in np.ndindex(3, 6, 5)
        if mask_a[k, i] and mask_b[k, j]
    )
    found = trainer.image_alignment(world, local, a, b, mask_a, mask_b)
    assert float(found) == pytest.approx(expected, abs=1e-4)
    twice = trainer.image_alignment(*(torch.cat([t, t]) for t in (world, local, a, b, mask_a, mask_b)))
    assert float(twice) == pytest.approx(2 * float(found), rel=1e-4)
    nothing = torch.zeros_like(mask_a)
    assert float(trainer.image_alignment(world, local, a, b, nothing, mask_b)) == 0


def test_layers_but_the_last_are_never_trained():
    """Fed the learnt prototypes each, only the last layer counts; chained, all do."""
    for kind, trained in ((ReleasedDecoder, [False, True]), (Decoder, [True, True])):
        decoder = kind(8, 4, n_layers=2, n_heads=2, hidden=8)
        decoder(tensor(3, 6, 8)).square().sum().backward()
        assert [layer.cross.in_proj_weight.grad is not None for layer in decoder.layers] == trained


def test_a_whole_fit():
    options = {"n_prototypes": 3, "class_layers": "out", "class_whiten": None, "class_clustering": "kmeans"}
    options |= {"steps": 4, "batch_size": 4, "crops": "tokens", "crop_tokens": 4, "hidden": 16, "n_heads": 2}
    method = PublishedAlignSeg(3, refine="none", **options).fit(scenes(6))
    assert method.losses_.shape == (4, 3)
    np.testing.assert_allclose(
        method.losses_[:, 0], 0.15 * method.losses_[:, 1] + method.losses_[:, 2], rtol=1e-4
    )
    assert method.predict(make_image(scene(0), "x")).labels.min() >= 1


@pytest.mark.parametrize(("images", "crops"), [(4, 2), (5, 2), (3, 3), (2, 1)])
def test_released_order(images, crops):
    """Tokens come out crop by crop: crop 1 of all images, then crop 2; and are read image by image."""
    local = np.array([[(b, c) for c in range(crops)] for b in range(images)])
    stream = [(b, c) for c in range(crops) for b in range(images)]
    expected = [[stream[b * crops + c] for c in range(crops)] for b in range(images)]
    np.testing.assert_array_equal(published.scramble(local), expected)
    if crops == 2:  # as measured on the released code: slot b holds images 2b and 2b + 1, modulo B
        for b in range(images):
            assert published.scramble(local)[b, :, 0].tolist() == [2 * b % images, (2 * b + 1) % images]
