"""Exact gradients: of every layer of a sequence (`by_layer`), and at named points of a model that is none (`tap`)."""

from gradjax.gradients.by_layer import layer_gradients, log_gradient_norms, log_signal_norms
from gradjax.gradients.tapping import Taps, tap

__all__ = ["Taps", "layer_gradients", "log_gradient_norms", "log_signal_norms", "tap"]
