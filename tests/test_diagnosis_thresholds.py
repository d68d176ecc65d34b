"""Where the diagnosis' thresholds come from: each law seen in samples, and verdicts that do not hang on a number."""

import numpy as np
import pytest
from scipy import stats

from gradjax.diagnosis import thresholds
from gradjax.diagnosis.corpus import FAULTS, HEALTHY


def test_the_alarms_promised_are_kept_over_ten_thousand_rows():
    beyond = 2 * stats.norm.sf(thresholds.DEVIATIONS)
    assert 10_000 * beyond < thresholds.ALARMS < 20_000 * beyond
    assert 2 * stats.norm.sf(2**0.5 * thresholds.TIED) / 2 == pytest.approx(thresholds.ALARMS, rel=1e-3)  # erfc / 2


@pytest.mark.parametrize("width", [8, 20])
def test_the_largest_real_eigenvalue_of_a_gaussian_matrix_is_beyond_the_step_of_chance_once_in_a_hundred(width):
    draws = 4000
    matrices = np.random.default_rng(0).standard_normal((draws, width, width)) / width**0.5
    radius = np.abs(np.linalg.eigvals(matrices)).max(axis=1)
    share = np.mean(2 * np.log(radius) > thresholds.tied_step(width))
    # 40 expected, so 16 % of it by chance; complex pairs and the width add terms of 1 / sqrt n
    assert 0.5 * thresholds.ALARMS < share < 1.7 * thresholds.ALARMS


def test_dead_units_beyond_their_share_are_beyond_five_deviations():
    for width in (64, 256, 4096):
        dead = int(width * thresholds.dead_share(np.array([width]))[0])
        assert stats.binom.sf(dead, width, 0.5) < stats.norm.sf(thresholds.DEVIATIONS) * 1.2
    assert np.all(thresholds.dead_share(np.array([1, 4, 25])) < 1)  # all of them are too many at any width


@pytest.mark.parametrize(("decay", "steps"), [(0.999, 20), (0.95, 100), (0.9, 1000)])
def test_gradients_are_beyond_adams_second_moment_as_often_as_students_law_says(decay, steps, monkeypatch):
    monkeypatch.setattr(thresholds, "DEVIATIONS", float(stats.norm.isf(0.005)))  # one in a hundred: seen in samples
    draws, kept = 40_000, min(steps, 100)  # older gradients than 100 steps weigh 3e-5 at 0.9
    weights = (1 - decay) * decay ** np.arange(kept)[::-1] / (1 - decay**steps)
    g = np.random.default_rng(1).standard_normal((draws, kept))
    rms = np.abs(g[:, -1]) / np.sqrt(g**2 @ weights)
    # 400 expected, 5 % of it by chance; a mean of squares with falling weights is a chi-squared to some percent
    assert np.mean(rms > thresholds.stale(decay, steps)) == pytest.approx(0.01, rel=0.35)


def test_the_first_step_is_never_stale_and_a_long_run_is_told_as_a_gaussian():
    assert thresholds.stale(0.999, 1) == np.inf
    # so many squares are known: 5 deviations, the gradient itself among them with weight 1 / 10 000
    assert thresholds.stale(0.9999, 10**6) == pytest.approx((0.9999 / 25 + 0.0001) ** -0.5, rel=1e-2)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("over", [1.02, 1.5, 10.0])
def test_a_step_beyond_the_limit_grows_as_the_recurrence_of_momentum_does(over, momentum):
    # w' = w + v', v' = momentum v - rate lambda w, at rate lambda = 2 (1 + momentum) over
    step = np.array([[1 - 2 * (1 + momentum) * over, momentum], [-2 * (1 + momentum) * over, momentum]])
    radius = np.abs(np.linalg.eigvals(step)).max()
    assert thresholds.unstable(over, momentum, 30) == pytest.approx(60 * np.log(radius), rel=1e-9)
    assert thresholds.unstable(1.0, momentum, 30) == pytest.approx(0, abs=1e-6)


def test_an_entry_of_an_update_is_swallowed_whole_or_kept_by_two_thirds():
    units = np.linspace(-40, 40, 8001)[1:-1]  # of the last place, in which the parameter is a whole number
    kept = np.divide(np.rint(units), units, out=np.ones_like(units), where=np.abs(units) > 1e-9)
    kept = kept[np.abs(np.abs(units) % 1 - 0.5) > 1e-6]
    assert set(np.unique(kept[kept < thresholds.HALF])) <= {0.0} and kept[kept > 0].min() > 2 / 3 - 1e-3


FLAT, LOG = thresholds.flat(), np.log
SIZES = ("relu weights too large", "relu weights too small", "one layer too large", "input too small")
SOUND = ("relu he", "relu zero head", "residual 1/sqrt(L)")
VARIED = {  # name: what stands in its place, kinds of faults, kinds of healthy networks
    "HARMFUL": ((4.0, 7.5), (*SIZES, "residual without 1/sqrt(L)"), SOUND),
    "DEVIATIONS": ((3.5, 6.0), (*SIZES, "dead ReLU"), SOUND),
    "HALF": ((0.3, 0.7), (*SIZES, "residual without 1/sqrt(L)", "bfloat16 update"), SOUND),
    "unstable": ((7.0, 1e3), ("rate of descent", "rate of Adam"), ("gentle descent", "warm Adam")),
    "TIED": ((1.0, 1.9), ("cell weights too large", "GRU weights too large"), ("vanilla cell", "GRU")),
    "flat": ((0.01, 0.2), ("saturated tanh", "attention logits"), ("tanh lecun", "transformer post")),
    "radial": (
        (LOG(0.02), LOG(0.4)), ("deep batch_norm relu", "residual without 1/sqrt(L)"), ("layer_norm", "pre_norm"),
    ),
    "stale": ((2.3, 6.5), ("stale Adam",), ("warm Adam",)),  # 7.1 is the most that Adam lets through at step 51
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIED)
def test_no_verdict_hangs_on_a_number(name, monkeypatch):
    values, faults, sound = VARIED[name]
    monkeypatch.setattr(thresholds, "flat", lambda: FLAT)  # which follows HARMFUL: one at a time
    patients = [FAULTS[kind](np.random.default_rng(1000)) for kind in faults]
    patients += [HEALTHY[kind](np.random.default_rng(1000)) for kind in sound]
    for value in values:
        new = value if name.isupper() else lambda *_, value=value: value
        monkeypatch.setattr(thresholds, name, new)
        for patient in patients:
            found = patient.examined()
            assert patient.is_right(found), (patient.kind, value, found.verdict())
