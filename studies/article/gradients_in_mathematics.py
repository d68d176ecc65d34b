"""A network is a chain of steps, and its derivative is a product of tables

How does a computer find the slopes of a long program exactly, and what does that cost when there are a million of them?

Many numbers in, many out
-------------------------

The landscape had one height and two directions. A program may take many numbers in and give many out, and then each
output has a slope along each input. Write them all into a table.

term: Jacobian, Jacobians: the table of all partial derivatives of a program, a row for each output and a column for
each input; with one output its only row is the gradient

math: J_(i,j) = ∂y_i / ∂x_j
code: jacobians = [mode(network, argnums=1)(weights, x) for mode in (jax.jacfwd, jax.jacrev)]

Here is the smallest program of the kind that this text is about: three numbers in, four between, two out.

term: weight, weights: a number by which a program multiplies what it is given; learning will change these and nothing
else

term: layer, layers: one step of such a program: weighted sums of all numbers given to it, each of them then bent by a
curve or left straight

term: network, networks: layers in a row, each fed with what the one before it gives

Our curve is tanh, which presses every number between −1 and 1. With the weights in two tables, A of four rows and three
columns, B of two rows and four columns, the whole network is two lines.

math: h = tanh(A x)
code: h = np.tanh(A @ x)

math: y = B h
code: y = B @ h

Slopes multiply
---------------

Let one machine give 3 units for each unit put in, and a second one 2 units for each of those: together they give 6.
Slopes of steps that follow each other multiply. Where several numbers lie between, an input reaches an output on
several paths. Multiply the slopes along each path, then add up the paths.

term: matrix product, matrix products: of two tables, the table whose entry in row i and column j is the sum over k of
the first one's entry (i, k) times the second one's entry (k, j)

That sum runs over the paths, k being the number passed through on the way. So the whole rule is one matrix product.

term: chain rule: the Jacobian of steps in a row is the matrix product of their Jacobians, the last step's on the left

math: J = J_2 J_1
code: J = J2 @ J1

The first layer's table is A, each row multiplied by the slope of tanh at that place, which is 1 − h². The second
layer's is B. Picture 1 shows the three tables of one network.

math: J_1 = (1 − h²) · A
code: J1 = (1 - h**2)[:, None] * A

Learning needs one number to make small, and that number's gradient along all weights.

term: loss, losses: one number that says how far the outputs y are from the wanted ones t: the smaller the better

math: E = (‖y − t‖²) / 2
code: return jnp.sum((network(weights, x) - t) ** 2) / 2

Its slope along each output is y − t. To reach the weights, carry these slopes backward through the tables. (A raised T
lays a table on its side: rows become columns.)

term: backpropagation: carrying the slopes of the loss from the outputs back through the layers, a Jacobian at a time

math: ∂E / ∂B = (y − t) hᵀ
code: with_B = np.outer(y - t, h)

math: ∂E / ∂A = ((1 − h²) · (Bᵀ (y − t))) xᵀ
code: with_A = np.outer((1 - h**2) * (B.T @ (y - t)), x)

Predict: These lines are all the calculus that a network needs. jax was told none of them, only the network itself. In
how many digits do its slopes agree with ours?

Look: In all of them. Over all random networks tried, `jax.jacfwd` and `jax.jacrev` differ from the chain rule written
by hand by at most {jacfwd by hand:.1f} and {jacrev by hand:.1f} roundings (one is 2.2e-16, the last digit that float64
keeps), and `jax.grad` differs from backpropagation by hand by at most {gradient by hand:.1f} (picture 2). There is no
approximation in it: jax multiplies the same tables.

Two ways to multiply
--------------------

With three layers there are three tables, and a product of three may begin at either end. The result is the same, but
the work is not: beginning at the inputs carries a column for each input through all layers, beginning at the outputs
carries a row for each output back through all of them.

term: forward mode: multiplying the Jacobians from the inputs on, one column for each input: `jax.jacfwd`

term: reverse mode: multiplying the Jacobians from the outputs back, one row for each output: `jax.jacrev`; with one
output it is what `jax.grad` does, and for a loss it is backpropagation

math: J_3 (J_2 J_1) = (J_3 J_2) J_1
code: MODES = {"forward": jax.jacfwd, "reverse": jax.jacrev}

XLA, the compiler beneath jax, counts the additions and multiplications of each program that it makes. We count in
evaluations: how often could the network itself have been run for the same work?

code: return cost(program, weights, x, repeats=repeats)

Predict: Three tables hold more than half a million weights and make one loss. What does its gradient cost, a slope for
each weight: a million evaluations, a thousand, a hundred?

Look: {price of a gradient:.2f} evaluations, and as many for a few hundred weights (picture 3). An evaluation takes one
matrix product for each table. The way back takes two: one carries the slopes on, and one gives those along the table's
own weights; the first layer has nothing left to carry to. For three tables that makes (3 · 3 − 1)/3 = 8/3. Finite
differences would take one evaluation for each weight and one more. This is why networks learn by reverse mode. Its
price is memory: what each layer gave must be kept until the way back has come to it.

figure: 1: the chain rule for one network; red is above zero, blue below. 2: jax beside what is written by hand. 3: what
the gradient of a loss costs. 4 and 5: what a whole Jacobian costs as inputs grow, and as outputs grow. 6: the same by
the clock.

Forward mode pays by inputs, reverse mode by outputs: as the inputs grow (picture 4), the work of forward mode goes like
their number to the power {forward with inputs:.2f}, that of reverse mode to the power {reverse with inputs:.2f}, so not
at all; as the outputs grow (picture 5), it is {forward with outputs:.2f} and {reverse with outputs:.2f}. With 64 times
more inputs than outputs forward mode does {cost of the wrong end:.0f} times the work. The control: with as many inputs
as outputs neither wins, and the ratio is {square control:.2f}.

The clock agrees where the difference is large (picture 6), but it is noisy, and starting a small program takes longer
than running it. What is claimed is the count, and of time only which mode was faster. The seconds drawn are those of
the run that drew them, the one thing here that another run will not repeat.

Keep one thing in mind: the gradient of a deep network is a long product of tables. Whatever goes wrong with it goes
wrong there.

Reference: Griewank and Walther (2008), Evaluating Derivatives, SIAM, chapters 3 and 4; Baur and Strassen (1983), The
complexity of partial derivatives; backpropagation: Rumelhart, Hinton and Williams (1986), Nature 323, 533.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

import gradjax.study
from gradjax.costs import Cost, cost
from gradjax.study import Claim, fits, plotting

ORDER = 2
SIZES = 3, 4, 2  # inputs, numbers between, outputs of the network by hand
FEW = 16  # of inputs while outputs grow, and of outputs while inputs grow
HIDDEN = 64  # numbers between, in the networks whose cost is counted
BATCH = 32  # examples in the loss: one matrix product then is two operations for each weight and example
MODES = {"forward": jax.jacfwd, "reverse": jax.jacrev}
BY_HAND = {  # of jax -> the claim, and the roundings allowed: 5 operations a term of J, 13 of a slope of the loss
    "jacfwd": ("jacfwd by hand", 5 + 8),
    "jacrev": ("jacrev by hand", 5 + 8),
    "grad": ("gradient by hand", 13 + 12),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    networks: int = 100
    """Random networks whose Jacobian is written out by hand; they are small, to be written out."""
    sizes: tuple[int, ...] = (16, 32, 64, 128, 256, 512, 1024)
    """Inputs, and then outputs, of the networks whose cost is counted."""
    widths: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512)
    """Numbers in each layer of the networks whose loss is differentiated: 3 times the square are its weights."""
    repeats: int = 50
    """Calls timed, of which the shortest counts."""
    seed: int = 0
    """Of the random networks."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {"quick": Config(networks=20, sizes=(16, 128, 1024), widths=(8, 64, 512)), "full": Config()}
