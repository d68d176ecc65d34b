"""Training against closed forms, a plain loop over jitted optax steps, and itself under vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial

from gradjax.chain import Constant, Stack, run, unroll
from gradjax.clipping import CLIPPERS, clip_by_global_norm
from gradjax.gradients import log_gradient_norms
from gradjax.networks import mlp
from gradjax.training import accuracy, cross_entropy, predict, train


def squared(outputs, targets):
    return jnp.mean(jnp.sum((outputs - targets) ** 2, axis=-1)) / 2


def a_task(examples=24, features=5, classes=3):
    keys = jax.random.split(jax.random.key(5), 2)
    return jax.random.normal(keys[0], (examples, features)), jax.random.randint(keys[1], (examples,), 0, classes)


def test_a_quadratic_decays_as_its_closed_form(precision):
    """loss w²/2 of one weight: w_t = w_0 (1 − η)^t."""
    rate, steps = 0.25, 12
    result = train(
        [Partial(jnp.multiply, jnp.array([8.0]))],
        squared,
        optax.sgd(rate),
        (jnp.ones((3, 1)), jnp.zeros((3, 1))),
        steps=steps,
    )
    w = 8 * (1 - rate) ** np.arange(steps + 1)
    rtol = 8 * steps * np.finfo(precision).eps
    np.testing.assert_allclose(result.trace.loss, w[:-1] ** 2 / 2, rtol=rtol)
    np.testing.assert_allclose(result.layers[0].parameters[0], w[-1:], rtol=rtol)
    np.testing.assert_allclose(result.trace.log_gradient_norms, np.log(w[:-1, None]), rtol=0, atol=rtol)
    assert np.isnan(result.trace.accuracy).all()
    assert result.trace.first_nonfinite == steps


def test_the_scan_is_the_plain_loop(x64):
    """The same network written by hand, stepped in a Python loop: parameters, loss and norms by layer."""
    layers, data, optimizer = mlp(0, [5, 4, 4, 4, 3], "tanh", dtype=jnp.float64), a_task(), optax.sgd(0.3, momentum=0.9)
    data = (data[0].astype(jnp.float64), data[1])
    result = train(layers, cross_entropy, optimizer, data, steps=6)

    def loss(weights):
        h = data[0]
        for i, (kernel, bias) in enumerate(weights):
            h = jnp.dot(h, kernel) + bias[None]
            h = jnp.tanh(h) if i < len(weights) - 1 else h
        logs = jax.nn.log_softmax(h)
        return -jnp.mean(logs[jnp.arange(len(h)), data[1]])

    def of(layer):
        return layer.args[0]["kernel"], layer.args[0]["bias"]

    kernels, biases = of(layers[1].layer)
    weights = [of(layers[0]), *zip(kernels, biases, strict=True), of(layers[2])]
    state, losses, norms, step = optimizer.init(weights), [], [], jax.jit(jax.value_and_grad(loss))
    for _ in range(6):
        value, gradient = step(weights)
        norms.append([np.log(np.hypot(np.linalg.norm(k), np.linalg.norm(b))) for k, b in gradient])
        update, state = optimizer.update(gradient, state)
        weights = optax.apply_updates(weights, update)
        losses.append(value)
    np.testing.assert_allclose(result.trace.loss, losses, rtol=1e-13)
    np.testing.assert_allclose(result.trace.log_gradient_norms, norms, rtol=0, atol=1e-11)
    total = np.log(np.sum(np.exp(2 * np.array(norms)), axis=1)) / 2
    np.testing.assert_allclose(result.trace.log_global_norm, total, rtol=0, atol=1e-11)
    trained = of(result.layers[1].layer.rebuild())
    for depth in (0, 1):
        np.testing.assert_allclose(trained[0][depth], weights[1 + depth][0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(run(result.layers, data[0][0]), predict(result.layers, data[0])[0], rtol=1e-12)


def test_norms_by_layer_are_those_of_the_gradients_module(x64):
    layers, (x, y) = mlp(3, [5, 4, 4, 4, 3], "tanh", dtype=jnp.float64), a_task()
    x = x.astype(jnp.float64)
    traced = train(layers, cross_entropy, optax.sgd(0.1), (x, y), steps=1).trace.log_gradient_norms[0]
    exact = log_gradient_norms(lambda out: cross_entropy(out, y), layers, x, batch_axis=0)
    np.testing.assert_allclose(traced, exact, rtol=0, atol=1e-12)


def test_a_shared_cell_is_trained_by_the_sum_of_its_steps(x64):
    """h ← w h, T times from h = x: loss (wᵀx)²/2 has gradient T w^(2T−1) x², a T-th of it from each step."""
    w, steps_in_time = 0.9, 5
    cell = Partial(lambda w, h, u: w * h + u, jnp.array([w]))
    stack = unroll(cell, jnp.zeros((steps_in_time, 1)))
    result = train([stack], squared, optax.sgd(0.1), (jnp.full((1, 1), 2.0), jnp.zeros((1, 1))), steps=1)
    gradient = 4 * steps_in_time * w ** (2 * steps_in_time - 1)
    np.testing.assert_allclose(result.layers[0].layer.parameters[0], w - 0.1 * gradient, rtol=1e-14)
    np.testing.assert_allclose(
        result.trace.log_gradient_norms[0], np.log(gradient / steps_in_time) * np.ones(steps_in_time), atol=1e-13
    )
    np.testing.assert_allclose(result.trace.log_global_norm, np.log(gradient), atol=1e-13)


def test_only_parameters_move():
    data = (jnp.ones((4, 2)), jnp.zeros((4, 2)))
    layers = [
        Partial(lambda p, c, h: p * h + c.value, jnp.ones(2), Constant(jnp.ones(2))),
        jnp.tanh,
        Stack(Partial(lambda p, h: p * h, jnp.ones((3, 2)))),
    ]
    result = train(layers, squared, optax.sgd(0.1), data, steps=2)
    assert (result.layers[0].constants[0] == 1).all()
    assert (result.layers[0].parameters[0] != 1).all()
    assert result.trace.log_gradient_norms.shape == (2, 5)
    assert (result.trace.log_gradient_norms[:, 1] == -jnp.inf).all()
    frozen = train(layers, squared, optax.sgd(0.1), data, steps=2, parameters=lambda path, leaf: leaf.ndim == 1)
    assert (frozen.layers[2].layer.constants[0] == 1).all()


@pytest.mark.slow
def test_a_grid_is_one_program_with_the_results_of_its_members():
    """Seed, scale of the weights, threshold and learning rate under one vmap, against single runs."""
    x, y = a_task()

    def cell(seed, gain, threshold, rate):
        layers = mlp(jax.random.key(seed), [5, 4, 4, 3], "tanh")
        layers = jax.tree.map(lambda leaf: gain * leaf, layers)
        optimizer = optax.chain(clip_by_global_norm(threshold), optax.sgd(rate))
        result = train(layers, cross_entropy, optimizer, (x, y), steps=5, batch_size=8, key=jax.random.key(seed))
        return result.trace, result.opt_state[0].clipped

    points = (jnp.arange(4), jnp.array([0.5, 1, 2, 4.0]), jnp.array([0.1, 1, 0.1, 10.0]), jnp.array([0.1, 1, 2, 3.0]))
    together, clipped = jax.jit(jax.vmap(cell))(*points)
    assert len(set(clipped.tolist())) > 1
    for i in (1, 3):
        alone, count = cell(*(p[i] for p in points))
        assert count == clipped[i]
        for a, b in zip(alone, together, strict=True):
            np.testing.assert_allclose(a, b[i], rtol=2e-4, atol=1e-6)


def test_batches_take_every_example_once_an_epoch_and_depend_on_the_key_alone():
    """With loss = mean output and a gradient that is the batch's mean, the losses tell who was in each batch."""
    x = jnp.asarray(2.0 ** np.arange(12)[:, None], jnp.float32)

    def losses(key, steps=8):
        frozen = [Partial(jnp.multiply, jnp.ones(1))]
        return train(frozen, lambda out, y: jnp.sum(out), optax.sgd(0.0), (x, x), steps=steps, batch_size=3, key=key)

    sums = np.asarray(losses(0).trace.loss)
    assert sums[:4].sum() == sums[4:].sum() == 2**12 - 1
    assert all(int(s).bit_count() == 3 for s in sums)
    assert (sums[:4] != sums[4:]).any()
    assert (sums == losses(jax.random.key(0)).trace.loss).all()
    assert (sums[:3] == losses(0, 3).trace.loss).all()
    assert (sums != losses(1).trace.loss).any()


