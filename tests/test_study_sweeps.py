"""Every study sweeps its grid or has a reason in words here: one that has neither fails, and one that has both.

Whether a reason is a good one, the reader judges.
"""

import ast
from pathlib import Path

import pytest

from gradjax.study import contract

PROJECT = contract.discover(Path(__file__).resolve().parents[1] / "studies")
POINTS = "no grid of networks: points of one formula, evaluated as one array"
TIMES = "its result is how long programs take, or how much they compute: a cell beside others would be timed with them"
SHAPES = "its cells, but for their seeds, are of different shapes or programs, which no sweep can put side by side"
DEEP = "networks of other depths are the first layers of the deepest: one computation, of which a cell is a part"
WITHOUT_A_SWEEP = {
    "what_is_a_gradient": POINTS,
    "gradients_in_a_simple_model": POINTS,
    "gradients_in_mathematics": TIMES,
    "cost_of_exactness": TIMES,
    "scaling": TIMES,
    "batch_normalization": SHAPES,
    "diagnosis": SHAPES,
    "dynamical_isometry": SHAPES,
    "finite_width": SHAPES,
    "ten_thousand_layers": SHAPES,
    "transformer_normalization": SHAPES,
    "jacobian_spectrum_with_depth": DEEP,
    "exploding_and_vanishing": DEEP,
}


def _sweeps(source: str) -> bool:
    calls = (node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return any(ast.unparse(function) in ("sweep", "study.sweep", "gradjax.study.sweep") for function in calls)


@pytest.mark.parametrize("study", PROJECT, ids=lambda study: study.name)
def test_a_study_sweeps_its_grid_or_has_a_reason(study):
    assert _sweeps(study.source) != (study.name in WITHOUT_A_SWEEP)


def test_every_reason_is_that_of_a_study():
    assert WITHOUT_A_SWEEP.keys() <= {study.name for study in PROJECT}


def test_a_call_is_told_from_a_word():
    assert _sweeps("found = gradjax.study.sweep(cell, grid, seed=0)")
    assert not _sweeps("# sweep(cell)\nsweep = 'gradjax.study.sweep(cell)'")
