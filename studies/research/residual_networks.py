"""A skip connection bounds the growth of the gradient only if its branches are scaled down

What does a skip connection do to the gradient, and why do deep residual networks scale their branches, or normalize?

A residual block is x ← x + a F(x). The gradient passes the skip unchanged, and the branch adds to it.

Prediction: each ReLU block multiplies the squared gradient by 1 + a²: 2^L for a = 1, but at most e for a = 1/√L, and
hardly anything for a = 1/L. A tanh block's branch fades as the stream grows, and ln |g|² grows like 1.064 √L. Fixup
(scale weights by L^(-1/2), last layer of a branch zero), SkipInit and ReZero (a = 0) begin as the identity: the
gradient of the stream is unchanged at any depth, exactly, and only the last layers or scalars have a gradient. With
batch-norm in the branch block l carries 1/(l + 1) of the stream's variance. In transformers the place of the layer
norm decides: behind the addition (Post-LN) the gradient of the last layer is the same at every depth, in front of the
branch (Pre-LN) it falls like 1/√L; DeepNorm weighs the skip up, and GPT-2 scales the last weights of its 2 L branches
by 1/√(2L), so that what they add together does not depend on L. It is quoted that Post-LN's gradient decays as
(2/3)^((L-l)/2): it is tested here. In a Post-LN network tokens become alike, and then queries and keys have no
gradient (rank collapse); a skip of √L keeps them apart at any depth. Control: branches of zero.

Predict: 64 blocks that each add a branch as strong as the skip: how much larger is the gradient at the input?

Look: squared, e^{growth: ReLU, a = 1:.0f} times, which is 2^64; with branches scaled by 1/√L only e^{growth: ReLU, a
= 1/√L:.1f} times.

Here: random networks, the exact gradient of a random linear function of the output with respect to every block's
input by `jax.grad`; the transformers have uniform attention over 16 tokens and a ReLU network of two layers.

Reference: Yang and Schoenholz (2017), arXiv:1712.08969; Zhang et al. (2019), arXiv:1901.09321; De and Smith (2020),
arXiv:2002.10444; Bachlechner et al. (2020), arXiv:2003.04887; Xiong et al. (2020), arXiv:2002.04745; Wang et al.
(2022), arXiv:2203.00555; Noci et al. (2022), arXiv:2206.03126.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

import gradjax.study
from gradjax.study import Claim, plotting
from gradjax.theory.residual import (
    deepnorm_constants,
    fixup_branch_scale,
    residual_growth,
    stable_branch_scale,
    transformer_signals,
)

ORDER = 15
HE = math.sqrt(2)
TOKENS = 16


def _relu(x, m, a, _=None):
    return x + a * m[1] @ jax.nn.relu(HE * m[0] @ x)


def _tanh(x, m, a, _):
    return x + a * m[1] @ jnp.tanh(m[0] @ x)


def _batchnorm(x, m, a, _):
    """Units lead, the batch follows: each unit has mean 0 and variance 1 over the batch."""
    normal = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    return x + _relu(normal, m, a) - normal


def _layernorm(x):
    return (x - x.mean(axis=0, keepdims=True)) / x.std(axis=0, keepdims=True)


def _attention(x, m, logits):
    """Uniform where the logits are 0, as with small queries and keys: every token takes the mean of all values."""
    return m[2] @ (x @ jax.nn.softmax(logits, axis=0))


def _feed_forward(x, m):
    return m[1] @ jax.nn.relu(m[0] @ x)


def _post(x, m, a, logits):
    x = _layernorm(a * x + _attention(x, m, logits))
    return _layernorm(a * x + _feed_forward(x, m))


def _pre(x, m, a, logits):
    x = x + a * _attention(_layernorm(x), m, logits)
    return x + a * _feed_forward(_layernorm(x), m)


BLOCKS = {"relu": _relu, "tanh": _tanh, "batchnorm": _batchnorm, "post": _post, "pre": _pre}


@dataclasses.dataclass(frozen=True)
class Design:
    """A block, what scales its branch (in Post-LN: the skip), its matrices, and the last matrix of the branch."""

    name: str
    block: str
    scale: float | str = 1.0
    weights: float | str = 1.0
    last: float = 1.0

    def constants(self, depth: int) -> tuple[float, float, float]:
        """Scale, weights and last as numbers at this depth."""
        deep = deepnorm_constants(depth, 0)
        named = {"1/√L": stable_branch_scale(depth), "1/L": 1 / depth, "L^-1/2": fixup_branch_scale(depth, 2)}
        named |= {
            "1/√(2L)": stable_branch_scale(2 * depth),
            "√L": math.sqrt(depth),
            "α": deep.encoder_alpha,
            "β": deep.encoder_beta,
        }
        scale, weights = (named[v] if isinstance(v, str) else v for v in (self.scale, self.weights))
        return scale, weights, self.last


DESIGNS = {  # a line here adds a curve
    design.name: design
    for design in (
        Design("ReLU, a = 1", "relu"),
        Design("ReLU, a = 1/√L", "relu", "1/√L"),
        Design("ReLU, a = 1/L", "relu", "1/L"),
        Design("tanh, a = 1", "tanh"),
        Design("Fixup", "relu", weights="L^-1/2", last=0.0),
        Design("batch-norm in the branch", "batchnorm"),
        Design("Post-LN", "post"),
        Design("Pre-LN", "pre"),
        Design("DeepNorm", "post", "α", "β"),
        Design("Post-LN, skip √L", "post", "√L"),
        Design("Pre-LN, a = 1/√(2L)", "pre", "1/√(2L)"),
    )
}
AT = {name: index for index, name in enumerate(DESIGNS)}
GROWING = ("ReLU, a = 1", "ReLU, a = 1/√L", "ReLU, a = 1/L", "tanh, a = 1")


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    width: int = 256
    """Units a layer."""
    depths: tuple[int, ...] = (4, 8, 16, 32, 64)
    """Numbers of blocks."""
    seeds: int = 12
    """Sets of matrices, the same for all designs: the points' spread and the tolerance of the claims."""
    seed: int = 0
    """The first of the seeds."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {"quick": Config(width=96, depths=(4, 8, 32), seeds=4), "full": Config()}
PLANTS = {  # branches 1.5 times as strong as stated, none zero; Post-LN and Pre-LN exchanged; constants of depth 1,
    # and no normalization in two of the designs
    "strong": (*(f"growth: {name}" for name in GROWING), "Fixup: identity"),
    "exchanged": (
        "Post-LN: last block by depth", "Pre-LN: last block by depth", "Pre-LN: first over last block",
        "Pre-LN: length", "Pre-LN: least growth", "queries: Post-LN",
    ),
    "constants": (
        "Post-LN: factor of a block", "Fixup: first step by depth", "DeepNorm: first step by depth",
        "batch-norm: share of the branch", "queries: skip √L", "layer norm: Jacobian", "Post-LN: length",
        "Fixup: no step", "GPT-2: length by depth",
    ),
}  # fmt: skip


def compute(config: Config) -> dict[str, np.ndarray]:
    """ln |dL/dx_l|², |x_l|² a unit, ln |dL/dV_l|² and ln |dL/d(logits)_l|²: (designs, depths, seeds, layers), NaN
    beyond the depth; what single layers do: see `_normalization`."""
    deep, depths = max(config.depths), np.array(config.depths)
    planted = [[_planted(config, design, depth) for depth in config.depths] for design in DESIGNS.values()]
    blocks = np.array([list(BLOCKS).index(row[0][0]) for row in planted])
    constants = np.array([[constants for _, constants in row] for row in planted], np.float32)
    keys = jnp.stack([jax.random.key(config.seed + network) for network in range(config.seeds)])

    def cell(_, row, network):
        """All designs on the same matrices, one behind the other: side by side each would compute every block."""
        drawn, depth = _draw(keys[network], config.width, deep), jnp.asarray(depths)[row]
        designs = blocks, jnp.asarray(constants)[:, row]
        return jax.lax.map(lambda design: _network(drawn, design, depth), designs)

    def single(_, network):
        return _normalization(config, keys[network])

    networks, rows = {"network": range(config.seeds)}, {"row": range(len(depths))}
    found = gradjax.study.sweep(cell, rows | networks, seed=config.seed)
    result = {name: np.moveaxis(values, 2, 0).astype(np.float64) for name, values in found.items()}
    alone = gradjax.study.sweep(single, networks, seed=config.seed, name="single")
    return result | {"growth": _theory(config), "depth": depths, "single": alone.astype(np.float64)}


def _normalization(config: Config, key):
    """Largest singular value of a layer norm's Jacobian times |x|/√n, mean square of x + F(x) inside of Post-LN, and
    the gradient's size of the first matrix of a Fixup branch."""
    matrices, x, readout = _draw(key, config.width, 1)
    planted, last = config.plant == "constants", 0.1 if config.plant == "constants" else 0.0
    token, x = x[:, :1], _layernorm(x)
    jacobian = jax.jacrev((lambda t: 2 * t) if planted else _layernorm)(token)[:, 0, :, 0]
    top = jnp.linalg.norm(jacobian, 2) * jnp.sqrt(jnp.mean(token**2))
    total = x + _feed_forward(x, matrices[0] * (1.5 if planted else 1.0))
    branch = jax.grad(lambda w: jnp.sum(readout * _relu(x, jnp.stack([w, last * matrices[0, 1]]), 1.0)))(matrices[0, 0])
    return jnp.stack([top, jnp.mean(total**2), jnp.linalg.norm(branch)])