def test_one_gradient_for_each_example():
    """Clipped by no one they sum to the batch's gradient; clipped, the sum is that of optax's function."""
    x, y = a_task()
    layers = mlp(1, [5, 4, 3], "tanh")

    def after(optimizer, **options):
        result = train(layers, cross_entropy, optimizer, (x, y), steps=2, **options)
        return result.trace, jax.tree.leaves(result.layers)

    clipper = CLIPPERS["per_example_global_norm"]
    mean = optax.scale(-0.1 / len(x))
    trace, leaves = after(optax.chain(clipper(1e9), mean), per_example=True)
    plain_trace, plain = after(optax.sgd(0.1))
    for a, b in zip([*leaves, *trace], [*plain, *plain_trace], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    clipped_trace, clipped = after(optax.chain(clipper(0.01), mean), per_example=True)
    step = np.concatenate([np.ravel(a - b) for a, b in zip(clipped, jax.tree.leaves(layers), strict=True)])
    assert np.linalg.norm(step) <= 2 * 0.1 * 0.01 * (1 + 1e-4)
    np.testing.assert_allclose(clipped_trace.log_gradient_norms[0], plain_trace.log_gradient_norms[0], atol=1e-5)


def test_the_first_step_that_breaks_is_named():
    """w ← w − η·w with η = 1e10 overflows float32 where 8·(1e10 − 1)^t passes 3.4e38: at the update of step 3."""
    layers = [Partial(jnp.multiply, jnp.array([8.0]))]
    data = (jnp.ones((1, 1)), jnp.zeros((1, 1)))
    trace = train(layers, lambda out, y: jnp.sum(out), optax.sgd(1.0), data, steps=5).trace
    assert trace.first_nonfinite == 5
    linear = lambda out, y: jnp.sum(jnp.abs(out))  # noqa: E731
    growing = optax.stateless(lambda g, params: jax.tree.map(lambda p: 1e10 * p, params))
    trace = train(layers, linear, growing, data, steps=6).trace
    assert trace.first_nonfinite == 3
    assert np.isfinite(trace.loss[:4]).all()
    assert not np.isfinite(trace.loss[4:]).any()
    mapped = jax.vmap(lambda w: train([Partial(jnp.multiply, w)], linear, growing, data, steps=6).trace)
    assert mapped(jnp.array([[8.0], [0.0], [jnp.inf]])).first_nonfinite.tolist() == [3, 6, 0]


def test_cross_entropy_and_accuracy_at_the_edge():
    outputs = jnp.array([[3e38, -3e38], [jnp.nan, 0.0], [0.0, 1.0], [1.0, 0.0]])
    labels = jnp.array([0, 0, 1, 1])
    assert accuracy(outputs, labels) == 0.5
    np.testing.assert_allclose(cross_entropy(outputs[2:], labels[2:]), np.log1p(np.exp(-1.0)) + 0.5, rtol=1e-6)
    assert cross_entropy(jnp.array([[1e38, 0.0]]), jnp.array([0])) == 0


def test_bad_input_is_refused():
    layers, (x, y) = mlp(0, [5, 4, 3]), a_task()

    def attempt(layers=layers, loss=cross_entropy, data=(x, y), steps=1, **options):
        return train(layers, loss, optax.sgd(0.1), data, steps=steps, **options)

    with pytest.raises(ValueError, match=r"data has shapes \(24, 5\) and \(23,\)"):
        attempt(data=(x, y[1:]))
    with pytest.raises(ValueError, match=r"data is a ArrayImpl, expected a pair"):
        attempt(data=x)
    with pytest.raises(ValueError, match="steps is 0"):
        attempt(steps=0)
    with pytest.raises(ValueError, match="batch_size is 25, expected at most the 24"):
        attempt(batch_size=25)
    with pytest.raises(ValueError, match=r"loss returns \[\(\(24, 3\), 'float32'\)\]"):
        attempt(loss=lambda out, y: out)
    with pytest.raises(ValueError, match="loss is a float"):
        attempt(loss=1.0)
    with pytest.raises(ValueError, match=r"layers\[1\]"):
        attempt(layers=[layers[0], jnp.linalg.det])
    with pytest.raises(ValueError, match="seed is -1"):
        attempt(batch_size=2, key=-1)
    with pytest.raises(ValueError, match="x holds 1 NaN"):
        attempt(data=(x.at[0, 0].set(jnp.nan), y))
