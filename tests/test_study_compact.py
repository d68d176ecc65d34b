"""Compact numbers: every value within half a hundredth, every sample in its bin."""

import numpy as np
import pytest

from gradjax.study.compact import histograms, hundredths, middle_and_reach


def test_hundredths_err_by_half_of_one():
    values = np.random.default_rng(0).normal(size=1000) * 50
    assert np.abs(hundredths(values) / 100 - values).max() <= 0.005 + 1e-12
    with pytest.raises(ValueError, match="2 values are NaN or infinite"):
        hundredths([1.0, np.nan, np.inf])


def test_the_reach_spans_the_samples():
    samples = np.random.default_rng(1).normal(size=(5, 3, 4))
    middle, below, above = middle_and_reach(samples)
    np.testing.assert_allclose(middle - below, samples.min(axis=0))
    np.testing.assert_allclose(middle + above, samples.max(axis=0))


@pytest.mark.parametrize("bins", [1, 16])
def test_every_finite_sample_is_in_the_bin_that_numpy_finds(bins):
    values = np.random.default_rng(2).normal(size=(3, 4, 200)) * np.array([0.001, 1.0, 30.0])[:, None, None]
    values[1, 2, :7] = -np.inf
    found = histograms(values, bins)
    assert found["counts"].shape == (3, 4, bins) and found["low"].dtype == found["size"].dtype == np.int64
    for index in np.ndindex(3, 4):
        edges = (found["low"][index] + found["size"][index] * np.arange(bins + 1)) / 100
        finite = values[index][np.isfinite(values[index])]
        assert edges[0] <= finite.min() and finite.max() < edges[-1]
        np.testing.assert_array_equal(found["counts"][index], np.histogram(finite, edges)[0])
    assert found["absent"].sum() == 7 and found["absent"][1, 2] == 7


def test_nothing_finite_is_an_empty_histogram():
    found = histograms(np.full((1, 5), -np.inf), 3)
    assert found["counts"].sum() == 0 and found["absent"].tolist() == [5] and found["size"].tolist() == [1]