def _planted(config: Config, design: Design, depth: int) -> tuple[str, tuple[float, float, float]]:
    block, (scale, weights, last) = design.block, design.constants(1 if config.plant == "constants" else depth)
    if config.plant == "strong":
        scale, last = 1.5 * scale, max(last, 0.1)
    if config.plant == "exchanged":
        block = {"post": "pre", "pre": "post"}.get(block, block)
    if config.plant == "constants" and design.name in ("batch-norm in the branch", "Post-LN"):
        block = "relu"
    return block, (scale, weights, last)


def _draw(key, width: int, depth: int):
    """Three matrices a block, the input's and the readout's tokens (or batch)."""
    keys, ends = jax.random.split(key), (width, TOKENS)
    matrices = jax.random.normal(keys[0], (depth, 3, width, width), jnp.float32) / math.sqrt(width)
    return matrices, *jax.random.normal(keys[1], (2, *ends), jnp.float32)


def _network(drawn, design, depth):
    """One pass forward and back through the first `depth` blocks, the others being the identity, and no result."""
    (matrices, x, readout), (block, (scale, weights, last)) = drawn, design

    def loss(zeros, values, logits):
        def step(x, given):
            index, zero, value, shown, m = given
            m = (weights * m).at[1].set(value)
            x = x + zero
            after = jax.lax.switch(block, list(BLOCKS.values()), x, m, scale, shown)
            return jnp.where(index < depth, after, x), x

        out, before = jax.lax.scan(step, x, (jnp.arange(len(matrices)), zeros, values, logits, matrices))
        final = jnp.where(block == list(BLOCKS).index("pre"), _layernorm(out), out)  # Pre-LN ends in a layer norm
        return jnp.sum(readout * final), jnp.concatenate([before, out[None]])

    def log_square(g):
        return jnp.log(jnp.maximum(jnp.sum(g**2, axis=(-2, -1)), 1e-37))  # finite where there is none

    def first(count, values):
        return jnp.where(jnp.arange(len(values)) < count, values, jnp.nan)

    zeros = jnp.zeros((len(matrices), *x.shape), x.dtype)
    given = zeros, weights * last * matrices[:, 1], jnp.zeros((len(matrices), TOKENS, TOKENS), x.dtype)
    (signals, values, logits), states = jax.grad(loss, (0, 1, 2), has_aux=True)(*given)
    return {
        "signals": first(depth + 1, jnp.append(log_square(signals), log_square(readout))),
        "lengths": first(depth + 1, jnp.mean(states**2, axis=(1, 2))),
        "weights": first(depth, jnp.append(log_square(values), jnp.nan)),
        "logits": first(depth, jnp.append(log_square(logits), jnp.nan)),
    }


