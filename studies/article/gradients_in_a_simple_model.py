"""Learning walks downhill, and the curvature of the valley limits its step

How does a gradient improve what a program has learned, how long may its steps be, and what does it not know?

Two numbers to learn
--------------------

In 1929 Edwin Hubble printed a table of 24 galaxies: how far away each is, and how fast it moves away from us. The
farther, the faster. A straight line through the points says how much faster (picture 1 below).

term: model, models: a program with some numbers left open, meant to imitate data

term: parameter, parameters: one of the numbers that a model leaves open; those of a network are its weights

math: v ≈ a + b r
code: return a + b * distance

Here r is the distance, v the velocity, and a and b are the two parameters. The best ones make the loss small, and ours
is half the mean squared difference between what the model says and what was measured.

math: L(a, b) = ∑_i (a + b r_i − v_i)² / (2 n)
code: return jnp.mean((line(point, distance) - velocity) ** 2) / 2

Every pair p = (a, b) is a point of a map, and the loss is the height above it: a landscape as in the first chapter, but
made of data. Its lowest point is the best line. The gradient points uphill, so walk against it.

term: gradient descent: walking downhill by steps against the gradient

term: learning rate, learning rates: the length of such a step, as a multiple of the gradient's norm; written η

math: p ← p − η ∇L(p)
code: return point - rate * jax.grad(loss)(point, *data)

How long may a step be?
-----------------------

Picture 2 shows the land: a long valley, steep across and almost level along. A learning rate that suits one direction
may not suit the other.

term: curvature, curvatures: how fast the slope itself changes as one walks in some direction

The derivatives of the slopes hold all curvatures, just as the two slopes held all others.

term: Hessian: the table of the second derivatives of the loss, that is, the Jacobian of its gradient

For this model it can be written down. With r̄ for the mean of the distances and q for the mean of their squares, its two
rows and its extreme curvatures are

math: H = [1, r̄; r̄, q]
code: return np.array([[1.0, mean], [mean, square]])

math: λ = (1 + q ± √((1 − q)² + 4 r̄²)) / 2
code: root = np.sqrt((1 - square) ** 2 + 4 * mean**2)
code: return np.array([1 + square + root, 1 + square - root]) / 2

The larger, $λ_max$, is the curvature straight across the valley, the smaller the one along its floor. At a distance c
from the floor the slope across is $λ c$. A step of learning rate η therefore takes $η λ c$ off the distance.

math: c ← (1 − η λ) c
code: factors = np.abs(1 - rates[:, None] * curvatures)

term: diverge, diverges, diverged: to run away: each step ends farther from the goal than it began

So everything hangs on the factor 1 − ηλ. Where its size is below 1, the distance shrinks. It is exactly −1 where
$η = 2/λ_max$.

Predict: Walk with three learning rates: a little below $2/λ_max$, exactly at it, a little above. What becomes of the
distance from the floor of the valley in each case?

Look: Below, each step crosses the floor and lands nearer: the distance is multiplied by {across, below:.3f} a step.
Exactly at $2/λ_max$ the walk crosses from wall to wall forever: the factor is {across, at:.3f}, and the side changes in
{side changes, at:.0%} of the steps. Above, the factor is {across, above:.3f}: each step is longer than the last, and
the walk diverges. All three are $|1 − η λ_max|$ to every digit shown (picture 3). Along the floor, meanwhile, the walk
just below $2/λ_max$ keeps {along, below:.3f} of its distance at each step, and with a third of that learning rate
{along, far below:.3f}. The steep direction limits the learning rate, and the level one pays for it in steps.

figure: 1: the data, and how the walk with the smallest learning rate improves the line. 2: the loss, and four walks on
it, each with its own learning rate. 3: how far they are from the floor of the valley. 4: what one step promises, and
what it does. 5: the difference of the two. 6: the loss along the whole walks, and in the control.

The control takes the valley away. It is long because the distances do not lie about zero and have a spread of their
own. Measured from their mean, in units of their spread, they make a round bowl, where all curvatures are 1. There one
step of learning rate 1 ends at the bottom: of what the loss had above its lowest value {round bowl:.1e} is left.

What a step knows
-----------------

A gradient is a promise about short steps. With g for the gradient, the loss shall change by

math: L(p − η g) − L(p) ≈ −η ‖g‖²
code: promised = -steps * (gradient @ gradient)

It leaves curvature out, which a step feels as its square.

math: "left out" = η² gᵀ H g / 2
code: left_out = steps**2 * (gradient @ hessian @ gradient) / 2

Predict: Halve the step. By how much does the promise get better?

Look: Four times: what is left out goes like the step to the power {promise, valley:.3f} (picture 5), and it is the
formula above to {size of what is left out:.1e} of itself. In picture 4 the straight line is the promise and the points
are what happens: the loss comes back up, and beyond twice the best step it is higher than at the start. The control is
a plane, which has no curvature: there every promise is kept, to {promise, plane:.1e}.

So the gradient knows which way is down here, and how steeply. It does not know how soon the ground will turn (that is
curvature), how far away the bottom is, whether there is a deeper valley elsewhere (not here: both curvatures are above
zero, everywhere), and least of all whether the data are right. The descent finds b = {expansion:.0f} kilometres a
second for each million parsecs (a parsec is 3.26 light years). Hubble, who also took out the motion of the sun, wrote
465 ± 50. Today it is about 70: those galaxies are some seven times farther away than he thought. A gradient improves a
model on the numbers that it was given.

Reference: Hubble (1929), Proceedings of the National Academy of Sciences 15, 168, table 1; for the rates, Boyd and
Vandenberghe (2004), Convex Optimization, section 9.3; today's value: Freedman et al. (2001), arXiv:astro-ph/0012376.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

import gradjax.study
from gradjax.study import Claim, fits, plotting
from gradjax.tasks import hubble_1929

ORDER = 3
RATES = {"far below": 0.3, "below": 0.9, "at": 1.0, "above": 1.1}  # learning rates, in units of 2 / λ_max
DIRECTIONS = ("across", "along")
LOOKS = dict(zip(RATES, (3, 5, 2, 6), strict=True))  # indices of colours and dashes
# Where the walks of the pictures begin, one a learning rate: a in 1000 km/s, b in 1000 km/s for a million parsecs.
STARTS = {"far below": (1.1, 1.15), "below": (-0.85, 1.8), "at": (0.9, -0.8), "above": (-0.1, 0.6)}
START = STARTS["far below"]
SETTLED = 1e-8  # of the first distance: below it rounding is felt


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    steps: int = 200
    """Of each walk: enough for the level direction to shrink a hundred thousand times at the smallest learning rate."""
    starts: int = 10
    """Walks with each learning rate, from random points; there is no width, the model has two parameters."""
    halvings: int = 12
    """Times that the step is halved to see what the gradient leaves out."""
    seed: int = 0
    """Of the random starting points."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {"quick": Config(starts=3), "full": Config()}
