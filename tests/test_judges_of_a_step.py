"""The judges of one training step on a step that is written down here, and what their remedies do to loss and batch."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradjax.diagnosis.stepping import OF_STEP


def step(loss, params, batch, *, gradient=None, value=1.0, examples=None, woken=None, **seen):
    """A step without an optimizer; its gradient is the parameters unless said otherwise."""
    gradient = params if gradient is None else gradient
    defaults = {"dead": np.zeros(1), "finite": np.ones(1), "positions": np.ones(1), "widths": np.ones(1, int)}
    return SimpleNamespace(
        loss=loss, params=params, batch=batch, gradient=gradient, value=value, examples=examples, optimizer=None,
        names=("w",), woken_gradient=gradient if woken is None else woken,
        seen=SimpleNamespace(**{"attention": [], **defaults, **seen}),
    )  # fmt: skip


def product(w, x):
    return jnp.sum(w * x)


ONE = jnp.ones(2)


def test_examples_that_hold_a_nan_are_left_out_of_every_leaf():
    batch = {"ids": jnp.arange(3), "x": jnp.ones((3, 2)).at[1, 0].set(jnp.inf), "scale": jnp.ones(())}
    found = OF_STEP["non-finite input"](step(product, ONE, batch, examples=3))
    assert found.numbers == {"count": 1} and "['x']" in found.evidence and "examples [1]" in found.evidence
    rows = {name: batch[name] for name in ("ids", "x")}
    mended = OF_STEP["non-finite input"](step(product, ONE, rows, examples=3)).remedy.apply(rows)
    assert mended["ids"].tolist() == [0, 2] and mended["x"].tolist() == [[1, 1], [1, 1]]
    assert OF_STEP["non-finite input"](step(product, ONE, batch)).remedy.change is None  # it is no batch of examples
    assert OF_STEP["non-finite input"](step(product, ONE, ONE)) is None


def test_parameters_that_are_not_finite_are_replaced():
    params = {"a": jnp.ones(2), "w": jnp.array([1.0, jnp.nan])}
    found = OF_STEP["non-finite parameter"](step(product, params, ONE))
    assert (found.where, found.numbers) == (1, {"leaves": 1}) and found.remedy.apply(params)["w"].tolist() == [1, 0]


def test_what_only_sixteen_bits_lose_is_computed_in_thirty_two():
    w, x = jnp.full(2, 300, jnp.float16), jnp.full(2, 300, jnp.float16)
    judge = OF_STEP["precision"]
    overflowed = judge(step(product, w, x, value=np.inf))
    assert overflowed.cause == "precision" and "a NaN or an infinity" in overflowed.evidence
    assert overflowed.where is None and overflowed.remedy.apply(w).dtype == jnp.float32
    # the gradient is x, and sixteen bits say that it is zero
    lost = judge(step(product, w, x, gradient=jnp.zeros_like(w)))
    assert lost.where == 0 and "a gradient is lost" in lost.evidence
    assert judge(step(product, w, x, gradient=x)) is None
    assert judge(step(product, ONE, ONE)) == "nothing is in float16 or bfloat16"
    assert judge(step(product, w, x.at[0].set(jnp.nan))) == "the batch or the parameters hold a NaN"


def test_a_leaf_behind_a_cut_gets_its_derivative_through_it():
    def rounded(w, x):
        return jnp.sum(jnp.round(w) * x)

    silent = step(rounded, ONE, 3 * ONE, gradient=jnp.zeros(2))
    found = OF_STEP["cut graph"](silent)
    assert (found.cause, found.where) == ("cut graph", 0) and "`round`" in found.evidence
    assert jax.grad(found.remedy.apply(rounded))(ONE, 3 * ONE).tolist() == [3, 3]
    # a zero head, dead units and a loss at its minimum are not what cuts
    assert OF_STEP["cut graph"](step(rounded, ONE, ONE, gradient=jnp.zeros(2), woken=ONE)) is None
    assert OF_STEP["cut graph"](step(rounded, ONE, ONE, gradient=jnp.zeros(2), dead=np.ones(1))) is None
    assert OF_STEP["cut graph"](step(rounded, ONE, ONE, gradient=jnp.zeros(2), value=0.0)) is None
    unused = OF_STEP["cut graph"](step(product, ONE, ONE, gradient=jnp.zeros(2)))
    assert unused.remedy.change is None and "program holds" not in unused.evidence


def test_dead_units_are_more_than_half_and_chance():
    judge, width = OF_STEP["dead units"], 100
    many = {"positions": np.array([8.0]), "widths": np.array([width])}
    found = judge(step(product, ONE, ONE, dead=np.array([0.8]), **many))
    assert (found.cause, found.where, found.numbers) == ("dead units", 0, {"dead": 0.8})
    assert judge(step(product, ONE, ONE, dead=np.array([0.75]), **many)) is None  # 1/2 + 5 / (2 sqrt 100)
    assert judge(step(product, ONE, ONE, dead=np.array([0.8]))) == "no ReLU with more than one example"


def test_frozen_attention_of_a_step_is_cooled():
    def attending(w, x):
        return jnp.sum(jax.nn.softmax(w * x, axis=-1)[:, 0])

    judge, x = OF_STEP["attention logits"], jnp.arange(8.0).reshape(2, 4)
    found = judge(step(attending, ONE, x, attention=[(-1, 0.0, 1.0, 4.0), (0, 0.01, 50.0, 4.0)]))
    number = (2 * np.log(4)) ** 0.5 / 50 / 2
    assert (found.cause, found.where) == ("attention logits", 0) and found.remedy.number == pytest.approx(number)
    np.testing.assert_allclose(found.remedy.apply(attending)(30.0, x), attending(30 * number, x), rtol=1e-5)
    assert judge(step(attending, ONE, x, attention=[(0, 0.5, 1.0, 4.0)])) is None
    assert judge(step(attending, ONE, x)) == "no attention in the program"


def test_what_breaks_the_loss_is_named_and_kept_off():
    def logs(w, x):
        return jnp.sum(jnp.log(w * x))

    found = OF_STEP["non-finite activation"](step(logs, ONE, jnp.zeros(2), value=-np.inf, finite=np.zeros(1)))
    assert (found.cause, found.where) == ("non-finite activation", 0) and "log" in found.evidence
    assert np.isfinite(found.remedy.apply(logs)(ONE, jnp.zeros(2)))
    found = OF_STEP["non-finite activation"](step(product, 1e30 * ONE, 1e30 * ONE, value=np.inf))
    assert found.where is None and found.remedy.change is None and "mul" in found.evidence
    assert OF_STEP["non-finite activation"](step(logs, ONE, jnp.full(2, jnp.nan), value=np.nan)) is None


def test_a_gradient_that_overflows_is_told_from_a_singular_one():
    broken = jnp.array([jnp.nan, 1.0])
    overflowed = OF_STEP["non-finite gradient"](step(product, ONE, ONE, gradient=broken))
    assert (overflowed.cause, overflowed.where) == ("non-finite gradient", 0)

    def root(w, x):
        return jnp.sum(jnp.sqrt(w * x))

    at_zero = step(root, ONE, jnp.zeros(2), gradient=broken)
    assert OF_STEP["non-finite gradient"](at_zero) is None
    assert OF_STEP["singular derivative"](at_zero).cause == "singular derivative"
    assert OF_STEP["untaken where branch"](at_zero) is None
