"""AlignSeg as a method: training, checkpoints, regions and classes, saving."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from fiftyone_plugin.common.progress import CallbackProgress
from fiftyone_plugin.errors import PseudoMaskError, UsageError
from fiftyone_plugin.methods.alignseg.method import AlignSeg
from fiftyone_plugin.methods.alignseg.tokens import collect_images
from fiftyone_plugin.methods.alignseg.training import Trainer, make_crops
from fiftyone_plugin.methods.registry import create_method

from ..synthetic import GRID, MemorySource, make_image, scene, scenes

SMALL = {
    "n_prototypes": 3, "whiten": 4, "class_layers": "out", "class_whiten": None, "class_clustering": "kmeans",
    "steps": 12, "batch_size": 4, "checkpoint_every": 5, "crop_tokens": 6, "hidden": 16, "min_patches": 2,
    "refine": "none", "n_jobs": 1,
}  # fmt: skip


def method(**options) -> AlignSeg:
    return AlignSeg(**{"n_classes": 5, **SMALL, **options})


@pytest.fixture(scope="module")
def source() -> MemorySource:
    return scenes(12)


@pytest.fixture(scope="module")
def fitted(source) -> AlignSeg:
    return method(steps=60).fit(source)


@pytest.fixture(scope="module")
def short(source) -> AlignSeg:
    """Twelve steps, never interrupted."""
    return method().fit(source)


def weights(fitted: AlignSeg) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in fitted.get_state()[1].items()}


def truth(index: int) -> np.ndarray:
    """The scene's labels at the middle of every patch."""
    labels = scene(index)
    middle = (np.arange(GRID) * 64 + 32) // GRID
    return labels[np.ix_(middle, middle)]


# --- regions and classes --------------------------------------------------------------------------


def test_regions_follow_the_objects(source):
    """Two regions for two kinds of patches in every image, whichever two they are."""
    made = method(n_prototypes=2, smooth=0.0, steps=60).fit(source)
    for index, image in enumerate(source):
        assert adjusted_rand_score(truth(index).ravel(), made.regions(image).ravel()) > 0.9


def test_more_prototypes_than_kinds_split_but_never_mix(source, fitted):
    pure = 0
    for index, image in enumerate(source):
        regions, true = fitted.regions(image), truth(index)
        pure += sum(np.bincount(true[regions == r]).max() for r in np.unique(regions))
    assert pure / (len(source) * GRID**2) > 0.95