RATE_CLAIMS = (*(f"across, {name}" for name in RATES), "along, far below", "along, below")
PLANTS = {  # the Hessian without r̄; steps of 0.3 of their length; distances seven times as large; 1.01 of the gradient
    "curvature_without_mean": ("largest curvature", *RATE_CLAIMS),
    "short_steps": (*RATE_CLAIMS, "side changes, at", "bottom"),
    "distances_of_today": ("expansion",),
    "gradient_too_long": ("promise, valley", "promise, plane", "size of what is left out", "round bowl"),
}


def line(point, distance):
    """What the model says of the velocities."""
    a, b = point
    return a + b * distance


def loss(point, distance, velocity):
    """Half the mean squared difference from what was measured."""
    return jnp.mean((line(point, distance) - velocity) ** 2) / 2


def step(point, rate, data):
    """One step of gradient descent."""
    return point - rate * jax.grad(loss)(point, *data)


def walk(point, rate, data, steps: int):
    """All points on the way, (steps + 1, 2), the first included."""
    _, points = jax.lax.scan(lambda p, _: (step(p, rate, data), p), point, length=steps + 1)
    return points


@jax.jit
def losses(points, data):
    """The losses at points (points, 2)."""
    return jax.vmap(lambda point: loss(point, *data))(points)


