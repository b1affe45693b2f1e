"""Normalisation against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler, normalize

from fiftyone_plugin.clustering.normalize import (
    DeviceNormalizer,
    VectorNormalizer,
    blur_patches,
    blur_tensors,
    l2_normalize,
)
from fiftyone_plugin.errors import UsageError


def correlated(n: int = 400, d: int = 24, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 3 * rng.normal(size=d)).astype(np.float32)


def test_l2_is_sklearns_and_keeps_zeros():
    x = correlated()
    x[5] = 0
    np.testing.assert_allclose(l2_normalize(x), normalize(x.astype(np.float64)), rtol=1e-5, atol=1e-6)
    assert l2_normalize(x.astype(np.float16)).dtype == np.float32
    assert not l2_normalize(x)[5].any()


@pytest.mark.parametrize("components", [1, 8, 24])
def test_whitening_is_pca_whitening_up_to_sign(components):
    x = correlated(n=20_000, d=24)
    ours = VectorNormalizer(whiten=components).fit(x)
    unit = normalize(x.astype(np.float64))
    pca = PCA(components, whiten=True, svd_solver="full").fit(unit)
    expected = normalize(pca.transform(unit))
    found = ours.transform(x)
    assert found.dtype == np.float32
    assert found.shape == (20_000, components)
    signs = np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found * signs, expected, atol=2e-3)


def test_whitening_keeps_at_most_all_dimensions():
    x = correlated(d=10)
    assert VectorNormalizer(whiten=64).fit_transform(x).shape == (400, 10)


def test_whitening_has_a_fixed_sign():
    """The largest entry of every direction is positive, so two runs cannot differ by a sign."""
    x = correlated()
    projection = VectorNormalizer(whiten=6).fit(x).projection_
    assert (projection[np.abs(projection).argmax(0), np.arange(6)] > 0).all()


def test_directions_without_variance_do_not_explode():
    x = correlated(d=8)
    flat = np.concatenate([x, np.zeros((400, 8), np.float32)], axis=1)  # eight dimensions of nothing
    found = VectorNormalizer(whiten=16).fit_transform(flat)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[:, 8:], 0, atol=1e-3)
    for whiten in (None, 4):
        constant = np.ones((50, 6), np.float32)
        assert np.isfinite(VectorNormalizer(center=True, whiten=whiten).fit_transform(constant)).all()


def test_moments_of_chunks_keep_the_small_directions():
    """A large common component, float16, more rows than a chunk: the weakest direction is still right."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((9000, 24)) * np.logspace(0, -2, 24) + 5).astype(np.float16)
    normalizer = VectorNormalizer(whiten=24).fit(x)
    white = normalizer.project(x)
    kept = white[:, (normalizer.projection_ != 0).any(axis=0)]
    assert kept.shape[1] >= 22
    np.testing.assert_allclose(np.cov(kept.T, bias=True), np.eye(kept.shape[1]), atol=2e-3)


def test_standardise_is_sklearns():
    x = correlated()
    unit = normalize(x.astype(np.float64))
    expected = normalize(StandardScaler().fit_transform(unit))
    np.testing.assert_allclose(VectorNormalizer(standardize=True).fit_transform(x), expected, atol=1e-4)


def test_centring_subtracts_the_mean_direction():
    x = correlated(n=100_000, d=4)
    ours = VectorNormalizer(center=True).fit(x)
    np.testing.assert_allclose(ours.mean_, normalize(x.astype(np.float64)).mean(0), rtol=1e-5)
    plain = VectorNormalizer().fit(x)
    assert not plain.mean_.any()
    np.testing.assert_array_equal(plain.transform(x), l2_normalize(l2_normalize(x)))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 30), st.integers(1, 12), st.integers(0, 3),
    st.sampled_from([{}, {"center": True}, {"whiten": 3}, {"standardize": True}]),
)  # fmt: skip
def test_rows_come_out_with_unit_length_or_zero(n, d, distinct, options):
    rng = np.random.default_rng(n * 100 + d)
    x = rng.normal(size=(n, d)).astype(np.float16)
    x[distinct:] = x[:1]  # few distinct rows
    found = VectorNormalizer(**options).fit_transform(x)
    length = np.linalg.norm(found, axis=1)
    assert np.isfinite(found).all()
    assert ((np.abs(length - 1) < 1e-3) | (length < 1e-3)).all()


def test_impossible_options():
    with pytest.raises(UsageError, match="exclude"):
        VectorNormalizer(whiten=2, standardize=True).fit(correlated())
    with pytest.raises(UsageError, match="at least 1"):
        VectorNormalizer(whiten=0).fit(correlated())


def test_is_a_scikit_learn_estimator():
    original = VectorNormalizer(center=True, whiten=3)
    assert clone(original).get_params() == original.get_params()


def test_the_first_components_are_those_of_a_smaller_fit():
    x = np.random.default_rng(0).normal(size=(200, 12)).astype(np.float32) * np.arange(1, 13)
    large, small = VectorNormalizer(whiten=8).fit(x), VectorNormalizer(whiten=3).fit(x)
    np.testing.assert_array_equal(large.first(3).transform(x), small.transform(x))
    with pytest.raises(UsageError, match="8 components were kept, 9 are asked for"):
        large.first(9)
    with pytest.raises(UsageError, match="None components"):
        VectorNormalizer(center=True).fit(x).first(2)


@pytest.mark.parametrize("options", [{}, {"center": True}, {"whiten": 6}, {"standardize": True}])
def test_on_a_device_it_is_the_same(options):
    x = correlated()
    x[3] = 0
    normalizer = VectorNormalizer(**options).fit(x)
    found = DeviceNormalizer(normalizer, "cpu")(torch.from_numpy(x).reshape(4, 100, -1))
    np.testing.assert_allclose(found.reshape(400, -1), normalizer.transform(x), atol=2e-5)


@pytest.mark.parametrize("sigma", [0, 0.7, 3])
@pytest.mark.parametrize("grid", [(5, 7), (1, 35), (2, 2)])
def test_blurring_many_images_is_blurring_each(grid, sigma):
    images = np.random.default_rng(0).normal(size=(3, grid[0] * grid[1], 4)).astype(np.float32)
    found = blur_tensors(torch.from_numpy(images), grid, sigma)
    for one, image in zip(found, images, strict=True):
        np.testing.assert_allclose(one, blur_patches(image, grid, sigma), atol=1e-5)