PLANTS = {  # without the slope of tanh; each mode counted as the other; a control that is not square; a way back
    # taken once for each output
    "straight_tanh": tuple(name for name, _ in BY_HAND.values()),
    "modes_exchanged": (
        *(f"{mode} with {ends}" for mode in MODES for ends in ("inputs", "outputs")),
        "cost of the wrong end",
        "faster by the clock",
    ),
    "control_not_square": ("square control",),
    "a_way_back_an_output": ("price of a gradient", "price with more weights"),
}


def network(weights, x):
    """What the layers give, one after the other."""
    for table in weights[:-1]:
        x = jnp.tanh(table @ x)
    return weights[-1] @ x


def loss(weights, x, t):
    """How far that is from what is wanted."""
    return jnp.sum((network(weights, x) - t) ** 2) / 2


def by_hand(A, B, x, t, plant: str):
    """The Jacobian of the network of two layers, and its loss's slopes with A and B, in NumPy alone."""
    h = np.tanh(A @ x)
    y = B @ h
    if plant == "straight_tanh":
        h = 0 * h
    J1 = (1 - h**2)[:, None] * A
    J2 = B
    J = J2 @ J1
    with_B = np.outer(y - t, h)
    with_A = np.outer((1 - h**2) * (B.T @ (y - t)), x)
    return J1, J2, J, with_A, with_B


