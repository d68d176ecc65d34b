"""Log singular values of long matrix products."""

from gradjax.products.factors import Runs
from gradjax.products.naive import naive_log_singular_values
from gradjax.products.spectrum import (
    log_singular_values,
    log_singular_values_with_error,
    prefix_log_singular_values,
)
from gradjax.products.vectors import singular_vectors

__all__ = [
    "Runs",
    "log_singular_values",
    "log_singular_values_with_error",
    "naive_log_singular_values",
    "prefix_log_singular_values",
    "singular_vectors",
]
