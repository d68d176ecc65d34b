"""Inside a trace nothing can raise: a NaN there reaches its own results, and nobody else's, and stays a NaN.

Where the mathematics couples, it reaches exactly what is coupled: of a causal sequence what comes later, of a
batch-norm one unit of all examples, of a clip by the global norm everything.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import variants
from jax.tree_util import Partial
from nan_reach import ALL, ENTRY, LATER, PLACE, REACHED, RULES, STEPS, WIDTH, over_time

from gradjax import (
    activations,
    chain,
    clipping,
    flossing,
    gradients,
    jacobians,
    layers,
    leading,
    lyapunov,
    networks,
    numerics,
    products,
    spectra,
    training,
)

SIZE, BAD = 3, 1


def _network():
    draws = jax.random.split(jax.random.key(0), 3)
    matrices = [jnp.eye(SIZE) + 0.3 * jax.random.normal(key, (SIZE, SIZE)) for key in draws]
    return [
        Partial(jnp.matmul, matrices[0]),
        jnp.tanh,
        Partial(jnp.matmul, matrices[1]),
        Partial(jnp.matmul, matrices[2]),
    ]


def _clipped(name):
    return lambda x: clipping.CLIPPERS[name]().update(x, clipping.CLIPPERS[name]().init(x), x)[0]


def _made(make, *sizes, **options):
    return lambda x: make(jax.random.key(0), *sizes, **options)(x)


def _matrices(function):
    """A function of matrices, as one of a vector that stands on their diagonals."""
    return lambda x: function(jnp.stack([jnp.diag(x) + 0.1 * jnp.ones((SIZE, SIZE)), jnp.diag(2 * x)]))


def _values(summary):
    return summary[:3]  # the errors beside a NaN are infinite, and rightly: nothing is known


QUICK = {
    **{f"activations.{name}": getattr(activations, name) for name in ("linear", "erf", "scaled_erf", "gelu")},
    "chain.run": lambda x: chain.run(_network(), x),
    "numerics.largest": numerics.largest,
    "numerics.log_norm": numerics.log_norm,
    "clipping.log_global_norm": clipping.log_global_norm,
    "clipping.cosine": lambda x: clipping.cosine(x, 2 * x),
    **{
        f"clipping.CLIPPERS[{name}]": _clipped(name)
        for name in ("global_norm", "optax_global_norm", "percentile", "autoclip", "zclip", "normalize")
    },
    "training.cross_entropy": lambda x: training.cross_entropy(x[None], jnp.zeros(1, jnp.int32)),
    "layers.dense": _made(layers.dense, SIZE, SIZE),
    "layers.layer_norm": lambda x: layers.layer_norm(SIZE)(x),
    "layers.rms_norm": lambda x: layers.rms_norm(SIZE)(x),
    "jacobians.jacobian": lambda x: jnp.diag(jacobians.jacobian(jnp.sin, x)),
    "jacobians.input_output_jacobian": lambda x: jacobians.input_output_jacobian(_network(), x),
    "jacobians.log_jacobian_norms": lambda x: jacobians.log_jacobian_norms(_network()[1:2], x),
    "gradients.log_gradient_norms": lambda x: gradients.log_gradient_norms(jnp.sum, _network()[:1], x),
    "gradients.log_signal_norms": lambda x: gradients.log_signal_norms(jnp.sum, _network(), x),
}
COSTLY = {
    "jacobians.singular_value_summary": lambda x: _values(jacobians.singular_value_summary(_network()[1:2], x)),
    "lyapunov.log_growths": lambda x: lyapunov.log_growths([jnp.tanh], x),
    "flossing.flossing_penalty": lambda x: flossing.flossing_penalty([jnp.tanh], x),
    "products.log_singular_values": _matrices(products.log_singular_values),
    "products.log_singular_values_with_error": _matrices(products.log_singular_values_with_error),
    "products.naive_log_singular_values": _matrices(products.naive_log_singular_values),
    "products.prefix_log_singular_values": _matrices(lambda f: products.prefix_log_singular_values(f, [1, 2])),
    "products.singular_vectors": _matrices(products.singular_vectors),
    "leading.leading_log_singular_values": lambda x: leading.leading_log_singular_values(_network(), x, 2),
    "leading.trailing_log_singular_values": lambda x: leading.trailing_log_singular_values(_network(), x, 2),
    "spectra.jacobian_spectrum": lambda x: spectra.jacobian_spectrum(_network(), x).log_singular_values,
}


def _seen(function, x):
    """The floating results of every member of a batch, under jit and vmap."""
    leaves = jax.tree.leaves(jax.jit(jax.vmap(function))(x))
    return [np.asarray(leaf) for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]


def _holds(function):
    healthy = jnp.linspace(0.3, 0.9, 3 * SIZE).reshape(3, SIZE) ** 2
    broken = healthy.at[BAD, 0].set(jnp.nan)
    before, after = _seen(function, healthy), _seen(function, broken)
    assert before and all(np.isfinite(leaf).all() for leaf in before)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(np.delete(a, BAD, 0), np.delete(b, BAD, 0))
        own = b[BAD]
        assert np.isnan(own).any(), "no result of the NaN says so"
        assert not np.isinf(own).any(), "a NaN became infinite"
        assert np.isnan(own).all() or a.shape[1:] == (SIZE,), "a result that rests on the NaN is finite"


@pytest.mark.parametrize("name", QUICK)
def test_a_nan_reaches_its_own_results_alone(name):
    _holds(QUICK[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", COSTLY)
def test_a_nan_reaches_its_own_results_alone_where_compiling_takes_long(name):
    _holds(COSTLY[name])


@functools.cache
def _behind_a_broken_layer(measure):
    """A measure of each layer of a chain whose third layer has a NaN among its parameters, and of the healthy chain."""

    def measured(scale):
        entries = [*_network()[:2], Partial(jnp.multiply, jnp.ones(SIZE) * scale), jnp.sin]
        return measure(entries, jnp.linspace(0.2, 0.8, SIZE))

    return jax.jit(measured)(1.5), jax.jit(measured)(jnp.nan)


@pytest.mark.parametrize("measure", [jacobians.log_jacobian_norms, lyapunov.log_growths])
def test_a_nan_in_one_layer_leaves_the_layers_before_it_and_marks_those_behind(measure):
    healthy, broken = map(np.asarray, _behind_a_broken_layer(measure))
    np.testing.assert_array_equal(healthy[:2], broken[:2])
    assert np.isfinite(healthy).all()
    assert np.isnan(broken[2:]).all()


OFTEN = ("attention, causal", "batch norm", "residual, by unit")


def _of_relus(measure):
    """What is measured in a trace of a network of ReLUs which a NaN enters."""
    draws = jax.random.split(jax.random.key(0), 3)
    net = [Partial(lambda w, h: jax.nn.relu(w @ h), jax.random.normal(key, (SIZE, SIZE))) for key in draws]
    return jax.tree.leaves(jax.jit(functools.partial(measure, net))(jnp.ones(SIZE).at[BAD].set(jnp.nan)))


@pytest.mark.parametrize(
    "measure",
    [
        jacobians.layer_jacobians,
        functools.partial(jacobians.layer_jacobians, memory=900),  # line by line
        jacobians.input_output_jacobian,
        jacobians.log_jacobian_norms,
        pytest.param(lambda net, x: spectra.jacobian_spectrum(net, x).log_singular_values, marks=pytest.mark.slow),
        pytest.param(lambda net, x: leading.leading_log_singular_values(net, x, 2), marks=pytest.mark.slow),
        functools.partial(gradients.layer_gradients, jnp.sum),
        functools.partial(gradients.log_gradient_norms, jnp.sum),
        functools.partial(gradients.log_signal_norms, jnp.sum),
        lyapunov.log_growths,
    ],
)
def test_a_nan_that_a_relu_meets_has_no_finite_derivative(measure):
    """To JAX its slope there is 0, and a whole Jacobian nothing but zeros: singular values of exactly nothing."""
    assert all(np.isnan(leaf).all() for leaf in _of_relus(measure))


def _as_before(after, before):
    """To the last bit: one program, in which no operation of a member reads another, and no branch joins them.

    (`row_log_norms` had such a branch: one member's NaN sent all through its other formula, an ulp of the norms away.)
    """
    np.testing.assert_array_equal(after, before)


def _reaches(layer, mask, healthy):
    """The NaN of one member of a batch is seen in exactly these of its results, whose others stay as they were."""
    broken = healthy.at[BAD, PLACE, 0].set(jnp.nan)
    before, after = (np.asarray(jax.jit(jax.vmap(layer))(x)) for x in (healthy, broken))
    expected = np.zeros(before.shape, bool)
    expected[BAD] = mask
    assert np.isfinite(before).all()
    np.testing.assert_array_equal(np.isnan(after), expected)
    _as_before(after[~expected], before[~expected])


@pytest.mark.parametrize("name", [n if n in OFTEN else pytest.param(n, marks=pytest.mark.slow) for n in REACHED])
def test_a_nan_within_a_layer_reaches_what_the_mathematics_couples(name):
    make, mask = REACHED[name]
    _reaches(make(), mask, jnp.linspace(-1.0, 0.9, 3 * STEPS * WIDTH).reshape(3, STEPS, WIDTH) ** 3)


@pytest.mark.slow
def test_a_nan_enters_a_linear_recurrent_unit_at_its_step():
    layer = over_time(layers.state_space(0, WIDTH, WIDTH))
    inputs = jnp.linspace(-1.0, 0.9, 3 * STEPS * WIDTH).reshape(3, STEPS, WIDTH)
    _reaches(lambda x: layer(x)[:, 0], LATER, inputs)


def test_the_derivatives_of_a_causal_attention_are_marked_as_its_results_are():
    layer = layers.attention(0, WIDTH, causal=True)
    h = jnp.linspace(-1.0, 0.9, STEPS * WIDTH).reshape(STEPS, WIDTH).at[PLACE, 0].set(jnp.nan)
    for derivative in (jax.jacfwd, jax.jacrev):
        marked = np.isnan(np.asarray(jax.jit(derivative(layer))(h)))
        assert not marked[:PLACE].any()
        for token in range(PLACE, STEPS):  # what a NaN depends on: every entry of the tokens up to it
            assert marked[token][:, : token + 1].all()


def _causal_network():
    """Two blocks and a readout: what acts on each token alone stands behind the attention, and again before it."""
    return networks.transformer(0, depth=2, width=WIDTH, heads=2, tokens=STEPS, causal=True, outputs=2, qk_norm=True)


def _early(entries, h):
    """A loss that looks at no token from PLACE on."""
    return jnp.sum(jnp.sin(chain.run(entries, h)[:PLACE]))


@pytest.mark.parametrize(
    "entries",
    [lambda: [layers.attention(0, WIDTH, 2, causal=True)], _causal_network],
    ids=["attention", "network"],
)
def test_a_loss_of_the_tokens_before_a_broken_one_has_the_gradients_of_a_healthy_sequence(entries):
    # one program for all: the broken token adds products with a cotangent of 0, or nothing
    gradient = jax.jit(jax.value_and_grad(_early, argnums=(0, 1)))
    healthy = jnp.linspace(-1.0, 0.9, STEPS * WIDTH).reshape(STEPS, WIDTH) ** 3
    before = jax.tree.leaves(gradient(entries(), healthy))
    for bad in (np.nan, np.inf):
        after = jax.tree.leaves(gradient(entries(), healthy.at[PLACE, 0].set(bad)))
        for a, b in zip(before, after, strict=True):
            assert np.isfinite(a).all()
            np.testing.assert_allclose(b, a, rtol=0, atol=8 * np.finfo(np.float32).eps * max(1.0, np.abs(a).max()))


def test_forward_over_reverse_stays_before_a_broken_token_too():
    entries = [layers.attention(0, WIDTH, 2, causal=True)]
    healthy = jnp.linspace(-1.0, 0.9, STEPS * WIDTH).reshape(STEPS, WIDTH) ** 3
    curved = jax.jit(lambda h: jax.jvp(jax.grad(functools.partial(_early, entries)), (h,), (jnp.ones_like(h),))[1])
    before, after = curved(healthy), curved(healthy.at[PLACE, 0].set(jnp.nan))
    assert np.abs(before[:PLACE]).max() > 0
    np.testing.assert_allclose(after, before, rtol=0, atol=8 * np.finfo(np.float32).eps * np.abs(before).max())


def test_a_loss_that_looks_at_the_broken_token_has_no_finite_gradient():
    entries = [layers.attention(0, WIDTH, 2, causal=True)]
    h = jnp.zeros((STEPS, WIDTH)).at[PLACE, 0].set(jnp.nan) + 0.5
    parameters, inputs = jax.jit(jax.grad(lambda e, h: jnp.sum(chain.run(e, h)[PLACE]), argnums=(0, 1)))(entries, h)
    assert np.isnan(inputs[: PLACE + 1]).all()
    assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves(parameters))


def _leaves_the_others(measure, name):
    """Results of a network of the common list for three members of a batch, before and after one became NaN."""
    entries, x = variants.VARIANTS[name](jnp.float32)
    several = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf / 2, -leaf]), x)
    broken = jax.tree.map(lambda leaf: leaf.at[BAD].set(jnp.nan), several)
    before, after = (_seen(functools.partial(measure, entries), x) for x in (several, broken))
    for a, b in zip(before, after, strict=True):
        _as_before(np.delete(b, BAD, 0), np.delete(a, BAD, 0))
    return before, after


@pytest.mark.slow
@pytest.mark.parametrize("name", variants.VARIANTS)
def test_a_nan_reaches_one_member_s_jacobians_alone(name):
    for leaf in _leaves_the_others(jacobians.layer_jacobians, name)[1]:
        assert not np.isinf(leaf[BAD]).any()


def _summary_holds(name):
    def summary(entries, x):
        return _values(jacobians.singular_value_summary(entries, x))

    before, after = _leaves_the_others(summary, name)
    for a, b in zip(before, after, strict=True):
        assert not np.isnan(a).any()
        assert np.isnan(b[BAD]).all()


def test_a_nan_reaches_one_member_s_singular_values_alone():
    _summary_holds("of_rank_two")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in variants.VARIANTS if name != "of_rank_two"])
def test_a_nan_reaches_one_member_s_singular_values_alone_in_every_network(name):
    _summary_holds(name)


# a step left out as a whole; an example whose norm is NaN, which optax leaves unclipped
REST_MOVES = ("apply_if_finite", "per_example_global_norm", "per_example_layer_norm")


def _updates(name, gradients):
    """What the clipper makes of each member's gradient, at the second step, and its state."""
    clipper = clipping.CLIPPERS[name]()

    def one(gradient):
        params = jax.tree.map(jnp.ones_like, gradient)
        ordinary = jax.tree.map(jnp.ones_like, gradient)
        if clipping.CLIPPERS[name].per_example:
            gradient, ordinary = (jax.tree.map(lambda g: jnp.stack([g, -2 * g]), tree) for tree in (gradient, ordinary))
        _, state = clipper.update(ordinary, clipper.init(params), params)
        return clipper.update(gradient, state, params)

    return jax.jit(jax.vmap(one))(gradients)


@pytest.mark.parametrize(
    "name", [n if RULES.get(n, ALL) is not ALL else pytest.param(n, marks=pytest.mark.slow) for n in clipping.CLIPPERS]
)
def test_a_nan_reaches_what_a_clipper_s_rule_couples(name):
    healthy = {"kernel": jnp.linspace(0.1, 3.0, 18).reshape(3, 2, 3), "bias": jnp.linspace(-1.0, 1.0, 9).reshape(3, 3)}
    broken = healthy | {"kernel": healthy["kernel"].at[BAD, 0, 1].set(jnp.nan)}
    (before, state), (after, marked) = (_updates(name, gradients) for gradients in (healthy, broken))
    for a, b in zip(*map(jax.tree.leaves, ((before, state), (after, marked))), strict=True):
        _as_before(np.delete(b, BAD, 0), np.delete(a, BAD, 0))
    for leaf, mask in RULES.get(name, ALL).items():
        found, own = np.asarray(before[leaf][BAD]), np.asarray(after[leaf][BAD])
        np.testing.assert_array_equal(np.isnan(own), mask)
        assert np.isfinite(own[~mask]).all()
        if name not in REST_MOVES:
            same = ~mask & ~(ENTRY[leaf] & (name == "zero_nans"))
            _as_before(own[same], found[same])


@pytest.mark.slow
def test_a_training_that_breaks_leaves_those_beside_it_alone():
    entries = [layers.dense(0, WIDTH, WIDTH, "tanh"), layers.dense(1, WIDTH, 2)]
    data = jnp.linspace(-1.0, 1.0, 3 * STEPS * WIDTH).reshape(3, STEPS, WIDTH)

    def trained(inputs):
        targets = jnp.zeros(STEPS, jnp.int32)
        run = training.train(entries, training.cross_entropy, optax.sgd(0.1, momentum=0.9), (inputs, targets), steps=3)
        return run.trace.loss, run.trace.log_gradient_norms, run.layers

    before, after = _seen(trained, data), _seen(trained, data.at[BAD, 0, 0].set(jnp.nan))
    for a, b in zip(before, after, strict=True):
        _as_before(np.delete(b, BAD, 0), np.delete(a, BAD, 0))
        assert np.isnan(b[BAD]).any() and not np.isinf(b[BAD]).any()
