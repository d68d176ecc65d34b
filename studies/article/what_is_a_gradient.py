"""The gradient collects the slopes of a landscape, and it points straight uphill

Standing on a hillside in fog, which way is steepest, how steep is it, and how can a computer know?

Begin with a path
-----------------

Walk along a path and note two numbers: how far you went, and how much higher you then are. Their quotient says how
steep the path is.

term: slope, slopes: rise divided by run: how much higher a step takes you, divided by the length of the step; below
zero where the path falls

A path bends, so the quotient depends on the step. Make the step shorter and shorter: the quotient settles on one
number, and this number belongs to the place where you stand. In picture 1 below, three steps begin at the black point,
and the lines through their ends turn, step by step, into the dashed line that only touches the path.

term: derivative, derivatives: the number on which the slope settles as the step shrinks to nothing

math: f′(x) = lim_(h→0) (f(x + h) − f(x)) / h
code: forward = (height(x + h, y) - height(x, y)) / h

Leave the path
--------------

A landscape has a height f above each point of a map: x counts the way east, y the way north. Ours has summits, valleys
and passes, and a formula short enough to check by hand.

math: f(x, y) = sin x cos y + (sin y) / 2
code: return jnp.sin(x) * jnp.cos(y) + jnp.sin(y) / 2

From one point you can step east without moving north, or north without moving east. Each axis has a slope of its own.

term: partial derivative, partial derivatives: the derivative along one axis while all other axes are held still

math: ∂f / ∂x = cos x cos y
code: along_x = np.cos(x) * np.cos(y)

math: ∂f / ∂y = (cos y) / 2 − sin x sin y
code: along_y = np.cos(y) / 2 - np.sin(x) * np.sin(y)

term: gradient, gradients: the list of the slopes along all axes at one point, written ∇f and drawn as an arrow: as far
along x as the first slope says, and as far along y as the second

term: norm, norms: the length of an arrow, written ‖∇f‖: √(a² + b²) where a and b are the entries of its list

Each point has its own arrow; drawn everywhere at once they fill the map, picture 2. The white curves in it join points
of equal height, as on a hiking map.

term: gradient field: the arrows of all points of the map together

term: level set, level sets: all points of one height: on a map, a curve along which nothing rises or falls

The list holds two slopes, one to the east and one to the north. Yet you may walk in any direction.

Predict: You try 3600 directions with your feet alone, a short step forward and a short step back in each. Which of them
is steepest, how steep is it, and in which is the ground level?

Look: The steepest direction is that of the arrow: at all points tried the two lie at most {steepest direction:.3f}
degrees apart, and directions a tenth of a degree apart can tell no closer. Its slope is the norm of the gradient. At
right angles to the arrow the ground is level, so arrows cross the level sets squarely. In between, the slope falls off
like the cosine of the angle to the arrow (picture 3). The two slopes along the axes know all others.

figure: 1: a walk along the blue line of picture 2. 2: the landscape from above, its gradient field and its level sets.
3: slopes in 72 of the 3600 directions at the black point. 4: how far slopes found by steps are from the true ones, over
thousands of points; the lines are computed, not fitted.

math: s(θ) = ‖∇f‖ cos(θ − α)
code: law = np.hypot(*gradient) * np.cos(angles - arrow)

Here s is the slope in the direction θ, and α is the direction of the arrow. The control is a place with nothing to
find. On a summit no direction rises or falls, and the arrow has length zero. So it has at the bottom of a valley and on
a pass: a zero gradient says "level here", never which of the three.

How a computer knows
--------------------

There are three ways. A person derives the formula, as above. Or the computer takes a small step and divides, forward
from x to x + h, or centred, from x − h to x + h.

term: finite difference, finite differences: a slope taken over a step of some length, not over one that shrinks to
nothing

math: f′(x) ≈ (f(x + h) − f(x − h)) / (2 h)
code: centred = (height(x + h, y) - height(x - h, y)) / (2 * h)

Or `jax.grad` reads the program that computes the height and applies the rules of derivatives to each of its operations,
without any step. The next chapter opens it up.

math: ∇f = (∂f / ∂x, ∂f / ∂y)
code: found = jax.vmap(jax.grad(height, argnums=(0, 1)))(x, y)

A computer keeps a fixed number of digits, and two such formats matter here.

term: float32: a number kept with about 7 digits, the usual kind in machine learning

term: float64: a number kept with about 16 digits

Predict: How long should the step h of a finite difference be? As short as possible?

Look: No. The error draws a V (picture 4), with a best step at its bottom. On the right arm the step is too long for a
path that bends: ten times the step is ten times the error of a forward step (the error goes like the step to the power
{float64 forward, right arm:.2f}) and a hundred times that of a centred one (power {float64 centred, right arm:.2f}). On
the left arm digits run out: two heights close together agree in most of their digits, and what little differs is
divided by a tiny h. There a tenth of the step is ten times the error (power {float64 centred, left arm:.2f}). At its
best a forward step keeps half of the digits and a centred one two thirds. `jax.grad` takes no step, has no V, and is
right to {jax.grad in float64:.1f} units of the last digit.

term: truncation error: what is wrong with a finite difference because its step has a length

term: rounding error, rounding errors: what is wrong with a number because only so many digits of it are kept

A finite difference trades truncation error for rounding error. Both can be computed beforehand, and are the lines of
picture 4: with f″ for the derivative of the derivative, f‴ for the derivative of that, and ε for the size of a 1 in the
last digit kept,

math: "truncation, forward" ≈ h |f″| / 2
math: "truncation, centred" ≈ h² |f‴| / 6
code: truncation = {"forward": steps * second / 2, "centred": steps**2 * third / 6}

math: "rounding" ≈ ε |f| / h
code: rounding = {"forward": lost / steps, "centred": lost / (2 * steps)}

Both formats come from one run: each array is made float32 or float64 by name, the points and steps are exact in both,
and errors are taken against the formula by hand at the very same points, in more digits where the machine has them.

Reference: Griewank and Walther (2008), Evaluating Derivatives, SIAM, chapter 1; for the V and its best step, Press,
Teukolsky, Vetterling and Flannery (2007), Numerical Recipes, section 5.7.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

import gradjax.study
from gradjax.study import Claim, fits, plotting

ORDER = 1
DTYPES = {"float32": np.float32, "float64": np.float64}
SCHEMES = {"forward": (1, 1 / 2), "centred": (2, 2 / 3)}  # steepness of the right arm; share of the digits kept
ARMS = ("right", "left")
SUMMIT = (np.pi / 2, np.arctan(0.5))  # where both partial derivatives vanish, at the height √5 / 2
SHOWN = (0.25, -0.5)  # the point that the pictures show
SHORT = 2.0**-17  # a step whose truncation and rounding errors are both about 1e-11 in float64
LONGEST = 0.25  # of the steps fitted: longer ones feel the next power of h


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    points: int = 100
    """Random points at which all directions are compared; they are no seeds: nothing is random but where we look."""
    directions: int = 3600
    """Directions compared at each: a tenth of a degree apart."""
    errors: int = 4000
    """Points whose squared errors are averaged at each step: a single error jumps with the digits of its point."""
    seed: int = 0
    """Of the random points."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {"quick": Config(points=10, errors=1000), "full": Config()}
