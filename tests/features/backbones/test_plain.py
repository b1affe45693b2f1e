"""The plain models against timm's, which they stand for: the same names, the same bits."""

from __future__ import annotations

import pytest
import timm
import torch

from fiftyone_plugin.features.backbones.plain import plain_vit
from fiftyone_plugin.features.backbones.registry import BACKBONES

pytestmark = pytest.mark.slow

NAMES = sorted({spec.timm_name for spec in BACKBONES.values() if "dinov3" not in spec.timm_name})


def random_timm(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0, dynamic_img_size=True).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_is_timms_bit_for_bit(name, precision):
    theirs = random_timm(name)
    state = theirs.state_dict()
    ours = plain_vit(name, {**state, "head.weight": torch.zeros(3, 3)})
    assert ours is not None
    assert not ours.training
    assert list(ours.state_dict()) == list(state)
    assert all(torch.equal(tensor, state[key]) for key, tensor in ours.state_dict().items())
    for of in ("mean", "std"):
        assert ours.pretrained_cfg[of] == timm.get_pretrained_cfg(name).to_dict()[of]
    patch = theirs.patch_embed.patch_size[0]
    native = 518 if patch == 14 else 224
    for shape in [(2, 3, 4 * patch, 4 * patch), (1, 3, native, native), (1, 3, 3 * patch, 5 * patch)]:
        x = torch.randn(shape)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            assert torch.equal(ours(x), theirs.forward_features(x))
            asked = {"return_prefix_tokens": True, "norm": False, "output_fmt": "NLC"}
            final, blocks = ours.forward_intermediates(x, indices=[0, 7], **asked)
            their_final, their_blocks = theirs.forward_intermediates(x, indices=[0, 7], **asked)
            assert torch.equal(final, their_final)
            for pair, their_pair in zip(blocks, their_blocks, strict=True):
                assert all(torch.equal(a, b) for a, b in zip(pair, their_pair, strict=True))


def test_half_precision_files_become_float32():
    state = {
        key: tensor.half() for key, tensor in random_timm("vit_small_patch16_224.dino").state_dict().items()
    }
    model = plain_vit("vit_small_patch16_224.dino", state)
    assert model is not None
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}


def test_what_is_another_model_is_left_to_timm():
    name = "vit_small_patch14_dinov2"
    state = random_timm(name).state_dict()
    assert plain_vit("vit_base_patch14_dinov2", state) is None
    assert plain_vit("vit_small_patch14_reg4_dinov2", state) is None
    assert plain_vit("vit_small_patch16_224.augreg_in21k", state) is None
    assert plain_vit(name, {key: tensor for key, tensor in state.items() if key != "norm.bias"}) is None
