"""Residual growth, its rules, and how gradients at two inputs decorrelate: closed forms and simulated networks."""

import numpy as np
import pytest

from gradjax.theory.residual import (
    deepnorm_constants,
    fixup_branch_scale,
    residual_growth,
    stable_branch_scale,
    transformer_signals,
)
from gradjax.theory.shattering import (
    batchnorm_gradient_correlation,
    batchnorm_residual_gradient_correlation,
    gradient_correlation,
    residual_gradient_correlation,
)


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_relu_blocks_grow_geometrically(scale):
    """He-scaled branches: signal and gradient grow by 1 + a^2 per block: 2^depth at a = 1."""
    growth = residual_growth("relu", 2**0.5, 20, scale, q=3.0)
    np.testing.assert_allclose(growth.length, 3 * (1 + scale**2) ** np.arange(21), rtol=1e-12)
    np.testing.assert_allclose(growth.log_squared_gradient, np.log(1 + scale**2) * np.arange(20, -1, -1), atol=1e-11)


def test_the_stable_scale_bounds_growth_by_e():
    for depth in (4, 64, 512):
        growth = residual_growth("relu", 2**0.5, depth, stable_branch_scale(depth))
        exact = depth * np.log1p(1 / depth)
        np.testing.assert_allclose(growth.log_squared_gradient[0], exact, rtol=1e-10)
        assert exact < 1
    shrunk = residual_growth("relu", 2**0.5, 64, 1 / 64).log_squared_gradient[0]
    np.testing.assert_allclose(np.exp(shrunk), np.exp(1 / 64), rtol=1e-3)


def test_tanh_blocks_grow_like_the_square_root_of_depth():
    """ln |g|^2 ~ (8/3) / sqrt(2 pi) sqrt(depth), q ~ depth: the increments, which lose the transient of the start."""
    growth = residual_growth("tanh", 1.0, 2000, 1.0)
    per_root = (growth.log_squared_gradient[500] - growth.log_squared_gradient[1999]) / (np.sqrt(2000) - np.sqrt(501))
    np.testing.assert_allclose(per_root, 8 / 3 / np.sqrt(2 * np.pi), rtol=0.02)
    np.testing.assert_allclose((growth.length[2000] - growth.length[1000]) / 1000, 1, rtol=0.05)


def test_simulated_tanh_blocks():
    """Width 400, depth 16: mean squared signal and gradient of a network with its own forward pass, within 5 %."""
    rng = np.random.default_rng(0)
    width, depth, ratios, lengths = 400, 16, [], []
    for _ in range(4):
        x, layers = rng.standard_normal(width), []
        for _ in range(depth):
            w, v = rng.standard_normal((2, width, width)) / np.sqrt(width)
            h = 1.2 * w @ x + 0.3 * rng.standard_normal(width)
            layers.append((w, v, 1 / np.cosh(h) ** 2))
            x = x + 0.8 * v @ np.tanh(h)
        g = rng.standard_normal(width)
        start = g @ g
        for w, v, slope in reversed(layers):
            g = g + 0.8 * 1.2 * w.T @ (slope * (v.T @ g))
        ratios.append(np.log(g @ g / start))
        lengths.append(x @ x / width)
    growth = residual_growth("tanh", 1.2, depth, 0.8, bias_std=0.3)
    # each draw's log ratio fluctuates by about sqrt(2 depth / width) = 0.28
    np.testing.assert_allclose(np.mean(ratios), growth.log_squared_gradient[0], atol=4 * 0.28 / 2)
    np.testing.assert_allclose(np.mean(lengths), growth.length[-1], rtol=0.1)


def test_one_scale_for_each_block():
    scales = [1.0, 0.0, 0.5]
    growth = residual_growth("relu", 2**0.5, 3, scales)
    np.testing.assert_allclose(growth.length, [1, 2, 2, 2.5], rtol=1e-12)


def test_published_rules():
    np.testing.assert_allclose(fixup_branch_scale(10_000, 2), 0.01)
    np.testing.assert_allclose(fixup_branch_scale(16, 3), 0.5)
    np.testing.assert_allclose(deepnorm_constants(0, 1000)[2:], (2000**0.25, 8000**-0.25))
    both = deepnorm_constants(18, 6)
    np.testing.assert_allclose(both.encoder_alpha * both.encoder_beta, 0.81 * 0.87)
    np.testing.assert_allclose(both[2:], (18**0.25, 72**-0.25))


