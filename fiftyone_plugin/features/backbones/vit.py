"""Dense features of a frozen vision transformer: tokens and keys of chosen blocks, CLS and its attention.

Layer names, used everywhere in the package (blocks count from 0):

=========  =================================================================  ==============
name       meaning                                                            shape an image
=========  =================================================================  ==============
``out``    patch tokens after the final norm                                  (h*w, D)
``t<n>``   patch tokens after block n                                         (h*w, D)
``k<n>``   keys of block n, heads concatenated                                (h*w, D)
``cls``    CLS token after the final norm (mean token where there is no CLS)  (D,)
``attn``   last block's softmax attention of CLS to patches, mean over heads  (h*w,)
=========  =================================================================  ==============
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...common.memory import is_out_of_memory
from ...common.parallel import usable_cores
from ...errors import UsageError
from .weights import LoadedModel, load_model

if TYPE_CHECKING:
    import torch

__all__ = ["Backbone", "load_backbone", "pick_batch_size", "pick_device", "pick_devices", "pick_precision"]
__all__ += ["to_device"]

logger = logging.getLogger(__name__)

_LAYER = re.compile(r"(?:out|cls|attn|[tk]-?\d+)")
POST_NORM = ("EvaBlockPostNorm", "ResPostBlock")  # of timm, which takes seconds to import
ACTIVATIONS = 40  # vectors a patch that a network and the layers taken from it hold at once
NEIGHBOURHOODS = 4  # matrices of all pairs of patches that labelling holds at once
FLOAT16_MAX = float(np.finfo(np.float16).max)


def pick_device(name: str = "auto") -> str:
    """Resolve ``"auto"`` to ``"cuda"``, ``"mps"`` or ``"cpu"``; check any other name.

    Raises:
        UsageError: the device is not there.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"device {name!r} is not available here: {str(error).splitlines()[0]}") from error
    return name


def pick_devices(names: str = "auto") -> list[str]:
    """Resolve a list such as ``"cuda:0,cuda:1"``, or ``"all"`` for all GPUs of one kind; see `pick_device`.

    Raises:
        UsageError: one of the devices is not there.
    """
    import torch

    if names == "all":
        count = torch.cuda.device_count()
        return [f"cuda:{i}" for i in range(count)] or [pick_device()]
    return [pick_device(name) for name in names.split(",")]


def pick_precision(device: str) -> str:
    """Return ``"bfloat16"`` where the hardware multiplies it natively, else ``"float32"``.

    On a CPU without AVX512-BF16 or AMX, bfloat16 is emulated and several times slower than float32.
    """
    import torch

    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    if device == "cpu":
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        if any(getattr(torch.cpu, probe, lambda: False)() for probe in probes):
            return "bfloat16"
    return "float32"