def test_classes_mean_the_same_in_every_image(source, fitted):
    found, true = [], []
    for index, image in enumerate(source):
        scores = fitted.predict(image)
        assert scores.scores.shape[0] == len(scores.labels)
        np.testing.assert_allclose(scores.scores.sum(0), 1, atol=0.02)
        assert not scores.refined  # the pipeline does that
        labels = scores.argmax()
        rows = (np.arange(GRID) * labels.shape[0] + labels.shape[0] // 2) // GRID
        found.append(labels[np.ix_(rows, rows)])
        true.append(truth(index))
    found = np.stack(found)
    assert found.min() >= 1
    assert found.max() <= fitted.n_classes_ == 5
    assert adjusted_rand_score(np.stack(true).ravel(), found.ravel()) > 0.9


def test_regions_can_be_asked_for_instead_of_classes(source):
    made = method(output="regions").fit(source)
    assert made.n_classes_ == 3
    for image in list(source)[:3]:
        np.testing.assert_array_equal(made.predict(image).labels, np.unique(made.regions(image)))


def test_small_regions_go_to_the_next_best():
    made = method(min_patches=4)
    similarity = np.zeros((3, 4, 4), np.float32)
    similarity[0] = 0.5
    similarity[1, :, 2:] = 0.9  # eight patches
    similarity[2, 0, :3] = 1.0  # three, of which one would else be region 1's
    kept = made._without_small(similarity).argmax(0)
    expected = np.zeros((4, 4), int)
    expected[:, 2:] = 1
    np.testing.assert_array_equal(kept, expected)


def test_constant_images_are_one_region():
    flat = MemorySource(make_image(np.full((64, 64), 1), f"{i}.png", noise=0.0) for i in range(3))
    made = method(steps=3).fit(flat)
    assert made.predict(flat[0]).labels.tolist() == [1]
    assert np.isfinite(made.losses_).all()


# --- training -------------------------------------------------------------------------------------


def mean_loss(made: AlignSeg, images: list) -> float:
    """Total loss over the same twenty batches, whatever was trained on."""
    options = {"attention": False, "max_images": 99, "seed": 0, "advance": lambda: None}
    kept = collect_images(images, len(images), made.tokens_, **options)
    crops = make_crops(made.config, made.tokens_, kept)
    trainer = Trainer(made.decoder_, made.config, device="cpu", checkpoint=None, identity="")
    with torch.inference_mode():
        batches = [crops.batch(np.random.default_rng([99, i]), 8) for i in range(20)]
        return float(np.mean([trainer.loss(batch)[0].item() for batch in batches]))


def test_the_loss_falls(source, fitted):
    untrained = method(steps=1, learning_rate=0.0).fit(source)
    assert fitted.losses_.shape == (60, 3)
    assert mean_loss(fitted, source) < 0.95 * mean_loss(untrained, source)


def test_the_same_seed_gives_the_same_weights(source, short):
    assert weights(method().fit(source)) == weights(short)
    assert weights(method(random_state=1).fit(source)) != weights(short)


def test_batches_follow_the_content_of_the_images_and_not_their_order(source, fitted):
    def batch(images):
        options = {"attention": False, "max_images": 99, "seed": 0, "advance": lambda: None}
        kept = collect_images(images, len(source), fitted.tokens_, **options)
        return make_crops(fitted.config, fitted.tokens_, kept).batch(np.random.default_rng(7), 20)

    first, second = batch(source), batch(list(reversed(source)))
    assert first.world.shape == (20, 36, 4)  # more than there are images: some twice
    assert first.local.shape == (20, 2, 36, 4)
    assert first.world.tobytes() == second.world.tobytes()
    assert first.local.tobytes() == second.local.tobytes()


@pytest.mark.parametrize(
    "options",
    [{"attention": 0.6}, {"n_layers": 2}, {"prototypes": "random"}, {"whiten": None, "center": True},
     {"smooth": 0.0}, {"adapt_steps": 0}, {"class_clustering": "spectral"}],
    ids=str,
)  # fmt: skip
def test_every_switch_changes_the_result(source, short, options):
    other = method(**options).fit(source)
    assert other.similarity(source[0]).tobytes() != short.similarity(source[0]).tobytes() or (
        weights(other) != weights(short)
    )


def interrupt(after: int):
    def callback(stage, done, total):
        if stage == "training" and done >= after:
            raise KeyboardInterrupt

    return CallbackProgress(callback, interval=0)


@pytest.mark.parametrize("after", [0, 5, 7, 11])
def test_resumed_training_ends_with_the_same_weights(source, short, tmp_path, after):
    first, second = method(), method()
    first.work_dir = second.work_dir = tmp_path
    with pytest.raises(KeyboardInterrupt):
        first.fit(source, progress=interrupt(after))
    checkpoint = tmp_path / "training.pt"
    assert checkpoint.exists() == (after > 0)
    if after:
        assert len(torch.load(checkpoint, weights_only=True)["losses"]) == after
    begun = []
    progress = CallbackProgress(lambda *args: begun.append(args), interval=0)
    second.fit(source, progress=progress)
    assert weights(second) == weights(short)
    steps = [done for stage, done, _ in begun if stage == "training"]
    assert after in steps
    assert not set(range(1, after)) & set(steps)


def test_interrupted_in_the_middle_of_an_update_it_goes_on_from_the_last_checkpoint(
    source, short, tmp_path, monkeypatch
):
    """Half of the weights of step 8 are new then: that state must not be kept."""
    plain = torch.optim.AdamW.step
    calls = []

    def torn(self, *args):
        plain(self, *args)
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.AdamW, "step", torn)
    first, second = method(), method()
    first.work_dir = second.work_dir = tmp_path
    with pytest.raises(KeyboardInterrupt):
        first.fit(source)
    monkeypatch.undo()
    assert len(torch.load(tmp_path / "training.pt", weights_only=True)["losses"]) == 5
    assert weights(second.fit(source)) == weights(short)


