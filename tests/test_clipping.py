"""Every clipper keeps what it declares; ours keep it for every finite gradient, and optax's failures are pinned."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gradjax.clipping import (
    CASES,
    CLIPPERS,
    Clipper,
    autoclip,
    clip_by_global_norm,
    clip_by_percentile,
    log_global_norm,
    resolve,
    response,
    responses,
    suggest_threshold,
    zclip,
)

EXAMPLES = 3

names = pytest.mark.parametrize("name", CLIPPERS)
bounded = pytest.mark.parametrize("name", [name for name, clipper in CLIPPERS.items() if clipper.size])
dtypes = pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])


def a_tree(seed=0, scale=1.0, dtype="float32"):
    keys = jax.random.split(jax.random.key(seed), 2)
    shapes = {"kernel": (5, 4), "bias": (4,)}
    draws = {k: jax.random.normal(key, shapes[k]) for k, key in zip(shapes, keys, strict=True)}
    return jax.tree.map(lambda a: (scale * a).astype(dtype), draws)


def apply(name, gradient, threshold=None):
    """The clipper's result for a gradient; three unlike examples of it where the clipper takes examples, averaged."""
    clipper, params = CLIPPERS[name], a_tree(1)
    given = jax.tree.map(lambda g: jnp.stack([g, 2 * g, -g / 2]), gradient) if clipper.per_example else gradient
    transformation = clipper(threshold)
    result = transformation.update(given, transformation.init(params), params)[0]
    return jax.tree.map(lambda r: r / EXAMPLES, result) if clipper.per_example else result


def flat(tree):
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)])


def cosine(a, b):
    a, b = flat(a), flat(b)
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


@bounded
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_the_declared_bound_is_kept_and_reached(name, scale):
    clipper = CLIPPERS[name]
    for threshold in (clipper.default, 10 * clipper.default):
        size = float(clipper.size(apply(name, a_tree(0, scale), threshold), a_tree(1)))
        assert size <= threshold * (1 + 8 * np.finfo(np.float32).eps)
    if scale == 1e6 and not clipper.per_example:
        np.testing.assert_allclose(size, threshold, rtol=8 * np.finfo(np.float32).eps)


@names
def test_identity_below_the_threshold_is_as_declared(name):
    clipper = CLIPPERS[name]
    gradient = a_tree()
    if clipper.size is not None:
        largest = EXAMPLES if clipper.per_example else 1  # of them, one alone is at most all
        shrink = clipper.default / (4 * largest * float(clipper.size(gradient, a_tree(1))))
        gradient = jax.tree.map(lambda g: g * shrink, gradient)
    result, expected = apply(name, gradient), gradient
    if clipper.per_example:
        expected = jax.tree.map(lambda g: (g + 2 * g - g / 2) / EXAMPLES, gradient)
        same = np.allclose(flat(result), flat(expected), rtol=1e-6, atol=0)
    else:
        same = np.array_equal(flat(result), flat(expected))
    assert same == (clipper.identity_below or name == "per_example_layer_norm")


@names
def test_direction_is_as_declared(name):
    clipper = CLIPPERS[name]
    gradient = a_tree(0, 100.0)
    if clipper.follows_data:
        transformation = clipper()
        state = transformation.init(gradient)
        for size in np.linspace(0.9, 1.1, 40):  # norms to follow
            state = transformation.update(jax.tree.map(lambda g, s=float(size): g * s, gradient), state)[1]
        result = transformation.update(jax.tree.map(lambda g: 50 * g, gradient), state)[0]
        assert np.linalg.norm(flat(result)) < 2 * np.linalg.norm(flat(gradient))
    else:
        result = apply(name, gradient)
    kept = cosine(result, gradient) > 1 - 1e-6
    assert kept == clipper.keeps_direction or clipper.per_example


@names
def test_jit_and_a_mapped_threshold_change_nothing(name):
    gradient = a_tree(0, 10.0)
    thresholds = jnp.array([0.5, 2.0, 5.0]) * CLIPPERS[name].default / (5 if "percentile" in name else 1)
    mapped = jax.jit(jax.vmap(lambda threshold: apply(name, gradient, threshold)))(thresholds)
    for i, threshold in enumerate(thresholds):
        single = flat(apply(name, gradient, float(threshold)))
        np.testing.assert_allclose(flat(jax.tree.map(lambda m, i=i: m[i], mapped)), single, rtol=1e-5, atol=1e-12)


