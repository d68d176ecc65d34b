"""What is learned: real digits that ship with a package, a printed table, and sequences that test memory."""

from gradjax.tasks.digits import Dataset, digits
from gradjax.tasks.nebulae import Nebulae, hubble_1929
from gradjax.tasks.sequences import adding_problem, delayed_copy, temporal_order

__all__ = ["Dataset", "Nebulae", "adding_problem", "delayed_copy", "digits", "hubble_1929", "temporal_order"]
