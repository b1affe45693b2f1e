"""AlignSeg on real photographs: it learns from eight of them, and runs as a whole in the pipeline."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin.clustering.kmeans import ReproducibleKMeans
from fiftyone_plugin.clustering.normalize import l2_normalize
from fiftyone_plugin.common.progress import CallbackProgress, NullProgress
from fiftyone_plugin.features.backbones import load_backbone
from fiftyone_plugin.features.sampling import border_patches
from fiftyone_plugin.features.source import ImageFeatureSource
from fiftyone_plugin.features.types import ImageFeatures
from fiftyone_plugin.images.listing import list_images
from fiftyone_plugin.methods.alignseg.method import AlignSeg
from fiftyone_plugin.runs.api import label

pytestmark = pytest.mark.slow

LAYERS = ("out", "cls", "attn")


# --- learning from eight photos -------------------------------------------------------------------


@pytest.fixture(scope="module")
def eight(photos, backbone, tmp_path_factory) -> list[ImageFeatures]:
    """Seven photographs and a part of one, at 224 px."""
    folder = tmp_path_factory.mktemp("eight")
    for path in photos.iterdir():
        shutil.copy(path, folder)
    with Image.open(photos / "china.jpg") as photo:
        photo.crop((100, 40, 420, 300)).save(folder / "roof.jpg")
    source = ImageFeatureSource(list_images(folder), backbone, LAYERS, size=224)
    images = list(source)
    assert len(images) == 8
    return images


def own_foreground(image: ImageFeatures) -> np.ndarray:
    """The one of two clusters of the photo's patches that touches the border less, (n,) bool."""
    labels = ReproducibleKMeans(2, n_init=5).fit(l2_normalize(image["out"])).labels_
    border = border_patches(*image.grid)
    rate = [border[labels == k].mean() for k in (0, 1)]
    return labels == int(np.argmin(rate))


def foreground_iou(made: AlignSeg, images: list[ImageFeatures]) -> float:
    """Mean IoU of the regions that lie mostly in a photo's foreground, taken together, with it."""
    values = []
    for image in images:
        true, regions = own_foreground(image), made.regions(image).ravel()
        inside = [r for r in np.unique(regions) if true[regions == r].mean() > 0.5]
        found = np.isin(regions, inside)
        values.append((found & true).sum() / (found | true).sum())
    return float(np.mean(values))


def train(images: list, **options) -> AlignSeg:
    """From random prototypes, and without the steps of k-means, so that all comes from the training."""
    settings = {"prototypes": "random", "adapt_steps": 0, "batch_size": 8, "hidden": 64, "n_layers": 1}
    return AlignSeg(**{**settings, **options}).fit_regions(images, progress=NullProgress())


class Noise(ImageFeatures):
    """A photo's size and name with random tokens."""

    def __init__(self, image: ImageFeatures) -> None:
        super().__init__(**vars(image))
        noise = np.random.default_rng(int(image.digest[:8], 16)).normal(size=image["out"].shape)
        self.layers = {**image.layers, "out": noise.astype(np.float16)}


def test_trained_on_eight_photos_the_regions_follow_their_objects(eight):
    """Better than before the training, and than the same training on noise."""
    before = train(eight, steps=1, learning_rate=0.0)
    after = train(eight, steps=100)
    noise = train([Noise(image) for image in eight], steps=100)
    noise.tokens_ = after.tokens_
    first, last = after.losses_[:10, 0].mean(), after.losses_[-10:, 0].mean()
    assert last < 0.9 * first
    untrained, trained, control = (foreground_iou(made, eight) for made in (before, after, noise))
    print(f"IoU untrained {untrained:.3f}, trained {trained:.3f}, on noise {control:.3f}")
    assert trained > untrained + 0.1
    assert trained > control + 0.1
    assert trained > 0.6


def test_attention_limits_what_is_learnt_from(eight):
    made = train(eight, steps=2, attention=0.6)
    assert made.losses_.tobytes() != train(eight, steps=2).losses_.tobytes()
    titles = [panel.title for panel in made.explain(eight[0])]
    assert "attention, 60%" in titles