@jax.jit
def slopes(point, data):
    """The gradient and the Hessian of the loss, by jax."""
    return jax.grad(loss)(point, *data), jax.hessian(loss)(point, *data)


def curvatures_by_hand(mean: float, square: float) -> np.ndarray:
    """The largest and the smallest curvature of the loss."""
    root = np.sqrt((1 - square) ** 2 + 4 * mean**2)
    return np.array([1 + square + root, 1 + square - root]) / 2


def compute(config: Config) -> dict[str, np.ndarray]:
    """Walks by learning rate, what the gradient promises and what comes of it, as NumPy arrays."""
    with jax.enable_x64(True):  # whatever the default: eight digits are lost on purpose
        table = hubble_1929()
        distance, velocity = np.asarray(table.distance), np.asarray(table.velocity) / 1000
        if config.plant == "distances_of_today":
            distance = 7 * distance
        data = distance, velocity
        hessian = _hessian(distance, config.plant)
        result = {"distance": distance, "velocity": velocity}
        result |= _walks(config, data, hessian) | _promises(config, data, hessian)
        return result | _round_bowl(config, data) | _land(data)


def _hessian(distance: np.ndarray, plant: str) -> np.ndarray:
    mean, square = distance.mean() * (plant != "curvature_without_mean"), np.mean(distance**2)
    return np.array([[1.0, mean], [mean, square]])


def _walks(config: Config, data, hessian: np.ndarray) -> dict[str, np.ndarray]:
    """Walks (rates, starts, steps + 1, 2) from the point shown and from random ones; their distances from the bottom
    across and along the valley; the factors that the curvatures predict."""
    curvatures = curvatures_by_hand(hessian[0, 1], hessian[1, 1])
    axes = np.linalg.eigh(hessian)[1][:, ::-1]  # largest curvature first
    bottom = np.linalg.lstsq(np.stack([np.ones_like(data[0]), data[0]], axis=1), data[1])[0]
    starts = np.random.default_rng(config.seed).uniform(-1, 1, (config.starts, 2)) + bottom
    starts = np.stack([np.concatenate([[STARTS[name]], starts]) for name in RATES])
    rates = 2 / curvatures[0] * np.array([*RATES.values()])
    taken = rates * (0.3 if config.plant == "short_steps" else 1.0)
    over_starts = jax.vmap(lambda point, rate: walk(point, rate, data, config.steps), (0, None))
    paths = np.asarray(jax.jit(jax.vmap(over_starts))(starts, taken))
    factors = np.abs(1 - rates[:, None] * curvatures)
    shown = np.concatenate([bottom[None], paths[:, 0].reshape(-1, 2)])
    lowest, *heights = np.asarray(losses(shown, data))
    found = {"paths": paths[:, 0], "losses": np.reshape(heights, (len(RATES), -1)) - lowest, "rates": rates}
    largest = np.linalg.eigvalsh(np.asarray(slopes(bottom, data)[1]))[1]
    found |= {"largest_curvature": largest, "curvatures": curvatures, "factors": factors, "bottom": bottom}
    return found | {"distances": (paths - bottom) @ axes}


def _promises(config: Config, data, hessian: np.ndarray) -> dict[str, np.ndarray]:
    """What a step against the gradient changes, beside its promise and what curvature adds; the same on a plane."""
    start, factor = np.array(START), 1.01 if config.plant == "gradient_too_long" else 1.0
    true, curved = (np.asarray(found) for found in slopes(start, data))
    gradient, here = factor * true, np.asarray(losses(start[None], data))[0]
    longest = 2 * (true @ true) / (true @ curved @ true)
    result = {"start_loss": here}
    ranges = {"short": longest * 0.5 ** np.arange(config.halvings + 1), "long": longest * np.linspace(0, 1.3, 27)}
    for name, steps in ranges.items():
        promised = -steps * (gradient @ gradient)
        left_out = steps**2 * (gradient @ hessian @ gradient) / 2
        points = start - steps[:, None] * gradient
        happened = np.asarray(losses(points, data)) - here
        plane = (points - start) @ true
        result |= {f"{name}_steps": steps, f"{name}_promised": promised, f"{name}_happened": happened}
        result |= {f"{name}_left_out": left_out, f"{name}_plane": plane}
    return result


