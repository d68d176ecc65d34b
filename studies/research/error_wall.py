"""A wall in the error of one recurrent unit throws descent away; a clip holds it at the foot

Where does the error of a recurrent network have its walls, how steep are they, and what does a clip change for descent
that meets one?

Prediction: take one unit, x_t = w σ(x_(t−1)) + b from x_0 = 1/2 with the logistic function σ, and the error
E = (σ(x_T) − 0.7)² after T steps. Where b puts x_0 on an unstable fixed point, the smallest change of b sends the unit
to one side or to the other, and the error jumps. That is at b = x_0 − w σ(x_0), wherever w σ′(x_0) > 1, that is above
w = 4.255; and the gradient there grows by the factor w σ′(x_0) a step. It is not the fold, where fixed points are
born: the wall stands inside, where there are three of them.

    math: b_c(w) = x_0 − w σ(x_0)
    code: walls = [error_wall("sigmoid", w, START) for w in config.weights]

One step of gradient descent goes as far as the gradient is long. At the wall that is thousands of times the usual, and
the parameters are thrown out of the picture. The clip shortens that step to the usual length. As its threshold half
to ten times the average norm is quoted: of descents without a clip, that holds. The average of descents that are
clipped far below stands for the wall instead, at whose foot they wait; a clip there comes too late. Control: at
w = 3.5 and below the unit has one fixed point, there is no wall, and descent arrives without a clip.

Here: the wall is found by bisection on where the unit ends, and its height by looking at the gradient around it:
neither knows the formula. The gradient's norm is that over both parameters together.

Predict: descent starts a little below the wall, with a step of a twentieth of the gradient. How many of two hundred
descents get over it, without a clip and with one?

Look: without a clip {unclipped: thrown:.0%} and more are thrown, most of them to where the unit is saturated and the
gradient is gone. With it no step is longer than {clipped: stays:.4f}, and at least {clipped: learns:.0%} more of them
arrive.

Reference: Pascanu, Mikolov, Bengio (2013), arXiv:1211.5063, figure 6; the closed form of the wall is derived here.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

import gradjax.study
from gradjax.clipping import clip_by_global_norm
from gradjax.study import Claim, plotting
from gradjax.theory.recurrent import error_wall, fold_biases

ORDER = 21
START, GOAL = 0.5, 0.7
BOX = ((4.0, 7.0), (-3.5, -1.8))  # w and b in the picture: Pascanu's
WITHOUT = 3.5  # a weight that makes no wall
RATE, THRESHOLD = 0.05, 0.1  # of descent; the threshold is about twice the median gradient in the picture
BETWEEN = (50, 70)  # steps T between which the growth of the peak is measured, beyond the first transient
HEIGHT = 1.01  # what is left of that transient is below one percent of the height
THROWN = 0.5  # a step of this length, a hundred clipped ones, is a sixth of the picture
MULTIPLES = 0.5, 1.0, 2.0, 5.0, 10.0  # of the average gradient norm, as thresholds: Pascanu's
LEARNED = 0.01  # of the error; saturated on the wrong side it is 0.09 or 0.49


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    points: int = 301
    """Of the surface, along w and along b."""
    weights: tuple[float, ...] = (5.0, 5.25, 5.5, 5.75, 6.0)
    """Recurrent weights w at which the wall is sought."""
    times: tuple[int, ...] = (10, 20, 30, 50, 70, 100)
    """Steps T of the unit at which the gradient's peak is measured."""
    steps: int = 3000
    """Updates of each descent."""
    seeds: int = 200
    """Descents, from starting points drawn in front of the wall."""
    seed: int = 0
    """Of the starting points."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {"quick": Config(points=101, steps=1500, seeds=120), "full": Config()}
PLANTS = {  # the unit starts at 0.6; no clip acts; descents start where no wall is; the control has a wall
    "other_start": ("wall: place", "wall: growth", "wall: no fold"),
    "idle_clip": ("clipped: stays", "clipped: learns", "thresholds: of the average"),
    "no_wall": ("unclipped: thrown", "thresholds: of the clipped"),
    "wall_in_control": ("control: no growth", "control: not thrown"),
}


def compute(config: Config) -> dict[str, np.ndarray]:
    """The error over the picture, the wall's place and height for each w, and descents from in front of it."""
    with jax.enable_x64(True):  # the wall is narrower than a step of float32
        w, b = (np.linspace(*side, config.points) for side in BOX)
        surface = np.asarray((jax.nn.sigmoid(_ends(*np.meshgrid(w, b), 50, START)[0]) - GOAL) ** 2)
        start = 0.6 if config.plant == "other_start" else START
        weights, times = np.array(config.weights), np.array(config.times)
        places = _walls(weights, start)
        peaks = np.array(
            [[_peak(w, place, steps, start) for steps in times] for w, place in zip(weights, places, strict=True)]
        )
        control = weights[0] if config.plant == "wall_in_control" else WITHOUT
        grid = np.linspace(*BOX[1], 4001)
        steepest = grid[np.argmax(_norms(control, grid, 10, start))]  # where a wall would have to stand
        flat = np.array([_peak(control, steepest, steps, start) for steps in times])
        found = {"surface": surface, "w": w, "b": b, "places": places, "peaks": peaks, "flat": flat}
        return found | _descents(config)


