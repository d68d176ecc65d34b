"""Look a method up by name or take it as it is: the one door of every table of methods."""

from collections.abc import Callable, Mapping

from gradjax.arguments import said


def resolve(table: Mapping[str, Callable], candidate: str | Callable, kind: str) -> Callable:
    """Return the callable that a name or a callable stands for.

    Args:
        table: name -> callable, for example `gradjax.activations.ACTIVATIONS`.
        candidate: a key of the table, or any callable, which is returned unchanged.
        kind: what the table holds, in words, for the error message.

    Raises:
        ValueError: an unknown name (all known names are listed), or neither a name nor a callable.

    >>> resolve({"double": lambda x: 2 * x}, "double", "method")(3)
    6
    """
    if not isinstance(table, Mapping):
        raise ValueError(f"table is {said(table)}, expected a dict from names to callables")
    if isinstance(candidate, str):
        if candidate not in table:
            raise ValueError(f"{kind}={candidate!r} is not known; expected a callable or one of: {', '.join(table)}")
        return table[candidate]
    if not callable(candidate):
        raise ValueError(f"{kind}={said(candidate)} is neither a callable nor one of the names: {', '.join(table)}")
    return candidate
