"""Every initializer keeps what it declares: shape, dtype, determinism, variance or singular values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gradjax import initializers
from gradjax.activations import ACTIVATIONS
from gradjax.initializers import INITIALIZERS, resolve, stacked

names = pytest.mark.parametrize("name", INITIALIZERS)


def a_shape(initializer, rows=192, columns=256):
    dimensions = min(initializer.ranks or (2,))
    return (3,) * (dimensions - 2) + (rows, columns)


def matrix(kernel):
    """The matrix whose singular values are declared: a delta-orthogonal kernel acts through its one nonzero tap."""
    return kernel.reshape(-1, kernel.shape[-1])


@names
def test_shape_dtype_and_determinism(name):
    initializer = INITIALIZERS[name]
    shape = a_shape(initializer, 4, 6)
    for dtype in ("bfloat16", "float16", "float32"):
        first = initializer(jax.random.key(3), shape, dtype)
        assert first.shape == shape
        assert first.dtype == jnp.dtype(dtype)
        assert (first == initializer(jax.random.key(3), shape, dtype)).all()
    assert initializer(jax.random.key(3), shape).dtype == jnp.float32


@names
def test_sixteen_bits_are_the_rounded_float32_draw(name):
    initializer = INITIALIZERS[name]
    shape = a_shape(initializer, 4, 6)
    wide = initializer(jax.random.key(0), shape, "float32")
    assert (initializer(jax.random.key(0), shape, "bfloat16") == wide.astype("bfloat16")).all()


@names
def test_declared_property_holds(name, x64):
    """Variance within five standard errors, and the declared distribution by Kolmogorov-Smirnov; or singular values."""
    initializer = INITIALIZERS[name]
    kernel = np.asarray(initializer(jax.random.key(7), a_shape(initializer), "float64"))
    assert (initializer.variance is None) != (initializer.singular_value is None)
    if initializer.singular_value is not None:
        values = np.linalg.svd(matrix(kernel), compute_uv=False)
        nonzero = values[values > 1e-6 * values[0]]
        np.testing.assert_allclose(nonzero, initializer.singular_value, rtol=1e-12)
        kept = len(values) // 2 if name == "looks_linear" else min(kernel.shape[-2:])
        assert len(nonzero) == kept
        return
    variance = initializer.variance(kernel.shape)
    if initializer.distribution == "constant":
        assert variance == kernel.var() == 0
        return
    # the fourth moment of all three distributions is at most 3 variance^2
    np.testing.assert_allclose((kernel**2).mean() / variance, 1, atol=5 * np.sqrt(2 / kernel.size))
    assert abs(kernel.mean()) < 5 * np.sqrt(variance / kernel.size)
    std = np.sqrt(variance)
    law = {
        "normal": scipy.stats.norm(scale=std),
        "uniform": scipy.stats.uniform(-np.sqrt(3) * std, 2 * np.sqrt(3) * std),
        "truncated normal": scipy.stats.truncnorm(-2, 2, scale=std / np.sqrt(initializers.TRUNCATED_VARIANCE)),
    }[initializer.distribution]
    assert scipy.stats.kstest(kernel.ravel(), law.cdf).pvalue > 1e-4


def test_jax_names_give_jax_arrays():
    for name in ("he_normal", "he_uniform", "glorot_normal", "glorot_uniform", "lecun_normal", "lecun_uniform"):
        ours = INITIALIZERS[name](jax.random.key(1), (5, 7))
        assert (ours == getattr(jax.nn.initializers, name)()(jax.random.key(1), (5, 7))).all(), name


def test_the_variance_of_a_truncated_normal_is_its_closed_form():
    law = scipy.stats.truncnorm(-2, 2)
    np.testing.assert_allclose(initializers.TRUNCATED_VARIANCE, law.var(), rtol=1e-12)


def test_convolution_fans_count_the_receptive_field(x64):
    kernel = initializers.mean_field(2.0)(jax.random.key(0), (3, 3, 64, 128))
    np.testing.assert_allclose(kernel.var() * 9 * 64, 4, rtol=5 * np.sqrt(2 / kernel.size))


def test_the_stds_of_he_2015():
    """3 x 3 convolutions behind 64 to 512 filters: 0.059, 0.042, 0.029, 0.021."""
    variance = INITIALIZERS["he_normal"].variance
    stds = [round(np.sqrt(variance((3, 3, filters, filters))), 3) for filters in (64, 128, 256, 512)]
    assert stds == [0.059, 0.042, 0.029, 0.021]


def test_a_stack_is_orthogonal_layer_by_layer(x64):
    depth, width = 5, 16
    weights = stacked(INITIALIZERS["orthogonal"])(jax.random.key(0), (depth, width, width))
    np.testing.assert_allclose(np.linalg.svd(weights, compute_uv=False), 1, atol=1e-13)
    assert np.abs(np.diff(weights, axis=0)).max(axis=(1, 2)).min() > 0.1  # and no two layers are the same
    # the trap that this closes: jax's own initializer on the stacked shape
    naive = jax.nn.initializers.orthogonal()(jax.random.key(0), (depth, width, width))
    assert np.abs(np.linalg.svd(naive, compute_uv=False) - 1).max() > 0.1


@pytest.mark.parametrize("name", ["mean_field", "he_normal", "identity"])
def test_a_stack_keeps_the_declared_property(name, x64):
    weights = stacked(INITIALIZERS[name])(jax.random.key(0), (50, 32, 32))
    for layer, key in ((0, 0), (49, 49)):
        keys = jax.random.split(jax.random.key(0), 50)
        np.testing.assert_allclose(weights[layer], INITIALIZERS[name](keys[key], (32, 32)), rtol=1e-12)
    assert stacked(INITIALIZERS[name])(jax.random.key(0), (2, 4, 4), "bfloat16").dtype == jnp.bfloat16


def test_a_looks_linear_relu_network_has_an_orthogonal_jacobian(x64):
    width, depth = 24, 30
    keys = jax.random.split(jax.random.key(0), depth)
    first = initializers.looks_linear(mirror="output")(keys[0], (width, 2 * width))
    hidden = [initializers.looks_linear()(key, (2 * width, 2 * width)) for key in keys[1:-1]]
    last = initializers.looks_linear(mirror="input")(keys[-1], (2 * width, width))

    def network(x):
        for kernel in (first, *hidden):
            x = ACTIVATIONS["relu"](x @ kernel)
        return x @ last

    jacobian = jax.jacfwd(network)(jax.random.normal(keys[0], (width,)))
    np.testing.assert_allclose(np.linalg.svd(jacobian, compute_uv=False), 1, atol=1e-12)


def test_a_crelu_network_looks_linear_too(x64):
    width = 16
    kernels = stacked(initializers.looks_linear(2.0, mirror="input"))(jax.random.key(0), (5, 2 * width, width))

    def network(x):
        for kernel in kernels:
            x = jnp.concatenate([jax.nn.relu(x), jax.nn.relu(-x)]) @ kernel
        return x

    jacobian = jax.jacfwd(network)(jax.random.normal(jax.random.key(1), (width,)))
    np.testing.assert_allclose(np.linalg.svd(jacobian, compute_uv=False), 2.0**5, rtol=1e-12)


def test_bad_input_is_refused():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=r"initializer='xavier'.*glorot_normal"):
        resolve("xavier")
    with pytest.raises(ValueError, match=r"shape=\(3, 4, 4\).*stacked"):
        INITIALIZERS["identity"](key, (3, 4, 4))
    with pytest.raises(ValueError, match="even"):
        INITIALIZERS["looks_linear"](key, (3, 4))
    with pytest.raises(ValueError, match=r"dtype( is |=)int32"):
        INITIALIZERS["orthogonal"](key, (3, 4), "int32")
    with pytest.raises(ValueError, match=r"weight_std( is |=)-1"):
        initializers.mean_field(-1)
    with pytest.raises(ValueError, match=r"gain( is |=)nan"):
        initializers.scaled_orthogonal(float("nan"))
    with pytest.raises(ValueError, match=r"mode( is |=)'fan_all'"):
        initializers.variance_scaling(1.0, "fan_all")
    with pytest.raises(ValueError, match=r"mirror( is |=)'up'"):
        initializers.looks_linear(mirror="up")
    assert resolve("zeros") is INITIALIZERS["zeros"]