@pytest.mark.parametrize("damage", [b"", b"PK", None])
def test_checkpoints_that_are_damaged_or_of_other_settings_are_not_used(source, short, tmp_path, damage):
    other = method(random_state=3)
    other.work_dir = tmp_path
    other.fit(source)
    if damage is not None:
        (tmp_path / "training.pt").write_bytes(damage)
    made = method()
    made.work_dir = tmp_path
    assert weights(made.fit(source)) == weights(short)


def test_training_ends_early_on_a_plateau(source):
    assert len(method(steps=40, learning_rate=0.0, weight_decay=0.0, patience=6).fit(source).losses_) < 40
    assert len(method(steps=14, learning_rate=0.0, patience=None).fit(source).losses_) == 14


def test_a_diverging_training_says_what_to_do(source):
    with pytest.raises(PseudoMaskError, match="lower learning_rate"):
        method(learning_rate=1e25).fit(source)


def test_the_rate_is_halved_every_three_tenths(source, monkeypatch):
    rates = []
    plain = Trainer._step

    def step(self, crops):
        plain(self, crops)
        rates.append(self.optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(Trainer, "_step", step)
    method(steps=10, learning_rate=8e-4).fit(source)
    assert rates == pytest.approx([8e-4] * 3 + [4e-4] * 3 + [2e-4] * 3 + [1e-4])


def test_prototypes_and_biases_do_not_decay(source):
    made = method()
    made.fit(source)
    decoder = made.decoder_
    trainer = Trainer(decoder, made.config, device="cpu", checkpoint=None, identity="")
    decayed, plain = (group["params"] for group in trainer.optimizer.param_groups)
    assert trainer.optimizer.param_groups[1]["weight_decay"] == 0
    assert any(p is decoder.prototypes for p in plain)
    assert all(p.ndim == 2 for p in decayed)
    assert len(decayed) + len(plain) == len(list(decoder.parameters()))


def test_memory_is_bounded_by_max_images():
    source = scenes(40)
    for most, low, high in ((8, 2, 16), (1, 1, 4), (40, 40, 40)):
        kept = collect_images(
            source, 40, None, attention=False, max_images=most, seed=0, advance=lambda: None
        )
        assert low <= len(kept) <= high
    for seed in range(5):  # never none at all
        assert collect_images(
            scenes(2), 10**9, None, attention=False, max_images=1, seed=seed, advance=lambda: None
        )


# --- settings and saving --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"crops": "paper"}, "crops must be one of tokens, pixels"), ({"steps": 0}, "steps must"),
        ({"attention": 2}, "attention must"), ({"token_layers": []}, "token_layers must"),
        ({"token_layers": "cls"}, "token_layers must"), ({"class_layers": [3]}, "class_layers must"),
        ({"chained": 1}, "chained can only be True"), ({"crop": "token"}, "did you mean 'crops'"),
        ({"refine": "blur"}, "refine must be one of crf, pydensecrf, none"),
        ({"colour": 1}, "colour"), ({"loss": "sum"}, "loss can only be 'mean' any more"),
    ],
    ids=str,
)  # fmt: skip
def test_impossible_settings(wrong, match):
    with pytest.raises(UsageError, match=match):
        create_method("alignseg", **wrong)


def test_heads_must_divide_the_dimensions(source):
    with pytest.raises(UsageError, match="n_heads must divide the 4 token dimensions, got 5"):
        method(n_heads=5).fit(source)


def test_layers_asked_for():
    assert method().inputs == ("out", "cls")
    assert method(token_layers=["t9", "out"], attention=0.6).inputs == ("t9", "out", "cls", "attn")
    assert "attn" in AlignSeg(attention=0.6, crops="pixels").inputs


def test_stages_are_explained(source):
    made = method(attention=0.6).fit(source)
    panels = made.explain(source[0])
    titles = [panel.title for panel in panels]
    assert titles[0].startswith("loss")
    assert any("attention" in title for title in titles)
    assert sum(title.startswith("prototype") for title in titles) == 3
    assert titles[-1].startswith("regions")
    np.testing.assert_array_equal(panels[-1].array, made.regions(source[0]))
