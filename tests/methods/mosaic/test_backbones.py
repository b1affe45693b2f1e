"""Mosaic's defaults on the families and sizes of backbones that people have, with random weights."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch

from fiftyone_plugin.common.progress import NullProgress
from fiftyone_plugin.features.backbones import Backbone, LoadedModel
from fiftyone_plugin.features.source import ImageFeatureSource
from fiftyone_plugin.images.listing import list_images
from fiftyone_plugin.methods.mosaic import Mosaic

# widths and heads as they are, at a few blocks: what layers and registers do does not depend on depth;
# those of ViT-L go the same way and take a minute
FAMILIES = {"vit_small_patch14_reg4_dinov2": 384, "vit_base_patch16_dinov3": 768}


@pytest.mark.parametrize("name", FAMILIES)
def test_defaults_label_images_of_every_family(name, photos):
    torch.manual_seed(0)
    model = timm.create_model(name, depth=4, num_classes=0, dynamic_img_size=True).eval()
    loaded = LoadedModel(model, name, name, "file", "unknown", None, "0" * 64, name)
    backbone = Backbone(loaded, device="cpu", precision="float32")
    mosaic = Mosaic(n_classes=3)
    source = ImageFeatureSource(list_images(photos)[:4], backbone, mosaic.inputs, size=112)
    mosaic.fit(source, progress=NullProgress())
    side = 112 // backbone.patch_size
    for image in source:
        assert image.grid == (side, side)
        assert image["t-1"].shape == (side * side, FAMILIES[name])
        scores = mosaic.predict(image)
        assert scores.scores.shape[1:] == image.grid
        np.testing.assert_allclose(scores.scores.sum(0), 1, atol=1e-5)
        assert set(scores.labels) <= {1, 2, 3}
    assert mosaic.normalizer_.mean_.shape == (3 * FAMILIES[name],)