@jax.jit
def _ends(w, b, steps, start):
    """x_T with its derivatives by w and by b, pushed along."""

    def run(w, b):
        return jax.lax.fori_loop(0, steps, lambda _, x: w * jax.nn.sigmoid(x) + b, start + 0 * w)

    one, zero = jnp.ones_like(w), jnp.zeros_like(w)
    x, by_w = jax.jvp(run, (w, b), (one, zero))
    return x, by_w, jax.jvp(run, (w, b), (zero, one))[1]


def _norms(w, b, steps, start) -> np.ndarray:
    """|∂E/∂(w, b)|, over both parameters together."""
    w, b = jnp.broadcast_arrays(jnp.asarray(w, float), jnp.asarray(b, float))
    x, by_w, by_b = _ends(w, b, int(steps), start)
    s = jax.nn.sigmoid(x)
    return np.asarray(jnp.abs(2 * (s - GOAL) * s * (1 - s)) * jnp.hypot(by_w, by_b))


def _walls(weights: np.ndarray, start: float) -> np.ndarray:
    """The biases at which the unit's end jumps from one side to the other, by bisection: no formula."""
    low, high = (np.full_like(weights, side) for side in BOX[1])
    between = (_ends(weights, low, 1000, start)[0] + _ends(weights, high, 1000, start)[0]) / 2
    for _ in range(52):  # of the 1.7 in height, to a rounding of b
        middle = (low + high) / 2
        above = np.asarray(_ends(weights, middle, 1000, start)[0] > between)
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return (low + high) / 2


def _peak(w: float, place: float, steps: int, start: float) -> float:
    """ln of the largest gradient within 1 of the wall, on biases that are the denser the nearer they are to it."""
    offsets = np.logspace(-14, 0, 4000)
    return float(np.log(_norms(w, place + np.concatenate([-offsets, offsets]), steps, start).max()))