def _theory(config: Config) -> np.ndarray:
    """ln growth of |g|² from the last block to the first, (growing designs, depths)."""
    found = []
    for name in GROWING:
        phi, std = ("tanh", 1.0) if "tanh" in name else ("relu", HE)
        scales = [DESIGNS[name].constants(depth)[0] for depth in config.depths]
        growth = [residual_growth(phi, std, n, a) for n, a in zip(config.depths, scales, strict=True)]
        found.append([g.log_squared_gradient[0] for g in growth])
    return np.array(found)


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """Means over seeds: four standard errors, and what finite width leaves out of a growth, 5 / width of it."""
    deep, shallow, found = max(config.depths), min(config.depths), []
    signals, weights, lengths = (result[name] for name in ("signals", "weights", "lengths"))
    paper = {"xiong": "Xiong et al. 2020, arXiv:2002.04745", "fixup": "Zhang et al. 2019, arXiv:1901.09321"}

    def claim(name: str, samples, expected: float, slack: float, source: str, words: str) -> None:
        error = 4 * float(np.std(samples, ddof=1)) / math.sqrt(config.seeds)
        found.append(Claim(name, float(np.mean(samples)), float(expected), error + slack, source, statement=words))

    for row, name in enumerate(GROWING):
        logs = signals[AT[name], -1]
        claim(
            f"growth: {name}",
            logs[:, 0] - logs[:, deep],
            result["growth"][row, -1],
            5 * result["growth"][row, -1] / config.width,
            "gradjax.theory.residual; Yang and Schoenholz 2017, arXiv:1712.08969",
            f"{name}: {deep} blocks multiply the squared gradient by e^({{measured:.2f}})",
        )
    logs = signals[AT["Fixup"], -1]
    change = np.abs(logs[:, 0] - logs[:, deep]).max()
    words = "Fixup: the gradient of the stream changes by {measured:.0e} nats: all blocks begin as the identity"
    found.append(Claim("Fixup: identity", change, 0.0, 1e-5, paper["fixup"], statement=words))
    ends = weights[..., [0, -1], :, :]
    steps = np.log(np.nansum(np.exp(ends), axis=-1))  # ln of the sum over blocks, at the two depths
    for name, source in (("Fixup", paper["fixup"]), ("DeepNorm", "Wang et al. 2022, arXiv:2203.00555")):
        # DeepNorm's rule is the leading order in 1/α²
        slack = 10 / config.width if name == "Fixup" else 0.5 * (2 * shallow) ** -0.5
        claim(f"{name}: first step by depth", steps[AT[name], 1] - steps[AT[name], 0], 0.0, slack, source,
              f"{name}: from {shallow} to {deep} blocks the first step changes by e^({{measured:.2f}})")  # fmt: skip
    length = lengths[AT["batch-norm in the branch"], -1][:, : deep + 1]
    share = (1 - length[:, :-1] / length[:, 1:]) * np.arange(2, deep + 2)
    words = "batch-norm: the l-th branch carries {measured:.2f} / (l + 1) of the stream's variance"
    claim("batch-norm: share of the branch", share.mean(axis=1), 1.0, 5 / config.width,
          "De and Smith 2020, arXiv:2002.10444", words)  # fmt: skip
    return found + _transformers(config, result)


