"""What a study module must hold, how studies are found by walking the folders, and how one is loaded.

Title, question and order are read from the source without running it: ``--list`` then answers at once, and a study that
cannot be imported is still named.
"""

import ast
import dataclasses
import functools
import importlib.util
import inspect
import itertools
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from gradjax.study.usage import UsageError

PARTS = ("article", "research")
PRESETS = ("quick", "full")
FUNCTIONS = {"compute": ["config"], "claims": ["config", "result"], "plot": ["config", "result"]}
# The command line's own flags: a field of the same name could not be reached.
RESERVED = frozenset(
    (
        "names",
        "config",
        "preset",
        "out",
        "platform",
        "x64",
        "resume",
        "replot",
        "jobs",
        "list",
        "ledger",
        "quiet",
        "help",
    )
) | {"distributed", "coordinator", "num_processes", "process_id"}
GUARD = "raise SystemExit(gradjax.study.main(__file__))"


@dataclasses.dataclass(frozen=True)
class Study:
    """A study's file, seen from outside: nothing of it has run yet.

    Args:
        path: the file; its stem is the study's name, its folder the part it belongs to.
    """

    path: Path

    @property
    def name(self) -> str:
        """The file's stem: what the command line calls the study."""
        return self.path.stem

    @property
    def part(self) -> str:
        """The folder's name: ``article`` or ``research``."""
        return self.path.parent.name

    @functools.cached_property
    def source(self) -> str:
        """The text of the file."""
        return self.path.read_text(encoding="utf-8")

    @functools.cached_property
    def _tree(self) -> ast.Module:
        try:
            return ast.parse(self.source)
        except (SyntaxError, ValueError):
            return ast.Module(body=[], type_ignores=[])

    @property
    def docstring(self) -> str:
        """The module's docstring, its indentation cleaned; empty where it has none."""
        return ast.get_docstring(self._tree) or ""

    @property
    def title(self) -> str:
        """The docstring's first line."""
        return self.docstring.partition("\n")[0].strip().rstrip(".") or self.name

    @property
    def question(self) -> str:
        """The docstring's second paragraph, on one line."""
        paragraphs = re.split(r"\n\s*\n", self.docstring)
        return " ".join(paragraphs[1].split()) if len(paragraphs) > 1 else ""

    @property
    def order(self) -> int:
        """The study's place in the reading order; last where it gives none."""
        for node in self._tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            value = getattr(node, "value", None)
            if any(getattr(target, "id", "") == "ORDER" for target in targets) and isinstance(value, ast.Constant):
                return value.value if isinstance(value.value, int) else sys.maxsize
        return sys.maxsize

    @property
    def place(self) -> tuple[bool, str, int, str]:
        """What studies are sorted by: the article first, then the reading order."""
        return (self.part != PARTS[0], self.part, self.order, self.name)

    def field_documents(self) -> dict[str, str]:
        """The docstring below each field of ``Config``, by field, on one line each."""
        bodies = [node.body for node in self._tree.body if isinstance(node, ast.ClassDef) and node.name == "Config"]
        statements = bodies[0] if bodies else []
        documents = {}
        for field, below in itertools.pairwise(statements):
            constant = below.value if isinstance(below, ast.Expr) else None
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(constant, ast.Constant)
                and isinstance(constant.value, str)
            ):
                documents[getattr(field.target, "id", "")] = " ".join(constant.value.split())
        return documents

    @functools.cached_property
    def module(self) -> ModuleType:
        """The module that running the file gives, once it is known to satisfy the contract.

        Raises:
            ValueError: with every departure from the contract. Whatever the file itself raises goes through.
        """
        name = f"studies.{self.part}.{self.name}"
        spec = importlib.util.spec_from_file_location(name, self.path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up there to resolve annotations
        spec.loader.exec_module(module)
        if found := departures(self, module):
            raise ValueError(f"{self.path.name} is not a study yet: " + "; ".join(found))
        return module


def discover(folder: Path) -> tuple[Study, ...]:
    """Every study in ``folder/article`` and ``folder/research``, in the reading order.

    Files whose name starts with an underscore are no studies.

    Raises:
        UsageError: for two studies of one name, which the command line could not tell apart.
    """
    if not isinstance(folder, Path):
        raise TypeError(f"folder is a {type(folder).__name__}, expected a pathlib.Path")
    paths = [path for part in PARTS for path in (folder / part).glob("*.py") if not path.name.startswith("_")]
    stems = [path.stem for path in paths]
    if repeated := sorted({stem for stem in stems if stems.count(stem) > 1}):
        raise UsageError(
            f"{folder}: the study names {repeated} stand in both {' and '.join(PARTS)}; rename one of each"
        )
    return tuple(sorted((Study(path) for path in paths), key=lambda study: study.place))


def departures(study: Study, module: ModuleType) -> list[str]:
    """Each way in which the loaded module departs from the contract of ``gradjax.study``, in words; empty: none."""
    found = _document_departures(study) + _config_departures(study, module)
    if not isinstance(getattr(module, "ORDER", None), int):
        found.append("ORDER is missing or no integer")
    for name, arguments in FUNCTIONS.items():
        function = getattr(module, name, None)
        if not callable(function) or list(inspect.signature(function).parameters) != arguments:
            found.append(f"{name}({', '.join(arguments)}) is missing or takes other arguments")
    if not study.source.rstrip().endswith(GUARD):
        found.append(f"the last line is not `{GUARD}` below `if __name__ == '__main__':`")
    return found


def _document_departures(study: Study) -> list[str]:
    found = []
    if not study.docstring:
        return ["the module has no docstring"]
    if "?" not in study.question:
        found.append("the docstring's second paragraph holds no question")
    if not re.search(r"\b(1[6-9]|20)\d\d\b", study.docstring):
        found.append("the docstring names no reference with its year")
    return found


def _config_departures(study: Study, module: ModuleType) -> list[str]:
    config: Any = getattr(module, "Config", None)
    if not (isinstance(config, type) and dataclasses.is_dataclass(config) and config.__dataclass_params__.frozen):  # pyright: ignore[reportAttributeAccessIssue]
        return ["Config is no frozen dataclass"]
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    found = [f"Config.{name} is a flag of the command line itself" for name in sorted(RESERVED & set(defaults))]
    found += [f"Config.{name} has no default" for name, value in defaults.items() if value is dataclasses.MISSING]
    found += [f"Config.{name} has no docstring below it" for name in defaults if not study.field_documents().get(name)]
    if type(defaults.get("seed")) is not int or defaults["seed"] != 0:
        found.append("Config has no field seed: int = 0")
    if defaults.get("plant") != "":
        found.append('Config has no field plant: str = ""')
    presets = getattr(module, "PRESETS", None)
    if not isinstance(presets, dict) or sorted(presets) != sorted(PRESETS):
        found.append(f"PRESETS has not exactly the keys {', '.join(PRESETS)}")
    elif not all(isinstance(preset, config) for preset in presets.values()):
        found.append("PRESETS holds something that is no Config")
    elif not found and presets["full"] != config():
        found.append("PRESETS['full'] is not Config(): the defaults are the full preset")
    return (
        found
        + _plant_departures(getattr(module, "PLANTS", None))
        + _miss_departures(getattr(module, "MISSES", {"none": "is declared"}))
    )


def _plant_departures(plants: object) -> list[str]:
    if not isinstance(plants, dict) or not plants:
        return ["PLANTS is missing or empty"]
    good = all(
        isinstance(name, str)
        and name
        and isinstance(covered, tuple)
        and covered
        and all(isinstance(c, str) for c in covered)
        for name, covered in plants.items()
    )
    return [] if good else ["PLANTS is no dict from fault to a non-empty tuple of claim names"]


def _miss_departures(misses: object) -> list[str]:
    """A claim may be declared not to hold, in a table of its own that a reader finds, and never without saying why."""
    good = isinstance(misses, dict) and misses and all(isinstance(w, str) and w.strip() for w in misses.values())
    return [] if good else ["MISSES is no dict from claim name to why it does not hold"]