def _round_bowl(config: Config, data) -> dict[str, np.ndarray]:
    """The loss above the bottom before and after one step of learning rate 1, distances measured in their spread."""
    centred = (data[0] - data[0].mean()) / data[0].std()
    rate = 1.01 if config.plant == "gradient_too_long" else 1.0
    before, bowl = np.array(START), (centred, data[1])
    after = before - rate * np.asarray(slopes(before, bowl)[0])
    bottom = np.array([data[1].mean(), np.mean(centred * data[1])])
    return {"bowl_losses": np.asarray(losses(np.stack([before, after, bottom]), bowl))}


def _land(data) -> dict[str, np.ndarray]:
    """The loss on a grid of the map."""
    a, b = np.linspace(-1.4, 1.6, 61), np.linspace(-1.1, 1.9, 61)
    points = np.stack(np.meshgrid(a, b), axis=-1)
    land = np.asarray(losses(points.reshape(-1, 2), data)).reshape(points.shape[:2])
    return {"a": a, "b": b, "land": land.round(4)}


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """Factors fitted where a distance is at least SETTLED: about ten roundings of numbers of size 1 are there 10 ε /
    SETTLED of it, 2e-7, and four times that may tilt no line of several steps by more."""
    within, source = 40 * np.finfo(np.float64).eps / SETTLED, "|1 − η λ|; Boyd and Vandenberghe 2004, section 9.3"
    found = []
    for name in RATE_CLAIMS:
        direction, rate = name.split(", ")
        which, kind = list(RATES).index(rate), DIRECTIONS.index(direction)
        words = f"learning rate {RATES[rate]:.2f} × 2/λ_max: a step multiplies the distance {direction} the valley by "
        measured = _factor(result["distances"][which, :, :, kind])
        expected = float(result["factors"][which, kind])
        found.append(Claim(name, measured, expected, within, source, statement=words + "{measured:.4f}"))
    across = result["distances"][list(RATES).index("at"), :, :, 0]
    changes = float(np.mean(across[:, 1:] * across[:, :-1] < 0))
    words = "at 2/λ_max the walk changes sides in {measured:.0%} of its steps"
    found.append(Claim("side changes, at", changes, 1.0, 0.0, "1 − η λ_max = −1", statement=words))
    return found + _promise_claims(config, result) + _model_claims(result)


def _factor(distances: np.ndarray) -> float:
    """The factor a step, (starts, steps + 1) distances in: the mean of the fitted ones."""
    fitted = []
    for each in np.abs(distances):
        count = len(each) if each.min() >= SETTLED else int(np.argmax(each < SETTLED))
        fitted.append(np.exp(fits.slope(np.arange(count), np.log(each[:count]))))
    return float(np.mean(fitted))


def _promise_claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """A difference of two losses L is right to 2 ε L, which is so much of the smallest thing left out."""
    steps, left_out = result["short_steps"], result["short_left_out"]
    off = result["short_happened"] - result["short_promised"]
    rounding = 4 * np.finfo(np.float64).eps * (result["start_loss"] + np.abs(result["short_promised"]).max())
    plane, loses = np.abs(result["short_plane"] - result["short_promised"]).max(), "rounding of the losses"
    power = fits.power(steps, np.abs(off))
    return [
        Claim("promise, valley", power, 2.0, rounding / left_out[-1], f"second order in the step; {loses}",
              statement="what the gradient's promise leaves out goes like the step to the power {measured:.4f}"),
        Claim("size of what is left out", float(np.abs(off / left_out - 1).max()), 0.0, rounding / left_out[-1],
              f"η² gᵀ H g / 2 with H by hand; {loses}",
              statement="what is left out is half η² times the curvature along the step, to {measured:.1e} of itself"),
        Claim("promise, plane", plane, 0.0, rounding, f"control: no curvature; {loses}",
              statement="on a plane the gradient's promise is kept to {measured:.1e}"),
    ]  # fmt: skip


