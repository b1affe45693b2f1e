"""Every formula of AlignSeg against a slow, obvious version written from the description."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fiftyone_plugin.methods.alignseg.model import (
    Decoder,
    assignments,
    contrast_loss,
    correlation,
    image_alignment_loss,
    single_thread,
)

B, N, M, D, Q = 3, 6, 5, 8, 4


def tensor(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def cos(a, b) -> float:
    a, b = np.asarray(a, float), np.asarray(b, float)
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


def slow_softmax(values: list[float]) -> list[float]:
    top = max(values)
    weights = [math.exp(v - top) for v in values]
    return [w / sum(weights) for w in weights]


def test_correlation():
    x, y = tensor(B, N, D), tensor(B, M, D, seed=1)
    c = [[[cos(x[b, i], y[b, j]) for j in range(M)] for i in range(N)] for b in range(B)]
    centred = [[[v - sum(row) / M for v in row] for row in image] for image in c]
    np.testing.assert_allclose(correlation(x, y), centred, atol=1e-5)


def test_the_target_gives_no_gradient():
    x = tensor(B, N, D).requires_grad_()
    assert not correlation(x, tensor(B, M, D, seed=1)).requires_grad


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_assignments(temperature):
    x, p = tensor(B, N, D), tensor(B, Q, D, seed=1)
    found = assignments(x, p, temperature)
    for b in range(B):
        for i in range(N):
            scores = [max(0.0, cos(x[b, i], p[b, q])) / temperature for q in range(Q)]
            np.testing.assert_allclose(found[b, i], slow_softmax(scores), atol=1e-5)


@pytest.fixture
def pairs():
    rng = np.random.default_rng(3)
    target = tensor(B, N, M, seed=2)
    a, b = tensor(B, N, Q, seed=3).softmax(-1), tensor(B, M, Q, seed=4).softmax(-1)
    mask_a, mask_b = (torch.from_numpy(rng.random((B, n)) < 0.6) for n in (N, M))
    mask_a[1] = False  # an image without foreground
    return target, a, b, mask_a, mask_b


def slow_costs(target, a, b, mask_a, mask_b, pressure) -> list[list[float]]:
    images = []
    for k in range(B):
        costs = []
        for i in range(N):
            for j in range(M):
                if mask_a[k, i] and mask_b[k, j]:
                    s = sum(float(a[k, i, q]) * float(b[k, j, q]) for q in range(Q))
                    costs.append(-s * (float(target[k, i, j]) - pressure))
        images.append(costs)
    return images


def test_image_alignment_is_the_mean_over_images_of_the_mean_over_pairs(pairs):
    means = [sum(costs) / len(costs) for costs in slow_costs(*pairs, 0.2) if costs]
    assert len(means) == B - 1
    found = image_alignment_loss(*pairs, pressure=0.2)
    assert float(found) == pytest.approx(sum(means) / len(means), abs=1e-6)


def test_the_mean_depends_neither_on_the_batch_nor_on_the_foreground_area(pairs):
    """Every image twice, or every patch twice: the mean stays."""
    target, a, b, mask_a, mask_b = pairs
    batch = [torch.cat([t, t]) for t in pairs]
    area = [
        target.repeat_interleave(2, 1).repeat_interleave(2, 2),
        *(t.repeat_interleave(2, 1) for t in (a, b, mask_a, mask_b)),
    ]
    once = float(image_alignment_loss(*pairs, pressure=0.1))
    for more in (batch, area):
        assert float(image_alignment_loss(*more, pressure=0.1)) == pytest.approx(once, rel=1e-4)


def test_no_foreground_at_all_costs_nothing(pairs):
    target, a, b, mask_a, mask_b = pairs
    nothing = torch.zeros_like(mask_a)
    a = a.clone().requires_grad_()
    loss = image_alignment_loss(target, a, b, nothing, mask_b, pressure=0.1)
    loss.backward()
    assert float(loss) == 0
    assert torch.isfinite(a.grad).all()


@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_contrast(temperature):
    p, q = tensor(B, Q, D), tensor(B, Q, D, seed=1)
    rows = []
    for b in range(B):
        both = [*p[b], *q[b]]
        for i in range(2 * Q):
            others = [j for j in range(2 * Q) if j != i]
            probability = slow_softmax([cos(both[i], both[j]) / temperature for j in others])
            rows.append(-math.log(probability[others.index((i + Q) % (2 * Q))]))
    assert float(contrast_loss(p, q, temperature)) == pytest.approx(sum(rows) / len(rows), abs=1e-5)


# --- the decoder ----------------------------------------------------------------------------------


def slow_attention(module, queries: np.ndarray, memory: np.ndarray) -> np.ndarray:
    """Multi-head attention of (Q, D) queries over (n, D) rows, head by head."""
    w, bias = module.in_proj_weight.numpy(), module.in_proj_bias.numpy()
    dim, heads = queries.shape[1], module.num_heads
    q, k, v = (
        rows @ w[i * dim : (i + 1) * dim].T + bias[i * dim : (i + 1) * dim]
        for i, rows in enumerate((queries, memory, memory))
    )
    width = dim // heads
    out = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        logits = q[:, part] @ k[:, part].T / math.sqrt(width)
        weights = np.array([slow_softmax(row.tolist()) for row in logits])
        out.append(weights @ v[:, part])
    return np.concatenate(out, 1) @ module.out_proj.weight.numpy().T + module.out_proj.bias.numpy()


def slow_norm(x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)


def slow_layer(layer, queries: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    x = slow_norm(queries + slow_attention(layer.cross, queries, tokens))
    x = slow_norm(x + slow_attention(layer.self_, x, x))
    first, _, second = layer.ffn
    hidden = np.maximum(x @ first.weight.numpy().T + first.bias.numpy(), 0)
    return slow_norm(x + hidden @ second.weight.numpy().T + second.bias.numpy())


def test_decoder():
    torch.manual_seed(0)
    decoder = Decoder(D, Q, n_layers=3, n_heads=2, hidden=7)
    tokens = tensor(B, N, D)
    with torch.inference_mode():
        found = decoder(tokens)
        for b in range(B):
            x = decoder.prototypes.numpy()
            for layer in decoder.layers:
                x = slow_layer(layer, x, tokens[b].numpy())
            np.testing.assert_allclose(found[b], x, atol=1e-4)


def test_initial_values():
    torch.manual_seed(0)
    decoder = Decoder(256, 5, hidden=768, n_heads=4)
    linear = decoder.layers[0].ffn[0]
    assert float(linear.weight.std()) == pytest.approx(0.02, rel=0.05)
    assert not linear.bias.any()
    assert float(decoder.prototypes.std()) == pytest.approx(1, rel=0.1)


def test_single_thread_is_undone():
    before = torch.get_num_threads()
    with single_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