def compute(config: Config) -> dict[str, np.ndarray]:
    """What jax finds beside what was written by hand, and what each mode costs; seconds in `seconds_…` only."""
    return _agreement(config) | _modes(config) | _weights(config)


def _agreement(config: Config) -> dict[str, np.ndarray]:
    """Largest difference from the tables by hand in each network, in ε times what the sums of absolute values are."""
    random, (inputs, between, outputs) = np.random.default_rng(config.seed), SIZES
    differences, result = [], {}
    for _ in range(config.networks):
        A, B = random.normal(size=(between, inputs)), random.normal(size=(outputs, between))
        x, t = random.normal(size=inputs), random.normal(size=outputs)
        J1, J2, J, *slopes = by_hand(A, B, x, t, config.plant)
        found = _by_jax(A, B, x, t)
        scale = np.abs(B) @ np.abs(A)
        far = np.abs(B) @ np.ones(between) + np.abs(t)
        scales = scale, scale, np.outer(np.abs(B).T @ far, np.abs(x)), far[:, None]
        units = [np.abs(f - own) / s for f, own, s in zip(found, (J, J, *slopes), scales, strict=True)]
        differences.append([unit.max() / np.finfo(np.float64).eps for unit in units])
        result = result or {"J1": J1, "J2": J2, "J": J}
    jacfwd, jacrev, with_A, with_B = np.array(differences).T
    return result | {"jacfwd": jacfwd, "jacrev": jacrev, "grad": np.maximum(with_A, with_B)}


def _by_jax(A, B, x, t) -> list[np.ndarray]:
    """Both Jacobians, and the loss's slopes with A and B, in float64 whatever the default."""
    with jax.enable_x64(True):
        return [np.asarray(found) for found in _derivatives((A, B), x, t)]


@jax.jit
def _derivatives(weights, x, t):
    jacobians = [mode(network, argnums=1)(weights, x) for mode in (jax.jacfwd, jax.jacrev)]
    return *jacobians, *jax.grad(loss)(weights, x, t)


