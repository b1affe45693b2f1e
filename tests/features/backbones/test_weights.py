"""Where weights come from: files in timm's, DINO's and DINOv2's key names, the order of search, errors."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import timm
import torch

from fiftyone_plugin.errors import MissingDependencyError, UsageError
from fiftyone_plugin.features.backbones import DEFAULT_BACKBONE, OFFLINE_BACKBONE, load_model, weights

pytestmark = pytest.mark.slow


def make(architecture: str, **options):
    torch.manual_seed(0)
    model = timm.create_model(architecture, num_classes=0, dynamic_img_size=True, **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.02 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def dino():
    return make("vit_small_patch16_224.dino")


@pytest.fixture(scope="module")
def dinov2():
    return make("vit_small_patch14_dinov2")


@pytest.fixture(scope="module")
def dinov2_reg():
    return make("vit_small_patch14_reg4_dinov2")


def original_dinov2(model) -> dict[str, torch.Tensor]:
    """Rename as in facebookresearch/dinov2: a mask token; with registers, CLS has a position of its own."""
    state = dict(model.state_dict())
    state["mask_token"] = torch.zeros(1, model.embed_dim)
    if "reg_token" in state:
        state["register_tokens"] = state.pop("reg_token")
        of_cls = torch.randn(1, 1, model.embed_dim)
        state["cls_token"] = state["cls_token"] - of_cls
        state["pos_embed"] = torch.cat([of_cls, state["pos_embed"]], dim=1)
    return state


def save(state: dict, path: Path) -> str:
    from safetensors.torch import save_file

    if path.suffix == ".safetensors":
        save_file({name: tensor.clone() for name, tensor in state.items()}, str(path))
    else:
        torch.save(state, path)
    return str(path)


def check_same(found: weights.LoadedModel, model) -> None:
    assert found.origin == "file"
    assert not found.model.training
    side = 4 * model.patch_embed.patch_size[0]
    x = torch.randn(1, 3, side, side)
    with torch.inference_mode():
        torch.testing.assert_close(found.model.forward_features(x), model.forward_features(x))


@pytest.fixture(scope="module")
def tiny():
    return make("vit_tiny_patch16_224")


@pytest.mark.parametrize(("style", "suffix"), [("timm", ".pth"), ("original", ".safetensors")])
def test_dinov2_files(dinov2, tmp_path, suffix, style):
    state = original_dinov2(dinov2) if style == "original" else dinov2.state_dict()
    found = load_model(save(state, tmp_path / f"weights{suffix}"), tmp_path)
    assert found.timm_name == "vit_small_patch14_dinov2"
    check_same(found, dinov2)


@pytest.mark.parametrize(("style", "suffix"), [("timm", ".safetensors"), ("original", ".pth")])
def test_dinov2_files_with_registers(dinov2_reg, tmp_path, suffix, style):
    state = original_dinov2(dinov2_reg) if style == "original" else dinov2_reg.state_dict()
    found = load_model(save(state, tmp_path / f"weights{suffix}"), tmp_path)
    assert found.timm_name == "vit_small_patch14_reg4_dinov2"
    check_same(found, dinov2_reg)


def test_dino_file_gets_dinos_input_colours(dino, tmp_path):
    found = load_model(save(dino.state_dict(), tmp_path / "dino_deitsmall16_pretrain.pth"), tmp_path)
    check_same(found, dino)
    assert found.model.pretrained_cfg["mean"] == (0.485, 0.456, 0.406)
    assert found.model.pretrained_cfg["std"] == (0.229, 0.224, 0.225)
    assert found.name == "dino_deitsmall16_pretrain"


def test_full_training_checkpoint_of_dino(tiny, tmp_path):
    """As main_dino.py saves it: student and teacher with heads, wrapped, beside the run's arguments."""
    backbone = tiny.state_dict()
    teacher = {f"backbone.{name}": tensor for name, tensor in backbone.items()}
    teacher |= {"head.mlp.0.weight": torch.zeros(4, 192), "head.last_layer.weight_g": torch.ones(4, 1)}
    student = {f"module.{name}": torch.zeros_like(tensor) for name, tensor in teacher.items()}
    arguments = argparse.Namespace(arch="vit_small", patch_size=16, lr=0.0005)
    checkpoint = {"student": student, "teacher": teacher, "epoch": 100, "args": arguments}
    if not hasattr(torch.serialization, "safe_globals"):
        del checkpoint["args"]
    check_same(load_model(save(checkpoint, tmp_path / "checkpoint.pth"), tmp_path), tiny)