VS = [(dtype, scheme) for dtype in DTYPES for scheme in SCHEMES]
PLANTS = {  # the entries of jax.grad exchanged; differences not divided by their step; a point beside the summit
    "swapped_axes": ("steepest direction", "level direction", "cosine law", *(f"jax.grad in {d}" for d in DTYPES)),
    "undivided": (
        *(f"{dtype} {scheme}, {arm} arm" for dtype, scheme in VS for arm in ARMS),
        *(f"digits of a {scheme} difference" for scheme in SCHEMES),
    ),
    "beside_the_summit": ("summit",),
}


def height(x, y):
    """The landscape."""
    return jnp.sin(x) * jnp.cos(y) + jnp.sin(y) / 2


def _height_at(place):
    x, y = place
    return height(x, y)


def gradient_by_hand(x, y) -> np.ndarray:
    """The two partial derivatives of the landscape, (2, ...), by the rules of school."""
    along_x = np.cos(x) * np.cos(y)
    along_y = np.cos(y) / 2 - np.sin(x) * np.sin(y)
    return np.stack([along_x, along_y])


def gradient_by_jax(x, y, plant: str) -> np.ndarray:
    """The same from the program of ``height`` alone, (2, points)."""
    found = jax.vmap(jax.grad(height, argnums=(0, 1)))(x, y)
    return np.stack(found[::-1] if plant == "swapped_axes" else found)