@dtypes
@pytest.mark.parametrize("max_norm", [1e-3, 1.0, 100.0])
def test_our_clip_keeps_its_promise_at_every_size(dtype, max_norm):
    """From the smallest normal number of the dtype to its largest, against the same sums in float64."""
    info, shape = jnp.finfo(dtype), a_tree()
    eps, smallest = float(info.eps), float(info.smallest_subnormal) if dtype == "float16" else 0.0
    clip = clip_by_global_norm(max_norm)
    update = jax.jit(clip.update)
    for top in np.geomspace(float(info.tiny), 0.999 * float(info.max), 9):
        gradient = jax.tree.map(lambda a, top=top: (a / jnp.max(jnp.abs(a)) * float(top)).astype(dtype), shape)
        result, state = update(gradient, clip.init(gradient))
        before, after = np.linalg.norm(flat(gradient)), np.linalg.norm(flat(result))
        np.testing.assert_allclose(state.log_norm, np.log(before), rtol=0, atol=1e-5)
        assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(result))
        assert bool(state.clipped) == (before > max_norm)
        if before <= max_norm:
            assert np.array_equal(flat(result), flat(gradient))
        else:  # small entries of a clipped float16 gradient are subnormal: rounded to a multiple of the smallest
            slack = smallest * np.sqrt(flat(gradient).size)
            np.testing.assert_allclose(after, max_norm, rtol=2 * eps, atol=slack)
            assert cosine(result, gradient) > 1 - 4 * eps - slack / max_norm


def test_our_clip_is_exact_where_the_arithmetic_is(precision):
    gradient = {"w": jnp.array([3.0]), "b": jnp.array([4.0])}
    clip = clip_by_global_norm(2.5)
    for power in (0, 100, 120):
        huge = jax.tree.map(lambda g, p=power: g * 2.0**p, gradient)
        result, _ = clip.update(huge, clip.init(huge))
        assert result == {"w": jnp.array([1.5]), "b": jnp.array([2.0])}
    at_threshold = jax.tree.map(lambda g: g / 2, gradient)
    assert clip.update(at_threshold, clip.init(at_threshold))[0] == at_threshold


def test_mixed_dtypes_other_leaves_and_complex_numbers(x64):
    gradient = {
        "half": jnp.full(2, 300.0, "float16"),
        "brain": jnp.full(2, 1e30, "bfloat16"),
        "wide": jnp.full(2, 1e200),
        "steps": jnp.array(7),
        "none": None,
        "z": jnp.full(2, 1e200 + 1e200j),
    }
    clip = clip_by_global_norm(np.sqrt(6.0))
    result, state = clip.update(gradient, clip.init(gradient))
    assert {k: v.dtype for k, v in result.items() if v is not None} == {
        k: v.dtype for k, v in gradient.items() if v is not None
    }
    assert result["steps"] == 7
    assert result["none"] is None
    np.testing.assert_allclose(result["wide"], 1, rtol=1e-14)
    np.testing.assert_allclose(result["z"], 1 + 1j, rtol=1e-14)
    np.testing.assert_allclose(state.log_norm, np.log(1e200) + np.log(6) / 2, rtol=1e-15)
    assert log_global_norm({}) == -jnp.inf


def test_many_narrow_leaves_are_summed_in_float32():
    """optax adds the leaves' squares in bfloat16 and finds 724; the norm of the rounded entries is 998.9."""
    leaves = [jnp.full(1000, 0.999, "bfloat16")] * 1000
    expected = 1000 * float(leaves[0][0])
    np.testing.assert_allclose(np.exp(log_global_norm(leaves)), expected, rtol=1e-5)
    assert float(optax.tree.norm(leaves)) < 0.75 * expected


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_a_gradient_without_direction_is_marked_or_skipped_and_counted(bad):
    gradients = [jnp.array([1.0, 0.0]), jnp.array([30.0, 40.0]), jnp.array([bad, 1.0]), jnp.zeros(2)]
    expected = {"nan": [jnp.nan, jnp.nan], "zero": [0.0, 0.0]}
    for word, instead in expected.items():
        clip = clip_by_global_norm(5.0, nonfinite=word)
        state = clip.init(gradients[0])
        results = []
        for gradient in gradients:
            result, state = clip.update(gradient, state)
            results.append(result)
        np.testing.assert_array_equal(results, [[1, 0], [3, 4], instead, [0, 0]])
        assert (int(state.steps), int(state.clipped), int(state.nonfinite)) == (4, 1, 1)
        assert state.fraction_clipped == 0.25


