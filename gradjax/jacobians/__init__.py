"""Jacobians of layers and of whole networks, exact where they can be formed, estimated where they cannot."""

from gradjax.jacobians.exact import input_output_jacobian, jacobian, layer_jacobians

__all__ = ["input_output_jacobian", "jacobian", "layer_jacobians"]
