"""AlignSeg's decoder and losses, as plain torch modules and functions.

Liu, Zeng, Tao, Fang, AlignSeg (TPAMI 2024, doi 10.1109/TPAMI.2024.3432326), after the authors' public code
(MIT): shapes are B images, n global and m local tokens, D dimensions, Q prototypes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional

__all__ = [
    "Decoder",
    "adapt",
    "assignments",
    "contrast_loss",
    "correlation",
    "cosine",
    "image_alignment_loss",
    "single_thread",
]

ADAPT_TEMPERATURE = 0.02  # nearly hard assignments


@contextmanager
def single_thread() -> Iterator[None]:
    """Run torch on one core: sums in another order change the last bits, and with them the results."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class DecoderLayer(nn.Module):
    """Cross-attention to tokens, self-attention among prototypes, FFN; residual, then norm, after each."""

    def __init__(self, dim: int, n_heads: int, hidden: int) -> None:
        super().__init__()
        self.cross = nn.MultiheadAttention(dim, n_heads, batch_first=True)
        self.self_ = nn.MultiheadAttention(dim, n_heads, batch_first=True)
        self.ffn = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))

    def forward(self, queries: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Map (B, Q, D) queries and (B, n, D) tokens to (B, Q, D)."""
        x = self.norms[0](queries + self.cross(queries, tokens, tokens, need_weights=False)[0])
        x = self.norms[1](x + self.self_(x, x, x, need_weights=False)[0])
        out: torch.Tensor = self.norms[2](x + self.ffn(x))
        return out


class Decoder(nn.Module):
    """Turns Q learnt prototypes into the adaptive prototypes of an image.

    Args:
        dim: D.
        n_prototypes: Q.
        n_layers: layers.
        n_heads: attention heads, a divisor of D.
        hidden: width of the FFN.
    """

    def __init__(
        self, dim: int, n_prototypes: int, *, n_layers: int = 1, n_heads: int = 3, hidden: int = 768
    ) -> None:
        super().__init__()
        self.prototypes = nn.Parameter(torch.randn(n_prototypes, dim))
        self.layers = nn.ModuleList(DecoderLayer(dim, n_heads, hidden) for _ in range(n_layers))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map (B, n, D) tokens to (B, Q, D) adaptive prototypes."""
        x = self.prototypes.expand(len(tokens), -1, -1)
        for layer in self.layers:
            x = layer(x, tokens)
        return x


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the (B, n, m) cosines of (B, n, D) and (B, m, D)."""
    return functional.normalize(a, dim=-1) @ functional.normalize(b, dim=-1).transpose(-1, -2)


def adapt(prototypes: torch.Tensor, tokens: torch.Tensor, steps: int) -> torch.Tensor:
    """Move (B, Q, D) prototypes towards those of (B, n, D) tokens they win: soft k-means on the sphere.

    They are of unit length then, but for 0 steps, which return them as they are.
    """
    for _ in range(steps):
        weights = (cosine(tokens, prototypes) / ADAPT_TEMPERATURE).softmax(-1)
        means = weights.transpose(1, 2) @ functional.normalize(tokens, dim=-1)
        prototypes = functional.normalize(means, dim=-1)
    return prototypes


def correlation(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the (B, n, m) spatially centred cosines of two crops' tokens, the target of the alignment loss.

    As in STEGO: each token's mean over the other crop is subtracted; the mean over the batch is not put back,
    so that values are relative to what is usual in the image, whatever the features. (B, n, D) tokens of the
    global crop and (B, m, D) of the local one get no gradient.
    """
    with torch.no_grad():
        c = cosine(x, y)
        return c - c.mean(-1, keepdim=True)


def assignments(tokens: torch.Tensor, prototypes: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Return the (B, n, Q) softmax over prototypes of max(0, cosine) / temperature."""
    return (cosine(tokens, prototypes).clamp_min(0) / temperature).softmax(-1)


def image_alignment_loss(
    target: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    mask_a: torch.Tensor,
    mask_b: torch.Tensor,
    *,
    pressure: float,
) -> torch.Tensor:
    """Prototype-image alignment: patches that look alike get the same prototypes.

    Every pair of a global patch i and a local patch j, both foreground, costs -(a_i . b_j)(C_ij - pressure).

    Args:
        target: C, (B, n, m).
        a: (B, n, Q) assignments of the global crop.
        b: (B, m, Q) assignments of the local crop.
        mask_a: (B, n) bool foreground of the global crop.
        mask_b: (B, m) bool foreground of the local crop.
        pressure: correlation above which a pair attracts.

    Returns:
        Scalar: the mean over each image's pairs, then over the images that have any, so that neither the
        batch size nor the foreground's area shifts the balance of the losses.
    """
    pairs = (mask_a.unsqueeze(-1) & mask_b.unsqueeze(-2)).to(target.dtype)
    cost = -(a @ b.transpose(-1, -2)) * (target - pressure) * pairs
    count = pairs.sum((-1, -2))
    return (cost.sum((-1, -2)) / count.clamp_min(1)).sum() / (count > 0).sum().clamp_min(1)


def contrast_loss(p: torch.Tensor, q: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Global-local prototype alignment: prototype k of one crop matches prototype k of the other only.

    NT-Xent within an image: of the 2Q - 1 other prototypes, the same one of the other crop is the positive.
    It is the mean over the 2Q rows of all images of (B, Q, D) adaptive prototypes of each crop.
    """
    count = p.shape[1]
    both = torch.cat([p, q], dim=1)
    logits = cosine(both, both) / temperature
    logits = logits.masked_fill(torch.eye(2 * count, dtype=torch.bool, device=p.device), -torch.inf)
    positive = torch.arange(2 * count, device=p.device).roll(count)
    return functional.cross_entropy(logits.flatten(0, 1), positive.repeat(len(p)))