@pytest.mark.parametrize("wrapper", ["teacher", "state_dict", "model", None])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone."])
def test_wrappers_and_prefixes(tiny, tmp_path, wrapper, prefix):
    state = {f"{prefix}{name}": tensor for name, tensor in tiny.state_dict().items()}
    if "backbone." in prefix:
        state[prefix.replace("backbone.", "dino_head.") + "mlp.0.weight"] = torch.zeros(2, 192)
    path = save({wrapper: state} if wrapper else state, tmp_path / "weights.pth")
    flat = weights.read_checkpoint(Path(path))
    assert set(flat) == set(tiny.state_dict())


def test_architecture_named_with_the_file(tmp_path):
    model = make("vit_tiny_patch16_224.augreg_in21k")
    path = save(model.state_dict(), tmp_path / "a=b.pth")
    found = load_model(f"vit_tiny_patch16_224.augreg_in21k={path}", tmp_path)
    check_same(found, model)
    assert found.model.pretrained_cfg["mean"] == (0.5, 0.5, 0.5)
    # the source loads the same weights again, from anywhere
    again = load_model(found.source, tmp_path)
    assert again.state_sha256 == found.state_sha256
    assert again.timm_name == found.timm_name


def test_an_equals_sign_in_the_path_is_no_architecture(tiny, tmp_path, monkeypatch):
    folder = tmp_path / "lr=1e-4"
    folder.mkdir()
    path = save(tiny.state_dict(), folder / "w.pth")
    check_same(load_model(path, tmp_path), tiny)
    monkeypatch.chdir(tmp_path)
    check_same(load_model(str(Path("lr=1e-4") / "w.pth"), tmp_path), tiny)


def test_dinov3_file_in_timms_names(tmp_path):
    model = make("vit_small_patch16_dinov3")
    found = load_model(save(model.state_dict(), tmp_path / "v3.safetensors"), tmp_path)
    assert found.timm_name == "vit_small_patch16_dinov3"
    check_same(found, model)


def test_half_precision_on_disk_is_single_precision_in_memory(tiny, tmp_path):
    half = {name: tensor.half() for name, tensor in tiny.state_dict().items()}
    found = load_model(save(half, tmp_path / "half.safetensors"), tmp_path)
    assert {tensor.dtype for tensor in found.model.state_dict().values()} == {torch.float32}
    assert all(torch.equal(tensor, half[name].float()) for name, tensor in found.model.state_dict().items())


def test_digests(tiny, tmp_path):
    import hashlib

    path = save(tiny.state_dict(), tmp_path / "a.pth")
    first = load_model(path, tmp_path)
    assert first.file_sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    same_weights = load_model(save(tiny.state_dict(), tmp_path / "b.safetensors"), tmp_path)
    assert same_weights.file_sha256 != first.file_sha256
    assert same_weights.state_sha256 == first.state_sha256
    changed = dict(tiny.state_dict())
    changed["norm.bias"] = changed["norm.bias"] + 1e-3
    assert load_model(save(changed, tmp_path / "c.pth"), tmp_path).state_sha256 != first.state_sha256


