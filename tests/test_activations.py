"""Every activation: values against another library, derivatives against finite differences, no NaN anywhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from gradjax.activations import ACTIVATIONS, Activation, resolve

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772

REFERENCE = {
    "linear": lambda x: x,
    "tanh": np.tanh,
    "erf": scipy.special.erf,
    "scaled_erf": lambda x: scipy.special.erf(np.sqrt(np.pi) * x / 2),
    "sigmoid": scipy.special.expit,
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "selu": lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: x * scipy.special.ndtr(x),
    "silu": lambda x: x * scipy.special.expit(x),
    "softplus": lambda x: np.logaddexp(x, 0),
}

names = pytest.mark.parametrize("name", ACTIVATIONS)


def test_every_activation_has_a_reference():
    assert set(REFERENCE) == set(ACTIVATIONS)


@names
def test_values_agree_with_another_library(name, x64):
    x = np.linspace(-6, 6, 241)
    np.testing.assert_allclose(ACTIVATIONS[name](jnp.asarray(x)), REFERENCE[name](x), rtol=1e-13, atol=1e-14)


@names
def test_derivative_agrees_with_central_differences(name, x64):
    activation = ACTIVATIONS[name]
    x = np.linspace(-6, 6, 240)  # an even count keeps clear of the kinks at 0 and of those at -1 and 1
    step = 1e-5
    x = x[np.all(np.abs(x[:, None] - np.array(activation.kinks or (99.0,))) > 2 * step, axis=1)]
    derivative = jax.vmap(jax.grad(activation))(jnp.asarray(x))
    difference = (REFERENCE[name](x + step) - REFERENCE[name](x - step)) / (2 * step)
    # truncation step^2 |phi'''| / 6 < 1e-10 and cancellation eps |phi| / step < 2e-10
    np.testing.assert_allclose(derivative, difference, atol=4e-10)


@names
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_dtype_shape_and_finite_gradient_at_the_edges(name, dtype, x64):
    activation = ACTIVATIONS[name]
    largest = float(jnp.finfo(dtype).max) / 2  # selu has slope 1.05
    edges = [*activation.kinks, 0.0, 30.0, -30.0, 1000.0, -1000.0, largest, -largest]
    x = jnp.array(edges, dtype)
    value, slope = activation(x), jax.grad(lambda x: activation(x).sum(dtype="float32"))(x)
    assert value.shape == x.shape
    assert value.dtype == slope.dtype == x.dtype
    assert jnp.isfinite(value).all()
    assert jnp.isfinite(slope).all()
    assert jnp.isfinite(jax.jacfwd(lambda s: activation(s * x))(jnp.ones((), dtype))[:-2]).all()


@names
def test_kinks_are_exactly_where_a_derivative_jumps(name, x64):
    """The largest jump of phi, phi', phi'' between neighbouring points shrinks with the step unless it is a kink."""
    activation = ACTIVATIONS[name]
    gap = 1e-6
    centres = np.unique(np.append(np.linspace(-3, 3, 601), activation.kinks))
    orders = [activation, jax.grad(activation), jax.grad(jax.grad(activation))]
    jumps = [np.abs(jax.vmap(f)(centres + gap) - jax.vmap(f)(centres - gap)) for f in orders]
    found = centres[np.max(jumps, axis=0) > 1e-4]
    np.testing.assert_allclose(found, activation.kinks, atol=1e-9)


def test_gradients_survive_large_arguments_in_reverse_mode(precision):
    for name in ("elu", "selu", "softplus", "silu", "gelu"):
        assert np.isfinite(jax.grad(ACTIVATIONS[name])(1e5)).all(), name
        assert np.isfinite(jax.grad(jax.grad(ACTIVATIONS[name]))(1e5)).all(), name


def test_an_activation_is_hashable_and_static_under_jit():
    run = jax.jit(lambda activation, x: activation(x), static_argnums=0)
    assert run(ACTIVATIONS["relu"], jnp.array(-1.0)) == 0
    assert hash(Activation(jnp.tanh)) == hash(ACTIVATIONS["tanh"])
    assert ACTIVATIONS["gelu"].__name__ == "gelu"


def test_resolve():
    assert resolve("tanh") is ACTIVATIONS["tanh"]
    assert resolve(jnp.sin) is jnp.sin
    with pytest.raises(ValueError, match=r"activation='swish'.*relu.*silu"):
        resolve("swish")
    with pytest.raises(ValueError, match="activation=3 is neither"):
        resolve(3)  # pyright: ignore[reportArgumentType]


def test_bad_kinks_and_functions_are_refused():
    with pytest.raises(ValueError, match="ascending"):
        Activation(jnp.abs, kinks=(1.0, 0.0))
    with pytest.raises(ValueError, match="finite"):
        Activation(jnp.abs, kinks=(float("nan"),))
    with pytest.raises(ValueError, match="not callable"):
        Activation("relu")  # pyright: ignore[reportArgumentType]
