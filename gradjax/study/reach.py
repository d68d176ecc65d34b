"""Which part of a study's source its arrays depend on: what ``compute`` reaches by name, and nothing of ``plot``.

A figure may be drawn again by new drawing code from old arrays, but not once the code that computed them has changed:
the record would then show a source that never made its numbers.
"""

import ast

ROOTS = ("compute", "Config")


def same_computation(one: str, two: str) -> bool:
    """Whether two sources of a study are equal in all that ``compute`` reaches, comments and docstrings aside.

    >>> plain = "def compute(c): return f(c)\\ndef f(c): return c"
    >>> same_computation(plain, plain + "  # the identity\\ndef plot(c, r): pass")
    True
    >>> same_computation(plain, plain.replace("return c", "return 2 * c"))
    False
    """
    try:
        return _reached(one) == _reached(two)
    except (SyntaxError, ValueError, RecursionError):  # a record's source may be anything
        return False


def _reached(source: str) -> dict[str, str]:
    """Each top-level name that the roots reach, with the statements that bind it."""
    bindings: dict[str, list[ast.stmt]] = {}
    for statement in ast.parse(source).body:
        for name in _bound(statement):
            bindings.setdefault(name, []).append(statement)
    reached: dict[str, str] = {}
    waiting = [name for name in ROOTS if name in bindings]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached[name] = "".join(ast.dump(_without_docstrings(statement)) for statement in bindings[name])
            waiting += [found for statement in bindings[name] for found in _used(statement) if found in bindings]
    return reached


def _bound(statement: ast.stmt) -> list[str]:
    """The names that a top-level statement gives a meaning."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).partition(".")[0] for alias in statement.names]
    # a comprehension's variables are its own: as names of the module, any function with a `name` would reach its table
    scoped = [
        part for each in ast.walk(statement) if isinstance(each, ast.comprehension) for part in ast.walk(each.target)
    ]
    names = [node for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    return [node.id for node in names if node not in scoped]


def _used(statement: ast.stmt) -> list[str]:
    return [node.id for node in ast.walk(statement) if isinstance(node, ast.Name)]


def _without_docstrings(statement: ast.stmt) -> ast.stmt:
    """The statement less every string that stands alone: a docstring changes no number."""
    copy = ast.parse(ast.unparse(statement)).body[0]
    for node in ast.walk(copy):
        for field in ("body", "orelse", "finalbody"):
            lines = getattr(node, field, None)
            if isinstance(lines, list):
                setattr(node, field, [line for line in lines if not _is_text(line)] or [ast.Pass()])
    return copy


def _is_text(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)
