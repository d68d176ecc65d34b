"""A row for every public function of `gradjax.theory`: each against at least two independent routes.

The rows stand in `theory_rows`; the routes are a closed form, a second numerical route in arbitrary precision, or a
simulation with four standard errors. A function without a row fails the test.
"""

import importlib
import inspect
import pkgutil

import pytest
from theory_rows import ROWS
from theory_rows.routes import CLOSED, PRECISE, SIMULATED

import gradjax.theory


def public_functions():
    """Every function of gradjax.theory without a leading underscore, by its module."""
    names = {}
    for _, name, _ in pkgutil.walk_packages(gradjax.theory.__path__, "gradjax.theory."):
        module = importlib.import_module(name)
        for key, value in vars(module).items():
            own = callable(value) and not key.startswith("_") and getattr(value, "__module__", "") == name
            if own and inspect.isfunction(inspect.unwrap(value)):
                names[f"{name.removeprefix('gradjax.theory.')}.{key}"] = value
    return names


def test_every_public_function_of_theory_has_a_row_and_every_row_a_function():
    assert set(ROWS) == set(public_functions())
    assert all(len({kind for kind, _ in checks}) == len(checks) for checks in ROWS.values())


def test_every_row_has_two_kinds_of_route_of_which_one_is_no_simulation():
    for name, checks in ROWS.items():
        kinds = {base for kind, _ in checks for base in (CLOSED, PRECISE, SIMULATED) if kind.startswith(base)}
        assert len(kinds) >= 2, (name, kinds)


@pytest.mark.parametrize(
    ("name", "kind", "route"),
    [pytest.param(name, kind, route, id=f"{name}: {kind}") for name, checks in ROWS.items() for kind, route in checks],
)
def test_theory_meets_an_independent_route(name, kind, route):
    ours, theirs, tolerance = (float(value) for value in route())
    assert abs(ours - theirs) <= tolerance + 1e-300, (ours, theirs, tolerance)