def test_the_derivative_through_our_clip_is_right_and_finite_at_zero(x64):
    def clipped(g):
        clip = clip_by_global_norm(1.0)
        return clip.update(g, clip.init(g))[0]

    g = jnp.array([3.0, 4.0])
    # of g/|g|: (I − u uᵀ)/|g|
    u = np.array([0.6, 0.8])
    np.testing.assert_allclose(jax.jacrev(clipped)(g), (np.eye(2) - np.outer(u, u)) / 5, atol=1e-15)
    np.testing.assert_array_equal(jax.jacrev(clipped)(jnp.zeros(2)), np.eye(2))
    stock = optax.clip_by_global_norm(1.0)
    assert np.isnan(jax.jacrev(lambda g: stock.update(g, optax.EmptyState())[0])(jnp.zeros(2))).any()


PINNED = """
clipper                  healthy   zero      one_inf   one_NaN   1e30      1e-30     f16_500   bf16_1e30 mixed     empty
none                     same      same      inf       some-NaN  same      same      same      same      same      same
global_norm              bounded   same      all-NaN   all-NaN   bounded   same      bounded   bounded   bounded   same
optax_global_norm        bounded   same      some-NaN  all-NaN   zeros     same      zeros     zeros     bounded   same
value                    bounded   same      bounded   some-NaN  bounded   same      bounded   bounded   bounded   same
block_rms                bounded   same      some-NaN  some-NaN  zeros     same      zeros     zeros     bounded   same
unit_norm                bounded   same      some-NaN  some-NaN  zeros     same      zeros     zeros     bounded   same
adaptive                 bounded   same      some-NaN  some-NaN  zeros     same      zeros     zeros     bounded   same
per_example_global_norm  bounded   same      some-NaN  some-NaN  zeros     same      zeros     zeros     bounded   error
per_example_layer_norm   bounded   same      some-NaN  some-NaN  zeros     same      zeros     zeros     bounded   error
normalize_by_update_norm bounded   same      some-NaN  all-NaN   zeros     bounded   zeros     zeros     bounded   same
normalize                bounded   all-NaN   some-NaN  all-NaN   zeros     inf       zeros     zeros     bounded   same
sign                     bounded   same      bounded   some-NaN  bounded   bounded   bounded   bounded   bounded   same
trust_ratio              bounded   same      some-NaN  some-NaN  zeros     same      zeros     zeros     bounded   same
zero_nans                same      same      inf       changed   same      same      same      same      same      same
apply_if_finite          same      same      zeros     zeros     same      same      same      same      same      same
percentile               same      same      all-NaN   all-NaN   same      same      same      same      same      same
autoclip                 same      same      all-NaN   all-NaN   same      same      same      same      same      same
zclip                    same      same      all-NaN   all-NaN   same      same      same      same      same      same
"""


@pytest.mark.slow
def test_what_each_does_at_the_edge_is_as_tabulated():
    """A change upstream is noticed here; the study of clippers prints the same table."""
    rows = [line.split() for line in PINNED.strip().splitlines()[1:]]
    pinned = {name: dict(zip(CASES, [w.replace("-", " ") for w in words], strict=True)) for name, *words in rows}
    assert responses() == pinned


@pytest.mark.parametrize(
    ("case", "scale", "dtype"),
    [
        ("healthy", 1, "float32"),
        ("zero", 0, "float32"),
        ("1e30", 1e30, "float32"),
        ("1e-30", 1e-30, "float32"),
        ("float16 500", 100, "float16"),
        ("bfloat16 1e30", 1e30, "bfloat16"),
    ],
)
def test_the_cases_of_the_table_are_one_gradient_at_other_scales(case, scale, dtype):
    leaves = CASES[case]()
    for name, shape, entry in (("kernel", (2, 2), 3), ("bias", (2,), 4)):
        assert leaves[name].shape == shape and leaves[name].dtype == dtype
        np.testing.assert_array_equal(leaves[name], jnp.full(shape, entry * scale, dtype))


def test_some_rows_of_the_table_alone():
    same = dict.fromkeys(CASES, "same")
    assert responses(["none"]) == {"none": {**same, "one inf": "inf", "one NaN": "some NaN"}}


def test_an_array_of_a_threshold_stays_one_and_a_number_becomes_a_float():
    given = Clipper(lambda threshold: threshold)
    array = jnp.float32(0.1)
    assert given(array) is array and type(given(2)) is float


EXTREMES = {  # what float32 does with it, by case of the table; the entries of a dtype that are as extreme there
    "zero": ("zero", {"float16": (0.0, 0.0), "bfloat16": (0.0, 0.0)}),
    "one inf": ("one inf", {"float16": (np.inf, 4.0), "bfloat16": (np.inf, 4.0)}),
    "one NaN": ("one NaN", {"float16": (np.nan, 4.0), "bfloat16": (np.nan, 4.0)}),
    "huge": ("1e30", {"float16": (3e3, 4e3), "bfloat16": (3e30, 4e30)}),  # their squares overflow
    "tiny": ("1e-30", {"float16": (3e-5, 4e-5), "bfloat16": (3e-30, 4e-30)}),  # their squares underflow
}


