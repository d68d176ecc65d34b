"""Theory and measurement never import each other, so that their agreement is evidence."""

import ast
from pathlib import Path

import pytest

import gradjax

PACKAGE = Path(gradjax.__file__).parent
MEASURED = (
    *("chain", "jacobians", "gradients", "products", "spectra", "lyapunov", "clipping", "recorder"),
    *("training", "sweep", "networks", "layers"),
)
GROUND = ("activations", "initializers", "tables", "tasks")
# scalar functions, how they are looked up, what is refused, what memory holds, and where float64 is computed
KNOWN_TO_THEORY = {"theory", "activations", "tables", "arguments", "room", "platforms"}


def imported_parts(source, inside):
    """The parts of gradjax that a source imports: `gradjax.X.Y` and `from gradjax import X` both give X."""
    parts = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = inside[: len(inside) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        parts |= {name.split(".")[1] for name in names if name.startswith("gradjax.")}
    return parts


def parts_of(path):
    return imported_parts(path.read_text(), ["gradjax", *path.relative_to(PACKAGE).parts[:-1]])


@pytest.mark.parametrize("path", sorted((PACKAGE / "theory").rglob("*.py")), ids=lambda path: path.stem)
def test_theory_knows_only_scalar_functions(path):
    assert parts_of(path) <= KNOWN_TO_THEORY


@pytest.mark.parametrize("name", [*MEASURED, *GROUND])
def test_nothing_measured_imports_theory(name):
    for path in [PACKAGE / f"{name}.py", *(PACKAGE / name).rglob("*.py")]:
        if path.exists():
            assert "theory" not in parts_of(path), path


@pytest.mark.parametrize(
    "source",
    [
        "import gradjax.products",
        "from gradjax import products",
        "from gradjax.products import x",
        "from ..products import x",
    ],
)
def test_the_check_sees_every_form_of_import(source):
    assert imported_parts(source, ["gradjax", "theory"]) == {"products"}