def test_crops_of_pixels(backbone, photos):
    """As published, each crop goes through the backbone: 4 x 4 patches of 14 px."""
    items = list_images([photos / "coffee.jpg", photos / "chelsea.jpg"])
    options = {"crops": "pixels", "crop_size": 56, "attention": 0.6, "batch_size": 2, "steps": 2}
    first, second = (
        train(ImageFeatureSource(items, backbone, LAYERS, size=112), **options) for _ in range(2)
    )
    assert first.losses_.tobytes() == second.losses_.tobytes()
    assert (
        first.losses_.tobytes()
        != train(
            ImageFeatureSource(items, backbone, LAYERS, size=112), **{**options, "crops": "tokens"}
        ).losses_.tobytes()
    )


# --- in the pipeline ------------------------------------------------------------------------------

SMALL = {
    "method": "alignseg", "classes": 3, "size": 96, "jobs": 1,
    "options": {"steps": 8, "batch_size": 3, "checkpoint_every": 3, "crop_tokens": 4, "hidden": 32,
                "min_patches": 2},
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(photos, tiny_weights, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("alignseg") / "run"
    label(photos, out=out, backbone=tiny_weights, **SMALL)
    return out


def masks_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "masks").rglob("*.png"))}


def test_every_pixel_of_every_photo_gets_a_class(finished, photos):
    masks = {path.stem: np.asarray(Image.open(path)) for path in (finished / "masks").glob("*.png")}
    for path in photos.iterdir():
        with Image.open(path) as photo:
            assert masks[path.stem].shape == photo.size[::-1]
        assert 1 <= masks[path.stem].min() <= masks[path.stem].max() <= 3


@pytest.mark.parametrize(("stage", "after"), [("training", 4), ("training", 7)])
def test_resumed_it_writes_the_same_bytes(finished, photos, tiny_weights, tmp_path, stage, after):
    def stop(name, done, total):
        if name == stage and done >= after:
            raise KeyboardInterrupt

    shared = {"out": tmp_path / "run", "backbone": tiny_weights, **SMALL}
    with pytest.raises(KeyboardInterrupt):
        label(photos, progress=CallbackProgress(stop, interval=0), **shared)
    begun = []
    progress = CallbackProgress(lambda *args: begun.append(args), interval=0)
    label(photos, resume=True, progress=progress, **shared)
    assert masks_of(tmp_path / "run") == masks_of(finished)
    if stage == "training":
        assert not {("training", done, 8) for done in range(1, after)} & set(begun)
    assert not (tmp_path / "run" / ".work").exists()


def test_a_model_labels_new_photos_without_training(finished, photos, tmp_path):
    stages = []
    progress = CallbackProgress(lambda name, *_: stages.append(name), interval=60)
    label(photos, out=tmp_path / "run", model=finished / "model", jobs=1, progress=progress)
    assert masks_of(tmp_path / "run") == masks_of(finished)
    assert "training" not in stages


def test_a_damaged_model_is_named(finished, photos, tmp_path):
    from safetensors.numpy import load_file, save_file

    from fiftyone_plugin.errors import UsageError

    shutil.copytree(finished / "model", tmp_path / "model")
    arrays = load_file(tmp_path / "model" / "arrays.safetensors")
    del arrays["decoder.prototypes"]
    save_file(arrays, tmp_path / "model" / "arrays.safetensors")
    with pytest.raises(UsageError, match=r"lacks 'decoder\.prototypes'"):
        label(photos, out=tmp_path / "run", model=tmp_path / "model", jobs=1)


def test_its_stages_can_be_explained(photos, tiny_weights):
    from fiftyone_plugin.runs.explain import explain

    shown = explain(photos / "coffee.jpg", backbone=tiny_weights, **SMALL)
    assert [panel.title for panel in shown.panels[1:3]] == ["loss, 8 steps", "prototype 1"]
    assert shown.draw(columns=4).width > 0


def test_the_backbone_is_never_trained(tiny_weights, photos):
    backbone = load_backbone(tiny_weights, cache_dir=Path("unused"), device="cpu")
    before = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    source = ImageFeatureSource(list_images([photos / "coffee.jpg"]), backbone, ("out", "cls"), size=96)
    options = {"steps": 2, "batch_size": 1, "crops": "pixels", "crop_size": 64, "attention": 1}
    train(source, **options)
    assert all((tensor == before[name]).all() for name, tensor in backbone.model.state_dict().items())
    assert all(parameter.grad is None for parameter in backbone.model.parameters())
