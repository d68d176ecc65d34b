"""Zeros added at named points: against hand-made derivatives, against the routes for sequences, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradjax.chain import as_layers
from gradjax.gradients import layer_gradients, log_signal_norms, tap
from gradjax.jacobians import input_output_jacobian
from gradjax.networks import mlp


def forked(x, point):
    """Two branches that share a value, and a skip around both: no sequence."""
    h = point("shared", jnp.sin(x))
    left, right = point("left", h * h), point("right", jnp.exp(-h))
    return point("sum", left * right + h)


def test_signals_and_jacobians_are_those_of_hand(x64):
    x = jnp.array([0.3, -1.1, 2.0])
    h = np.sin(x)
    left, right = h * h, np.exp(-h)
    found = tap(forked, x, lambda y: jnp.sum(y**2), jacobians=True)
    assert list(found.signals) == list(found.jacobians) == list(found.activations) == ["shared", "left", "right", "sum"]
    slope = 2 * (left * right + h)
    slopes = {"sum": 1, "left": right, "right": left, "shared": 2 * h * right - left * right + 1}
    for name, of_output in slopes.items():
        np.testing.assert_allclose(found.signals[name], slope * of_output, rtol=1e-13)
        np.testing.assert_allclose(found.jacobians[name], np.diag(of_output * np.ones(3)), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(found.activations["left"], left, rtol=1e-14)
    np.testing.assert_allclose(found.output, left * right + h, rtol=1e-14)


def test_on_a_sequence_it_agrees_with_the_routes_for_sequences(precision):
    layers = mlp(0, [4, 5, 6, 3], "tanh", "mean_field", dtype=jnp.dtype(precision))
    x = jax.random.normal(jax.random.key(1), (4,), jnp.dtype(precision))

    def model(x, point):
        for i, layer in enumerate(layers):
            x = layer(point(f"h{i}", x))
        return x

    def loss(y):
        return jnp.sum(y**2)

    found = tap(model, x, loss, jacobians=True)
    tolerance = 20 * np.finfo(precision).eps
    norms = [np.linalg.norm(signal) for signal in found.signals.values()]
    np.testing.assert_allclose(np.log(norms), log_signal_norms(loss, layers, x)[:-1], atol=tolerance)
    for i in range(3):
        np.testing.assert_allclose(
            found.jacobians[f"h{i}"], input_output_jacobian(layers[i:], found.activations[f"h{i}"]), atol=tolerance
        )
    gradient = layer_gradients(loss, layers, x)[1].args[0]["bias"]  # that of the second pre-activation
    slope = 1 - np.tanh(found.activations["h1"] @ layers[1].args[0]["kernel"]) ** 2
    np.testing.assert_allclose(gradient, found.signals["h2"] * slope, atol=tolerance)
    assert len(as_layers(layers)) == 3


def test_under_jit_vmap_and_grad(x64):
    x = jax.random.normal(jax.random.key(0), (5, 3))
    singly = [tap(forked, row, jnp.sum, jacobians=True) for row in x]
    together = jax.jit(jax.vmap(lambda x: tap(forked, x, jnp.sum, jacobians=True)))(x)
    jax.tree.map(lambda *a: np.testing.assert_allclose(a[0], np.stack(a[1:]), rtol=1e-12), together, *singly)

    def steepness(s):
        return tap(lambda x, point: jnp.sin(point("h", s * x)), 2.0, lambda y: y).signals["h"]  # cos(2 s)

    np.testing.assert_allclose(jax.grad(steepness)(0.4), -2 * np.sin(0.8), rtol=1e-12)


def test_chosen_points_pytrees_and_chunks(x64):
    def model(inputs, point):
        state = point("state", {"a": inputs["u"] ** 2, "b": inputs["u"][:2]})
        return point("out", jnp.sum(state["a"]) * state["b"])

    x = {"u": jnp.array([1.0, 2.0, 3.0]), "ids": jnp.arange(3)}
    found = tap(model, x, names=["state"], jacobians=True)
    assert list(found.activations) == ["state"] and found.signals is None
    expected = np.concatenate([np.outer([1.0, 2.0], np.ones(3)), 14 * np.eye(2)], axis=1)
    np.testing.assert_allclose(found.jacobians["state"], expected, rtol=1e-14)
    np.testing.assert_array_equal(
        tap(model, x, names=["state"], jacobians=True, memory=2000).jacobians["state"], expected
    )


def test_what_is_refused():
    x = jnp.ones(2)

    def twice(x, point):
        return point("a", point("a", x))

    def in_a_loop(x, point):
        return jax.lax.scan(lambda h, _: (point("h", jnp.sin(h)), None), x, None, length=3)[0]

    cases = [
        ((3, x), {}, "model is int"),
        ((lambda x, point: x, x), {}, "calls no point"),
        ((twice, x), {}, "'a' is used at two points"),
        ((in_a_loop, x), {}, r"\['h'\] is called within a lax.scan"),
        (
            (lambda x, point: jax.jit(lambda x: point("h", x))(x), x),
            {},
            r"\['h'\] is called within a lax.scan, vmap or jit",
        ),
        ((forked, x), {"names": ["left", "lost"]}, r"names holds \['lost'\].*'shared', 'left', 'right', 'sum'"),
        ((forked, x), {"names": ["left", "left"]}, "each name once"),
        ((lambda x, point: point(3, x), x), {}, "name 3, expected a string"),
        ((lambda x, point: x[point("i", jnp.arange(2))], x), {}, r"point 'i' holds int32\[2\]"),
        ((forked, x, jnp.sin), {}, r"loss returns float32\[2\]"),
        ((forked, x, 3), {}, "loss is 3"),
        ((forked, x, lambda y: jnp.sum(y) * jnp.nan), {}, "the loss is NaN"),
        ((forked, x), {"jacobians": True, "memory": 100}, "expected at most memory = 100 bytes"),
        ((lambda x, point: jnp.sqrt(point("b", 0 * point("a", x))), x, jnp.sum), {}, "by point 'b' is NaN or infinite"),
    ]
    for arguments, options, message in cases:
        with pytest.raises(ValueError, match=message):
            tap(*arguments, **options)
