"""Training as one pure program over any optax optimizer, `vmap`-able over everything a study compares."""

from gradjax.training.grid import over_grid
from gradjax.training.loop import Run, Trace, predict, train
from gradjax.training.losses import accuracy, cross_entropy

__all__ = ["Run", "Trace", "accuracy", "cross_entropy", "over_grid", "predict", "train"]
