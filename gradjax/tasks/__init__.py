"""What networks are trained on: real digits that ship with a package, and the standard sequences that test memory."""

from gradjax.tasks.digits import Dataset, digits
from gradjax.tasks.sequences import adding_problem, delayed_copy, temporal_order

__all__ = ["Dataset", "adding_problem", "delayed_copy", "digits", "temporal_order"]