# optax guards the division by adding 1e-6, whose reciprocal overflows float16
WORSE = {
    ("zero", "float16"): {"normalize_by_update_norm": "all NaN"},
    ("tiny", "float16"): {"normalize_by_update_norm": "inf"},
}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("extreme", EXTREMES)
def test_narrow_types_break_where_float32_does(monkeypatch, extreme, dtype):
    case, entries = EXTREMES[extreme]
    first, second = entries[dtype]
    gradient = {"kernel": jnp.full((2, 2), first, dtype), "bias": jnp.full(2, second, dtype)}
    monkeypatch.setitem(CASES, "narrow", lambda: gradient)
    words = {name: (response(name, "narrow"), response(name, case)) for name in CLIPPERS}
    others = {name: narrow for name, (narrow, wide) in words.items() if narrow != wide}
    assert others == WORSE.get((extreme, dtype), {})


def test_stock_clipping_returns_zeros_exactly_from_where_the_square_of_the_norm_overflows():
    stock = optax.clip_by_global_norm(1.0)
    for norm, zeros in ((1.84e19, False), (1.85e19, True), (1e38, True)):
        g = jnp.array([0.6, 0.8]) * norm
        assert bool((stock.update(g, optax.EmptyState())[0] == 0).all()) == zeros
    for norm, zeros in ((255.0, False), (256.0, True)):
        g = jnp.array([norm], "float16")
        assert bool((stock.update(g, optax.EmptyState())[0] == 0).all()) == zeros
    zero = optax.clip_by_global_norm(0.0).update(jnp.zeros(2), optax.EmptyState())[0]
    assert np.isnan(zero).all()
    ours = clip_by_global_norm(0.0)
    assert (ours.update(jnp.zeros(2), ours.init(jnp.zeros(2)))[0] == 0).all()
    assert float(optax.tree.norm(jnp.full(3, 1e-23))) == 0


def test_other_stock_behaviour_that_studies_rest_on():
    guard = optax.apply_if_finite(optax.identity(), 2)
    state = guard.init(jnp.zeros(1))
    results = []
    for _ in range(3):
        result, state = guard.update(jnp.array([jnp.nan]), state)
        results.append(bool(jnp.isnan(result).all()))
    assert results == [False, False, True]  # the third in a row is let through
    total, clipped = optax.per_example_global_norm_clip([jnp.array([[3.0], [jnp.nan]])], 1.0)
    assert np.isnan(total[0]).all()
    assert clipped == 1
    # a stacked leaf is one block: two layers share the threshold
    block = optax.clip_by_block_rms(1.0)
    stacked = block.update(jnp.array([[100.0], [0.1]]), optax.EmptyState())[0]
    assert stacked[1] < 0.01


def run(transformation, norms, dtype="float32"):
    """The norms after the clip, and the last state, for a sequence of gradients in one direction."""
    gradients = jnp.asarray(np.outer(norms, [0.6, 0.8]), dtype)

    def step(state, gradient):
        result, state = transformation.update(gradient, state)
        return state, (result, state.log_threshold)

    state, (results, thresholds) = jax.lax.scan(step, transformation.init(gradients[0]), gradients)
    return np.linalg.norm(np.asarray(results, np.float64), axis=1), state, np.asarray(thresholds, np.float64)


def noisy_norms(count=80, seed=0):
    rng = np.random.default_rng(seed)
    norms = np.exp(0.3 * rng.normal(size=count))
    norms[[30, 55]] *= 40
    return norms


@pytest.mark.parametrize("size", [1.0, 1e30])
def test_percentiles_are_those_of_numpy(x64, size):
    norms = noisy_norms() * size
    after, state, thresholds = run(clip_by_percentile(90, window=20, factor=2.0), norms, "float64")
    for t in range(1, len(norms)):
        expected = np.log(2) + np.percentile(np.log(norms[max(0, t - 20) : t]), 90)
        np.testing.assert_allclose(thresholds[t], expected, rtol=1e-12)
    np.testing.assert_allclose(after, np.minimum(norms, np.exp(thresholds)), rtol=1e-12)
    assert thresholds[0] == np.inf
    assert int(state.clipped) == (norms > np.exp(thresholds)).sum() >= 2


