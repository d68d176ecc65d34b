"""What a study computes, told apart from how it is drawn and described."""

import pytest
from study_cases import SOURCE

from gradjax.study.reach import same_computation

HELPED = SOURCE.replace(
    "def compute(config):", "LIMIT = 0.95\n\n\ndef chance(c):\n    return LIMIT\n\n\ndef compute(config):"
)
HELPED = HELPED.replace("chance = 0.95", "odds = chance(config)")
HELPED = HELPED.replace("LIMIT = 0.95", "LIMIT = 0.95\nTABLE = [2 * odds for odds in (0.1, 0.2)]\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("figure, axes", "drawn, axes"),
        ("Bernoulli & sons", "Bernoulli"),
        ("How many coins in a throw.", "The number of coins."),
        ('"""A fair coin & <its> mean', '"""Coins'),
        ("ORDER = 7", "ORDER = 8"),
        ("return LIMIT", "return LIMIT  # a comment"),
        ("(0.1, 0.2)", "(0.1, 0.3)"),  # a table whose comprehension has a variable named as one of compute's
    ],
)
def test_drawing_and_words_are_no_computation(old, new):
    assert old in HELPED
    assert same_computation(HELPED, HELPED.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("random((32", "random((33"),
        ("coins: int = 64", "coins: int = 65"),
        ("LIMIT = 0.95", "LIMIT = 0.9"),
        ("return LIMIT", "return 2 * LIMIT"),
        ("return LIMIT", "return LIMIT + TABLE[0] * 0"),
        ("import numpy as np", "import jax.numpy as np"),
    ],
)
def test_whatever_compute_reaches_is(old, new):
    assert old in HELPED
    assert not same_computation(HELPED, HELPED.replace(old, new))
