"""Weight scale inside a training step: chains of products found in any program, judged, and mended."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradjax.activations import ACTIVATIONS
from gradjax.diagnosis import diagnose_step
from gradjax.diagnosis.corpus import steps
from gradjax.diagnosis.corpus.patients import DEPTH, inputs
from gradjax.diagnosis.step import step_case
from gradjax.diagnosis.trails import longest

RNG = np.random.default_rng(11)
X = inputs(RNG, (8, 12))


def drawn(*shape, std=1.0):
    return jnp.asarray(std * shape[-2] ** -0.5 * np.random.default_rng(sum(shape)).standard_normal(shape), jnp.float32)


def chain_of(loss, params, batch=X):
    return longest(step_case(loss, params, batch, None, None, None, None).seen.products)


@pytest.mark.parametrize(("activation", "factor"), [("relu", 1.6), ("relu", 0.6), ("tanh", 3.5), ("tanh", 0.5)])
def test_weights_of_a_step_off_the_critical_line_are_told_by_their_factor_and_mended(activation, factor):
    patient = steps.deep_step("", "weight scale", np.random.default_rng(0), activation, factor)
    found = patient.examined()
    assert found.cause == "weight scale"
    # a matrix of 48 x 48 shows its deviation to 1 / sqrt(2 · 48²) = 1.5 %, the middle of 21 to 0.4 %
    assert found.findings[0].numbers["factor"] == pytest.approx(factor, rel=0.02)
    assert found.remedy.number == pytest.approx(1 / factor, rel=0.02) and found.remedy.target == "params"
    assert found.names[found.findings[0].where].startswith("['first']")
    assert not patient.treated(found).examined()
    readout = found.remedy.apply(patient.subject["params"])["readout"]
    assert jnp.array_equal(readout, patient.subject["params"]["readout"])  # its size is free


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_zero_head_hides_nothing_and_is_no_fault(activation):
    for factor, cause in ((1.0, None), (0.5, "weight scale")):
        patient = steps.deep_step("", "", np.random.default_rng(1), activation, factor)
        params = patient.subject["params"]
        params["readout"] = jnp.zeros_like(params["readout"])

        def loss(params, batch, own=patient.subject["loss_fn"]):
            return -jnp.log1p(own(params, batch)) + jnp.sum(params["readout"])

        assert diagnose_step(loss, params, patient.subject["batch"]).cause == cause


def hidden(kernels, h, act=jnp.tanh):
    for kernel in kernels:
        h = act(h @ kernel)
    return h


KERNELS = [drawn(12, 12, std=0.05) for _ in range(6)]  # weights that would be told, were they a chain
SCALE = jnp.ones((1, 12))
BROKEN = {  # what theory does not speak of, and how long the chain that is left may be
    "residual": (lambda p, x: sum_of(residual(p, x @ p[0])), KERNELS, 1),
    "residual of three": (lambda p, x: sum_of((h := x @ p[0]) + hidden(p[1:4], h)), KERNELS, 1),
    "normalized": (lambda p, x: sum_of(normalized(p, x)), KERNELS, 1),
    "attention": (lambda p, x: sum_of(jax.nn.softmax((x @ p[0]) @ (x @ p[1]).T) @ (x @ p[2]) @ p[3]), KERNELS, 1),
    "tied": (lambda p, x: sum_of(hidden([p] * 6, x)), KERNELS[0], 1),
    "gated": (lambda p, x: sum_of((x @ p[0]) * jax.nn.sigmoid(x @ p[1]) @ p[2]), KERNELS, 1),
    "the batch again": (lambda p, x: sum_of(hidden(p[2:4], hidden(p[:2], x) + x)), KERNELS, 2),
}


def residual(kernels, h):
    for kernel in kernels[1:]:
        h = h + jnp.tanh(h @ kernel)
    return h


def normalized(kernels, h):
    for kernel in kernels:
        z = h @ kernel
        h = jnp.tanh(z / jnp.sqrt(jnp.mean(z**2, axis=1, keepdims=True)))
    return h


def sum_of(h):
    return jnp.sum(h**2)


@pytest.mark.parametrize("name", BROKEN)
def test_what_theory_does_not_speak_of_is_not_judged(name):
    loss, params, allowed = BROKEN[name]
    assert len(chain_of(loss, params)) <= allowed
    found = diagnose_step(loss, params, X)
    assert "hand its layers to `diagnose`" in found.not_assessed["weight scale"]


def conv(x, kernel):
    ring = jnp.concatenate([x[:, -1:], x, x[:, :1]], axis=1)
    return jax.lax.conv_general_dilated(ring, kernel, (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"))


FORMS = {  # loss, parameters, how many meet in one unit, φ
    "scaled weights": (lambda p, x: sum_of(hidden([0.5 * k for k in p], x)), KERNELS, 12, "tanh"),
    "stacked, sliced": (lambda p, x: sum_of(hidden([p[0], p[1], p[2]], x)), jnp.stack(KERNELS[:3]), 12, "tanh"),
    "GELU by tanh": (lambda p, x: sum_of(hidden(p, x, jax.nn.gelu)), [20 * k for k in KERNELS], 12, "gelu"),
    "ring": (
        lambda p, x: sum_of(jax.nn.relu(conv(jax.nn.relu(conv(x[..., None], p[0])), p[1])) @ p[2]),
        [drawn(3, 1, 4), drawn(3, 4, 4), drawn(4, 2)], 3, None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_a_product_is_read_off_the_program(name):
    loss, params, meeting, activation = FORMS[name]
    chain = chain_of(loss, params)
    assert len(chain) == len(params) and chain[0].fan_in == meeting
    assert chain[0].activation is (ACTIVATIONS[activation] if activation else None)
    kernel = params[0] * (0.5 if name == "scaled weights" else 1.0)
    assert chain[0].weight_std == pytest.approx(float(jnp.sqrt(meeting * jnp.mean(kernel**2))), rel=1e-5)


def test_slope_and_signal_are_those_of_the_derivatives():
    params, x = [drawn(12, 12), drawn(12, 12), drawn(12, 3)], X[:1]
    z = x @ params[0]
    chain = chain_of(lambda p, x: sum_of(hidden(p[:2], x) @ p[2]), params, x)
    slope = jax.vmap(jax.grad(jnp.tanh))(z[0])
    assert chain[0].log_slope == pytest.approx(float(jnp.log(jnp.mean(slope**2))), abs=1e-5)
    behind = jax.grad(lambda z: sum_of(jnp.tanh(jnp.tanh(z) @ params[1]) @ params[2]))(z)
    # of one example |d loss / d W| = |h| |d loss / d z| exactly
    assert chain[0].log_signal == pytest.approx(float(jnp.log(jnp.linalg.norm(behind))), abs=1e-5)


def test_one_layer_apart_is_no_scale_of_all():
    patient = steps.deep_step("", "", np.random.default_rng(2), "relu", 1.0)
    kernels = patient.subject["params"]["hidden"]
    kernels[5] = 100 * kernels[5]
    assert not patient.examined()


@pytest.mark.slow
def test_an_equinox_model_as_it_starts_vanishes_and_is_mended():
    model = eqx.nn.MLP(12, 3, 48, DEPTH, key=jax.random.key(0))  # torch's default: uniform, deviation 1 / sqrt(3 n)
    params, static = eqx.partition(model, eqx.is_array)

    def loss(params, x):
        return jnp.mean(jax.vmap(eqx.combine(params, static))(x) ** 2)

    found = diagnose_step(loss, params, X)
    assert found.cause == "weight scale"
    assert found.findings[0].numbers["factor"] == pytest.approx(6**-0.5, rel=0.02)
    assert not diagnose_step(loss, found.remedy.apply(params), X)