def pick_batch_size(backbone: Backbone, size: int) -> int:
    """Return how many images to run through a network at once: what fills half of a GPU, fewer elsewhere.

    It depends on the whole memory of the device, not on what is free: rounding depends on the batch there,
    and a run that goes on has to come out the same. Where memory runs short, batches are halved.
    """
    import torch

    if not backbone.device.startswith("cuda"):
        return max(2, min(16, usable_cores())) if backbone.device == "cpu" else 16
    patches = (backbone.round_size(size) // backbone.patch_size) ** 2
    image = ACTIVATIONS * 4 * patches * backbone.dim + NEIGHBOURHOODS * 4 * patches**2
    whole = torch.cuda.get_device_properties(backbone.device).total_memory
    return int(np.clip(whole // 2 // image, 1, 128))


class Backbone:
    """A frozen ViT that turns batches of square RGB images into numpy features.

    Args:
        loaded: the model and its provenance, from :func:`~.weights.load_model`.
        device: a torch device name, or ``"auto"``.
        precision: ``"auto"``, ``"float32"`` or ``"bfloat16"`` (autocast).
    """

    def __init__(self, loaded: LoadedModel, device: str = "auto", precision: str = "auto") -> None:
        self.loaded = loaded
        self.device = pick_device(device)
        self.precision = pick_precision(self.device) if precision == "auto" else precision
        self.model = loaded.model.to(self.device)
        needed = ("blocks", "patch_embed", "forward_intermediates")
        missing = [name for name in needed if not hasattr(self.model, name)]
        if missing or not hasattr(self.model.patch_embed, "patch_size"):
            raise UsageError(f"{loaded.timm_name} is not a plain ViT with patch tokens (no {missing})")
        self._intermediates = self.model.forward_intermediates
        self.patch_size = int(self.model.patch_embed.patch_size[0])
        self.depth = len(self.model.blocks)
        self.dim = int(self.model.embed_dim)
        config = self.model.pretrained_cfg
        self._mean = np.asarray(config.get("mean", (0.485, 0.456, 0.406)), np.float32)
        self._std = np.asarray(config.get("std", (0.229, 0.224, 0.225)), np.float32)

    @property
    def name(self) -> str:
        """Name of the backbone as recorded in runs."""
        return self.loaded.name

    def fingerprint(self) -> dict[str, str]:
        """Return what identifies the features: name, weights, precision."""
        return {
            "backbone": self.name,
            "architecture": self.loaded.timm_name,
            "weights_sha256": self.loaded.state_sha256,
            "precision": self.precision,
            "device": self.device.split(":")[0],
        }

    def round_size(self, size: int) -> int:
        """Return the multiple of the patch size nearest to ``size`` pixels, at least one patch."""
        return max(1, round(size / self.patch_size)) * self.patch_size

    def resolve_layer(self, layer: str) -> str:
        """Check a layer name against this model and return its canonical form (``k-1`` is the last block).

        Raises:
            UsageError: unknown name, block out of range, keys of block 0, ``attn`` without a CLS token, or
                blocks whose keys are not made from their normalised input.
        """
        if not _LAYER.fullmatch(layer):
            raise UsageError(f"unknown layer {layer!r:.60}: use out, cls, attn, t<block> or k<block>")
        if layer == "attn" and not self.has_cls:
            raise UsageError(f"{self.name} has no CLS token, so no CLS attention")
        if layer[0] in "ak" and not self._is_pre_norm():
            raise UsageError(
                f"{self.name} has no plain pre-norm blocks, so no {layer!r}; use out or t<block>"
            )
        if layer == "attn" and self.depth < 2:
            raise UsageError(f"{self.name} has one block only; the CLS attention needs the block before it")
        if layer in ("out", "cls", "attn"):
            return layer
        block = int(layer[1:])
        block += self.depth if block < 0 else 0
        first = 1 if layer[0] == "k" else 0  # timm gives block outputs; keys of n need the output of n-1
        if not first <= block < self.depth:
            raise UsageError(f"layer {layer!r}: {self.name} has blocks {first} to {self.depth - 1}")
        return f"{layer[0]}{block}"

    def _is_pre_norm(self) -> bool:
        block = self.model.blocks[-1]
        plain = hasattr(block, "norm1") and hasattr(block, "attn")
        return plain and type(block).__name__ not in POST_NORM

    @property
    def has_cls(self) -> bool:
        """Whether the model has a CLS token."""
        return getattr(self.model, "cls_token", None) is not None

    def compile(self, engine: str | Callable = "inductor") -> None:
        """Let torch compile the network: half as fast again on a GPU, after a minute for the first batch.

        Where that fails, which shows at the first batch, the network goes on as it is.
        ``engine`` is the backend of ``torch.compile``.
        """
        import torch

        plain = self.model.forward_intermediates
        compiled = torch.compile(plain, backend=engine, dynamic=False)

        def first(*args: object, **kwargs: object) -> object:
            try:
                result = compiled(*args, **kwargs)
            except Exception as error:  # of the compiler, of what it generates, or for want of either
                if is_out_of_memory(error):
                    raise
                logger.warning("the network is not compiled, as torch cannot do it here: %.200s", error)
                self._intermediates = plain
                return plain(*args, **kwargs)
            self._intermediates = compiled
            return result

        self._intermediates = first

    def extract(self, images: np.ndarray, layers: Sequence[str]) -> dict[str, np.ndarray]:
        """Run one batch and bring what it gives to memory.

        Args:
            images: (B, S, S, 3) uint8 RGB, S a multiple of the patch size.
            layers: layer names (see the module's table); negative blocks count from the last.

        Returns:
            canonical layer name -> array: float16 (B, h*w, D) for tokens and keys, float32 (B, D) for
            ``cls``, float32 (B, h*w) for ``attn``.
        """
        tensors = self.extract_tensors(images, layers)
        return {name: tensor.cpu().numpy() for name, tensor in tensors.items()}

    def extract_tensors(self, images: np.ndarray, layers: Sequence[str]) -> dict[str, torch.Tensor]:
        """Do as :meth:`extract`, and leave it on the device."""
        import torch

        layers = [self.resolve_layer(layer) for layer in layers]
        autocast: AbstractContextManager[object] = nullcontext()
        if self.precision == "bfloat16":
            autocast = torch.autocast(self.device.split(":")[0], dtype=torch.bfloat16)
        # On a CPU the libraries choose other kernels, which round otherwise, for other numbers of rows: an
        # image is computed by itself there, so that its features do not depend on the rest of the batch.
        parts = np.split(images, len(images)) if self.device == "cpu" and len(images) else [images]
        found: list[dict[str, torch.Tensor]] = []
        with torch.inference_mode(), autocast:
            for part in parts:
                tensors = self._forward(self.normalise(part), layers)
                found.append({name: _narrow(name, tensor) for name, tensor in tensors.items()})
        if len(found) == 1:
            return found[0]
        return {name: torch.cat([part[name] for part in found]) for name in found[0]}

    def normalise(self, images: np.ndarray) -> torch.Tensor:
        """Turn (B, S, S, 3) uint8 RGB into the model's (B, 3, S, S) float32 input on its device."""
        import torch

        scale = torch.from_numpy(1.0 / (255.0 * self._std)).to(self.device)
        shift = torch.from_numpy(self._mean / self._std).to(self.device)
        batch = to_device(images, self.device)
        return (batch.float() * scale - shift).permute(0, 3, 1, 2).contiguous()

    def _forward(self, x: torch.Tensor, layers: list[str]) -> dict[str, torch.Tensor]:
        import torch

        taps = sorted({tap for layer in layers if (tap := _tap(layer, self.depth)) is not None})
        final, blocks = self._intermediates(
            x, indices=taps or [self.depth - 1], return_prefix_tokens=True, norm=False, output_fmt="NLC"
        )
        prefix = int(self.model.num_prefix_tokens)
        tokens = {}
        for tap, block in zip(taps, blocks, strict=False):
            # (patch tokens, prefix tokens), as timm returns them: back into sequence order
            tokens[tap] = torch.cat(block[::-1], dim=1) if isinstance(block, tuple) else block
        out: dict[str, torch.Tensor] = {}
        for layer in layers:
            if layer == "out":
                out[layer] = final[:, prefix:]
            elif layer == "cls":
                out[layer] = final[:, 0] if self.has_cls else final[:, prefix:].mean(1)
            elif layer == "attn":
                out[layer] = self._cls_attention(tokens[self.depth - 2], x.shape[-2:])
            elif layer.startswith("t"):
                out[layer] = tokens[int(layer[1:])][:, prefix:]
            else:
                block = int(layer[1:])
                out[layer] = self._project(block, tokens[block - 1], "k").flatten(2)[:, prefix:]
        return out

    def _project(self, block: int, tokens: torch.Tensor, part: str) -> torch.Tensor:
        """Return queries (``"q"``) or keys (``"k"``) of ``block`` for its input: (B, N, heads, head_dim)."""
        from torch.nn.functional import linear

        layer = self.model.blocks[block]
        attention = layer.attn
        x = layer.norm1(tokens)
        fused = getattr(attention, "qkv", None)
        if fused is not None:
            index = "qk".index(part)
            rows = fused.weight.shape[0] // 3
            take = slice(index * rows, (index + 1) * rows)
            bias = fused.bias if fused.bias is not None else getattr(attention, f"{part}_bias", None)
            if bias is not None and bias.shape[0] == 3 * rows:
                bias = bias[take]
            y = linear(x, fused.weight[take], bias)
        else:
            y = getattr(attention, f"{part}_proj")(x)
        y = y.unflatten(-1, (attention.num_heads, -1))
        norm = getattr(attention, f"{part}_norm", None)
        return norm(y) if norm is not None else y

    def _cls_attention(self, tokens: torch.Tensor, size: torch.Size) -> torch.Tensor:
        """Softmax attention of the CLS query in the last block, over patches, mean over heads: (B, h*w).

        Only the CLS row is computed, so no block's full attention matrix is ever materialised.
        """
        import torch

        last = self.depth - 1
        attention = self.model.blocks[last].attn
        prefix = int(self.model.num_prefix_tokens)
        query = self._project(last, tokens[:, :1], "q")
        key = self._project(last, tokens, "k")
        rope = getattr(self.model, "rope", None)
        if rope is not None:  # rotary models turn patch keys only; prefix tokens carry no position
            from timm.layers import apply_rot_embed_cat

            grid = [int(s) // self.patch_size for s in size]
            embedding = rope.get_embed(shape=grid)
            if getattr(self.model, "rope_mixed", False):  # every block has learnt its own angles
                embedding = embedding[last]
            half = bool(getattr(attention, "rotate_half", False))
            turned = apply_rot_embed_cat(key[:, prefix:].transpose(1, 2), embedding, half=half)
            key = torch.cat([key[:, :prefix], turned.transpose(1, 2).to(key.dtype)], dim=1)
        # not as a matrix product, whose rounding depends on the batch
        logits = (query.float() * key.float()).sum(-1) * attention.scale
        return logits.softmax(1)[:, prefix:].mean(2)


def to_device(pixels: np.ndarray, device: str) -> torch.Tensor:
    """Copy an array to a device; to a GPU without waiting for it."""
    import torch

    tensor = torch.from_numpy(np.array(pixels, copy=True))  # own, writable memory
    if device.startswith("cuda"):
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _narrow(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return a layer in the type that it is kept in."""
    tensor = tensor.float()
    return tensor if name in ("cls", "attn") else tensor.clamp(-FLOAT16_MAX, FLOAT16_MAX).half()


def _tap(layer: str, depth: int) -> int | None:
    """Block whose output the layer is computed from; ``None`` for what follows the final norm."""
    if layer in ("out", "cls"):
        return None
    if layer == "attn":
        return depth - 2
    return int(layer[1:]) - (layer[0] == "k")


def load_backbone(
    name: str | None = None, *, cache_dir: Path, device: str = "auto", precision: str = "auto"
) -> Backbone:
    """Load weights (see :mod:`.weights` for the order of resolution) and wrap them in a :class:`Backbone`."""
    return Backbone(load_model(name, cache_dir), device=device, precision=precision)
