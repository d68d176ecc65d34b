"""Layers: pure functions `apply(parameters, activation)`, made callable pytrees by `jax.tree_util.Partial`."""

from gradjax.layers.dense import Dense, dense

__all__ = ["Dense", "dense"]
