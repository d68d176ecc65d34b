"""What theory says: numbers in, numbers out, no network, no sampling, nothing imported from what is measured."""

from gradjax.theory import meanfield

__all__ = ["meanfield"]
