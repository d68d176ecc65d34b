"""Largest, median and smallest singular value by layer: dense against closed forms, estimates against both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from gradjax.chain import Stack
from gradjax.initializers import INITIALIZERS
from gradjax.jacobians import layer_jacobians, singular_value_summary
from gradjax.jacobians.bidiagonal import quadrature
from gradjax.networks import mlp
from tests.variants import reverse_only


def of(matrix):
    return [Partial(jnp.matmul, matrix)], jnp.ones(matrix.shape[1], matrix.dtype)


def three(values):
    values = np.sort(np.asarray(values, np.float64))[::-1]
    with np.errstate(divide="ignore"):
        return np.log(values[[0, (len(values) - 1) // 2, -1]])


def test_formed_jacobians_give_their_singular_values_within_their_error(precision):
    layers = mlp(0, [6, 9, 9, 9, 4], "tanh", "mean_field", dtype=jnp.dtype(precision))
    x = jnp.linspace(-1, 1, 6, dtype=jnp.dtype(precision))
    found = singular_value_summary(layers, x)
    matrices = [m for j in layer_jacobians(layers, x) for m in (j if j.ndim == 3 else j[None])]
    exact = np.array([three(np.linalg.svd(np.asarray(m, np.float64), compute_uv=False)) for m in matrices])
    for values, errors, right in zip(found[:3], found[3:6], exact.T, strict=True):
        assert values.shape == (4,) and (np.abs(values - right) <= errors).all()
        assert (np.asarray(errors) < 1e3 * np.finfo(precision).eps).all()
    assert not np.asarray(found.estimated).any()


def test_dead_units_are_minus_infinity_and_rounding_is_said(precision):
    dtype = jnp.dtype(precision)
    diagonal = jnp.diag(jnp.array([3.0, 2.0, 1e-20, 0.0], dtype))
    turned = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (4, 4), dtype))[0] @ diagonal
    found = singular_value_summary(*of(turned))
    np.testing.assert_allclose(found.log_median, np.log(2), rtol=1e-5)
    assert np.isneginf(found.log_smallest[0]) and found.error_of_smallest[0] == 0
    lost = singular_value_summary(*of(turned[:, :3]))
    assert np.isposinf(lost.error_of_smallest[0])  # 1e-20 beside 3 is lost in a plain SVD, and called so


SPECTRA = {
    "even": lambda n: np.linspace(0.5, 3, n),
    "geometric": lambda n: np.geomspace(1e-2, 1, n),
    "two values": lambda n: np.where(np.arange(n) < n // 3, 5.0, 0.25),
    "one value": lambda n: np.full(n, 0.7),
    "two thirds dead": lambda n: np.where(np.arange(n) < n // 3, 1.0, 0.0),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("seed", range(2))
def test_estimates_hold_the_diagonal_closed_form_within_their_error(name, seed, precision):
    values = SPECTRA[name](4096)
    layer = Partial(jnp.multiply, jnp.asarray(values, jnp.dtype(precision)))
    found = singular_value_summary([layer], jnp.ones(4096, jnp.dtype(precision)), limit=2**23, key=seed)
    largest, median, smallest = three(values)
    assert found.estimated.all()
    assert -1e-5 <= largest - found.log_largest[0] <= found.error_of_largest[0] < 0.02
    with np.errstate(invalid="ignore"):
        off = np.nan_to_num(np.abs(median - found.log_median[0]), nan=0.0)  # both −inf
    assert off <= found.error_of_median[0] < {"even": 0.2, "geometric": 1.0}.get(name, 1e-3)
    assert found.log_smallest[0] >= smallest - 1e-5
    exhausted = name in ("two values", "one value")
    assert (
        found.error_of_smallest[0] < 1e-2
        if exhausted
        else found.error_of_smallest[0] == (0 if name == "two thirds dead" else np.inf)
    )


def test_a_circulant_layer_of_2_to_the_26_entries_has_the_values_of_its_transform():
    n, taps = 8192, jnp.array([0.6, -0.3, 0.15], jnp.float32)

    def convolve(taps, h):
        return sum(taps[i] * jnp.roll(h, i) for i in range(3))

    found = singular_value_summary([Partial(convolve, taps)], jnp.ones(n, jnp.float32))
    largest, median, smallest = three(np.abs(np.fft.fft(np.asarray(taps, np.float64), n)))
    assert found.estimated.all()
    assert -1e-5 <= largest - found.log_largest[0] <= found.error_of_largest[0] < 0.01
    assert abs(median - found.log_median[0]) <= found.error_of_median[0] < 0.2
    assert smallest - 1e-5 <= found.log_smallest[0]


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(300, 400), (400, 300)])
def test_estimates_agree_with_the_dense_route(shape, precision):
    w = jax.random.normal(jax.random.key(0), shape, jnp.dtype(precision)) / 20
    layers = [Stack(Partial(lambda w, h: jnp.tanh(w.T @ (w @ h)), jnp.stack([w, 2 * w]))), Partial(jnp.matmul, w)]
    x = jax.random.normal(jax.random.key(1), (shape[1],), w.dtype)
    dense, few = (singular_value_summary(layers, x, limit=limit) for limit in (2**24, 0))
    assert few.estimated.tolist() == [True] * 3 and dense.estimated.tolist() == [False] * 3
    assert (np.abs(few.log_largest - dense.log_largest) <= few.error_of_largest).all()
    assert (np.abs(few.log_median - dense.log_median) <= few.error_of_median).all()
    assert (few.log_smallest >= dense.log_smallest - dense.error_of_smallest).all()


def test_the_quadrature_is_gauss_quadrature(x64):
    values = np.linspace(1, 2, 40)
    nodes = quadrature(lambda v: values * v, lambda u: values * u, jnp.ones(40), 6)
    for power in range(12):  # exact for polynomials of degree 2 · 6 − 1 in σ²
        exact = np.mean(values ** (2 * power))
        np.testing.assert_allclose(nodes.weights @ nodes.values ** (2 * power), exact, rtol=1e-10)
    assert not nodes.exhausted


@pytest.mark.slow
def test_a_vector_that_has_seen_everything_says_so(precision):
    for values in ([2.0] * 9, [3.0, 1.0] * 5, [1.0] * 4 + [0.0] * 4, [0.0] * 5):
        a = jnp.array(values, jnp.dtype(precision))
        start = jax.random.normal(jax.random.key(0), a.shape, a.dtype)
        nodes = quadrature(lambda v: a * v, lambda u: a * u, start, 5)  # noqa: B023
        assert nodes.exhausted
        seen = np.asarray(nodes.values)[np.asarray(nodes.weights) > 1e-3]
        np.testing.assert_allclose(np.unique(seen.round(3)), np.unique(values), atol=1e-3)


def test_batches_traces_tokens_and_layers_that_only_go_backward(x64):
    layers = mlp(0, [5] * 4, "tanh", INITIALIZERS["orthogonal"], dtype=jnp.float64)
    x = jax.random.normal(jax.random.key(0), (3, 5), jnp.float64)
    batch = singular_value_summary(layers, x, batch_axis=0)
    mapped = jax.jit(jax.vmap(lambda x: singular_value_summary(layers, x)))(x)
    for a, b in zip(batch, mapped, strict=True):
        assert a.shape == (3, 3)
        np.testing.assert_allclose(a, b, rtol=1e-12)
    slope = jax.grad(lambda s: singular_value_summary([lambda h: s * jnp.sin(h)], x[0]).log_largest[0])(2.0)
    np.testing.assert_allclose(slope, 0.5, rtol=1e-9)
    table = jnp.ones((7, 5))
    tokens = singular_value_summary([Partial(lambda t, i: t[i], table), jnp.tanh], jnp.array([1, 2]), limit=0)
    assert tokens.log_largest.shape == (1,)
    one_way = [singular_value_summary([reverse_only], x[0], limit=limit) for limit in (0, 100)]
    np.testing.assert_allclose(one_way[0].log_largest, one_way[1].log_largest, rtol=1e-10)


def test_what_is_refused():
    for arguments, message in [
        ({"limit": -1}, "limit is -1"),
        ({"steps": 1}, "steps is 1"),
        ({"probes": 0}, "probes is 0"),
        ({"key": 2**32}, "seed is 4294967296"),
    ]:
        with pytest.raises(ValueError, match=message):
            singular_value_summary([jnp.tanh], jnp.ones(2), **arguments)
    with pytest.raises(ValueError, match=r"layers\[1\] gives a NaN"):
        singular_value_summary([jnp.tanh, jnp.log], -jnp.ones(2))
