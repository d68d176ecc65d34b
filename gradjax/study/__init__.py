"""Turns a question into a figure and checked claims: the contract of a study, and what every study may use.

A study is one module, whose parts stand in this order (``contract`` checks each of them):

1. docstring: the title on its first line; then a paragraph that asks the question; the prediction; the reference; it is
   the page's running text (``page.prose`` names its marks: formulas beside code, predict then look, terms)
2. ``ORDER: int``; a frozen dataclass ``Config``: its defaults are the full preset, a docstring stands below each field,
   and ``seed: int = 0`` and ``plant: str = ""`` (a deliberate fault) are among them; ``PLANTS``: fault -> names of the
   claims that must fail under it; ``PRESETS = {"quick": Config(...), "full": Config()}``
3. ``compute(config) -> dict[str, numpy.ndarray]``: bool, integer, real or text arrays by name
4. ``claims(config, result) -> list[Claim]``: each is made to fail by a plant; ``MISSES``: name -> why it does not hold
5. ``plot(config, result) -> Figure``; at the end, below ``if __name__ == "__main__":``, the line
   ``raise SystemExit(gradjax.study.main(__file__))``
"""

from gradjax.study import fits as fits
from gradjax.study import plotting as plotting
from gradjax.study.claims import Claim as Claim
from gradjax.study.contract import Study as Study
from gradjax.study.contract import departures as departures
from gradjax.study.contract import discover as discover
from gradjax.study.progressbar import progress as progress
from gradjax.study.runner import main as main
from gradjax.study.sweeps import sweep as sweep
