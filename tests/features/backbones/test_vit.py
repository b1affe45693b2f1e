"""Features against what timm's own modules compute, recorded by hooks on them."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.features.backbones import Backbone, LoadedModel, load_backbone
from fiftyone_plugin.features.backbones.vit import pick_device, pick_precision

# small stand-ins of the families, random weights: plain DINO, DINOv2 with registers, DINOv3 (rotary), and
# variants: biases in qkv, rotary angles learnt by every block, norms on queries and keys, no CLS token
TINY = {"embed_dim": 48, "num_heads": 3, "num_classes": 0, "dynamic_img_size": True}
MODELS = {
    "dino": ("vit_small_patch16_224.dino", {"depth": 4}),
    "dinov2": ("vit_small_patch14_reg4_dinov2", {"depth": 3}),
    "dinov3": ("vit_small_patch16_dinov3", {"depth": 3}),
    "dinov3 with biases": ("vit_small_patch16_dinov3_qkvb", {"depth": 3}),
    "rotary, mixed": ("vit_small_patch16_rope_mixed_224", {"depth": 3}),
    "rotary, axial": ("vit_small_patch16_rope_224", {"depth": 3}),
    "qk norm": ("vit_small_patch16_224", {"depth": 3, "qk_norm": True}),
    "no cls": ("vit_small_patch16_224", {"depth": 3, "class_token": False, "global_pool": "avg"}),
}


def make(architecture: str, **options) -> Backbone:
    torch.manual_seed(0)
    model = timm.create_model(architecture, **{**TINY, **options}).eval()
    with torch.no_grad():  # as initialised, layer scales are near 0, biases are 0 and all blocks look alike
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    loaded = LoadedModel(model, "tiny", architecture, "file", "unknown", None, "0" * 64, architecture)
    return Backbone(loaded, device="cpu", precision="float32")


@pytest.fixture(scope="module", params=MODELS)
def tiny(request) -> Backbone:
    architecture, options = MODELS[request.param]
    return make(architecture, **options)


class Recorder:
    """What the attention modules and the blocks of a timm model compute in one plain forward pass."""

    def __init__(self, model) -> None:
        self.model = model
        self.keys: dict[int, torch.Tensor] = {}
        self.attention: dict[int, torch.Tensor] = {}
        self.blocks: dict[int, torch.Tensor] = {}

    def run(self, x: torch.Tensor) -> torch.Tensor:
        hooks, fused = [], [block.attn.fused_attn for block in self.model.blocks]
        for i, block in enumerate(self.model.blocks):
            block.attn.fused_attn = False  # so that the softmax passes through a module: the dropout
            hooks += [
                block.attn.k_norm.register_forward_hook(self._keep(self.keys, i)),
                block.attn.attn_drop.register_forward_hook(self._keep(self.attention, i)),
                block.register_forward_hook(self._keep(self.blocks, i)),
            ]
        with torch.inference_mode():
            final = self.model.forward_features(x)
        for hook in hooks:
            hook.remove()
        for block, value in zip(self.model.blocks, fused, strict=True):
            block.attn.fused_attn = value
        return final

    @staticmethod
    def _keep(store: dict[int, torch.Tensor], index: int):
        def hook(module, inputs, output) -> None:
            store[index] = output

        return hook


def pixels(side: int, n: int = 2) -> np.ndarray:
    return np.random.default_rng(side).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def check_against_hooks(backbone: Backbone, images: np.ndarray, model=None) -> None:
    """``model`` is timm's, of the same weights, where the backbone has another."""
    prefix, depth = backbone.model.num_prefix_tokens, backbone.depth
    layers = ["out", "cls", *(f"t{i}" for i in range(depth)), *(f"k{i}" for i in range(1, depth))]
    layers += ["attn"] if backbone.has_cls else []
    recorder = Recorder(model or backbone.model)
    final = recorder.run(backbone.normalise(images))
    found = backbone.extract(images, layers)
    assert list(found) == layers
    patches = (images.shape[1] // backbone.patch_size) ** 2

    def close(name: str, expected: torch.Tensor, tolerance: float = 2e-3) -> None:
        expected = expected.numpy()
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found[name], expected, rtol=tolerance, atol=tolerance * scale)

    close("out", final[:, prefix:])
    close("cls", final[:, 0] if backbone.has_cls else final[:, prefix:].mean(1))
    for i in range(depth):
        close(f"t{i}", recorder.blocks[i][:, prefix:])
        assert found[f"t{i}"].shape == (len(images), patches, backbone.dim)
        assert found[f"t{i}"].dtype == np.float16
    for i in range(1, depth):
        close(f"k{i}", recorder.keys[i].transpose(1, 2).flatten(2)[:, prefix:])
    if backbone.has_cls:
        expected = recorder.attention[depth - 1][:, :, 0, prefix:].mean(1)
        close("attn", expected, 1e-4)
        assert found["attn"].dtype == np.float32
        # the test means something only if patches differ in attention
        assert patches == 1 or expected.std() > 0.01 * expected.mean()