def _model_claims(result: dict[str, np.ndarray]) -> list[Claim]:
    """The bottom that the walk finds, that of least squares, and Hubble's."""
    end, bottom, epsilon = result["paths"][0, -1], result["bottom"], np.finfo(np.float64).eps
    left = result["factors"][0].max() ** (result["paths"].shape[1] - 1) * np.linalg.norm(result["paths"][0, 0] - bottom)
    before, after, lowest = result["bowl_losses"]
    curvature, by_hand = float(result["largest_curvature"]), float(result["curvatures"][0])
    return [
        Claim("largest curvature", curvature, by_hand, 20 * epsilon, "closed form from mean and mean square",
              statement="the largest curvature of the loss is {measured:.4f}, by jax.hessian and by hand"),
        Claim("bottom", float(np.linalg.norm(end - bottom)), 0.0, 2 * left, "least squares; slow direction's factor",
              statement="the walk with the smallest learning rate ends {measured:.1e} from the line of least squares"),
        Claim("expansion", 1000 * end[1], 465.0, 50.0, "Hubble 1929, 465 ± 50 with the motion of the sun taken out",
              statement="gradient descent finds {measured:.0f} km/s for each million parsecs"),
        Claim("round bowl", abs(after - lowest) / (before - lowest), 0.0, 4 * epsilon * before / (before - lowest),
              "control: all curvatures are 1, and 1 − η λ = 0",
              statement="where all curvatures are 1, one step leaves {measured:.1e} of the excess of the loss"),
    ]  # fmt: skip


def plot(config: Config, result: dict[str, np.ndarray]):
    """Above: data, land and walks, distances across. Below: the promise, what it leaves out, the loss."""
    title = "Gradient descent on Hubble's table: a step may be as long as the curvature across the valley lets it"
    fig, axes = plotting.figure(2, 3, title, width=14, height=8.8)
    _plot_data(axes[0, 0], result)
    _plot_land(fig, axes[0, 1], result)
    _plot_distances(axes[0, 2], result)
    _plot_promise(axes[1, 0], result)
    _plot_left_out(axes[1, 1], result)
    _plot_losses(axes[1, 2], result)
    return fig


def _plot_data(ax, result) -> None:
    distance, ends = result["distance"], np.array([0.0, result["distance"].max()])
    ax.plot(distance, result["velocity"], "o", color="black", label="24 galaxies, Hubble 1929")
    for index, number in enumerate((0, 1, 3, 10, 30, result["paths"].shape[1] - 1)):
        a, b = result["paths"][0, number]
        ax.plot(ends, a + b * ends, color=plotting.COLOURS[0], alpha=0.25 + 0.15 * index, linewidth=1 + 0.25 * index,
                label=f"the line after {number} step{'s' * (number != 1)}")  # fmt: skip
    ax.set(
        xlabel="distance r (million parsecs)",
        ylabel="velocity v (1000 km/s)",
        title="1. The model: a line through data",
    )
    ax.set_ylim(-0.4, 4.9)
    ax.legend(loc="upper left", ncols=2, fontsize=7.5)


def _plot_land(fig, ax, result) -> None:
    a, b, land = result["a"], result["b"], result["land"]
    mesh = ax.pcolormesh(a, b, np.log10(land), shading="gouraud", rasterized=True)
    ax.contour(a, b, land, levels=0.03 * 2.0 ** np.arange(8), colors="white", linewidths=0.6)
    for index, (name, count) in enumerate((("far below", 60), ("below", 20), ("at", 16), ("above", 14))):
        which = list(RATES).index(name)
        look = {"color": plotting.COLOURS[LOOKS[name]], "marker": plotting.MARKERS[index], "markersize": 3}
        ax.plot(*result["paths"][which, :count].T, linewidth=1, label=f"{RATES[name]:.2f} × 2/λ_max", **look)
    ax.plot(*result["bottom"], "*", color="white", markersize=12, label="least squares")
    fig.colorbar(mesh, ax=ax, label="log10 of the loss", pad=0.02)
    ax.set(
        xlabel="a (1000 km/s)", ylabel="b (1000 km/s for a million parsecs)", title="2. The loss, and four walks on it"
    )
    ax.set(xlim=(a[0], a[-1]), ylim=(b[0], b[-1]))
    ax.grid(False)
    ax.legend(loc="lower left", facecolor="#bbbbbb")