def _transformers(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """Where the layer norm stands: what Xiong et al. (2020) say, each number of the paper beside the measured one."""
    depths, source = np.array(config.depths), "Xiong et al. 2020, arXiv:2002.04745"
    deep, shallow = max(config.depths), min(config.depths)
    post, pre = (result["weights"][AT[name]] / 2 for name in ("Post-LN", "Pre-LN"))
    signal = result["signals"][AT["Post-LN"], -1]
    # away from the output, where tokens still lose what they do not share
    factor = np.exp((signal[:, deep // 8] - signal[:, deep // 2]) / (2 * (deep // 2 - deep // 8)))
    law = transformer_signals(deep, TOKENS).length
    middle = min(n for n in config.depths if 4 * n >= deep)  # from there to the end: asymptotic
    ends = post[-1, :, deep - 1] - post[0, :, shallow - 1]
    fall = pre[list(depths).index(middle), :, middle - 1] - pre[-1, :, deep - 1]
    length, blocks = result["lengths"][AT["Pre-LN"], -1][:, : deep + 1], np.arange(1, deep + 1)
    grows = (length[:, 1:] - length[:, :1]) / blocks  # a block, on average over all up to each
    ratio = np.exp(pre[-1, :, 0] - pre[-1, :, deep - 1])
    jacobian, total, unmoved = result["single"].T
    scaled, pair = result["lengths"][AT["Pre-LN, a = 1/√(2L)"]], (shallow, deep)
    grown = np.stack([scaled[row, :, n] - scaled[row, :, 0] for row, n in zip((0, -1), pair, strict=True)], 1)
    gpt = np.log(np.maximum(grown, np.finfo(float).eps))  # under a plant signals shrink, which has no logarithm
    added = [transformer_signals(n, TOKENS, branch=(2 * n) ** -0.5).length[-1] - 1 for n in pair]
    finite = 5 / config.width

    def claim(name: str, samples, expected: float, slack: float, by: str, words: str, relation: str = "=") -> Claim:
        error = 4 * float(np.std(samples, ddof=1, dtype=np.float64)) / math.sqrt(config.seeds)
        return Claim(name, float(np.mean(samples)), float(expected), error + slack, by, relation, words)

    ours = "gradjax.theory.residual.transformer_signals"
    return [
        claim("Post-LN: factor of a block", factor, 1.0, finite, "derived: a layer norm divides by what was added",
              "Post-LN: a block multiplies the gradient by {measured:.3f}, not by (2/3)^(1/2) = 0.816"),
        claim("Post-LN: last block by depth", np.exp(ends), 1.0, 2 * finite, source,
              f"Post-LN: the last block's gradient at depth {deep} is {{measured:.2f}} that at {shallow}"),
        claim("Pre-LN: last block by depth", np.exp(fall), math.sqrt(law[deep] / law[middle]), 2 * finite, ours,
              f"Pre-LN: it falls {{measured:.2f}} times from depth {middle} to {deep}"),
        claim("Pre-LN: first over last block", ratio, 1.5, 0.0, "NormFormer, Shleifer et al. 2021, arXiv:2110.09456",
              "Pre-LN: the first block's gradient is {measured:.2f} times the last one's", ">="),
        claim("Pre-LN: length", grows[:, -1], (law[-1] - 1) / deep, finite * law[-1] / deep, ours,
              "Pre-LN: the stream's mean square grows by {measured:.2f} a block"),
        claim("Pre-LN: least growth", grows.min(axis=1), ((law[1:] - 1) / blocks).min(), 2 * finite, ours,
              "Pre-LN: up to no block has it grown by less than {measured:.2f} a block"),
        claim("GPT-2: length by depth", gpt[:, 1] - gpt[:, 0], math.log(added[1] / added[0]), 2 * finite, ours,
              f"Pre-LN, last matrices times 1/√(2L): ln of what {deep} blocks add, less that of {shallow}, "
              "is {measured:.2f}"),
        claim("Post-LN: length", total, 1.5, finite, source,
              "Post-LN: the sum of skip and branch, before its norm, has the mean square {measured:.3f}"),
        claim("layer norm: Jacobian", jacobian, 1.0, finite, source,
              "the largest singular value of a layer norm's Jacobian is {measured:.3f} √n / |x|"),
        Claim("Fixup: no step", unmoved.max(), 0.0, 0.0, "Zhang et al. 2019, arXiv:1901.09321",
              statement="Fixup: at the first step the first matrix of a branch has the gradient {measured:g}"),
        *_queries(config, result, ours),
    ]  # fmt: skip


def _queries(config: Config, result: dict[str, np.ndarray], ours: str) -> list[Claim]:
    """How the gradient of attention's logits, by that of the block's output, falls over 8 blocks: like 1 − c, over the
    mean square that the first norm divides by."""
    found, row, n = [], list(config.depths).index(8), 8
    for name, label, skip in (("Post-LN", "Post-LN", 1.0), ("Post-LN, skip √L", "skip √L", math.sqrt(n))):
        part = result["logits"][AT[name], row][:, :n] - result["signals"][AT[name], row][:, 1 : n + 1]
        c = transformer_signals(n, TOKENS, post=True, skip=skip).correlation
        law = (1 - c) / (skip**2 + (1 + (TOKENS - 1) * c) / TOKENS)
        change = part[:, n - 1] - part[:, 0]
        error = 4 * float(np.std(change, ddof=1, dtype=np.float64)) / math.sqrt(config.seeds)
        words = f"{label}, {n} blocks: the squared gradient of queries and keys changes by e^({{measured:.2f}})"
        expected = math.log(law[n - 1] / law[0])
        found.append(
            Claim(f"queries: {label}", change.mean(), expected, error + 5 * n / config.width, ours, statement=words)
        )
    return found


def plot(config: Config, result: dict[str, np.ndarray]):
    """Growth with depth, the gradient of the last block, and the gradient by block of the two transformers."""
    fig, axes = plotting.figure(1, 3, "Skips let gradients pass; branches decide what they add", width=13, height=4.3)
    (left, middle, right), depth = axes[0], result["depth"]
    for index, name in enumerate((*GROWING, "Fixup")):
        logs = result["signals"][AT[name]]
        growth = np.stack([logs[d, :, 0] - logs[d, :, n] for d, n in enumerate(depth)], axis=1)
        expected = result["growth"][index] if name in GROWING else np.zeros(len(depth))
        plotting.theory(left, depth, expected, f"theory: {name}", index)
        plotting.measured(left, depth, growth, f"measured: {name}", index)
    left.set(xscale="log", yscale="symlog", xlabel="blocks L", ylabel="ln growth of the squared gradient")
    left.set_title(f"x + a F(x), {config.seeds} networks, width {config.width}")
    handles = [line for line in left.lines if str(line.get_label()).startswith("theory")]
    left.legend(handles=handles, loc="lower left", fontsize=7)
    for index, name in enumerate(("Post-LN", "Pre-LN", "DeepNorm")):
        logs = result["weights"][AT[name]] / 2
        last = np.exp(np.stack([logs[d, :, n - 1] for d, n in enumerate(depth)], axis=1))
        plotting.measured(middle, depth, last / last[:, :1].mean(), f"measured: {name}", index)
        blocks = np.arange(1, depth[-1] + 1)
        signal = np.exp((result["signals"][AT[name], -1] - result["signals"][AT[name], -1][:, -1:]) / 2)
        plotting.measured(right, blocks, signal[:, :-1], f"measured: {name}", index)
    plotting.theory(middle, depth, np.ones(len(depth)), "Post-LN: constant", 0)
    law = transformer_signals(int(depth[-1]), TOKENS).length[depth]
    plotting.theory(middle, depth, np.sqrt(law[0] / law), "Pre-LN: 1 / √(mean square), about 1 / √L", 1)
    middle.set(
        xscale="log", yscale="log", xlabel="blocks L", ylabel="gradient of the last block, by that at the least L"
    )
    middle.set_title("transformers: the last block")
    middle.legend(fontsize=7)
    for ax in (left, middle):
        ax.set_xticks(depth, [str(n) for n in depth])
        ax.minorticks_off()
    quoted = (2 / 3) ** ((depth[-1] - np.arange(1, depth[-1] + 1)) / 2)
    plotting.theory(right, np.arange(1, depth[-1] + 1), quoted, "quoted for Post-LN: (2/3)^((L − l)/2)", 6)
    right.set(
        yscale="log", ylim=(1e-2, 30), xlabel="block l", ylabel="gradient in front of block l, by that at the end"
    )
    right.set_title(f"transformers of {depth[-1]} blocks")
    right.legend(fontsize=7)
    return fig


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
