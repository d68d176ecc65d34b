"""Refusals and answers that no other test asks for, each in a line or two."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from gradjax import platforms, room
from gradjax.chain import Stack, as_layers
from gradjax.chain.linearization import flattened, has_forward_mode
from gradjax.clipping.responses import _word
from gradjax.jacobians import layer_jacobians
from gradjax.jacobians.exact import jacobian
from gradjax.products import log_singular_values
from gradjax.study import records
from gradjax.study.tables import figure_table
from gradjax.sweep import sweep
from gradjax.theory import meanfield


def not_its_model(_):
    raise TypeError("it wants two arguments")


def double(h):
    return 2 * h


SCALED = Partial(jnp.multiply, jnp.ones((2, 3)))
PAIR = (jnp.ones((3, 2)), jnp.ones((4, 2)))
REFUSED = {
    "an array without axes": (lambda: as_layers(np.ones(())), "expected a sequence of callables"),
    "flags of other leaves": (lambda: as_layers([Stack(SCALED, (True, True))]), "tied has 2 entries, expected one"),
    "a batch that is none": (
        lambda: layer_jacobians([lambda h: h[0] + h[1]], PAIR, batch_axis=0), "no common leading batch axis",
    ),
    "a model of other arguments": (
        lambda: layer_jacobians([double], jnp.ones(2), model=not_its_model), "model does not accept.* it wants two",
    ),
    "a Jacobian of nothing": (lambda: jacobian(double, jnp.zeros(0)), "expected no empty axis"),
    "a factor without rows": (lambda: log_singular_values([np.ones((0, 2))]), "at least one row and one column"),
    "batches of two sizes": (
        lambda: log_singular_values([np.ones((2, 3, 3)), np.ones((4, 3, 3))]), "got batch shape",
    ),
    "an array beyond any memory": (lambda: room.fitting("shape", (2**30, 2**30), "float32"), "expected what fits"),
    "a critical line that is none": (lambda: meanfield.critical_weight_std("relu", 0.1), "only at 0"),
    "a tolerance of integers": (lambda: platforms.platform_tolerance("int32", 3), "expected a floating type"),
    "a tolerance of no layer": (lambda: platforms.platform_tolerance("float32", 0), "depth is 0, expected at least 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_a_sentence(name):
    call, said = REFUSED[name]
    with pytest.raises(ValueError, match=said):
        call()


def test_a_complex_layer_is_a_real_one_of_twice_the_size():
    function, h = flattened(lambda h: 1j * h, jnp.array([3.0 + 4.0j]))
    assert h.tolist() == [3, 4] and jax.jacobian(function)(h).tolist() == [[0, -1], [1, 0]]


def test_only_a_derivative_that_goes_backward_alone_is_no_reason_to_raise():
    @jax.custom_vjp
    def backward_only(h):
        return h

    backward_only.defvjp(lambda h: (h, None), lambda _, u: (u,))
    assert not has_forward_mode(backward_only, jnp.ones(2)) and has_forward_mode(double, jnp.ones(2))
    with pytest.raises(TypeError, match="it wants two"):
        has_forward_mode(not_its_model, jnp.ones(2))


def test_inside_a_trace_values_of_model_and_layers_are_not_compared():
    found = jax.jit(lambda x: layer_jacobians([double], x, model=lambda x: 3 * x))(jnp.ones(2))
    np.testing.assert_array_equal(found[0], 2 * np.eye(2))


@pytest.mark.parametrize("shape", [(6, 2), (2, 6)])
def test_a_jacobian_in_chunks_of_one_line_is_the_matrix(shape):
    matrix = jnp.arange(12.0).reshape(shape)
    np.testing.assert_array_equal(jacobian(lambda h: matrix @ h, jnp.ones(shape[1]), work=1), matrix)


def test_a_system_that_does_not_tell_its_memory_has_plenty(monkeypatch):
    assert 2**26 < room.memory() < 2**60
    monkeypatch.delattr(room.os, "sysconf")  # as on Windows
    assert room.memory() == 2**40


def test_a_device_without_doubles_has_the_host_compute_them(monkeypatch):
    monkeypatch.setattr(platforms.jax, "default_backend", lambda: "tpu")
    with platforms.in_doubles():
        assert jnp.ones(()).dtype == jnp.float64 and jnp.ones(()).devices() == {jax.devices("cpu")[0]}


def test_ctrl_c_in_a_sweep_that_keeps_no_files_promises_none():
    def cell(key, x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        sweep(cell, {"x": [1.0]}, seed=0)
    assert not getattr(caught.value, "__notes__", [])


WORDS = {  # what a clipper gave, what it was given, its size, the bound
    "all NaN": ([np.nan, np.nan], [1, 1], None, 1), "some NaN": ([np.nan, 1], [1, 1], None, 1),
    "inf": ([np.inf, 1], [1, 1], None, 1), "same": ([1, 1], [1, 1], None, 1), "zeros": ([0, 0], [1, 1], 0.0, 1),
    "changed": ([2, 1], [1, 1], None, 1), "bounded": ([0.6, 0.8], [3, 4], 1.0, 1), "exceeds": ([2, 0], [3, 4], 2.0, 1),
}  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_what_a_clipper_did_is_one_word(word):
    values, given, size, largest = WORDS[word]
    assert _word(np.array(values, float), np.array(given, float), size, largest) == word


@dataclasses.dataclass(frozen=True)
class Config:
    chance: float = 0.5
    table: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Rounded(Config):
    def __post_init__(self):
        object.__setattr__(self, "chance", round(self.chance))


def test_a_config_comes_back_from_its_record_or_is_refused():
    config = Config(float("-inf"), {1: float("inf")})
    plain = records.plain_config(config)
    assert plain == {"chance": "-inf", "table": {"1": "inf"}}
    assert records.config_from(Config, plain).chance == float("-inf")
    for crafted in ("0.5", "one half", "Infinity"):
        with pytest.raises(records.RecordError, match=f"config has '{crafted}' in a number's place"):
            records.config_from(Config, {**plain, "chance": crafted})
    with pytest.raises(records.RecordError, match="cannot be restored"):
        records.config_from(Rounded, {"chance": 0.3, "table": {}})


def test_a_picture_in_colours_holds_no_numbers():
    from matplotlib.figure import Figure

    drawn = Figure()
    drawn.subplots().imshow(np.zeros((2, 2, 3)))
    assert figure_table(drawn).decode().splitlines() == ["panel,series,kind,x,y,low,high,value"]
