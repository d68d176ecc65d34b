"""The digits: shape, standardization, a split that depends on the seed alone."""

import sys

import numpy as np
import pytest

from gradjax.tasks import digits


def test_shapes_types_and_labels():
    data = digits()
    assert data.train_x.shape == (1437, 64)
    assert data.test_x.shape == (360, 64)
    assert data.train_x.dtype == np.float32
    assert data.train_y.dtype == np.int32
    assert sorted(set(np.asarray(data.train_y).tolist())) == list(range(10))
    assert len(data.train_x) + len(data.test_x) == 1797


def test_every_pixel_is_standardized_over_the_training_part(x64):
    data = digits(seed=3, dtype="float64")
    std = np.asarray(data.train_x).std(axis=0)
    np.testing.assert_allclose(np.asarray(data.train_x).mean(axis=0), 0, atol=1e-13)
    np.testing.assert_allclose(std[std > 0], 1, rtol=1e-12)
    assert 1 <= (std == 0).sum() <= 5
    assert np.isfinite(data.test_x).all()


def test_the_split_depends_on_the_seed_alone():
    first, again, other = digits(seed=1), digits(seed=1), digits(seed=2)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert not (first.train_y == other.train_y).all()
    ones = [np.sum(np.asarray(data.train_y) == 1) + np.sum(np.asarray(data.test_y) == 1) for data in (first, other)]
    assert ones == [182, 182]


def test_bad_arguments_are_refused():
    for seed in (-1, 2**32):
        with pytest.raises(ValueError, match=f"seed is {seed}"):
            digits(seed=seed)
    with pytest.raises(ValueError, match=r"test_fraction( is |=)1"):
        digits(test_fraction=1.0)
    with pytest.raises(ValueError, match="dtype"):
        digits(dtype="int32")


def test_without_scikit_learn_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install -e '\.\[studies\]'"):
        digits()