def test_every_layer_is_what_timm_computes(tiny):
    check_against_hooks(tiny, pixels(7 * tiny.patch_size))


@pytest.mark.parametrize("patches", [1, 2, 5, 17])
def test_any_input_size(tiny, patches):
    check_against_hooks(tiny, pixels(patches * tiny.patch_size, n=1))


def test_offline_checkpoint_is_what_timm_computes(backbone, photos):
    from fiftyone_plugin.images.reading import read_image, resize_image

    image = resize_image(read_image(photos / "astronaut.jpg"), 140, 140)
    single = Backbone(backbone.loaded, device="cpu", precision="float32")
    theirs = timm.create_model(backbone.loaded.timm_name, num_classes=0, dynamic_img_size=True).eval()
    theirs.load_state_dict(single.model.state_dict())
    check_against_hooks(single, image[None], theirs)


class Shapes(TorchDispatchMode):
    """Shapes of all tensors that any operator of torch returns."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if torch.is_tensor(value):
                self.seen.add(tuple(value.shape))
        return result


@pytest.mark.parametrize("name", ["dino", "dinov2", "dinov3"])
def test_the_attention_map_materialises_no_attention_matrix(name):
    architecture, options = MODELS[name]
    backbone = make(architecture, **options)
    side = 7 * backbone.patch_size
    tokens = 7 * 7 + backbone.model.num_prefix_tokens
    with Shapes() as shapes:
        backbone.extract(pixels(side, n=1), ["attn", "cls", "k-1"])
    heads = backbone.model.blocks[0].attn.num_heads
    assert (1, tokens, heads) in shapes.seen, "the row of CLS was not seen: the check is blind"
    assert not [shape for shape in shapes.seen if shape[-2:] == (tokens, tokens)]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_batches_do_not_change_features(tiny, monkeypatch, precision):
    """To the last bit, on a CPU: a resumed run has other batches, and must give the same masks."""
    monkeypatch.setattr(tiny, "precision", precision)
    images = pixels(6 * tiny.patch_size, n=3)
    layers = ["out", "cls", "k-1", *(["attn"] if tiny.has_cls else [])]
    together = tiny.extract(images, layers)
    for part in (slice(0, 1), slice(1, 3), slice(2, 3)):
        for name, array in tiny.extract(images[part], layers).items():
            np.testing.assert_array_equal(array, together[name][part])


def test_layer_names(tiny):
    depth = tiny.depth
    assert tiny.resolve_layer("k-1") == f"k{depth - 1}"
    assert tiny.resolve_layer("t-1") == f"t{depth - 1}"
    assert tiny.resolve_layer(f"t-{depth}") == "t0"
    assert tiny.resolve_layer("out") == "out"
    for wrong in ("", "k", "kk1", "q1", "k1 ", "T1", "out1", "k+1", "t1.0", "0"):
        with pytest.raises(UsageError, match="unknown layer"):
            tiny.resolve_layer(wrong)
    for outside in ("k0", f"k{depth}", f"t{depth}", f"t-{depth + 1}", f"k-{depth}"):
        with pytest.raises(UsageError, match=rf"blocks [01] to {depth - 1}"):
            tiny.resolve_layer(outside)


def test_attention_without_cls_is_refused():
    architecture, options = MODELS["no cls"]
    backbone = make(architecture, **options)
    with pytest.raises(UsageError, match="no CLS token"):
        backbone.extract(pixels(32), ["attn"])


def test_one_block_has_no_block_before_it():
    with pytest.raises(UsageError, match="one block only"):
        make("vit_small_patch16_224.dino", depth=1).resolve_layer("attn")


def test_blocks_that_normalise_afterwards_have_no_keys():
    from timm.models.vision_transformer import ResPostBlock

    backbone = make("vit_small_patch16_224", depth=3, block_fn=ResPostBlock)
    assert backbone.resolve_layer("t1") == "t1"
    for layer in ("k1", "attn"):
        with pytest.raises(UsageError, match="pre-norm"):
            backbone.resolve_layer(layer)


def test_models_without_patch_tokens_are_refused():
    model = timm.create_model("swin_tiny_patch4_window7_224", depths=(1, 1), embed_dim=24, num_classes=0)
    with pytest.raises(UsageError, match="not a plain ViT"):
        Backbone(LoadedModel(model, "s", "swin", "file", "unknown", None, "0", "s"), device="cpu")


def test_sizes_are_rounded_to_the_nearest_multiple_of_the_patch(tiny):
    for size in range(1, 500):
        rounded = tiny.round_size(size)
        assert rounded % tiny.patch_size == 0
        assert rounded >= tiny.patch_size
        if size >= tiny.patch_size:
            assert abs(rounded - size) <= tiny.patch_size / 2


def test_input_is_normalised_with_the_models_own_colours():
    """An image of the mean colour becomes 0, and one standard deviation becomes 1."""
    for architecture in ("vit_small_patch16_224.dino", "vit_small_patch16_224.augreg_in21k"):
        backbone = make(architecture, depth=1)
        config = backbone.model.pretrained_cfg
        mean, std = np.array(config["mean"]), np.array(config["std"])
        colours = np.stack([mean, mean + std]) * 255
        images = np.round(colours).astype(np.uint8)[:, None, None].repeat(16, 1).repeat(16, 2)
        normalised = backbone.normalise(images).numpy()
        exact = (images / 255 - mean) / std
        np.testing.assert_allclose(normalised.transpose(0, 2, 3, 1), exact, atol=1e-5)
        np.testing.assert_allclose(normalised[0], 0, atol=0.01)
        np.testing.assert_allclose(normalised[1], 1, atol=0.01)


def test_bfloat16_agrees_with_float32():
    backbone = make("vit_small_patch16_dinov3", depth=3)
    half = Backbone(backbone.loaded, device="cpu", precision="bfloat16")
    images = pixels(96)
    layers = ["out", "cls", "attn", "k2", "t1"]
    exact, rough = backbone.extract(images, layers), half.extract(images, layers)
    for name in layers:
        assert rough[name].dtype == exact[name].dtype
        error = np.linalg.norm(rough[name].astype(float) - exact[name].astype(float))
        assert error < 0.05 * np.linalg.norm(exact[name].astype(float))
    assert half.fingerprint() != backbone.fingerprint()


def test_values_beyond_float16_are_clipped_not_infinite():
    backbone = make("vit_small_patch16_224.dino", depth=2)
    with torch.no_grad():
        backbone.model.blocks[0].mlp.fc2.bias += 1e6
    features = backbone.extract(pixels(32), ["t0"])["t0"]
    assert np.isfinite(features).all()
    assert features.max() == np.finfo(np.float16).max


def test_devices():
    assert pick_device("auto") in ("cpu", "cuda", "mps")
    assert pick_device("cpu") == "cpu"
    with pytest.raises(UsageError, match="'nowhere' is not available here"):
        pick_device("nowhere")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="'cuda' is not available here"):
            pick_device("cuda")
    assert pick_precision("cpu") in ("float32", "bfloat16")


def test_load_backbone_reads_a_file(tmp_path):
    from safetensors.torch import save_file

    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=12)
    save_file(model.state_dict(), str(tmp_path / "tiny.safetensors"))
    backbone = load_backbone(str(tmp_path / "tiny.safetensors"), cache_dir=tmp_path, device="cpu")
    assert (backbone.name, backbone.dim, backbone.depth, backbone.patch_size) == ("tiny", 192, 12, 16)


def no_compiler(graph, inputs):
    raise RuntimeError("no C++ compiler")


@pytest.mark.parametrize("engine", ["eager", no_compiler])
def test_a_compiled_network_gives_the_same_and_one_that_cannot_be_goes_on(engine, caplog):
    """With engines that generate no code: the default one needs a compiler, or a GPU."""
    network = make("vit_small_patch16_224.dino", depth=3)
    images = pixels(64)
    expected = network.extract(images, ["t1", "cls"])
    network.compile(engine)
    for _ in range(2):
        found = network.extract(images, ["t1", "cls"])
        for layer, array in expected.items():
            np.testing.assert_allclose(found[layer].astype(np.float32), array, atol=2e-3)
    assert ("not compiled" in caplog.text) == (engine is no_compiler)
