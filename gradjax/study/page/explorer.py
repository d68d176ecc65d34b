"""The explorer: sliders and choices over one study's saved arrays, drawn by ``explorer.js`` beside this file.

The numbers stand in the page as JSON, in whole hundredths of a decade: a page opened from disk may fetch nothing.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gradjax.study.page.markup import escape
from gradjax.study.page.numerals import in_words

STUDY = "weight_scale_explorer"
ARRAYS = ("signal", "below", "above", "line", "low", "size", "counts", "absent", "layers", "names")
BEGIN = {"activation": "tanh", "initialization": "gaussian", "scale": 1.15, "depth": 50}
KEPT = 1.0  # decades by which a signal that counts as kept may change
WORDS = {
    "linear": "no activation (linear)",
    "relu": "ReLU",
    "gaussian": "Gaussian",
    "scale": "Weight scale",
    "depth": "Depth L (layers)",
    "activation": "Activation",
    "initialization": "Initial weights",
}


def explorer(records: Iterable[Mapping[str, Any]]) -> str:
    """The section with controls, plots, data and script; empty where no record holds the explorer's arrays."""
    record = next((found for found in records if found["name"] == STUDY), None)
    if record is None or not all(name in record["arrays"] for name in ARRAYS):
        return ""
    data = explorer_data(record)
    script = Path(__file__).with_name("explorer.js").read_text(encoding="utf-8")
    written = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return f"""<section class="study" id="explorer">
<h2>Explore it yourself</h2>
<p>Choose a network: the function that its units apply, how its weights are drawn and how large they are, and how
many layers it has. The left plot shows all singular values of the whole network: how much it stretches each of its
directions. The right plot shows the backward signal, the gradient of the loss by each layer's output, on its way from
the output (right) to the input (left). The points and bars were measured by
<a href="#{STUDY}">{STUDY}</a>; the lines are what theory says of a network of unlimited width.</p>
<p class="predict"><strong>Predict, then look.</strong> For each activation, find the weight scale that keeps the signal
through a hundred layers. For which one is there none? And which singular values stay together when you exchange
Gaussian for orthogonal weights?</p>
<details class="look"><summary>Look: show the answer</summary>
<p>By theory, of the scales offered here: {escape(_best(data))}. And only without an activation do orthogonal weights
keep all singular values together: an activation has other slopes in each layer.</p>
</details>
<form class="controls" id="explorer-controls">
{_slider("scale", data["scales"])}
{_slider("depth", data["depths"])}
{_choice("activation", data["activations"])}
{_choice("initialization", data["initializations"])}
</form>
<p id="explorer-summary" role="status" aria-live="polite"></p>
<div class="plots">
<figure><svg id="explorer-values" role="img" aria-label="Singular values" viewBox="0 0 400 300"></svg>
<figcaption>All singular values of the whole network; dashed: theory's root mean square</figcaption></figure>
<figure><svg id="explorer-signal" role="img" aria-label="Backward signal" viewBox="0 0 400 300"></svg>
<figcaption>The backward signal by layer, median and range of {escape(data["seeds"])} networks; line: theory
</figcaption></figure>
</div>
<noscript><p class="notice">The explorer needs JavaScript; the figure of <a href="#{STUDY}">its study</a> shows a part
of it without.</p></noscript>
<script type="application/json" id="explorer-data">{written}</script>
<script>
{script}</script>
</section>"""


def explorer_data(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the script needs: names, grids, and the arrays in flat lists (their order: see the study)."""
    arrays = {name: record["arrays"][name]["values"] for name in ARRAYS}
    shape = record["arrays"]["signal"]["shape"]
    names, config = arrays.pop("names"), record["config"]
    grids = {"scales": config["scales"], "depths": config["depths"], "shown": config["shown"]}
    sizes = {"width": config["width"], "seeds": config["seeds"], "bins": record["arrays"]["counts"]["shape"][-1]}
    return {"activations": names[: shape[0]], "initializations": names[shape[0] :]} | grids | sizes | arrays


def _best(data: Mapping[str, Any]) -> str:
    """For each activation the scale at which theory's signal changes least through the deepest network, in words."""
    scales, length, found = data["scales"], data["depths"][-1] + 1, []
    for i, activation in enumerate(data["activations"]):
        ends = [data["line"][(i * len(scales) + s + 1) * length - 1] / 100 for s in range(len(scales))]
        s = min(range(len(scales)), key=lambda s: abs(ends[s]))
        word = WORDS.get(activation, activation)
        factor = in_words(f"{10 ** ends[s]:.2g}")
        found.append(
            f"{word} has {scales[s]:g}" if abs(ends[s]) < KEPT else f"{word} has none (at best {factor} is left)"
        )
    return "; ".join(found)


def _slider(name: str, values: list[float]) -> str:
    """A slider over the places in a grid; the script says the value itself."""
    start = min(range(len(values)), key=lambda i: abs(values[i] - BEGIN[name]))
    return (
        f'<p><label for="explorer-{name}">{WORDS[name]}: <output id="explorer-{name}-value">{escape(values[start])}'
        f'</output></label>\n<input type="range" id="explorer-{name}" min="0" max="{len(values) - 1}" step="1" '
        f'value="{start}" aria-valuetext="{escape(values[start])}"></p>'
    )


def _choice(name: str, values: list[str]) -> str:
    options = "".join(
        f'<option value="{i}"{" selected" if value == BEGIN[name] else ""}>{escape(WORDS.get(value, value))}</option>'
        for i, value in enumerate(values)
    )
    return f'<p><label for="explorer-{name}">{WORDS[name]}</label>\n<select id="explorer-{name}">{options}</select></p>'
