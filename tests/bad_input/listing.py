"""Which functions are public: those that a package's `__init__` hands on, and all of a module that has none."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType


def public_functions(name: str = "gradjax") -> Iterator[tuple[str, Callable]]:
    """Every public function with its full name; one that several packages hand on comes as often."""
    module = importlib.import_module(name)
    for each in _names(module):
        value = getattr(module, each)
        if isinstance(value, ModuleType):
            yield from public_functions(value.__name__)
        elif callable(value) and not inspect.isclass(value):
            yield f"{name}.{each}", value


def _names(module: ModuleType) -> list[str]:
    if not hasattr(module, "__path__"):
        return [name for name, value in vars(module).items() if _own(module, value) and not name.startswith("_")]
    tree = ast.parse(Path(str(module.__file__)).read_text())
    imports = [
        node for node in tree.body if isinstance(node, ast.ImportFrom) and str(node.module).startswith("gradjax")
    ]
    names = [alias.asname or alias.name for node in imports for alias in node.names]
    if all(isinstance(getattr(module, each), ModuleType) for each in names):  # a shelf of modules, each for itself
        names = [child.name for child in pkgutil.iter_modules(module.__path__)]
        for each in names:
            importlib.import_module(f"{module.__name__}.{each}")
    return sorted(set(names))


def _own(module: ModuleType, value) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__