class TestWrongFiles:
    def refuse(self, spec: object, tmp_path: Path, match: str) -> None:
        with pytest.raises(UsageError, match=match) as caught:
            load_model(str(spec), tmp_path)
        assert str(spec).split("=")[-1] in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_missing(self, tmp_path):
        self.refuse(tmp_path / "nothing.pth", tmp_path, "no weights file")

    def test_folder(self, tmp_path):
        self.refuse(tmp_path, tmp_path, "no weights file")

    @pytest.mark.parametrize("name", ["text.pth", "text.safetensors", "text.bin"])
    @pytest.mark.parametrize("content", [b"", b"hello, this is no checkpoint", bytes(range(256)) * 40])
    def test_not_a_checkpoint(self, tmp_path, name, content):
        (tmp_path / name).write_bytes(content)
        self.refuse(tmp_path / name, tmp_path, "not a readable checkpoint")

    def test_truncated(self, dinov2, tmp_path):
        path = Path(save(dinov2.state_dict(), tmp_path / "w.safetensors"))
        path.write_bytes(path.read_bytes()[:100_000])
        self.refuse(path, tmp_path, "not a readable checkpoint")

    def test_pickle_that_runs_code(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "owned"),)

        torch.save({"model": Evil()}, tmp_path / "evil.pth")
        self.refuse(tmp_path / "evil.pth", tmp_path, "not a readable checkpoint")
        assert not (tmp_path / "owned").exists()

    def test_no_tensors(self, tmp_path):
        torch.save({"epoch": 3, "state_dict": {}}, tmp_path / "empty.pth")
        self.refuse(tmp_path / "empty.pth", tmp_path, "holds no tensors")
        torch.save([1, 2], tmp_path / "list.pth")
        self.refuse(tmp_path / "list.pth", tmp_path, "holds no tensors")

    def test_another_network(self, tmp_path):
        resnet = timm.create_model("resnet10t", num_classes=0)
        self.refuse(save(resnet.state_dict(), tmp_path / "resnet.pth"), tmp_path, "not a ViT")

    def test_unknown_width(self, tmp_path):
        model = timm.create_model("vit_small_patch16_224", num_classes=0, depth=1, embed_dim=48, num_heads=3)
        self.refuse(save(model.state_dict(), tmp_path / "thin.pth"), tmp_path, "width 48")

    def test_lacks_tensors(self, dinov2, tmp_path):
        state = dict(dinov2.state_dict())
        del state["blocks.7.attn.qkv.weight"]
        self.refuse(
            save(state, tmp_path / "w.pth"), tmp_path, "lacks 1 tensors of .*blocks.7.attn.qkv.weight"
        )

    def test_another_architecture(self, dinov2, tmp_path):
        path = save(dinov2.state_dict(), tmp_path / "w.pth")
        self.refuse(f"vit_base_patch14_dinov2={path}", tmp_path, "does not fit vit_base_patch14_dinov2")

    def test_unknown_architecture(self, dinov2, tmp_path):
        path = save(dinov2.state_dict(), tmp_path / "w.pth")
        self.refuse(f"vit_no_such_model={path}", tmp_path, "cannot build vit_no_such_model")
        self.refuse(f"resnet18={path}", tmp_path, "cannot build resnet18")


