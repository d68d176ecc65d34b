"""Each cause's judge on measures that are written down here: its numbers and its remedy in closed form."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial

from gradjax.chain import Coupled, as_layer, as_layers, run, unroll
from gradjax.diagnosis import adam, gated, nonfinite, optimizing, structure
from gradjax.diagnosis.case import Case
from gradjax.diagnosis.measure import Measures
from gradjax.diagnosis.report import Diagnosis, Finding, Remedy
from gradjax.theory.normalization import batchnorm_gradient_rate

WIDTH = 400


def same(h):
    return h


def case(layers, x=None, *, loss=jnp.sum, value=1.0, examples=None, units=None, **measures):
    """A case of these layers at x, a row of ones by default, with one number, or one for each row, a measure."""
    x = jnp.ones(WIDTH) if x is None else x
    entries, states = as_layers(layers), [x]
    for entry in entries:
        states.append(entry(states[-1]))
    depth = len(entries)
    defaults = {"finite": 1.0, "finite_parameters": 1.0, "finite_gradient": 1.0, "log_activation": 0.0, "dead": 0.0}
    table = {name: np.broadcast_to(np.float64(row), depth).copy() for name, row in (defaults | measures).items()}
    found = Measures(table, states[:-1], states[-1], 0.0, value, None)
    return Case(entries, x, as_layer(loss, index="loss"), examples, units or [None] * depth, found, found)


def growing(log_squared, depth):
    """ln of the signal behind each row, and of that before it, where each multiplies its square by as much."""
    behind = np.arange(depth)[::-1] * log_squared / depth / 2
    return {"log_signal": behind, "log_signal_below": behind + log_squared / depth / 2}


BLOCK = {"trace": 1.0, "log_branch": 0.0, "log_branch_radial": 0.0, "log_gain": np.log(2)}


def test_blocks_whose_branches_add_as_much_as_there_was_are_scaled_by_the_root_of_their_number():
    layers = 9 * [lambda h: h + h]
    found = structure.branch_scale(case(layers, **BLOCK, **growing(9 * np.log(2), 9)))
    assert (found.cause, found.where) == ("missing 1/sqrt(L)", 0)
    assert found.numbers == pytest.approx({"log_growth": 9 * np.log(2), "scale": 1 / 3})
    np.testing.assert_allclose(run(found.remedy.apply(layers), jnp.ones(2)), (1 + 1 / 3) ** 9, rtol=1e-5)
    # a signal that does not grow along, as behind a normalized branch, is no fault; nor are eight such blocks
    assert structure.branch_scale(case(layers, **BLOCK, **growing(0.0, 9))) is None
    assert structure.branch_scale(case(layers[1:], **BLOCK, **growing(8 * np.log(2), 8))) is None
    assert structure.branch_scale(case(layers[:1], **BLOCK)) == "no residual blocks"


@pytest.mark.parametrize("examples", [None, 8])
def test_normalized_layers_that_explode_get_a_skip_connection(examples):
    layers = 10 * [same if examples is None else Coupled(same)]
    x = jnp.ones(WIDTH) if examples is None else jnp.ones((examples, WIDTH // 20))
    measured = {"log_radial": -10.0, "trace": 0.0, "log_branch": -9.0}
    assert "no normalization" in structure.normalization(case(layers[:1], x, **measured))
    assert structure.normalization(case(layers, x, **measured, **growing(0.0, 10))) is None
    found = structure.normalization(case(layers, x, examples=examples, **measured, **growing(40.0, 10)))
    assert (found.cause, found.where) == ("normalization", 0)
    assert found.numbers == pytest.approx({"rate": np.exp(4), "log_growth": 40.0})
    np.testing.assert_allclose(run(found.remedy.apply(layers), x), (1 + 10**-0.5) ** 10, rtol=1e-5)
    rates = [batchnorm_gradient_rate(name, 8) for name in ("linear", "relu")] if examples else []
    assert all(f"{rate:.3f}" in found.evidence for rate in rates) and ("theory" in found.evidence) == bool(rates)


def test_a_cut_is_named_by_its_primitive_and_opened():
    layers = [same, lambda h: jax.lax.stop_gradient(3 * h), same]
    silent = {"log_signal": 0.0, "log_gradient": np.nan, "log_parameter": np.nan}
    found = structure.cut_graph(case(layers, **silent, log_signal_below=[-np.inf, -np.inf, 0.0], dead=[0, 1, 0]))
    assert (found.cause, found.where) == ("cut graph", 1) and "`stop_gradient`" in found.evidence
    np.testing.assert_array_equal(jax.grad(lambda h: run(found.remedy.apply(layers), h).sum())(jnp.ones(2)), [3, 3])
    # units that are all dead, without such a primitive, are another cause's; parameters that nothing uses are this one
    assert structure.cut_graph(case([same], **silent, log_signal_below=-np.inf, dead=1)) is None
    unused = structure.cut_graph(case([same], **{**silent, "log_parameter": 0.0, "log_gradient": -np.inf},
                                      log_signal_below=0.0))  # fmt: skip
    assert unused.where == 0 and unused.remedy.change is None


def test_frozen_attention_is_cooled_below_the_freezing_point():
    def attention(factor, h):
        return jax.nn.softmax(factor * h @ h.T, axis=-1) @ h

    layers, h = [Partial(attention, 40.0), same], jax.random.normal(jax.random.key(0), (6, 8))
    found = structure.attention_logits(case(layers, h))
    assert (found.cause, found.where) == ("attention logits", 0)
    spread = np.sqrt(np.var(np.asarray(40.0 * h @ h.T), axis=1).mean())
    assert found.numbers["deviation"] == pytest.approx(spread, rel=1e-4)
    assert found.remedy.number == pytest.approx(np.sqrt(2 * np.log(6)) / spread / 2, rel=1e-4)
    cooled = attention(40.0 * found.remedy.number, h)
    np.testing.assert_allclose(run(found.remedy.apply(layers), h), cooled, rtol=1e-4, atol=1e-6)
    assert structure.attention_logits(case([Partial(attention, 0.1), same], h)) is None
    assert structure.attention_logits(case([same, same], h)) == "no attention in the layers"


def test_a_linear_cell_that_multiplies_by_sixteen_is_divided_by_sixteen():
    cell = Partial(lambda w, h, u: h @ w + u, 16.0 * jnp.eye(4))
    layers, x = [unroll(cell, jnp.zeros((6, 4)))], jnp.ones(4)
    [entry] = as_layers(layers)
    states = jnp.stack([16.0**step * x for step in range(6)])
    found = Measures(growing(12 * np.log(16), 6), [states], x, 0.0, 1.0, None)
    judged = gated.gated_scale(Case([entry], x, as_layer(jnp.sum, index="loss"), None, [None], found, found))
    assert (judged.cause, judged.where) == ("weight scale", 0)
    step = 2 * np.log(16) * 2**4 / 2**gated.HALVINGS  # the interval of ln factor, halved
    assert np.log(judged.numbers["factor"]) == pytest.approx(np.log(16), abs=step)
    np.testing.assert_allclose(np.log(run(judged.remedy.apply(layers), x)), 0, atol=6 * step)
    quiet = found._replace(by_layer=growing(0.0, 6))
    assert gated.gated_scale(Case([entry], x, as_layer(jnp.sum, index="loss"), None, [None], quiet, quiet)) is None
    assert gated.gated_scale(case([same])) == gated.NO_CELL


def test_a_derivative_is_told_from_a_branch_that_is_not_taken_and_from_an_overflow():
    x = jnp.full(2, 1e-35)
    layers = [same, lambda h: h + jnp.sqrt(h - h), lambda h: jnp.where(h < 1, h, jnp.log(h - h)), same,
              lambda h: jnp.tanh(h * 1e30) * 1e30]  # fmt: skip
    judges = (nonfinite.singular_derivative, nonfinite.untaken_branch, nonfinite.gradient)
    for row, causes in ((1, ["singular derivative"]), (2, ["untaken where branch"]), (4, ["non-finite gradient"])):
        finite = np.where(np.arange(5) <= row, 0.0, 1.0)  # all that lies before it is broken, too
        found = [judge(case(layers, x, finite_gradient=finite)) for judge in judges]
        assert [f.cause for f in found if f] == causes and {f.where for f in found if f} == {row}
    assert [judge(case(layers, x)) for judge in judges] == [None] * 3
    assert "`sqrt`" in nonfinite.singular_derivative(case(layers, x, finite_gradient=[0, 0, 1, 1, 1])).evidence


def test_a_loss_that_breaks_by_itself_is_told_from_a_layer_that_does():
    judged = nonfinite.activation(case([same], jnp.zeros(2), loss=lambda y: jnp.sum(jnp.log(y)), value=-np.inf))
    assert (judged.cause, judged.where) == ("non-finite activation", None) and "`log`" in judged.remedy.text
    assert np.isfinite(judged.remedy.apply(lambda y: jnp.sum(jnp.log(y)))(jnp.zeros(2)))
    judged = nonfinite.activation(case([same, jnp.square], jnp.full(2, 1e30), finite=[1, 0]))
    assert judged.where == 1 and judged.numbers["largest"] == pytest.approx(1e30) and judged.remedy.change is None
    assert nonfinite.activation(case([same])) is None


def test_what_came_in_broken_is_left_out_or_replaced():
    x = jnp.ones((3, 2)).at[1, 0].set(jnp.nan)
    some = nonfinite.input_(case([same], x, examples=3))
    assert some.numbers == {"count": 1} and some.remedy.apply(x).tolist() == [[1, 1], [1, 1]]
    alone = nonfinite.input_(case([same], x))
    assert alone.remedy.apply(x).tolist() == [[1, 1], [0, 1], [1, 1]]
    layers = [Partial(jnp.multiply, jnp.array([2.0, jnp.inf])), same]
    weights = nonfinite.parameter(case(layers, jnp.ones(2), finite_parameters=[0, 1]))
    assert weights.where == 0 and run(weights.remedy.apply(layers), jnp.ones(2)).tolist() == [2, 0]
    for judge in (nonfinite.activation, nonfinite.precision):  # is not what these two are asked for
        assert judge(case([same], x.astype(jnp.float16), finite=0)) in (None, "the input or the parameters hold a NaN")


def test_a_number_that_only_sixteen_bits_cannot_hold_is_computed_in_thirty_two():
    layers, x = [Partial(jnp.multiply, jnp.full(2, 300, jnp.float16)), same], jnp.full(2, 300, jnp.float16)
    broken = {"finite": [0, 0], "finite_gradient": [1, 1], "log_gradient": 0.0}
    found = nonfinite.precision(case(layers, x, value=np.inf, **broken))
    assert (found.cause, found.where) == ("precision", 0) and "float16" in found.evidence
    out = run(found.remedy.apply(layers), x)
    assert out.dtype == jnp.float32 and out.tolist() == [90000, 90000]
    assert nonfinite.precision(case([same])) == "nothing is in float16 or bfloat16"


def quadratic(params, batch):
    return jnp.sum(params["w"] ** 2) / 2


def step(optimizer, params, gradient, value=1.0, update=None):
    state = optimizer.init(params) if optimizer else None
    given = (update, state) if update else optimizer.update(gradient, state, params) if optimizer else None
    return SimpleNamespace(
        optimizer=optimizer, opt_state=state, params=params, gradient=gradient, value=value, update=given,
        loss=quadratic, batch=None,
    )  # fmt: skip


def test_what_the_optimizer_s_judges_cannot_judge_they_say():
    params = {"w": jnp.array([1.0, -2.0])}
    broken, signs = (
        step(optax.sgd(1.0), params, {"w": jnp.array([1.0, jnp.nan])}),
        step(optax.sign_sgd(1.0), params, params),
    )
    for judge in (optimizing.learning_rate, optimizing.stale_second_moment):
        assert judge(step(None, params, params)) == optimizing.NO_OPTIMIZER
        assert judge(broken) == "the gradient is not finite"
    assert "neither a multiple of the gradient nor Adam-like" in optimizing.learning_rate(signs)
    assert optimizing.lost_update(broken) is None


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_an_update_below_half_a_unit_of_the_parameters_is_lost(dtype):
    eps = float(jnp.finfo(dtype).eps)
    params = {"v": jnp.ones(2, jnp.float32), "w": jnp.ones(4, dtype)}
    update = {"v": jnp.full(2, eps / 4), "w": jnp.array([eps / 4, eps / 4, eps / 4, 0], dtype)}
    found = optimizing.lost_update(step(optax.sgd(1.0), params, params, update=update))
    assert (found.cause, found.where, found.numbers) == ("precision", 1, {"kept": 0.0})
    assert found.evidence.startswith("100% ") and dtype in found.evidence
    assert found.remedy.apply(params)["w"].dtype == jnp.float32
    whole = {**update, "w": jnp.full(4, eps, dtype)}
    assert optimizing.lost_update(step(optax.sgd(1.0), params, params, update=whole)) is None


def test_a_second_moment_is_raised_to_the_squares_it_was_last_given():
    state = optax.adam(0.1).init({"w": jnp.zeros(3)})
    told = adam.Adam(0.9, 0.75, 3, [], [np.array([4.0, 0.0, 1.0])])
    after = adam.refreshed(state, told)
    weight = 1 - 0.75**2  # of two steps before
    np.testing.assert_allclose(after[0].nu["w"], [4 * weight, 0, weight], rtol=1e-6)
    assert after[0].mu["w"].tolist() == [0, 0, 0] and jax.tree.structure(after) == jax.tree.structure(state)


def verdict(count, where):
    finding = Finding("cut graph", where, "it is cut", {}, Remedy("join it"))
    measures = {
        "log_signal": np.arange(count, dtype=float),
        "estimated": np.ones(count),
        "log_largest": np.zeros(count),
    }
    names = tuple(f"row{i}" for i in range(count))
    return Diagnosis(names, measures, (finding,), {"a": "no data", "b": "no data"}, None, 1, 7)


def test_a_long_table_shows_both_ends_and_what_was_found():
    found = verdict(100, 41)
    lines = found.table(4).splitlines()
    assert [line.split()[0] for line in lines[1:] if "..." not in line] == ["row0", "row1", "row33", "row41", "row66",
                                                                           "row99"]  # fmt: skip
    assert sum("..." in line for line in lines) == 4 and lines[4].split() == ["row33", "33.00", "~0.00"]
    assert lines[6].endswith("cut graph") and found.flags.count("cut graph") == 1
    said = found.verdict().splitlines()
    assert said[0] == "cause: cut graph at row41" and said[-1] == "not assessed (no data): a, b"
    assert said[3:5] == ["first bad backward: row1", "first bad example of the batch: 7"]


def test_a_picture_without_axes_makes_its_own_and_marks_the_row():
    ax = verdict(5, 3).plot()
    assert ax.get_title() == "cut graph" and [line.get_label() for line in ax.lines][-1] == "found at row3"
    assert ax.lines[-1].get_xdata()[0] == 3
