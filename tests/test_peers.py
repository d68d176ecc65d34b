"""The other ways of taking singular values of products, and the race between them."""

import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest

from gradjax.peers import known_product, plain_product, pytorch_singular_values, race, running_qr_logs

BATCH = np.random.default_rng(0).normal(size=(2, 5, 4, 4))


def test_the_plain_product_of_a_batch(x64):
    expected = [np.linalg.multi_dot(member[::-1]) for member in BATCH]
    np.testing.assert_allclose(plain_product(jnp.asarray(BATCH)), expected, rtol=0, atol=1e-12)


def test_the_running_qr_keeps_the_volume(x64):
    """Σ_i ln |R_ii| = Σ_l ln |det J_l|, though no single one of them is a singular value."""
    found = running_qr_logs(jnp.asarray(BATCH))
    assert found.shape == (2, 4)
    np.testing.assert_allclose(found.sum(axis=1), np.linalg.slogdet(BATCH)[1].sum(axis=1), rtol=1e-12)
    values = np.log(np.linalg.svd(plain_product(jnp.asarray(BATCH)), compute_uv=False))
    assert np.abs(found - values).max() > 0.1


def test_a_product_whose_values_are_known():
    """Shallow enough for a dense decomposition to see them all."""
    logs = np.random.default_rng(1).normal(size=(6, 5))
    factors = known_product(logs, np.random.default_rng(2))
    assert np.abs(factors).min() > 0
    values = np.linalg.svd(np.linalg.multi_dot(factors[::-1]), compute_uv=False)
    np.testing.assert_allclose(np.log(values), np.sort(logs.sum(axis=0))[::-1], rtol=0, atol=1e-11)


def test_without_pytorch_there_is_no_call(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert pytorch_singular_values(BATCH) is None


def test_pytorch_is_asked_for_the_jacobian_of_the_same_network(monkeypatch):
    """A stand-in with NumPy inside, for the real one takes gigabytes: what is called on what, in which order."""
    network_of = []

    def jacrev(network, argnums):
        network_of.append(network)
        assert argnums == 1
        return lambda layers, x: np.stack([network(layers, column) for column in np.eye(len(x))], axis=1)

    def vmap(function, in_dims):
        assert in_dims == (0, None)
        return lambda layers, x: np.stack([function(member, x) for member in layers])

    class Values(np.ndarray):
        def cpu(self):
            return self

        def numpy(self):
            return np.asarray(self)

    fake = types.SimpleNamespace(
        tensor=lambda a, device: a,
        zeros=lambda n, dtype, device: np.zeros(n, dtype),
        func=types.SimpleNamespace(jacrev=jacrev, vmap=vmap),
        linalg=types.SimpleNamespace(svdvals=lambda a: np.linalg.svd(a, compute_uv=False).view(Values)),
    )
    monkeypatch.setitem(sys.modules, "torch", fake)
    expected = [np.linalg.svd(np.linalg.multi_dot(member[::-1]), compute_uv=False) for member in BATCH]
    for factors, values in ((BATCH, expected), (BATCH[1], expected[1])):
        call = pytorch_singular_values(factors)
        assert call is not None
        np.testing.assert_allclose(call(), values, rtol=0, atol=1e-12)


def test_a_race_runs_everyone_once_a_round_and_once_before():
    order = []
    ticks = iter([0.0, 1.0, 1.0, 3.0, 10.0, 14.0, 14.0, 22.0])
    seconds = race([lambda: order.append("a"), None, lambda: order.append("b")], 2, clock=lambda: next(ticks))
    assert "".join(order) == "ababab"
    assert seconds.tolist() == [[1.0, 4.0], [0.0, 0.0], [2.0, 8.0]]
    with pytest.raises(ValueError, match="rounds is 0"):
        race([], 0)