def test_plain_relu_gradients_decorrelate_like_the_cube_of_depth():
    """Against the closed recursion of angles, the recorded values, and the limit of about 195 / depth^3."""
    angle, product, expected = np.pi / 2, 1.0, [1.0]
    for _ in range(100):
        product *= 1 - angle / np.pi
        expected.append(product)
        angle = np.arccos((np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi)
    ours = gradient_correlation("relu", 2**0.5, 0.0, 100)
    np.testing.assert_allclose(ours, expected, rtol=1e-9)
    recorded = {1: 0.5, 2: 0.3016, 5: 0.1046, 10: 0.03365, 20: 0.008235, 50: 0.000912, 100: 1.44e-4}
    for depth, value in recorded.items():
        np.testing.assert_allclose(ours[depth], value, rtol=2e-3)
    local = np.log(ours[100] / ours[50]) / np.log(2)
    assert -3 < local < -2.5  # a power law near -3, nowhere near 2^-50


def test_gradients_of_a_linear_network_never_shatter():
    np.testing.assert_allclose(gradient_correlation("linear", 1.0, 0.0, 10), 1, rtol=1e-12)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"depth( is |=)0"):
        residual_growth("relu", 1.0, 0, 1.0)
    with pytest.raises(ValueError, match="branch_scale"):
        residual_growth("relu", 1.0, 3, [1.0, 2.0])
    with pytest.raises(ValueError, match=r"q( is |=)0"):
        residual_growth("relu", 1.0, 3, 1.0, q=0)
    with pytest.raises(ValueError, match=r"layers_per_branch( is |=)1"):
        fixup_branch_scale(10, 1)
    with pytest.raises(ValueError, match="both 0"):
        deepnorm_constants(0, 0)
    with pytest.raises(ValueError, match=r"depth( is |=)-1"):
        gradient_correlation("relu", 1.0, 0.0, -1)
    with pytest.raises(ValueError, match=r"correlation( is |=)2"):
        gradient_correlation("relu", 1.0, 0.0, 3, correlation=2)


def test_residual_gradients_decorrelate_by_the_recursion_of_angles():
    """ReLU in closed form: cos' = (cos + k(cos)) / 2, gates open together with probability (pi - angle) / (2 pi)."""
    c, product, expected = 0.2, 1.0, [1.0]
    for _ in range(20):
        angle = np.arccos(c)
        product *= (1 + (np.pi - angle) / np.pi) / 2
        expected.append(product)
        c = (c + (np.sin(angle) + (np.pi - angle) * c) / np.pi) / 2
    ours = residual_gradient_correlation("relu", 2**0.5, 20, correlation=0.2)
    np.testing.assert_allclose(ours, expected, rtol=1e-9)


def test_batch_norm_halves_the_correlation_in_every_relu_layer():
    np.testing.assert_allclose(batchnorm_gradient_correlation("relu", 30), 0.5 ** np.arange(31), rtol=1e-12)
    finite = batchnorm_gradient_correlation("relu", 1, batch_size=9)[1]
    np.testing.assert_allclose(finite, 1 - np.arccos(-1 / 8) / np.pi, rtol=1e-12)


def test_skips_with_batch_norm_give_a_power_of_depth():
    """prod (1 + a_l / 4) / (1 + a_l / 2) with a_l = 2 / (1 + (1 - 1 / pi) l), a ratio of gamma functions."""
    step = 1 - 1 / np.pi
    block = np.arange(5000)
    expected = np.concatenate([[1], np.cumprod((1 + step * block + 0.5) / (1 + step * block + 1))])
    ours = batchnorm_residual_gradient_correlation("relu", 2**0.5, 5000)
    np.testing.assert_allclose(ours, expected, rtol=1e-10)
    power = np.log(ours[5000] / ours[2500]) / np.log(2)
    np.testing.assert_allclose(power, -np.pi / (2 * (np.pi - 1)), rtol=1e-3)


def test_bad_batches_and_depths_are_refused():
    with pytest.raises(ValueError, match=r"batch_size( is |=)1"):
        batchnorm_gradient_correlation("relu", 3, batch_size=1)
    with pytest.raises(ValueError, match=r"depth( is |=)-1"):
        residual_gradient_correlation("relu", 1.0, -1)
    with pytest.raises(ValueError, match=r"correlation( is |=)2"):
        residual_gradient_correlation("relu", 1.0, 1, correlation=2)


def test_tokens_of_a_transformer_collapse_unless_the_skip_is_strong():
    signals = transformer_signals(64, 16, post=True)
    assert signals.length == pytest.approx(np.ones(65)) and 1 - signals.correlation[-1] < 1e-10
    strong = [1 - transformer_signals(depth, 16, post=True, skip=depth**0.5).correlation[-1] for depth in (16, 64, 256)]
    assert min(strong) > 0.7 and np.ptp(strong) < 0.02
    weak = transformer_signals(256, 16, branch=256**-0.5)
    assert weak.length[-1] < 3 and weak.correlation[-1] < 0.4
    # Xiong et al. (2020): the mean square of Pre-LN lies between 1 + l / 2 and 1 + 3 l / 2
    blocks = np.arange(65)
    length = transformer_signals(64, 16).length
    assert (length >= 1 + blocks / 2).all() and (length <= 1 + 3 * blocks / 2).all()


@pytest.mark.parametrize("post", [False, True])
def test_a_deeper_transformer_begins_as_a_shallower_one(post):
    deep, shallow = (np.array(transformer_signals(depth, 4, post=post)) for depth in (8, 5))
    np.testing.assert_allclose(deep[:, :6], shallow, rtol=1e-14)


@pytest.mark.parametrize(
    ("depth", "tokens", "word"), [(0, 4, "depth is 0"), (3, 0, "tokens is 0"), (2.5, 4, "depth is 2.5")]
)
def test_transformers_that_cannot_be(depth, tokens, word):
    with pytest.raises(ValueError, match=word):
        transformer_signals(depth, tokens)
