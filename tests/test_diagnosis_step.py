"""The diagnosis of a step and of a flight record: any parameters, any batch, with and without an optimizer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gradjax.diagnosis import diagnose_record, diagnose_step
from gradjax.diagnosis.corpus import steps
from gradjax.recorder import record


def quadratic(w, scale):
    """½ Σ s w²: its Hessian is diag(s), so the limit of descent is 2 / max s."""
    return jnp.sum(scale * w * w) / 2


SCALE, START = jnp.array([1.0, 4.0]), jnp.array([1.0, 1.0])


def test_the_stability_limit_is_that_of_the_quadratic():
    found = diagnose_step(quadratic, START, SCALE, optimizer=optax.sgd(1.0))
    assert found.cause == "learning rate"
    assert found.findings[0].numbers["over_limit"] == pytest.approx(1.0 * 4 / 2, rel=1e-3)
    assert not diagnose_step(quadratic, START, SCALE, optimizer=found.remedy.apply(optax.sgd(1.0)))
    assert not diagnose_step(quadratic, START, SCALE, optimizer=optax.sgd(0.49))  # just below 2 / 4


def test_momentum_and_adam_have_limits_of_their_own():
    momentum = diagnose_step(quadratic, START, SCALE, optimizer=optax.sgd(2.0, momentum=0.5))
    assert momentum.findings[0].numbers["over_limit"] == pytest.approx(2.0 * 4 / 3, rel=1e-3)  # 2 (1 + b) / lambda
    adam = diagnose_step(quadratic, START, SCALE, optimizer=optax.adam(1e3))
    # at a fresh state the preconditioner is |g| = s |w|: the preconditioned Hessian is the identity
    assert adam.findings[0].numbers["over_limit"] == pytest.approx(1e3 / 38, rel=1e-2)


def test_a_step_that_does_not_climb_is_no_fault():
    # at its minimum the quadratic stays there, however long the step
    assert not diagnose_step(quadratic, jnp.zeros(2), SCALE, optimizer=optax.sgd(10.0))


def test_the_second_moment_is_compared_with_the_gradient():
    optimizer, state = optax.adam(1e-3), None
    state = optimizer.init(START)
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an integer
        for _ in range(100):
            state = optimizer.update(jnp.full(2, 0.01), state, START)[1]
    found = diagnose_step(quadratic, START, jnp.array([1.0, 1.0]), optimizer=optimizer, opt_state=state)
    old = 0.01**2 * (1 - 0.999**100)
    expected = (1 / ((0.999 * old + 0.001) / (1 - 0.999**101))) ** 0.5
    assert found.cause == "stale second moment"
    assert found.findings[0].numbers["rms"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("kind", ["NaN target", "embedding cut off", "log of zero"])
def test_a_step_with_ids_and_dictionaries_is_told(kind):
    patient = steps.STEP_FAULTS[kind](np.random.default_rng(5))
    found = patient.examined()
    assert patient.is_right(found), found.verdict()
    treated = patient.treated(found)
    assert treated is None or not treated.examined()


def test_causes_without_their_data_read_not_assessed():
    found = diagnose_step(steps.loss, steps.parameters(np.random.default_rng(0)), steps.batch(np.random.default_rng(1)))
    assert not found
    assert "no optimizer" in found.not_assessed["learning rate"] and "diagnose" in found.not_assessed["weight scale"]
    assert "not assessed" in str(found)


def test_nan_parameters_and_activations_name_leaf_and_example():
    params, batch = steps.parameters(np.random.default_rng(0)), steps.batch(np.random.default_rng(1))
    params["table"] = params["table"].at[int(batch["ids"][7])].set(jnp.nan)
    found = diagnose_step(steps.loss, params, batch)
    first = int(np.flatnonzero(np.asarray(batch["ids"]) == int(batch["ids"][7]))[0])
    assert (found.cause, found.names[found.findings[0].where], found.example) == (
        "non-finite parameter",
        "['table']",
        first,
    )


def test_a_loss_inside_a_scan_is_walked():
    def loss(w, x):
        return jnp.sum(jax.lax.scan(lambda h, u: (jnp.where(h > 0, jnp.sqrt(h * w), 0.0), h + u), 0.0, x)[0])

    found = diagnose_step(loss, jnp.array(1.0), jnp.ones(3))
    assert found.cause == "untaken where branch" and "`sqrt`" in found.evidence
    assert not diagnose_step(found.remedy.apply(loss), jnp.array(1.0), jnp.ones(3))


def test_a_rate_just_beyond_the_limit_does_no_harm_within_a_trial():
    # 30 steps of (2 over - 1)^60 reach e^6 at over = (1 + e^0.1) / 2 = 1.0526
    assert not diagnose_step(quadratic, START, SCALE, optimizer=optax.sgd(0.5 * 1.05))
    assert diagnose_step(quadratic, START, SCALE, optimizer=optax.sgd(0.5 * 1.055)).cause == "learning rate"


def test_bad_arguments_are_named():
    for arguments, said in (
        ((3, START, SCALE), "loss_fn is int"),
        ((quadratic, {}, SCALE), "no floating array"),
        ((lambda w, s: w, START, SCALE), "one real scalar"),
    ):
        with pytest.raises(ValueError, match=said):
            diagnose_step(*arguments)


def flown(sizes):
    optimizer, params = record(optax.sgd(0.1)), {"w": jnp.ones(4), "idle": jnp.ones(2)}
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for size in sizes:
        _, state = update({"w": jnp.full(4, size), "idle": jnp.zeros(2)}, state, params)
    return state


def test_a_record_that_exploded_advises_a_clip_that_touches_five_percent():
    sizes = np.exp(0.1 * np.random.default_rng(0).standard_normal(100))
    found = diagnose_record(flown([*sizes.tolist(), 1e4, np.nan]))
    assert found.cause == "exploding gradient"
    norms = 2 * sizes  # of four equal entries
    assert 0.02 <= np.mean(norms > found.remedy.number) <= 0.08
    assert found.names[found.first_bad_backward] == "['w']"
    assert "cut graph" in [finding.cause for finding in found.findings]  # the idle leaf
    clipped = found.remedy.apply(optax.sgd(1.0))
    update, _ = clipped.update({"w": jnp.full(4, 1e4)}, clipped.init({"w": jnp.ones(4)}))
    assert float(jnp.linalg.norm(update["w"])) == pytest.approx(found.remedy.number, rel=1e-5)


def test_a_spike_that_is_over_is_no_end_of_a_record():
    usual = np.exp(0.1 * np.random.default_rng(0).standard_normal(100))
    for place, causes in ((50, ["cut graph"]), (97, ["exploding gradient", "cut graph"])):  # the last 5 of 100
        sizes = usual.copy()
        sizes[place] = 1e4
        assert [finding.cause for finding in diagnose_record(flown(sizes.tolist())).findings] == causes


def test_a_steady_record_is_healthy_but_for_the_idle_leaf():
    found = diagnose_record(flown([1.0, 1.1, 0.9, 1.0, 1.0]))
    assert [finding.cause for finding in found.findings] == ["cut graph"]
    with pytest.raises(ValueError, match="by a program"):
        found.remedy.apply(None)