class TestResolution:
    """The tests set HF_HUB_OFFLINE, so no hub is there, and the user's own cache is left alone."""

    @pytest.fixture(autouse=True)
    def no_cached_weights(self, tmp_path, monkeypatch):
        from huggingface_hub import constants

        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        import huggingface_hub.file_download

        monkeypatch.setattr(huggingface_hub.file_download.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def test_there_is_no_hub(self):
        assert not weights.hub_is_reachable()
        assert not weights.is_cached(DEFAULT_BACKBONE)

    def test_hub_that_does_not_answer(self, monkeypatch):
        import socket

        from huggingface_hub import constants

        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            port = closed.getsockname()[1]
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        assert not weights.hub_is_reachable()

    @pytest.mark.parametrize("name", [None, DEFAULT_BACKBONE])
    def test_the_default_falls_back_to_the_offline_checkpoint_and_says_so(self, backbone, name):
        from fiftyone_plugin.common.paths import cache_dir

        with pytest.warns(UserWarning, match="cannot be reached.*fine-tuned for saliency"):
            found = load_model(name, cache_dir())
        assert (found.name, found.origin) == (OFFLINE_BACKBONE, "offline")
        assert found.state_sha256 == backbone.loaded.state_sha256

    def test_asked_for_by_name_it_warns_of_nothing(self, backbone):
        from fiftyone_plugin.common.paths import cache_dir

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert load_model(OFFLINE_BACKBONE, cache_dir()).origin == "offline"

    def test_another_backbone_has_no_stand_in(self, tmp_path):
        with pytest.raises(MissingDependencyError) as caught:
            load_model("vit_small_patch16_224.dino", tmp_path)
        message = str(caught.value)
        assert message.startswith(
            "no weights for vit_small_patch16_224.dino: the model hub cannot be reached"
        )
        for way in ("--backbone PATH", "timm caches them", "pip install", f"--backbone {OFFLINE_BACKBONE}"):
            assert way in message

    def test_nothing_at_all(self, tmp_path, monkeypatch):
        monkeypatch.setattr(weights, "find_offline_onnx", lambda: None)
        with pytest.raises(MissingDependencyError, match=r"\(1\).*\(2\).*\(3\)"):
            load_model(None, tmp_path)
        assert weights.weights_origin(None, tmp_path) == "nowhere"

    def test_weights_in_timms_cache_win_over_the_offline_checkpoint(self, dinov2, tmp_path):
        """The cache laid out as the hub's client lays it out."""
        repository = tmp_path / "hub" / "models--timm--vit_small_patch14_dinov2.lvd142m"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("0" * 40)
        snapshot = repository / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        save(dinov2.state_dict(), snapshot / "model.safetensors")
        assert weights.is_cached(DEFAULT_BACKBONE)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            found = load_model(None, tmp_path)
        assert (found.name, found.origin, found.licence) == (DEFAULT_BACKBONE, "hub", "Apache-2.0")
        assert found.source == DEFAULT_BACKBONE
        x = torch.randn(1, 3, 56, 56)
        with torch.inference_mode():
            torch.testing.assert_close(found.model.forward_features(x), dinov2.forward_features(x))

    def test_a_hub_that_answers_but_gives_nothing(self, tmp_path, monkeypatch, backbone):
        """As behind a proxy that refuses, or for gated weights: timm's own request fails in earnest here."""
        from fiftyone_plugin.common.paths import cache_dir

        monkeypatch.setattr(weights, "hub_is_reachable", lambda: True)
        with pytest.raises(MissingDependencyError, match="the model hub does not give them"):
            load_model("vit_small_patch16_dinov3.lvd1689m", tmp_path)
        with pytest.warns(UserWarning, match="fine-tuned for saliency"):
            assert load_model(None, cache_dir()).origin == "offline"

    def test_unknown_names(self, tmp_path):
        with pytest.raises(UsageError, match=r"unknown backbone 'vit_smal'.*vit_small_patch14_dinov2"):
            load_model("vit_smal", tmp_path)
        with pytest.raises(UsageError, match=r"unknown weights.*nosuch.*timm has .*lvd142m"):
            load_model("vit_small_patch14_dinov2.nosuch", tmp_path)

    def test_origin_in_words(self, tmp_path, backbone):
        assert weights.weights_origin("a/b.pth", tmp_path) == f"file {Path('a/b.pth')}"
        assert "offline checkpoint" in weights.weights_origin(OFFLINE_BACKBONE, tmp_path)
        assert "offline checkpoint" in weights.weights_origin(None, tmp_path)
        assert weights.weights_origin("vit_small_patch16_224.dino", tmp_path) == "nowhere"


def test_a_fresh_process_without_a_hub(backbone, tmp_path):
    """The whole of it, as a person meets it: no environment of this test session but the cache folder."""
    code = (
        "from pathlib import Path; import sys\n"
        "from fiftyone_plugin.features.backbones import load_model\n"
        "print(load_model(None, Path(sys.argv[1])).name)\n"
        "load_model('vit_base_patch8_224.dino', Path(sys.argv[1]))\n"
    )
    from fiftyone_plugin.common.paths import cache_dir

    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(cache_dir())], env=environment, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [OFFLINE_BACKBONE]
    assert "fine-tuned for saliency" in done.stderr
    assert "no weights for vit_base_patch8_224.dino" in done.stderr.splitlines()[-1]