def _descents(config: Config) -> dict[str, np.ndarray]:
    """Paths (place, clip, seed, step, parameter) of descent, in front of the wall and where none is; last errors."""
    random = np.random.default_rng(config.seed)
    w = random.uniform(4.8, 6.0, config.seeds)
    walls = w * 0 + [error_wall("sigmoid", value, START).bias for value in w]
    before = np.stack([w, walls - random.uniform(0.05, 0.4, config.seeds)], axis=-1)
    away = np.array([6.0 - WITHOUT, 0.0])  # the same starts at w = 2.3 to 3.5
    starts = np.stack(
        [before - away * (config.plant == "no_wall"), before - away * (config.plant != "wall_in_control")]
    )
    limits = np.array([1e9, 1e9 if config.plant == "idle_clip" else THRESHOLD])

    def cell(_, place, clip, start):
        path = _descent(jnp.asarray(limits)[clip], jnp.asarray(starts)[place, start], config.steps)
        return {"paths": path, "errors": _error(path[-1])}

    found = gradjax.study.sweep(
        cell, {"place": [0, 1], "clip": [0, 1], "start": range(config.seeds)}, seed=config.seed, lanes=80
    )
    averages = [_norms(*path.reshape(-1, 2).T, 50, START).mean() for path in found["paths"][0]]  # pyright: ignore[reportCallIssue]: two rows
    thresholds = np.array([*np.multiply(MULTIPLES, averages[0]), averages[1]])

    def ends(threshold, start):
        return _error(_descent(threshold, start, config.steps)[-1])

    everywhere = jax.jit(jax.vmap(jax.vmap(ends, (None, 0)), (0, None)))
    tried = np.full_like(thresholds, limits[1]) if config.plant == "idle_clip" else thresholds
    return found | {"thresholds": thresholds, "errors_at": np.asarray(everywhere(tried, starts[0]))}


def _error(theta):
    """E = (σ(x_T) − 0.7)² after 50 steps."""
    end = jax.lax.scan(lambda x, _: (theta[0] * jax.nn.sigmoid(x) + theta[1], None), START + 0 * theta[0], None, 50)[0]
    return (jax.nn.sigmoid(end) - GOAL) ** 2


def _descent(threshold, start, steps: int):
    """(w, b) at every step of gradient descent behind a clip."""
    optimizer = optax.chain(clip_by_global_norm(threshold), optax.sgd(RATE))

    def step(carry, _):
        theta, state = carry
        update, state = optimizer.update(jax.grad(_error)(theta), state)
        return (optax.apply_updates(theta, update), state), theta

    return jax.lax.scan(step, (start, optimizer.init(start)), None, length=steps)[1]


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """Only the starts of the descents are random: fractions stand two standard errors on the unfavourable side."""
    walls = [error_wall("sigmoid", w, START) for w in config.weights]
    first, last = (config.times.index(steps) for steps in BETWEEN)
    growth = result["peaks"][:, last] - result["peaks"][:, first]
    expected = (BETWEEN[1] - BETWEEN[0]) * np.log([wall.rate for wall in walls])
    folds = np.abs(fold_biases("sigmoid", config.weights[0]) - result["places"][0]).min()
    jumps = np.abs(np.diff(result["paths"], axis=3)).max(axis=(3, 4))  # (place, clip, seed)
    thrown, learned = jumps[0, 0] > THROWN, result["errors"] < LEARNED
    error = 2 * np.sqrt(0.25 / config.seeds)  # two standard errors of a fraction, at most
    arrived = (result["errors_at"] < LEARNED).mean(axis=1)
    flat = result["flat"][config.times.index(20) :]
    rows = [
        ("wall: place", np.abs(result["places"] - [wall.bias for wall in walls]).max(), "<=", 0.0, 1e-12,
         "the wall stands where the closed form says, to {measured:.0e} in b"),
        ("wall: growth", np.abs(growth - expected).max(), "<=", 0.0, float(np.log(HEIGHT)),
         "from T = 50 to 70 the peak's ln grows by 20 ln(w σ′(x_0)) at every w, to {measured:.1e}"),
        ("wall: no fold", folds, ">=", 0.04, 0.0,
         "at the first w the wall stands {measured:.3f} away from the nearest fold"),
        ("unclipped: thrown", thrown.mean() - error, ">=", 0.75, 0.0,
         "without a clip at least {measured:.0%} of the descents are thrown"),
        ("clipped: stays", jumps[0, 1].max(), "<=", RATE * THRESHOLD, 1e-9,
         "with the clip no step is longer than {measured:.4f}"),
        ("clipped: learns", learned[0, 1].mean() - learned[0, 0].mean() - 2 * error, ">=", 0.3, 0.0,
         "with the clip at least {measured:.0%} more of the descents reach an error below 0.01"),
        ("thresholds: of the average", arrived[:-1].min() - error, ">=", 0.75, 0.0,
         "with half to ten times the average norm as the threshold {measured:.0%} of the descents arrive, or more"),
        ("thresholds: of the clipped", arrived[-1] + error, "<=", 0.5, 0.0,
         "with the average norm of the clipped descents, who wait at the wall, {measured:.0%} or fewer do"),
        ("control: no growth", np.ptp(flat), "<=", 0.0, float(np.log(1.02)),
         "where there is no wall the peak's ln moves by {measured:.3f} from T = 20 to 100"),
        ("control: not thrown", jumps[1, 0].max() + (not learned[1].all()), "<=", THROWN, 0.0,
         "there all descents learn without a clip, and no step is longer than {measured:.2f}"),
    ]  # fmt: skip
    source = "b_c = x_0 − w σ(x_0), derived here; Pascanu et al. 2013, arXiv:1211.5063, for the picture"
    return [Claim(name, value, bound, tol, source, sign, words) for name, value, sign, bound, tol, words in rows]


