"""Hubble's table: what the paper says of it in words, and the line through it that textbooks give."""

import numpy as np
import pytest

from gradjax.tasks import hubble_1929


def test_the_table_is_that_of_the_paper(x64):
    distance, velocity = (np.asarray(values) for values in hubble_1929())
    assert distance.shape == velocity.shape == (24,) and distance.dtype == np.float64
    assert (np.diff(distance) >= 0).all() and distance[-4:].tolist() == [2.0] * 4  # the Virgo cluster comes last
    assert (velocity < 0).sum() == 5 and velocity.max() == 1090 and velocity.min() == -220
    # the plain regression line quoted for these numbers: 454 km/s a million parsecs, -41 km/s
    slope, intercept = np.polyfit(distance, velocity, 1)
    assert slope == pytest.approx(454.16, abs=0.005) and intercept == pytest.approx(-40.78, abs=0.005)


def test_dtype():
    assert hubble_1929(dtype="float16").velocity.dtype == np.float16
    with pytest.raises(ValueError, match="dtype is int32, expected a floating type"):
        hubble_1929(dtype="int32")
