"""The plain vision transformers of DINO and DINOv2, named as timm names them, module by module.

timm builds them as well, to the same bits. But importing timm imports every model that it has, torchvision
and torch's compiler: that takes longer than labelling some images. What is none of these goes through timm.

Dosovitskiy et al., "An image is worth 16x16 words" (ICLR 2021); layer scale: Touvron et al. (ICCV 2021), as
DINOv2 has it; registers: Darcet et al., "Vision transformers need registers" (ICLR 2024).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["PlainViT", "plain_vit"]

_DINO = re.compile(r"vit_(small|base)_patch(8|16)_224\.dino")
_DINOV2 = re.compile(r"vit_(small|base|large)_patch(14)(_reg4)?_dinov2(?:\.lvd142m)?")
SIZES = {"small": (384, 12), "base": (768, 12), "large": (1024, 24)}  # width, blocks
HEAD_DIM = 64
EPS = 1e-6
COLOURS = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}  # of ImageNet, for all of these


def plain_vit(name: str, state: Mapping[str, Tensor]) -> PlainViT | None:
    """Build a model around its weights.

    Args:
        name: its name in timm.
        state: parameter name -> tensor on the CPU; what the model has no place for is left out.

    Returns:
        The model in eval mode, float32, its weights a copy; ``None`` where the name is none of these models,
        or the tensors are not those it has.
    """
    dino, dinov2 = _DINO.fullmatch(name), _DINOV2.fullmatch(name)
    match = dino or dinov2
    if match is None:
        return None
    width, depth = SIZES[match[1]]
    patch, registers = int(match[2]), 4 if dinov2 and dinov2[3] else 0
    model = PlainViT(width, depth, patch, 224 if dino else 518, registers, scaled=bool(dinov2))
    wanted = {key: tensor.shape for key, tensor in model.state_dict().items()}
    if any(key not in state or state[key].shape != shape for key, shape in wanted.items()):
        return None
    model.load_state_dict({key: state[key] for key in wanted})
    return model.eval()


class PlainViT(nn.Module):
    """A vision transformer for square images of any multiple of the patch size; its weights are to be loaded.

    Args:
        width: D, a multiple of 64.
        depth: number of blocks.
        patch: side of a patch, pixels.
        side: of the images that the position embeddings are for, pixels.
        registers: number of register tokens; with them the position embeddings are of patches alone.
        scaled: with layer scale.
    """

    def __init__(self, width: int, depth: int, patch: int, side: int, registers: int, scaled: bool) -> None:
        super().__init__()
        self.pretrained_cfg = dict(COLOURS)
        self.embed_dim = width
        self.num_prefix_tokens = 1 + registers
        self.patch_embed = _Patches(width, patch)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.reg_token = nn.Parameter(torch.empty(1, registers, width)) if registers else None
        positions = (side // patch) ** 2 + (0 if registers else 1)
        self.pos_embed = nn.Parameter(torch.empty(1, positions, width))
        self.blocks = nn.Sequential(*(_Block(width, scaled) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=EPS)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the (B, 1 + registers + h*w, D) tokens after the final norm of (B, 3, S, S) images."""
        tokens: Tensor = self.norm(self.blocks(self._embed(x)))
        return tokens

    def forward(self, x: Tensor) -> Tensor:
        """Return what :meth:`forward_features` returns."""
        return self.forward_features(x)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: Sequence[int],
        *,
        return_prefix_tokens: bool = True,
        norm: bool = False,
        output_fmt: str = "NLC",
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Return the tokens after the final norm, and (patches, prefix) after each of the blocks ``indices``.

        The other arguments are timm's, and have the one value that is used here.
        """
        x = self._embed(x)
        taken = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in indices:
                taken.append((x[:, self.num_prefix_tokens :], x[:, : self.num_prefix_tokens]))
        return self.norm(x), taken

    def _embed(self, x: Tensor) -> Tensor:
        x = self.patch_embed.proj(x)
        grid = (int(x.shape[-2]), int(x.shape[-1]))
        x = x.permute(0, 2, 3, 1).flatten(1, 2)
        n = len(x)
        if self.reg_token is not None:
            x = x + self._positions(grid, 0)
            return torch.cat([self.cls_token.expand(n, -1, -1), self.reg_token.expand(n, -1, -1), x], dim=1)
        return torch.cat([self.cls_token.expand(n, -1, -1), x], dim=1) + self._positions(grid, 1)

    def _positions(self, grid: tuple[int, int], prefix: int) -> Tensor:
        """Interpolate the position embeddings of patches to another grid; those of ``prefix`` tokens stay."""
        side = round((self.pos_embed.shape[1] - prefix) ** 0.5)
        if grid == (side, side):
            return self.pos_embed
        first, patches = self.pos_embed[:, :prefix], self.pos_embed[:, prefix:]
        patches = patches.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
        patches = functional.interpolate(patches, size=grid, mode="bicubic", antialias=True)
        patches = patches.permute(0, 2, 3, 1).flatten(1, 2).to(first.dtype)
        return torch.cat([first, patches], dim=1)


class _Linear(nn.Linear):
    def reset_parameters(self) -> None:
        """Do nothing: random weights, which nobody needs, take a second."""


class _Convolution(nn.Conv2d):
    def reset_parameters(self) -> None:
        """Do nothing."""


class _Patches(nn.Module):
    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.patch_size = (patch, patch)
        self.proj = _Convolution(3, width, kernel_size=patch, stride=patch)


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_heads = width // HEAD_DIM
        self.scale = HEAD_DIM**-0.5
        self.qkv = _Linear(width, 3 * width)
        self.proj = _Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, HEAD_DIM)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        found: Tensor = self.proj(mixed)
        return found


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = _Linear(width, 4 * width)
        self.act = nn.GELU()
        self.fc2 = _Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.fc2(self.act(self.fc1(x)))
        return found


class _Scale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class _Block(nn.Module):
    def __init__(self, width: int, scaled: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn = _Attention(width)
        self.ls1 = _Scale(width) if scaled else nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = _Mlp(width)
        self.ls2 = _Scale(width) if scaled else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))
