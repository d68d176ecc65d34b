"""What the house promises: importing does nothing, files stay small, public modules say what they hold."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gradjax

PACKAGE = Path(gradjax.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

PROBE = """
import sys
import jax
def values():
    return {name: getattr(jax.config, name) for name in jax.config.values if hasattr(jax.config, name)}
before = values()
assert len(before) > 50
import gradjax, gradjax.study
assert values() == before, "configuration changed"
from jax._src import xla_bridge
assert not xla_bridge._backends, "a backend was started"
loaded = [name for name in ("matplotlib", "sklearn", "tyro", "tqdm") if name in sys.modules]
assert not loaded, loaded
"""


def test_importing_creates_no_array_starts_no_backend_and_changes_nothing():
    # an array cannot exist without a backend
    subprocess.run([sys.executable, "-W", "error", "-c", PROBE], check=True, timeout=120)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_holds_one_idea_and_says_which(path):
    source = path.read_text()
    assert len(source.splitlines()) <= (25 if path == PACKAGE / "__init__.py" else 250)
    assert ast.get_docstring(ast.parse(source))