def difference(x, y, h, plant: str) -> dict[str, np.ndarray]:
    """Slopes along x over steps of length h, in the precision of x."""
    forward = (height(x + h, y) - height(x, y)) / h
    centred = (height(x + h, y) - height(x - h, y)) / (2 * h)
    factor = h if plant == "undivided" else np.ones_like(h)
    return {"forward": np.asarray(forward * factor), "centred": np.asarray(centred * factor)}


def compute(config: Config) -> dict[str, np.ndarray]:
    """Slopes in all directions, errors by step, and what the pictures show, as NumPy arrays."""
    random = np.random.default_rng(config.seed)
    # A multiple of 2^-20 plus a step of 2^-22 or more is exact in float32 too: the step taken is the step divided by.
    points = np.round(random.uniform(-3, 3, (2, config.errors)) * 2**20) / 2**20
    with jax.enable_x64(True):  # whatever the default; NumPy goes in and comes out, float32 stays float32
        return _directions(config, points[:, : config.points]) | _errors(config, points) | _pictures()


def _directions(config: Config, points: np.ndarray) -> dict[str, np.ndarray]:
    """Slopes by short steps in all directions, (points, directions), beside what the gradient says of them."""
    angles = 2 * np.pi * np.arange(config.directions) / config.directions
    summit = np.array(SUMMIT) + (0.1 if config.plant == "beside_the_summit" else 0.0)
    places = np.concatenate([points, np.array([SHOWN, summit]).T], axis=1)[..., None]
    step = SHORT * np.stack([np.cos(angles), np.sin(angles)])[:, None]
    slopes = np.asarray(_height_at(places + step) - _height_at(places - step)) / (2 * SHORT)
    x, y = places[..., 0]
    gradient = gradient_by_jax(x, y, config.plant)[..., None]
    arrow = np.arctan2(gradient[1], gradient[0])
    law = np.hypot(*gradient) * np.cos(angles - arrow)
    every = slice(None, None, config.directions // 72)
    return {
        "steepest_turn": _turn(angles[slopes.argmax(axis=1)], arrow[:, 0])[:-1],
        "level_turn": _turn(angles[np.abs(slopes).argmin(axis=1)], arrow[:, 0])[:-1],
        "law_error": np.abs(slopes - law).max(axis=1)[:-1],
        "summit_slope": np.abs(slopes[-1]).max(),
        "angles": angles[every],
        "shown_slopes": slopes[-2, every],
        "shown_law": law[-2, every],
        "shown_gradient": gradient[:, -2, 0],
    }


def _turn(one, two):
    """The angle between two directions, 0 to π."""
    return np.abs((one - two + np.pi) % (2 * np.pi) - np.pi)


def _errors(config: Config, points: np.ndarray) -> dict[str, np.ndarray]:
    """By precision and scheme: root mean square errors by step, and the two theories of them; the error of jax.grad."""
    x, y = points[..., None]
    second, third = (np.sqrt(np.mean((function(x) * np.cos(y)) ** 2)) for function in (np.sin, np.cos))
    truth, result = gradient_by_hand(x.astype(np.longdouble), y.astype(np.longdouble)), {}
    for name, dtype in DTYPES.items():
        steps = 0.5 ** np.arange(1, 23 if name == "float32" else 46)
        u, v, h = x.astype(dtype), y.astype(dtype), steps.astype(dtype)[None]
        gradients, lost = gradient_by_jax(u[:, 0], v[:, 0], config.plant), _lost(u, v)
        result |= {f"{name}_steps": steps, f"{name}_epsilon": np.array(float(np.finfo(dtype).eps))}
        result[f"{name}_jax_grad"] = np.sqrt(np.mean((gradients - truth[..., 0]) ** 2)).astype(np.float64)
        result[f"{name}_jax_grad_largest"] = np.abs(gradients - truth[..., 0]).max().astype(np.float64)
        truncation = {"forward": steps * second / 2, "centred": steps**2 * third / 6}
        rounding = {"forward": lost / steps, "centred": lost / (2 * steps)}
        for scheme, slopes in difference(u, v, h, config.plant).items():
            result[f"{name}_{scheme}"] = np.sqrt(np.mean((slopes - truth[0]) ** 2, axis=0)).astype(np.float64)
            result[f"{name}_{scheme}_truncation"] = truncation[scheme]
            result[f"{name}_{scheme}_rounding"] = rounding[scheme]
    return result


def _lost(x, y) -> float:
    """What rounding leaves in a difference of two heights, root mean square: each result is off by up to half a unit in
    its last place, evenly spread (variance unit² / 12), and sin y, which both heights share, cancels."""
    units = [np.cos(y) * np.spacing(np.sin(x)), np.spacing(np.sin(x) * np.cos(y)), np.spacing(np.asarray(height(x, y)))]
    return float(np.sqrt(2 * sum(np.mean(unit.astype(np.float64) ** 2) for unit in units) / 12))


def _pictures() -> dict[str, np.ndarray]:
    """The path through the point shown, three steps on it, the heights of the map, and arrows on a grid."""
    axis, runs, (x, y) = np.linspace(-3, 3, 61), np.array([2.0, 1.0, 0.5]), SHOWN
    feet = np.stack([grid.ravel() for grid in np.meshgrid(*[np.linspace(-2.75, 2.75, 12)] * 2)])
    return {
        "axis": axis,
        "path": np.asarray(height(axis, np.full_like(axis, y))),
        "here": np.asarray(height(x, y)),
        "runs": runs,
        "ends": np.asarray(height(x + runs, np.full_like(runs, y))),
        "surface": np.asarray(height(axis[None], axis[:, None])).round(4),
        "feet": feet,
        "arrows": gradient_by_hand(*feet),
    }


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """Directions within half their distance; slopes within h² |f‴| / 6 + 2 ε |f| / h, and |f‴| ≤ 4."""
    half, slack = 180 / config.directions, SHORT**2 * 4 / 6 + 2 * np.finfo(np.float64).eps / SHORT
    turn, level = np.degrees(result["steepest_turn"]), np.degrees(result["level_turn"])
    compared = "comparison of all directions, half their distance; 2 % for ties that the errors of the slopes decide"
    short = "h² |f‴| / 6 + 2 ε |f| / h of the short step"
    rows = [
        ("steepest direction", turn.max(), 0.0, 1.02 * half, compared,
         "the steepest of all directions lies {measured:.3f} degrees or less from the arrow"),
        ("level direction", np.abs(level - 90).max(), 0.0, 1.02 * half, compared,
         "the levellest of all directions lies within {measured:.3f} degrees of a right angle to the arrow"),
        ("cosine law", result["law_error"].max(), 0.0, slack, short,
         "in every direction the slope is norm times cosine, to {measured:.1e}"),
        ("summit", result["summit_slope"], 0.0, slack, f"control, zero by symmetry of a maximum; {short}",
         "on the summit the steepest of all directions has a slope of {measured:.1e}"),
    ]  # fmt: skip
    found = [Claim(name, value, to, within, why, statement=words) for name, value, to, within, why, words in rows]
    return found + _precision_claims(config, result)


def _precision_claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    found = []
    for name in DTYPES:
        units = float(result[f"{name}_jax_grad_largest"] / result[f"{name}_epsilon"])
        words = f"jax.grad in {name} is right to {{measured:.1f}} units of its last digit"
        found.append(Claim(f"jax.grad in {name}", units, 0.0, 2.0,
                           "four results of at most 1, each rounded by half a unit", statement=words))  # fmt: skip
        found += [_arm(config, result, name, scheme, arm) for scheme in SCHEMES for arm in ARMS]
    noise, octave = 4 * np.sqrt(1 / config.errors), np.log(1.125)
    decades = np.log(result["float32_epsilon"] / result["float64_epsilon"])
    for scheme, (_, share) in SCHEMES.items():
        best = [result[f"{name}_{scheme}"].min() for name in DTYPES]
        words = f"of the digits that float64 adds, the best {scheme} difference keeps {{measured:.1%}}"
        found.append(Claim(f"digits of a {scheme} difference", np.log(best[0] / best[1]) / decades, share,
                           2 * (noise + octave) / decades,
                           "best step of truncation + rounding; steps a factor 2 apart; 4 standard errors",
                           statement=words))  # fmt: skip
    return found


def _arm(config: Config, result: dict[str, np.ndarray], name: str, scheme: str, arm: str) -> Claim:
    """Steepness of an arm of the V where one error is 30 times the other. The next power of h bends the right arm by
    h²/4 at most; a root mean square over n points errs by 1/√n at most, four of which the left arm may."""
    steps, key = result[f"{name}_steps"], f"{name}_{scheme}"
    ratio = result[f"{key}_truncation"] / result[f"{key}_rounding"]
    chosen = (steps <= LONGEST) & (ratio > 30 if arm == "right" else ratio < 1 / 30)
    left = -1.0, 4 * fits.slope_error(np.log(steps[chosen]), config.errors**-0.5), "digits lost, divided by the step"
    expected, tolerance, source = left if arm == "left" else (SCHEMES[scheme][0], LONGEST**2 / 4, "Taylor's next term")
    words = f"{name}, {scheme} difference, {arm} arm: the error goes like the step to the power {{measured:.3f}}"
    found = fits.power(steps[chosen], result[key][chosen])
    return Claim(f"{name} {scheme}, {arm} arm", found, expected, tolerance, source, statement=words)


def plot(config: Config, result: dict[str, np.ndarray]):
    """A path and its slope; the map with its arrows; the slope in every direction; the V."""
    title = "A gradient is a list of slopes along the axes; it points straight uphill"
    fig, axes = plotting.figure(2, 2, title, width=10.5, height=9)
    _plot_path(axes[0, 0], result)
    _plot_map(fig, axes[0, 1], result)
    _plot_directions(axes[1, 0], result)
    _plot_v(axes[1, 1], result)
    return fig


def _plot_path(ax, result) -> None:
    here, slope = (SHOWN[0], float(result["here"])), result["shown_gradient"][0]
    ax.plot(result["axis"], result["path"], color="black", linewidth=2.4, label="height along the path")
    for index, (run, end) in enumerate(zip(result["runs"], result["ends"], strict=True)):
        look = {"color": plotting.COLOURS[5], "alpha": 0.5 + 0.25 * index}
        steepness = (end - here[1]) / run
        ax.axline(here, slope=steepness, linewidth=1.1, label=f"step of {run:g}: slope {steepness:.2f}", **look)
        ax.plot(here[0] + run, end, "o", markersize=6, label=f"end of the step of {run:g}", **look)
    tangent = f"step shrunk to nothing: slope {slope:.2f}"
    ax.axline(here, slope=slope, color=plotting.COLOURS[6], linestyle="--", label=tangent)
    ax.plot(*here, "o", color="black", markersize=8, zorder=5, label="you are here")
    ax.set(xlabel="way east, x", ylabel="height", title="1. A path: shorter steps, one slope")
    ax.set(xlim=(-3, 3), ylim=(-1.6, 1.9))
    shown = [line for line in ax.lines if not str(line.get_label()).startswith("end")]
    ax.legend(handles=shown, loc="upper left", fontsize=7.5)


def _plot_map(fig, ax, result) -> None:
    axis, levels = result["axis"], np.arange(-1, 1.01, 0.25)
    mesh = ax.pcolormesh(axis, axis, result["surface"], shading="gouraud", rasterized=True)
    ax.contour(axis, axis, result["surface"], levels=levels, colors="white", linewidths=0.7)
    plotting.arrows(ax, result["feet"], result["arrows"], "gradient, drawn at a quarter of its length", scale=0.25)
    ax.axhline(SHOWN[1], color=plotting.COLOURS[5], linewidth=1.4, label="the path of picture 1")
    ax.plot(*SHOWN, "o", color="black", markeredgecolor="white", markersize=8, label="you are here")
    ax.plot(*SUMMIT, "^", color=plotting.COLOURS[6], markeredgecolor="white", markersize=9, label="summit (control)")
    fig.colorbar(mesh, ax=ax, label="height (white: level sets)", pad=0.02)
    ax.set(xlabel="way east, x", ylabel="way north, y", title="2. The map: arrows cross level sets squarely")
    ax.grid(False)
    ax.legend(loc="lower left", fontsize=7, framealpha=0.9)


def _plot_directions(ax, result) -> None:
    degrees, (east, north) = np.degrees(result["angles"]), result["shown_gradient"]
    arrow = np.degrees(np.arctan2(north, east)) % 360
    plotting.theory(ax, degrees, result["shown_law"], "norm of the gradient × cosine of the angle to it", 0)
    ax.plot(degrees, result["shown_slopes"], "o", color=plotting.COLOURS[0], markersize=3.5, label="measured by steps")
    ax.plot([0, 90], [east, north], "s", color="black", markersize=8, label="slopes along the axes: the gradient")
    ax.axvline(arrow, color=plotting.COLOURS[6], linestyle="--", label=f"direction of the gradient, {arrow:.0f}°")
    for side, label in ((90, "at right angles to it: level"), (270, "_right angle")):
        ax.axvline((arrow + side) % 360, color="grey", linestyle=":", label=label)
    ax.set(xlabel="direction walked (degrees; 0: east, 90: north)", ylabel="slope", xticks=range(0, 361, 45))
    ax.set(title="3. All directions from here: two slopes decide them all", ylim=(-1.1, 2.0))
    ax.legend(loc="upper right", fontsize=7.5)


def _plot_v(ax, result) -> None:
    for index, (name, scheme) in enumerate(VS):
        key, steps, colour = f"{name}_{scheme}", result[f"{name}_steps"], plotting.COLOURS[(1, 6, 5, 0)[index]]
        both = np.hypot(result[f"{key}_truncation"], result[f"{key}_rounding"])
        ax.plot(steps, both, color=colour, linewidth=1.2, label=f"_theory, {name}, {scheme}")
        ax.plot(steps, result[key], plotting.MARKERS[index], color=colour, markersize=4, label=f"{name}, {scheme} step")
    for name, colour in zip(DTYPES, (plotting.COLOURS[6], plotting.COLOURS[0]), strict=True):
        ax.axhline(result[f"{name}_jax_grad"], color=colour, linestyle="--", label=f"{name}, jax.grad")
    ax.plot([], [], color="grey", linewidth=1.2, label="lines: truncation and rounding, no fit")
    ax.set(xscale="log", yscale="log", xlabel="step h", ylabel="error of the slope (root mean square)")
    ax.set(title="4. Finite differences have a best step; jax.grad needs none", ylim=(1e-21, 1))
    ax.legend(fontsize=7.5, loc="lower left", ncols=2)


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
