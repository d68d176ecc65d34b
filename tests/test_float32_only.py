"""Hardware without 64 bits: what needs them is computed on the host, everything else in float32.

A TPU has no float64 of its own. Here a CPU plays one: 64 bits are refused to everything that does not ask for the
host's CPU by name. How exact float32 is, and that it is: `platform_tolerance` and `test_platforms_agree.py`; of
products: `test_products_float32.py`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_platforms import QUICK, SLOW

from gradjax import products, spectra
from gradjax.networks import mlp
from gradjax.platforms import in_doubles
from gradjax.theory import meanfield

# products outside a trace ask the host for more digits than float32 has; prefixes of a narrower network end in NaN
OF_THE_HOST = (
    *("log_singular_values", "log_singular_values_with_error", "prefix_log_singular_values", "singular_vectors"),
    *("jacobian_spectrum", "leading_log_singular_values", "trailing_log_singular_values"),
)
FEW = ("layer_jacobians", "log_gradient_norms", "tap")  # the rest is slow by its number alone


@pytest.fixture
def asked(monkeypatch):
    """The devices for which float64 was asked for."""
    jax.config.update("jax_enable_x64", False)
    found, true = [], jax.enable_x64

    def enable(wanted):
        if wanted:
            device = jax.config.jax_default_device
            assert device is not None and device.platform == "cpu", "float64 on a device that has none"
            found.append(device)
        return true(wanted)

    monkeypatch.setattr(jax, "enable_x64", enable)
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    return found


@pytest.mark.parametrize(
    "name", [*FEW, *(pytest.param(n, marks=pytest.mark.slow) for n in QUICK | SLOW if n not in FEW)]
)
def test_every_measured_result_comes_in_float32(name, asked):
    function, argument = (QUICK | SLOW)[name]
    for leaf in jax.tree.leaves(function(argument)):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            assert leaf.dtype == jnp.float32
            assert not jnp.isnan(leaf).any() or (name == "jacobian_spectrum" and not jnp.isnan(leaf[..., 0]).any())
    assert not asked or name in OF_THE_HOST


def test_theory_is_the_host_s_and_loses_nothing(asked, monkeypatch):
    found = meanfield.length_fixed_point("tanh", 1.37, 0.21), meanfield.gradient_gain("silu", 1.37, 0.21)
    assert len(asked) > 2
    monkeypatch.undo()
    with jax.enable_x64(True):
        again = meanfield.length_fixed_point("tanh", 1.37, 0.21), meanfield.gradient_gain("silu", 1.37, 0.21)
    assert found == again and not isinstance(found[0], jax.Array)


@pytest.mark.slow
def test_products_of_doubles_are_the_host_s(asked):
    factors = np.array([[[2.0, 1.0], [0.0, 1e-30]]] * 3)
    assert products.log_singular_values(factors).dtype == np.float64 and asked
    assert products.naive_log_singular_values(factors).dtype == np.float64


@pytest.mark.slow
def test_a_network_s_spectrum_is_the_host_s_and_comes_in_float32(asked):
    found = spectra.jacobian_spectrum(mlp(0, [6] * 5, "tanh", "orthogonal"), jnp.ones(6))
    assert found.dtype == "float32" and np.isfinite(found.log_singular_values).all() and asked


def test_where_jax_has_no_cpu_its_own_device_has_to_do(asked, monkeypatch):
    def none(**_):
        raise RuntimeError("no CPU")

    monkeypatch.setattr(jax, "local_devices", none)
    with pytest.raises(AssertionError, match="has none"), in_doubles():
        pass
