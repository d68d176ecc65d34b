"""A tiny study on disk, and the real command line run on it within this process."""

from gradjax import study

SOURCE = '''"""A fair coin & <its> mean

How far does the mean of n fair coins lie from `one half`?

The prediction: the standard deviation is 1 / (2 sqrt(n)).

Reference: Bernoulli, Ars Conjectandi (1713).
"""

import dataclasses

import numpy as np

import gradjax.study

ORDER = 7


@dataclasses.dataclass(frozen=True)
class Config:
    """What is thrown."""

    coins: int = 64
    """How many coins in a throw."""
    odds: tuple[float, ...] = (0.5, float("inf"))
    """The first is the chance of heads; the second is there to be infinite."""
    trouble: str = ""
    """How this study misbehaves."""
    seed: int = 0
    """Of the generator."""
    plant: str = ""
    """A deliberate fault: "bent" bends the coin."""

    def __post_init__(self):
        if self.coins < 1:
            raise ValueError(f"coins is {self.coins}; expected at least 1")


PRESETS = {"quick": Config(coins=16), "full": Config()}
PLANTS = {"bent": ("the mean", "a control")}


def compute(config):
    if config.trouble == "raise":
        raise RuntimeError("the table is gone")
    if config.trouble == "interrupt":
        raise KeyboardInterrupt
    if config.trouble == "complex":
        return {"means": np.ones(2, complex)}
    chance = 0.95 if config.plant == "bent" else config.odds[0]
    draws = np.random.default_rng(config.seed).random((32, config.coins)) < chance
    return {"coins": np.arange(1, config.coins + 1), "means": np.cumsum(draws, axis=1) / np.arange(1, config.coins + 1)}


def claims(config, result):
    mean = result["means"][:, -1].mean()
    tolerance = 4 * 0.5 / (32 * config.coins) ** 0.5
    sentence = "The mean of <all> coins is {measured:.3f}"
    return [
        gradjax.study.Claim("the mean", mean, 0.5, tolerance, "Bernoulli & sons (1713)", statement=sentence),
        gradjax.study.Claim("a control", abs(mean - 0.5), 0.0, tolerance, "symmetry", relation="<="),
    ]


def plot(config, result):
    figure, axes = gradjax.study.plotting.figure(1, 1, "A fair coin", width=2, height=2)
    gradjax.study.plotting.measured(axes[0, 0], result["coins"], result["means"], "throws", 1)
    axes[0, 0].set(xlabel="coins", ylabel="mean", title="Means")
    return figure


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
'''


def write_study(root, name="coin", part="article", changes=()):
    """The tiny study in ``root/studies``, its source changed by (old, new) pairs; gives its path."""
    source = SOURCE
    for old, new in changes:
        assert source.count(old) >= 1, old
        source = source.replace(old, new)
    path = root / "studies" / part / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")
    return path


def run(root, *words):
    """The exit status of ``python -m studies`` with these words, in this process unless they say otherwise."""
    jobs = [] if "--jobs" in words else ["--jobs", "1"]
    return study.main(root / "studies", [str(word) for word in (*words, *jobs)])
