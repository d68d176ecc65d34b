"""Claims: the verdict at and around its tolerance, and what a claim refuses."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest

from gradjax.study.claims import Claim, check_claims

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("relation", "measured", "expected", "tolerance", "holds"),
    [
        ("=", 1.25, 1.0, 0.25, True),
        ("=", 0.75, 1.0, 0.25, True),
        ("=", math.nextafter(1.25, 2), 1.0, 0.25, False),
        ("=", math.nextafter(0.75, 0), 1.0, 0.25, False),
        ("<=", -1e300, 1.0, 0.25, True),
        ("<=", 1.25, 1.0, 0.25, True),
        ("<=", 1.26, 1.0, 0.25, False),
        (">=", 1e300, 1.0, 0.25, True),
        (">=", 0.75, 1.0, 0.25, True),
        (">=", 0.74, 1.0, 0.25, False),
        *[(relation, NAN, 1.0, 1e9, False) for relation in ("=", "<=", ">=")],
        ("=", INF, 1.0, 1e9, False),
        ("=", -INF, -INF, 0.0, True),
        ("=", INF, -INF, 0.0, False),
        ("=", 1.0, INF, 1.0, False),
        ("=", NAN, INF, 1.0, False),
        ("<=", INF, 1.0, 1.0, False),
        (">=", INF, 1.0, 1.0, True),
    ],
)
def test_a_claim_holds_within_its_tolerance(relation, measured, expected, tolerance, holds):
    claim = Claim("slope", measured, expected, tolerance, "theory", relation)
    assert claim.holds is holds
    assert claim.sentence().startswith("holds: " if holds else "FAILS: ")


@pytest.mark.parametrize("value", [np.float32(0.5), jnp.asarray(0.5), np.array(0.5), np.int64(3), 3])
def test_any_scalar_becomes_a_python_float(value):
    claim = Claim("slope", value, value, 0, "theory")
    assert type(claim.measured) is float and claim.measured == float(value)
    assert claim.holds


def test_the_sentence_says_everything_once():
    claim = Claim("slope", 0.51234, 0.5, 0.02, "Schoenholz 2017", statement="The slope is {measured:.2f}.")
    assert claim.sentence() == (
        "holds: The slope is 0.51 (measured 0.51234, expected 0.5, tolerance 0.02; Schoenholz 2017)."
    )
    below = Claim("slope", 2, 0.5, 0.02, "Schoenholz 2017", relation="<=")
    assert below.sentence() == "FAILS: slope (measured 2, expected at most 0.5, tolerance 0.02; Schoenholz 2017)."


def test_a_claim_that_is_declared_not_to_hold_says_why_and_passes():
    missed = Claim("slope", 2, 0.5, 0.02, "theory", relation="<=", miss="The machine is slow.")
    assert missed.passes and not missed.holds and missed.as_dict()["miss"] == "The machine is slow."
    assert missed.sentence() == (
        "does not hold, as declared: slope (measured 2, expected at most 0.5, tolerance 0.02; theory). "
        "Why: The machine is slow."
    )
    held = dataclasses.replace(missed, measured=0.1)
    assert held.passes and held.sentence().startswith("holds here, though declared not to: ")
    assert "Why" not in held.sentence() and "miss" not in dataclasses.replace(missed, miss="").as_dict()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"name": " "}, ValueError, "name is ' '"),
        ({"source": ""}, ValueError, "source is ''"),
        ({"expected": NAN}, ValueError, "expected is NaN"),
        ({"tolerance": -1e-9}, ValueError, "tolerance is -1e-09"),
        ({"tolerance": INF}, ValueError, "tolerance is inf"),
        ({"tolerance": NAN}, ValueError, "tolerance is nan"),
        ({"relation": "<"}, ValueError, "relation is '<'"),
        ({"statement": "{nothing}"}, ValueError, "cannot be filled in"),
        ({"statement": "{measured:s}"}, ValueError, "cannot be filled in"),
        ({"statement": "{"}, ValueError, "cannot be filled in"),
        ({"statement": "{measured.nothing}"}, ValueError, "cannot be filled in"),
        ({"measured": True}, TypeError, "measured is True"),
        ({"measured": "0.5"}, TypeError, "measured is '0.5'"),
        ({"measured": np.ones(2)}, TypeError, "one real number"),
        ({"expected": 1j}, TypeError, "expected is 1j"),
        ({"tolerance": None}, TypeError, "tolerance is None"),
    ],
)
def test_a_claim_refuses_what_it_cannot_judge(changes, error, words):
    good = {"name": "slope", "measured": 0.5, "expected": 0.5, "tolerance": 0.1, "source": "theory"}
    with pytest.raises(error, match=words):
        Claim(**{**good, **changes})


def test_claims_are_covered_by_plants_exactly():
    one, two = (Claim(name, 1, 1, 0, "theory") for name in ("one", "two"))
    assert check_claims((one, two), {"a": ("one",), "b": ("two", "one")}) == [one, two]
    with pytest.raises(ValueError, match=r"no plant makes \['two'\] fail"):
        check_claims([one, two], {"a": ("one",)})
    with pytest.raises(ValueError, match=r"no claim is called \['three'\]"):
        check_claims([one, two], {"a": ("one", "two", "three")})
    with pytest.raises(ValueError, match=r"repeats the names \['one'\]"):
        check_claims([one, one], {"a": ("one",)})
    declared = check_claims([one, two], {"a": ("one", "two")}, {"two": "Too slow."})
    assert [claim.miss for claim in declared] == ["", "Too slow."]
    with pytest.raises(ValueError, match=r"MISSES and the claims differ: no claim is called \['three'\]"):
        check_claims([one, two], {"a": ("one", "two")}, {"three": "Too slow."})
    for nothing in ([], [1.0]):
        with pytest.raises(ValueError, match="at least one"):
            check_claims(nothing, {"a": ("one",)})