def plot(config: Config, result: dict[str, np.ndarray]):
    """The error over the picture with the wall's formula; what became of each descent; the peak's growth with time."""
    title = "The wall stands where the formula says, and a clip keeps descent from being thrown"
    fig, axes = plotting.figure(1, 3, title, width=13.5, height=4.4)
    _plot_surface(fig, axes[0, 0], result)
    _plot_descents(axes[0, 1], result)
    times, ax = np.array(config.times), axes[0, 2]
    for i, w in enumerate(config.weights):
        wall, peaks = error_wall("sigmoid", w, START), result["peaks"][i] / np.log(10)
        line = times * np.log10(wall.rate)
        shown = line < 11  # beyond, the wall is narrower than float64 resolves in b
        anchor = (peaks - line)[config.times.index(BETWEEN[0])]
        plotting.theory(ax, times[shown], (anchor + line)[shown], f"w = {w:g}", i)
        plotting.measured(ax, times[shown], peaks[None, shown], f"measured, w = {w:g}", i)
    ax.plot(times, result["flat"] / np.log(10), "x-", color="grey", label=f"control, w = {WITHOUT:g}: no wall")
    ax.set(xlabel="steps T of the unit", ylabel="log10 of the largest gradient norm")
    ax.set_title("The peak grows by w σ′(x_0) a step (lines)")
    ax.legend(handles=ax.lines[: 2 * len(config.weights) : 2] + ax.lines[-1:], loc="upper left")
    return fig


def _plot_surface(fig, ax, result) -> None:
    """The error after 50 steps, and the closed form of the wall."""
    mesh = ax.pcolormesh(result["w"], result["b"], result["surface"], shading="nearest", rasterized=True)
    fig.colorbar(mesh, ax=ax, label="error E after 50 steps")
    w = np.linspace(4.26, 7, 50)
    wall = [error_wall("sigmoid", value, START).bias for value in w]
    ax.plot(w, wall, color="white", linestyle="--", linewidth=1, label="theory: b = x_0 − w σ(x_0)")
    ax.set(xlim=BOX[0], ylim=BOX[1], xlabel="recurrent weight w", ylabel="bias b")
    ax.set_title("The error jumps along the formula's line")
    ax.grid(False)
    ax.legend(loc="lower left", facecolor="grey", labelcolor="white")


def _plot_descents(ax, result) -> None:
    """Last error of each descent against its longest step."""
    longest = np.abs(np.diff(result["paths"], axis=3)).max(axis=(3, 4))
    for clip, label in enumerate(("no clip", f"clip at {THRESHOLD:g}")):
        look = {"color": plotting.COLOURS[1 - clip], "marker": plotting.MARKERS[clip], "alpha": 0.6}
        last = np.maximum(result["errors"][0, clip], 1e-8)
        ax.plot(longest[0, clip], last, linestyle="none", label=label, **look)
    ax.axhline(LEARNED, color="grey", linewidth=0.8, linestyle=":")
    ax.set(xscale="log", yscale="log", xlabel="longest step of the descent, in (w, b)", ylabel="error at its end")
    ax.set_title("Thrown, or held at the wall until it is passed")
    ax.legend(loc="lower right")


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