def _modes(config: Config) -> dict[str, np.ndarray]:
    """Operations of each mode in evaluations of the network, and seconds, while inputs or outputs grow."""
    square = config.sizes[len(config.sizes) // 2]
    shapes = {"inputs": [(n, FEW) for n in config.sizes], "outputs": [(FEW, n) for n in config.sizes]}
    shapes["control"] = [(2 * square if config.plant == "control_not_square" else square, square)]
    programs = {"once": network} | {name: mode(network, argnums=1) for name, mode in MODES.items()}
    count, result = functools.cache(functools.partial(_cost, config.repeats)), {"sizes": np.array(config.sizes)}
    for ends, pairs in gradjax.study.progress(shapes.items(), "inputs, outputs, control"):
        for name, program in programs.items():
            found = [count(program, *pair) for pair in pairs]
            result[f"{name}_{ends}"] = np.array([each.operations for each in found])
            result[f"seconds_{name}_{ends}"] = np.array([each.seconds for each in found])
        counts = [result.pop(f"{name}_{ends}") / result[f"once_{ends}"] for name in MODES]
        names = reversed(MODES) if config.plant == "modes_exchanged" else MODES
        result |= {f"{name}_{ends}": relative for name, relative in zip(names, counts, strict=True)}
    return result


def _cost(repeats: int, program, inputs: int, outputs: int) -> Cost:
    """What the program costs for a network of three layers with so many inputs and outputs."""
    shapes = (HIDDEN, inputs), (HIDDEN, HIDDEN), (outputs, HIDDEN)
    weights, x = [jnp.full(shape, 1 / HIDDEN, jnp.float32) for shape in shapes], jnp.ones(inputs, jnp.float32)
    return cost(program, weights, x, repeats=repeats)


def _weights(config: Config) -> dict[str, np.ndarray]:
    """Operations of the gradient of a loss, and of a single slope by forward mode, in evaluations of the loss."""
    programs = {"once": loss, "gradient": jax.grad(loss), "slope": lambda w, x, t: jax.jvp(loss, (w, x, t), (w, x, t))}
    if config.plant == "a_way_back_an_output":
        programs["gradient"] = jax.jacrev(lambda weights, x, t: network(weights, x - t).sum(axis=1))
    counts = {name: [] for name in programs}
    for width in gradjax.study.progress(config.widths, "weights"):
        weights, x = [jnp.full((width, width), 1 / width, jnp.float32)] * 3, jnp.ones((width, BATCH), jnp.float32)
        for name, program in programs.items():
            counts[name].append(cost(program, weights, x, x).operations)
    once = np.array(counts["once"])
    gradient, single = np.array(counts["gradient"]) / once, np.array(counts["slope"]) / once
    return {"weights": 3 * np.array(config.widths) ** 2, "gradient_cost": gradient, "slope_cost": single}


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """Agreement within what rounding allows; operations within the evaluations that each mode must and may add."""
    rounding = "half a unit for each operation on either side, two for each tanh, doubled where it is squared"
    found = []
    for key, (name, bound) in BY_HAND.items():
        words = f"jax.{key} differs from what is multiplied by hand by at most {{measured:.1f}} roundings"
        found.append(Claim(name, result[key].max(), bound, 0.0, rounding, "<=", statement=words))
    return found + _mode_claims(config, result) + _price_claims(config, result)


def _mode_claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """A mode takes n to n + 3 evaluations, up to the elementwise operations, 2 for each row of HIDDEN products: so its
    logarithm departs by log(1 + 3 / FEW) + 2 / HIDDEN from that of n, and its slope by what that can tilt a line."""
    source = "one pass for each input (output); Griewank and Walther 2008, chapter 3"
    sizes, spare = np.array(config.sizes), np.log1p(3 / FEW) + 2 / HIDDEN
    x = np.log(sizes) - np.log(sizes).mean()
    tilt, found = spare / 2 * np.abs(x).sum() / (x @ x), []
    for mode, own in (("forward", "inputs"), ("reverse", "outputs")):
        for ends in ("inputs", "outputs"):
            words = f"{mode} mode: the work of a Jacobian grows with the {ends} to the power {{measured:.2f}}"
            power = fits.power(sizes, result[f"{mode}_{ends}"])
            found.append(Claim(f"{mode} with {ends}", power, float(own == ends), tilt, source, statement=words))
    wrong = result["forward_inputs"][-1] / result["reverse_inputs"][-1]
    ratio, even = sizes[-1] / FEW, (result["forward_control"] / result["reverse_control"]).item()
    far = "with {} times more inputs than outputs forward mode does {{measured:.0f}} times the work"
    clock = "in {measured:.0f} of the 2 most lopsided shapes the mode with fewer operations was also faster"
    return [
        *found,
        Claim("cost of the wrong end", wrong, ratio, ratio * np.expm1(spare), source, statement=far.format(int(ratio))),
        Claim("square control", even, 1.0, 2 / HIDDEN, "control: as many passes either way",
              statement="with as many inputs as outputs forward mode does {measured:.3f} times the work of reverse"),
        Claim("faster by the clock", _faster(result), 2.0, 0.0, "fewer operations", statement=clock),
    ]  # fmt: skip


def _faster(result: dict[str, np.ndarray]) -> int:
    """In how many of the two most lopsided shapes the mode of fewer operations took less time."""
    fewer = [result[f"forward_{ends}"][-1] < result[f"reverse_{ends}"][-1] for ends in ("inputs", "outputs")]
    less = [result[f"seconds_forward_{e}"][-1] < result[f"seconds_reverse_{e}"][-1] for e in ("inputs", "outputs")]
    return sum(one == other for one, other in zip(fewer, less, strict=True))


def _price_claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """In a layer of width k a product takes 2 k operations for each number that it gives; what is elementwise adds at
    most 10 a number to the way back and none to the 6 k of the way there, 10 / 6 k evaluations."""
    price, weights, spare = result["gradient_cost"], result["weights"], 10 / 6 / np.array(config.widths)
    words = f"the gradient with all {weights[-1]:,} weights costs {{measured:.2f}} evaluations of the loss"
    more = f"with {weights[-1] // weights[0]:,} times more weights it costs {{measured:.2f}} times as many evaluations"
    source = "a product there, two back (one in the first layer): (3 · 3 − 1) / 3; Baur and Strassen 1983"
    return [
        Claim("price of a gradient", price[-1], 8 / 3, spare[-1], source, statement=words),
        Claim("price with more weights", price[-1] / price[0], 1.0, spare[0] * 3 / 8, source, statement=more),
    ]


def plot(config: Config, result: dict[str, np.ndarray]):
    """Above: the tables, their agreement with jax, the price of a gradient. Below: both modes, and their time."""
    title = "The derivative of a network is a product of tables; where one begins to multiply decides the cost"
    fig, axes = plotting.figure(2, 3, title, width=14, height=8.6)
    _plot_tables(axes[0, 0], result)
    _plot_agreement(axes[0, 1], result)
    _plot_price(axes[0, 2], result)
    for ax, ends in zip(axes[1], ("inputs", "outputs"), strict=False):
        _plot_operations(ax, ends, result)
    _plot_seconds(axes[1, 2], result)
    return fig


def _plot_tables(ax, result) -> None:
    left, largest = 0.0, max(np.abs(result[name]).max() for name in ("J1", "J2", "J"))
    for name, label, sign in (("J", "J", "="), ("J2", "J₂ = B", "·"), ("J1", "J₁ = (1 − h²) · A", "")):
        rows, columns = result[name].shape
        top, extent = 2 + rows / 2, (left, left + columns, 2 - rows / 2, 2 + rows / 2)
        ax.imshow(result[name], cmap="RdBu_r", vmin=-largest, vmax=largest, extent=extent, label=label)
        for (row, column), value in np.ndenumerate(result[name]):
            look = {"color": "white" if abs(value) > 0.6 * largest else "black", "ha": "center", "va": "center"}
            ax.text(left + column + 0.5, top - row - 0.5, f"{value:.2f}", fontsize=8, **look)
        ax.text(left + columns / 2, 4.3, label, ha="center")
        ax.text(left + columns + 0.45, 2, sign, ha="center", va="center", fontsize=14)
        left += columns + 0.9
    ax.set(
        xlim=(-0.3, left - 0.6),
        ylim=(-0.3, 4.7),
        xticks=[],
        yticks=[],
        title="1. The chain rule is a product of tables",
    )
    ax.set(xlabel="a column for each number that goes in", ylabel="a row for each number that comes out", aspect="auto")
    ax.spines[:].set_visible(False)
    ax.grid(False)


def _plot_agreement(ax, result) -> None:
    networks = np.arange(1, len(result["jacfwd"]) + 1)
    for index, key in enumerate(BY_HAND):
        look = {"color": plotting.COLOURS[(0, 1, 6)[index]], "marker": plotting.MARKERS[index], "linestyle": "none"}
        ax.plot(networks, result[key], label=f"jax.{key}", **look)
    ax.set(xlabel="random network (number)", ylabel="largest difference (roundings, 2.2e-16)", ylim=(0, 3))
    ax.set_title("2. jax against the tables by hand: all digits agree")
    ax.legend(loc="upper right", ncols=3)


def _plot_price(ax, result) -> None:
    weights = result["weights"]
    plotting.theory(ax, weights, weights + 1, "finite differences: one for each weight, and one", 2)
    ax.plot(
        weights, weights * result["slope_cost"], "s", color=plotting.COLOURS[0], label="forward mode, weight by weight"
    )
    plotting.theory(ax, weights, np.full(len(weights), 8 / 3), "theory: 8/3", 6, linestyle="--")
    ax.plot(weights, result["gradient_cost"], "o", color=plotting.COLOURS[6], label="reverse mode, all weights at once")
    ax.set(xscale="log", yscale="log", xlabel="weights", ylabel="work (evaluations of the loss)", ylim=(1, 1e8))
    ax.set_title("3. A gradient costs 8/3 evaluations of the loss")
    ax.legend(loc="upper left")


def _plot_operations(ax, ends: str, result) -> None:
    sizes, other = result["sizes"], {"inputs": "outputs", "outputs": "inputs"}[ends]
    growing = "forward" if ends == "inputs" else "reverse"
    plotting.theory(ax, sizes, sizes, f"one for each of the {ends}", 0 if growing == "forward" else 6)
    plotting.theory(ax, sizes, np.full(len(sizes), FEW), f"one for each of the {FEW} {other}",
                    6 if growing == "forward" else 0, linestyle="--")  # fmt: skip
    for mode, colour, marker in (("forward", 0, "o"), ("reverse", 6, "s")):
        ax.plot(sizes, result[f"{mode}_{ends}"], marker, color=plotting.COLOURS[colour], label=f"{mode} mode, counted")
    ax.set(xscale="log", yscale="log", xlabel=f"{ends} ({FEW} {other})", ylabel="work (evaluations of the network)")
    ax.set(title=f"{4 if ends == 'inputs' else 5}. Work as the {ends} grow", ylim=(8, 4000))
    ax.legend(loc="upper left")


def _plot_seconds(ax, result) -> None:
    for mode, colour in (("forward", 0), ("reverse", 6)):
        for ends, marker, line in (("inputs", "o", "-"), ("outputs", "s", ":")):
            look = {"color": plotting.COLOURS[colour], "linestyle": line, "linewidth": 1, "marker": marker}
            microseconds = 1e6 * result[f"seconds_{mode}_{ends}"]
            ax.plot(result["sizes"], microseconds, label=f"{mode} mode, {ends} grow", **look)
    ax.set(xscale="log", yscale="log", xlabel=f"inputs or outputs ({FEW} of the others)", ylabel="time (microseconds)")
    ax.set_title("6. The clock agrees where the difference is large")
    ax.legend(loc="upper left")


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
