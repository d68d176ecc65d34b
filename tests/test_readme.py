"""The README's code runs as it stands, and its links lead to claims that stand on the page.

Of the decision table more is asked: every cell of advice rests on a claim of a committed record, and the claim holds.
"""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradjax.study.page.tables import claim_anchors

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


def advice(text: str) -> list[list[str]]:
    """The rows of the decision table, without its head."""
    section = text.partition("## What should I use?")[2].partition("\n## ")[0]
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in section.splitlines() if line.startswith("|")][2:]


def unbacked(text: str, verdicts: dict[str, bool]) -> list[str]:
    """What is wrong with the table: cells without a link, links to no claim (anchor -> holds) or to one that fails."""
    wrong = []
    for row in advice(text):
        for cell in row[1:]:
            links = re.findall(r"\]\(figures/index\.html#([^)\s]+)\)", cell)
            wrong += [f"{cell.strip()}: no link"] if not links else []
            wrong += [
                f"{link}: {verdicts.get(link, 'no such claim')}" for link in links if verdicts.get(link) is not True
            ]
    return wrong


def recorded() -> dict[str, bool]:
    """Anchor -> whether the claim holds, of every committed record."""
    found = {}
    for path in sorted((README.parent / "figures").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        names = claim_anchors(record["name"], [claim["name"] for claim in record["claims"]])
        found |= dict(zip(names, [claim["holds"] for claim in record["claims"]], strict=True))
    return found


def test_every_cell_of_the_decision_table_rests_on_a_recorded_claim_that_holds():
    text, verdicts = README.read_text(encoding="utf-8"), recorded()
    rows = advice(text)
    assert len(rows) >= 8 and all(len(row) == 3 for row in rows)
    assert not unbacked(text, verdicts)


def test_an_unbacked_cell_would_be_noticed():
    text, verdicts = README.read_text(encoding="utf-8"), recorded()
    link = re.search(r"\(figures/index\.html#([^)\s]+)\)", advice(text)[0][1])
    assert link
    assert any("no link" in word for word in unbacked(text.replace(advice(text)[3][2], " none "), verdicts))
    assert any("no such claim" in word for word in unbacked(text.replace(link[1], f"{link[1]}-x"), verdicts))
    assert unbacked(text, {**verdicts, link[1]: False}) == [f"{link[1]}: False"] * text.count(f"#{link[1]})")