def test_autoclip_counts_the_present_gradient(x64):
    norms = noisy_norms()
    after, _, thresholds = run(autoclip(10), norms, "float64")
    expected = [np.percentile(np.log(norms[: t + 1]), 10) for t in range(len(norms))]
    np.testing.assert_allclose(thresholds, expected, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(after, np.minimum(norms, np.exp(expected)), rtol=1e-12)


def zclip_reference(norms, z_threshold, decay, warmup):
    """The published method on the norms themselves, after its own reading: buffer first, then moving moments."""
    mean = variance = None
    after = []
    for t, g in enumerate(norms):
        if t >= warmup:
            if t == warmup:
                mean, variance = np.mean(norms[:warmup]), np.var(norms[:warmup])
            z = (g - mean) / np.sqrt(variance)
            g = mean + z_threshold**2 * np.sqrt(variance) / z if z > z_threshold else g
            mean = decay * mean + (1 - decay) * g
            variance = decay * variance + (1 - decay) * (g - mean) ** 2
        after.append(g)
    return np.array(after)


@pytest.mark.parametrize("size", [1.0, 1e30])
def test_zclip_is_the_published_method_at_any_size(size, x64):
    norms = noisy_norms()
    expected = zclip_reference(norms, 2.5, 0.97, 25)
    assert (expected < norms).sum() >= 2
    after, _, _ = run(zclip(), norms * size, "float64")
    np.testing.assert_allclose(after / size, expected, rtol=1e-10)
    narrow, _, _ = run(zclip(), norms * size, "float32")  # where μ² itself would overflow
    np.testing.assert_allclose(narrow / size, expected, rtol=1e-4)


@pytest.mark.parametrize("make", [clip_by_percentile, autoclip, zclip])
def test_zero_and_non_finite_gradients_are_not_remembered(make):
    norms = noisy_norms(60)
    disturbed = np.insert(norms, [10, 20, 40], [np.nan, np.inf, 0.0])
    plain, _, _ = run(make(), norms)
    result, state, _ = run(make(nonfinite="zero"), disturbed)
    np.testing.assert_array_equal(np.delete(result, [10, 21, 42]), plain)
    np.testing.assert_array_equal(result[[10, 21, 42]], 0)
    assert int(state.nonfinite) == 2


def test_advice_comes_with_its_evidence():
    norms = np.concatenate([np.arange(1.0, 100.0), [1e6, np.nan, np.inf, 0.0]])
    with np.errstate(divide="ignore"):
        advice = suggest_threshold(np.log(norms))
    # among the 100 usual norms P90 lies a tenth of the way from the 90th to the 91st, in the logarithm
    np.testing.assert_allclose(advice.log_threshold, np.log(90) + 0.1 * np.log(91 / 90), rtol=1e-12)
    np.testing.assert_allclose(advice.threshold, np.exp(advice.log_threshold))
    assert advice.fraction_clipped == 10 / 101
    assert (advice.steps, advice.nonfinite, advice.zeros) == (103, 2, 1)
    assert list(advice.log_percentiles) == [50, 90, 99]
    assert not advice.heavy_tailed
    assert "2 non-finite" in str(advice)
    huge = suggest_threshold(np.linspace(4000, 4020, 9))
    assert huge.threshold == np.inf
    assert huge.heavy_tailed
    assert "threshold 3.47e+1745" in str(suggest_threshold([np.log(3.47) + 1745 * np.log(10)]))


def test_bad_arguments_are_refused():
    for bad in (-1.0, float("nan")):
        with pytest.raises(ValueError, match=f"max_norm is {bad}"):
            clip_by_global_norm(bad)
    with pytest.raises(ValueError, match=r"nonfinite is 'keep'.*nan, zero"):
        clip_by_global_norm(1.0, nonfinite="keep")
    for make in (clip_by_percentile, autoclip):
        with pytest.raises(ValueError, match="percentile is 101"):
            make(101)
    with pytest.raises(ValueError, match="window is 0"):
        clip_by_percentile(window=0)
    with pytest.raises(ValueError, match="factor is 0"):
        clip_by_percentile(factor=0)
    with pytest.raises(ValueError, match=r"history is 1.5"):
        autoclip(history=1.5)
    with pytest.raises(ValueError, match=r"decay is 1"):
        zclip(decay=1)
    with pytest.raises(ValueError, match="warmup is 0"):
        zclip(warmup=0)
    with pytest.raises(ValueError, match="no finite norm among 2"):
        suggest_threshold([-np.inf, np.nan])
    with pytest.raises(ValueError, match="percentile is 100"):
        suggest_threshold([0.0], percentile=100)
    with pytest.raises(ValueError, match=r"clipper='l2'.*global_norm"):
        resolve("l2")
