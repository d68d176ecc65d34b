"""The README's code runs as it stands, and its links lead to claims that stand on the page."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.mark.slow
def test_the_code_of_the_readme_runs():
    importing, debugging, diagnosing = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(importing, names)
    assert names["spectrum"].log_singular_values.shape == (3, 64)
    names |= {"loss": lambda y: jnp.mean(y**2), "batch": jax.random.normal(jax.random.key(2), (4, 64))}
    exec(debugging, names)
    assert names["norms"].shape == (200,) and np.isfinite(names["signal"]).all() and 0 <= names["worst"] < 200
    exec(diagnosing, names)
    assert names["verdict"].cause == "weight scale"
    assert 6**0.5 * 0.9 < names["verdict"].remedy.number < 6**0.5 * 1.1  # Equinox draws variance 1/3n, ReLU needs 2/n


def test_every_link_to_a_claim_lands():
    page = (README.parent / "figures" / "index.html").read_text(encoding="utf-8")
    anchors = re.findall(r"figures/index\.html#([^)\s]+)", README.read_text(encoding="utf-8"))
    assert len(anchors) >= 20
    assert not set(anchors) - set(re.findall(r'id="([^"]+)"', page))
