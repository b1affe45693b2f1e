"""The pass from files to labels: the same whatever the batches and devices, and what memory does to it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from fiftyone_plugin import label
from fiftyone_plugin.images.listing import list_images
from fiftyone_plugin.masks.refine import create_refiner
from fiftyone_plugin.runs.config import LabelConfig
from fiftyone_plugin.runs.model import FittedModel
from fiftyone_plugin.runs.session import Session
from fiftyone_plugin.runs.streaming import Stream, label_images

from .run_helpers import add_bad, masks_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mosaic(few, settings, tmp_path_factory):
    """A run of the default method over the four photographs."""
    chosen = {**settings, "method": "mosaic", "options": {}}
    return label(few, out=tmp_path_factory.mktemp("mosaic") / "run", **chosen)


def opened(result, settings, **changes):
    """The session, the fitted model and the source of a finished run."""
    model = FittedModel.load(result.out / "model")
    config = LabelConfig(**{**settings, "method": "mosaic", "options": {}, **changes})
    session = Session.open(config, model)
    session.prepare(model.method)
    return session, model


def masks(session, model, folder) -> dict[str, np.ndarray]:
    source = session.source(list_images(folder), model.method.inputs)
    found = {
        image.key: labelled.mask()
        for image, labelled in label_images(
            source, session.replicas(model.method), create_refiner(model.refine)
        )
    }
    assert source.failures == {}
    return found


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for key, mask in expected.items():
        np.testing.assert_array_equal(found[key], mask)


@pytest.mark.parametrize("changes", [{"batch_size": 1}, {"batch_size": 3}, {"device": "cpu,cpu"}])
def test_batches_and_devices_make_no_difference(few, settings, mosaic, changes):
    session, model = opened(mosaic, settings, **changes)
    assert len(session.backbones) == (2 if "device" in changes else 1)
    expected = {row.image: mosaic.mask(row.image) for row in mosaic.labelled}
    assert_same(masks(session, model, few), expected)


def test_two_devices_write_the_same_run(few, settings, mosaic, tmp_path):
    chosen = {**settings, "method": "mosaic", "options": {}, "device": "cpu,cpu", "batch_size": 1}
    result = label(few, out=tmp_path / "run", **chosen)
    assert masks_of(result.out) == masks_of(mosaic.out)


def test_every_image_passes_the_network_once(few, settings, mosaic, tmp_path, caplog):
    assert mosaic.run["work"] == {"images": 4, "forwards": 4, "fitted": True}
    chosen = {**settings, "method": "mosaic", "options": {}, "fit_images": 2}
    sampled = label(few, out=tmp_path / "sampled", **chosen)
    assert sampled.run["work"]["forwards"] == 4
    assert sampled.run["settings"]["fit_images"] == 2
    assert "learnt from 2 of the 4 images" in caplog.text


def test_images_of_the_fit_are_labelled_anew_without_the_network(few, settings, mosaic, tmp_path, photos):
    shutil.copytree(few, tmp_path / "images")
    shutil.copy(photos / "camera.png", tmp_path / "images" / "new.png")
    again = label(tmp_path / "images", out=tmp_path / "again", model=mosaic.out / "model", **settings)
    assert again.run["work"] == {"images": 5, "forwards": 1, "fitted": False}
    found = masks_of(again.out)
    assert found.pop("new.png")
    assert found == masks_of(mosaic.out)
    assert not (again.out / "tokens").exists()
    other = label(few, out=tmp_path / "other", model=mosaic.out / "model", recut=2, **settings)
    assert other.run["work"]["forwards"] == 0
    for path in (mosaic.out / "tokens").rglob("*.npz"):
        path.write_bytes(b"damaged")
    damaged = label(few, out=tmp_path / "damaged", model=mosaic.out / "model", **settings)
    assert damaged.run["work"]["forwards"] == 4
    assert masks_of(damaged.out) == masks_of(mosaic.out)


def test_tokens_belong_to_their_run(few, settings, tmp_path):
    chosen = {**settings, "method": "mosaic", "options": {}}
    label(few, out=tmp_path / "run", **chosen)
    first = {path.name for path in (tmp_path / "run" / "tokens").rglob("*.npz")}
    assert len(first) == 4
    mine = tmp_path / "run" / "tokens" / "mine.npz"
    mine.write_text("mine")
    label(few, out=tmp_path / "run", overwrite=True, **settings)
    assert [path.name for path in (tmp_path / "run" / "tokens").rglob("*") if path.is_file()] == ["mine.npz"]


class ShortOfMemory:
    """A network that has no room for some batches."""

    def __init__(self, monkeypatch, session, refuses) -> None:
        self.batches: list[int] = []
        real = type(session.backbone).extract_tensors

        def extract_tensors(this, images, layers):
            self.batches.append(len(images))
            if refuses(images):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return real(this, images, layers)

        monkeypatch.setattr(type(session.backbone), "extract_tensors", extract_tensors)


def test_batches_are_halved_where_memory_runs_short(few, settings, mosaic, monkeypatch):
    session, model = opened(mosaic, settings, batch_size=4)
    short = ShortOfMemory(monkeypatch, session, lambda images: len(images) > 1)
    assert_same(masks(session, model, few), {row.image: mosaic.mask(row.image) for row in mosaic.labelled})
    assert short.batches == [4, 2, 1, 1, 1, 1]  # and no larger one again


def test_an_image_that_does_not_fit_alone_is_skipped_with_its_reason(
    few, settings, mosaic, monkeypatch, tmp_path
):
    session, model = opened(mosaic, settings)
    (loaded,) = session.source(list_images(few), model.method.inputs).load({"chelsea.jpg"})
    ShortOfMemory(monkeypatch, session, lambda images: any((one == loaded.pixels).all() for one in images))
    result = label(few, out=tmp_path / "run", model=mosaic.out / "model", **settings)
    assert [row.image for row in result.skipped] == ["chelsea.jpg"]
    assert "memory ran short" in result.skipped[0].error
    expected = masks_of(mosaic.out)
    del expected["chelsea.png"]
    assert masks_of(result.out) == expected


def test_memory_that_runs_short_after_the_network(few, settings, mosaic, monkeypatch):
    session, model = opened(mosaic, settings, batch_size=4)
    real, sizes = type(model.method).predict_batch, []

    def predict_batch(this, batch):
        sizes.append(len(batch))
        if len(batch) > 2:
            raise MemoryError
        return real(this, batch)

    monkeypatch.setattr(type(model.method), "predict_batch", predict_batch)
    assert_same(masks(session, model, few), {row.image: mosaic.mask(row.image) for row in mosaic.labelled})
    assert sizes == [4, 2, 2]


def test_memory_that_runs_short_at_the_mask_of_one_image(few, settings, mosaic):
    session, model = opened(mosaic, settings)
    source = session.source(list_images(few), model.method.inputs)

    def finish(labelled):
        if labelled.image.key == "sub/rocket.jpg":
            raise MemoryError
        return labelled.mask().shape

    stream = Stream(source, session.replicas(model.method), create_refiner(model.refine), finish)
    found = {image.key: result for image, result in stream.run({item.key for item in source.items})}
    assert "memory ran short" in found.pop("sub/rocket.jpg").reason
    assert found == {image.key: image.size for image in source if image.key in found}


def test_an_error_in_a_thread_ends_the_pass(few, settings, mosaic):
    session, model = opened(mosaic, settings)

    def finish(labelled):
        raise OSError(28, "No space left on device")

    source = session.source(list_images(few), model.method.inputs)
    stream = Stream(source, session.replicas(model.method), create_refiner(model.refine), finish)
    with pytest.raises(OSError, match="No space left"):
        list(stream.run({item.key for item in source.items}))


def test_bad_images_are_left_out_and_the_others_come_in_order(few, settings, mosaic, tmp_path, photos):
    shutil.copytree(few, tmp_path / "images")
    add_bad(tmp_path / "images", photos / "rocket.jpg")
    session, model = opened(mosaic, settings, batch_size=2)
    source = session.source(list_images(tmp_path / "images"), model.method.inputs)
    refiner = create_refiner(model.refine)
    stream = Stream(source, session.replicas(model.method), refiner, lambda labelled: labelled.scores.labels)
    keys = [image.key for image, _ in stream.run({item.key for item in source.items})]
    assert keys == ["astronaut.jpg", "chelsea.jpg", "sub/coffee.jpg", "sub/rocket.jpg"]
    assert set(source.failures) == {
        "broken/empty.jpg", "broken/header.jpg", "broken/text.png", "broken/truncated.jpg",
    }  # fmt: skip
    assert stream.bottleneck.endswith(("files", "the network", "masks"))
