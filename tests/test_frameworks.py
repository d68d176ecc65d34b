"""Models from elsewhere: every recipe in the docstring of `gradjax.chain` runs, and its layers are the whole model."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradjax
from gradjax.chain import Coupled, Stack, run
from gradjax.gradients import layer_gradients, log_gradient_norms, log_signal_norms, tap
from gradjax.jacobians import input_output_jacobian, layer_jacobians, singular_value_summary
from gradjax.networks import mlp

FRAMEWORKS = {
    "Plain functions": "jax", "Equinox": "equinox", "Flax NNX": "flax", "Flax Linen": "flax", "Haiku": "haiku",
    "PyTorch": "torch",
}  # fmt: skip
X = jnp.array([0.3, -1.0, 0.5, 2.0])


def recipe(name):
    """The names that running a recipe leaves behind; skips where its framework is not installed."""
    pytest.importorskip(
        FRAMEWORKS[name], reason=f"{FRAMEWORKS[name]} is in no extra of gradjax: install it to run this"
    )
    found = re.search(rf"^{name}\b(?s:.*?)::\n\n((?:    .*\n|\n)+)", gradjax.chain.__doc__ + "\n", re.MULTILINE)
    names = {"jax": jax, "jnp": jnp, "np": np, "gradjax": gradjax, "x": X, "key": jax.random.key(0)}
    exec(re.sub(r"^    ", "", found[1], flags=re.MULTILINE), names)
    return names


def test_there_is_a_recipe_for_every_framework_and_no_other():
    headings = re.findall(r"^(\S[^\n]*(?:\n[^\n]+)*)::\n\n    ", gradjax.chain.__doc__, re.MULTILINE)
    assert len(headings) == len(FRAMEWORKS)
    assert all(any(h.split("\n")[-1].startswith(name) or h.startswith(name) for h in headings) for name in FRAMEWORKS)


@pytest.mark.parametrize("name", [name for name in FRAMEWORKS if name != "PyTorch"])
def test_the_layers_of_a_recipe_are_the_whole_model(name):
    found = recipe(name)
    layers, model = found["layers"], found.get("model")
    whole = input_output_jacobian(layers, X, model=model)
    reference = model or (lambda x: run(layers, x))
    np.testing.assert_allclose(whole, jax.jacrev(reference)(X), atol=1e-5)
    product = np.eye(4)
    for matrix in layer_jacobians(layers, X):
        product = np.asarray(matrix, np.float64) @ product
    np.testing.assert_allclose(product, whole, atol=1e-5)
    norms = np.asarray(log_gradient_norms(lambda y: jnp.sum(y**2), layers, X))
    gradients = layer_gradients(lambda y: jnp.sum(y**2), layers, X)
    squares = [sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(g)) for g in gradients]
    assert sum(s > 0 for s in squares) >= 1  # the parameters are found, in whatever form they come
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(norms, np.log(squares) / 2, atol=1e-4)
    if model is not None:
        with pytest.raises(ValueError, match="another"):
            layer_jacobians([*layers, lambda h: 2 * h], X, model=model)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch's own parts, as it is imported
def test_the_jacobians_of_pytorch_are_arrays_for_the_products():
    found = recipe("PyTorch")
    assert [f.shape for f in found["factors"]] == [(5, 4), (5, 5), (3, 5)]
    whole = found["factors"][2] @ found["factors"][1] @ found["factors"][0]
    np.testing.assert_allclose(found["values"], np.log(np.linalg.svd(whole, compute_uv=False)), atol=1e-4)


def test_layers_that_part_from_the_model_are_named():
    model = eqx.nn.MLP(4, 2, 5, 2, key=jax.random.key(3))
    first, second, last = model.layers
    relu = jax.nn.relu
    for layers, part in [
        (model.layers, r"layers\[1\], whose output is no value inside the model, unlike that of layers\[0\]"),
        ([first, relu, second, jnp.tanh, last], r"layers\[3\], .* unlike that of layers\[2\]"),
        (
            [lambda h: 2 * h, first, relu, second, relu, last],
            r"layers\[0\], whose output is no value inside the model;",
        ),
        ([first, relu, second, relu, last, jnp.negative], r"layers\[5\], .* unlike that of layers\[4\]"),
        ([first, relu, second, relu], r"the model goes on behind layers\[3\], the last"),
    ]:
        for x, axis in ((X, None), (jnp.stack([X, -X]), 0)):
            with pytest.raises(ValueError, match=part):
                layer_jacobians(layers, x, model=model, batch_axis=axis)


def test_within_a_stack_too_and_with_the_whole_batch_where_it_is_coupled(x64):
    layers = mlp(0, [4] * 7, "tanh", dtype=jnp.float64)
    kernels = [
        k
        for e in layers
        for k in np.atleast_3d(
            np.asarray(e.args[0]["kernel"] if not hasattr(e, "tied") else e.layer.args[0]["kernel"])
        ).reshape(-1, 4, 4)
    ]
    x = X.astype(jnp.float64)

    def model(x, wrong=None):
        for i, kernel in enumerate(kernels):
            x = x @ kernel if i == 5 else (jnp.sin if i == wrong else jnp.tanh)(x @ kernel)
        return x

    assert any(isinstance(e, Stack) for e in layers)
    layer_jacobians(layers, x, model=model)
    with pytest.raises(ValueError, match=r"they part at layers\[3\]"):
        layer_jacobians(layers, x, model=lambda x: model(x, wrong=3))
    centre = Coupled(lambda h: h - h.mean(axis=0, keepdims=True))
    batch = jnp.stack([x, 2 * x, -x])
    log_signal_norms(
        jnp.sum, [centre, jnp.tanh], batch, batch_axis=0, model=lambda h: jnp.tanh(h - h.mean(0, keepdims=True))
    )


def test_a_model_that_is_no_sequence_is_tapped():
    """Equinox tree surgery and an NNX model with a skip: the point is a callable like any other."""
    model = eqx.nn.MLP(4, 2, 5, 1, key=jax.random.key(0))

    def tapped(x, point):
        inner = eqx.tree_at(lambda m: m.layers[0], model, Named(model.layers[0], "first", point))
        return inner(x) + point("skip", x[:2])

    found = tap(tapped, X, jnp.sum, jacobians=True)
    np.testing.assert_allclose(found.signals["skip"], 1.0)
    slope = jnp.where((found.activations["first"] > 0)[:, None], model.layers[1].weight.T, 0)
    np.testing.assert_allclose(found.jacobians["first"], slope.T, atol=1e-6)


class Named(eqx.Module):
    """A layer whose output is a named point."""

    layer: eqx.Module
    name: str = eqx.field(static=True)
    point: object = eqx.field(static=True)

    def __call__(self, *arguments, **options):
        return self.point(self.name, self.layer(*arguments, **options))


def test_singular_values_of_a_model_from_elsewhere():
    found = recipe("Equinox")
    summary = singular_value_summary(found["layers"], X, model=found["model"])
    weight = np.asarray(found["first"].weight)
    np.testing.assert_allclose(summary.log_largest[0], np.log(np.linalg.norm(weight, 2)), atol=1e-5)