def _plot_distances(ax, result) -> None:
    steps = np.arange(result["paths"].shape[1])
    every = slice(0, 101, 4)
    for index, (name, look) in enumerate(LOOKS.items()):
        across, factor = np.abs(result["distances"][index, 0, :, 0]), result["factors"][index, 0]
        label = f"{RATES[name]:.2f} × 2/λ_max: |1 − ηλ_max| = {factor:.2f}"
        plotting.theory(ax, steps[:101], across[0] * factor ** steps[:101], label, look)
        points = {"color": plotting.COLOURS[look], "markersize": 4, "label": f"_measured, {name}"}
        ax.plot(steps[every], across[every], plotting.MARKERS[index], **points)
    ax.set(yscale="log", ylim=(1e-10, 1e17), xlabel="steps", ylabel="distance from the floor, across the valley")
    ax.set_title("3. Below it shrinks, at it stays, above it grows")
    ax.legend(loc="upper left", title="points: measured; lines: no fit", fontsize=7.5, title_fontsize=7.5)


def _plot_promise(ax, result) -> None:
    steps = result["long_steps"]
    plotting.theory(ax, steps, result["long_promised"], "promised by the gradient: −η‖g‖²", 0)
    both = result["long_promised"] + result["long_left_out"]
    plotting.theory(ax, steps, both, "with curvature: −η‖g‖² + η² gᵀHg / 2", 6, linestyle="--")
    ax.plot(steps, result["long_happened"], "o", color="black", markersize=4, label="what happened")
    ax.axhline(0, color="grey", linewidth=0.8, label="_no change")
    ax.set(xlabel="learning rate η of one step", ylabel="change of the loss", title="4. One step: promise and outcome")
    ax.set_ylim(1.3 * result["long_promised"].min(), None)
    ax.legend(loc="lower left")


def _plot_left_out(ax, result) -> None:
    steps = result["short_steps"]
    off = np.abs(result["short_happened"] - result["short_promised"])
    plane = np.abs(result["short_plane"] - result["short_promised"])
    plotting.theory(ax, steps, result["short_left_out"], "η² gᵀHg / 2: power 2", 6, linestyle="--")
    ax.plot(steps, off, "o", color="black", label="in the valley")
    ax.plot(steps, np.maximum(plane, 1e-18), "s", color=plotting.COLOURS[4], label="on a plane (control): rounding")
    ax.set(
        xscale="log", yscale="log", xlabel="learning rate η of one step", ylabel="|what happened − what was promised|"
    )
    ax.set(title="5. Half the step, a quarter of the error", ylim=(1e-19, 1e6))
    ax.legend(loc="upper left")


def _plot_losses(ax, result) -> None:
    steps = np.arange(result["paths"].shape[1])
    for index, (name, look) in enumerate(LOOKS.items()):
        label = f"{RATES[name]:.2f} × 2/λ_max"
        plotting.theory(ax, steps, np.maximum(result["losses"][index], 1e-17), label, look)
    before, after, lowest = result["bowl_losses"]
    ax.plot([0, 1], np.maximum([before - lowest, after - lowest], 1e-17), "s-", color=plotting.COLOURS[4],
            label="round bowl (control): one step")  # fmt: skip
    ax.set(yscale="log", ylim=(1e-18, 1e14), xlabel="steps", ylabel="loss above its lowest", title="6. The whole walk")
    ax.legend(loc="upper right", fontsize=7.5)


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
