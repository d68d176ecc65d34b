"""Pre-LN gives early layers the larger gradient; Post-LN and DeepNorm treat all alike

In a transformer that has not been trained yet, which layers get the larger gradient: the early or the late ones?

A block adds attention and a feed-forward part to what it was given, and layer-norm stands in front of each branch
(Pre-LN) or behind each sum (Post-LN). The question was asked of large trainings, and left open.

Prediction: with Pre-LN the signal on the way past grows with every block, |h_l|² like 1 + a l, and the normalization in
a branch divides its gradient by |h_l|. So the gradient of block l is proportional to 1/|h_l|: the first blocks get the
larger one, by a factor that grows like √L, and the last block's falls like 1/√L (Xiong et al. 2020). With Post-LN every
sum is normalized; all blocks get the same, whatever the depth. Their quoted decay of (2/3)^(1/2) a block on the way
back is a bound's factor: here it is not there. DeepNorm multiplies the way past by (2L)^¼ and the branches by (8L)^−¼:
flat as well, and smaller.

Attention alone collapses: every token takes nearly the same mean of all, and after a few layers all tokens are one. In
the limit of equal weights one layer does it. Control: with a skip connection around the same attention and the branch
scale 1/√L they stay apart (Noci et al. 2022).

Predict: at 64 blocks, does the first or the last block of a Pre-LN transformer get the larger gradient, and by what?

Look: the first, by a factor {pre: who gets more:.1f}; with Post-LN a block multiplies it by {post: factor a block:.3f}.

Here: random transformers of GELU blocks with Glorot weights on random tokens, the gradient of a random linear function
of the (for Pre-LN normalized) output by all parameters of a block, exact and in log space.

Reference: Xiong et al. (2020), arXiv:2002.04745; Wang et al. (2022), arXiv:2203.00555; Dong, Cordonnier, Loukas (2021),
arXiv:2103.03404; Noci et al. (2022), arXiv:2206.03126.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

import gradjax.study
from gradjax.chain import Constant, Stack, hidden_states
from gradjax.gradients import log_gradient_norms
from gradjax.layers import attention, layer_norm, residual, transformer_block
from gradjax.numerics import log_norm
from gradjax.study import Claim, plotting, progress

ORDER = 18
NORMS = ("pre", "post", "deep")
NAMES = {"pre": "Pre-LN", "post": "Post-LN", "deep": "DeepNorm"}
ROUNDING = 1e-8  # of what is drawn: smaller distances are zero but for rounding
MIXING = ("attention alone", "equal weights", "with a skip")


@dataclasses.dataclass(frozen=True)
class Config:
    """What the study is run with."""

    depths: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    """Blocks; all run in a program of the greatest, whose later blocks are left out."""
    width: int = 64
    """Of each token: wider networks of 64 blocks are a matter of minutes for each of the seeds, which matter more."""
    heads: int = 4
    """Of attention."""
    tokens: int = 16
    """Length of the sequence."""
    layers: int = 12
    """Of attention alone, for the rank collapse."""
    seeds: int = 12
    """Transformers of each kind: the gradient of one block differs between them by a third."""
    seed: int = 0
    """The first of the seeds."""
    plant: str = ""
    """A deliberate fault, for tests: see PLANTS."""


PRESETS = {"quick": Config(depths=(2, 4, 8, 16)), "full": Config()}
PLANTS = {  # every block is Pre-LN; every block is Post-LN; attention has a skip where it should not, and the reverse
    "all_pre": ("post: factor a block", "post: last block", "deep: first over last"),
    "all_post": ("pre: who gets more", "pre: as the signal grows", "pre: last block"),
    "swapped": tuple(f"tokens: {name}" for name in MIXING),
}


def compute(config: Config) -> dict[str, np.ndarray]:
    """ln gradient and ln |h| of every block (norms, depths, seeds, blocks); how far the tokens are apart by layer."""
    planted = {"all_pre": ("pre",) * 3, "all_post": ("post",) * 3}.get(config.plant, NORMS)
    shape = config.tokens, config.width
    keys = jax.random.split(jax.random.key(config.seed), config.seeds)
    x, r = (jax.random.normal(jax.random.fold_in(keys[0], i), (config.seeds, *shape), jnp.float32) for i in (0, 1))
    gradients, signals = [], []
    for norm in progress(planted, "norms"):
        measure = jax.jit(jax.vmap(_measure))
        rows = [measure(_networks(config, norm, depth, keys), x, r / r[0].size ** 0.5) for depth in config.depths]
        gradients.append([np.asarray(row[0]) for row in rows])
        signals.append([np.asarray(row[1]) for row in rows])
    apart = jax.jit(jax.vmap(partial(_apart, config)))(keys, x)
    return {"gradient": np.array(gradients), "signal": np.array(signals), "apart": np.moveaxis(np.array(apart), 0, 1)}


def _networks(config: Config, norm: str, depth: int, keys) -> list:
    """Stacks of as many blocks as the deepest has, of which the first `depth` act; along a leading axis of seeds."""
    most = max(config.depths)

    def block(key):
        return transformer_block(key, config.width, config.heads, norm, depth=depth)

    blocks = jax.vmap(lambda key: jax.vmap(block)(jax.random.split(key, most)))(keys)
    active = jnp.broadcast_to(jnp.arange(most) < depth, (len(keys), most))
    end = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(keys), *leaf.shape)), layer_norm(config.width))
    return [Stack(Partial(_if_active, blocks, Constant(active))), *([end] if norm == "pre" else [])]


def _if_active(block, active, h):
    return jnp.where(active.value, block(h), h)


def _measure(layers, x, r):
    """ln |d loss / d parameters| of every block, and ln √mean h² in front of each and behind the last."""
    most = len(layers[0])
    out, states = hidden_states(layers[:1], x)
    sizes = jax.vmap(log_norm)(jnp.concatenate([states[0], out[None]])) - jnp.log(float(x.size)) / 2
    return log_gradient_norms(lambda y: jnp.sum(y * r), layers, x)[:most], sizes


def _apart(config: Config, key, x):
    """|h − mean over tokens| / |h| in front of every layer and behind the last, (mixing, layers + 1)."""

    def step(h, given, skip: bool, equal: bool):
        layer = attention(given, config.width, config.heads)
        if equal:
            layer = Partial(layer.func, layer.args[0] | {"query": jnp.zeros_like(layer.args[0]["query"])})
        return (residual(layer, config.layers**-0.5) if skip else layer)(h), _spread(h)

    keys, found = jax.random.split(key, config.layers), []
    swapped = config.plant == "swapped"
    for name in MIXING:
        skip = (name == "with a skip") != swapped
        end, rows = jax.lax.scan(partial(step, skip=skip, equal=name == "equal weights"), x, keys)
        found.append(jnp.append(rows, _spread(end)))
    return jnp.stack(found)


def _spread(h):
    return jnp.linalg.norm(h - jnp.mean(h, axis=0, keepdims=True)) / jnp.linalg.norm(h)


def _behind(signal: np.ndarray) -> np.ndarray:
    """ln |h| behind each block, where its gradient comes in."""
    return signal.astype(float)[..., 1:]


def _first_and_last(config: Config, logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first block's and the last's, each (norms, depths, seeds)."""
    last = [logs[:, i, :, depth - 1] for i, depth in enumerate(config.depths)]
    return logs[..., 0], np.stack(last, axis=1)


def _power(fall, growth):
    """The power of what grows that falls so; 0 where it does not grow, but for rounding."""
    grows = growth > 1e-3
    return np.where(grows, fall / np.where(grows, growth, 1.0), 0.0)


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """Four standard errors over seeds, and what the sketch of theory leaves out: how alike tokens become."""
    deepest, span = config.depths[-1], np.log(config.depths[-1] / config.depths[0])
    first, last = _first_and_last(config, result["gradient"].astype(float))
    sizes = _behind(result["signal"])
    ratio, quarter = first - last, -(-deepest // 4)
    fall, rise = (  # of Pre-LN's gradient and signal from the first quarter of the blocks to the last
        a[0, -1][:, deepest - quarter : deepest].mean(axis=1) - a[0, -1][:, :quarter].mean(axis=1)
        for a in (result["gradient"].astype(float), sizes)
    )
    who, signal_last = ratio[0, -1], _first_and_last(config, sizes)[1]
    xiong, wang, dong = "Xiong et al. 2020, arXiv:2002.04745", "Wang et al. 2022, arXiv:2203.00555", "Dong et al. 2021"
    apart = result["apart"].astype(float)

    def error(samples) -> float:
        return 4 * float(samples.std(ddof=1)) / len(samples) ** 0.5

    # the power of |h| that the last block's gradient follows, from the least depth to the greatest
    pre_last = _power(last[0, -1] - last[0, 0], signal_last[0, -1] - signal_last[0, 0])
    post_last, factor = (last[1, -1] - last[1, 0]) / span, -ratio[1, -1] / (deepest - 1)
    flat = ratio[2, -1]
    return [
        Claim("pre: who gets more", float(np.exp(who.mean())), 1.5, 0.0, xiong, ">=",
              f"Pre-LN: the first of {deepest} blocks gets {{measured:.1f}} times the last one's gradient"),
        Claim("pre: as the signal grows", float(_power(fall.mean(), rise.mean())), -1.0,
              error(fall + rise) / max(float(rise.mean()), 1.0) + 0.2, xiong,
              statement="Pre-LN: from block to block the gradient goes with the signal to the power {measured:.2f}"),
        Claim("pre: last block", pre_last.mean(), -1.0, error(pre_last) + 0.2, xiong,
              statement="Pre-LN: the last block's gradient goes with its signal to the power {measured:.2f}"),
        Claim("post: factor a block", float(np.exp(factor.mean())), 1.0, error(factor) + 0.02, xiong,
              statement="Post-LN: going back a block divides the gradient by {measured:.3f}, not by (3/2)^½ = 1.22"),
        Claim("post: last block", post_last.mean(), 0.0, error(post_last) + 0.1, xiong,
              statement="Post-LN: the last block's gradient changes with depth to the power {measured:.2f}"),
        Claim("deep: first over last", float(np.exp(flat.mean())), 1.0, error(flat) + 0.05, wang,
              statement="DeepNorm: the first block gets {measured:.3f} times the last one's gradient"),
        Claim("tokens: attention alone", apart[0, :, -1].max(), 1e-3, 0.0, dong, "<=",
              f"{config.layers} layers of attention alone leave the tokens {{measured:.0e}} of their length apart"),
        Claim("tokens: equal weights", apart[1, :, 1].max(), 0.0, 1e-5, "in closed form",
              statement="with equal weights one layer leaves {measured:.0e}, that is, rounding"),
        Claim("tokens: with a skip", apart[2, :, -1].min(), 0.1, 0.0, dong, ">=",
              "with a skip connection and the branch scale 1/√L they stay {measured:.2f} apart"),
    ]  # fmt: skip


def plot(config: Config, result: dict[str, np.ndarray]):
    """The gradient block by block, first over last with depth, and the tokens' distance."""
    title = "Early layers get the larger gradient with Pre-LN; Post-LN and DeepNorm treat all alike"
    fig, axes = plotting.figure(1, 3, title, width=13, height=4.2)
    left, middle, right = axes[0]
    depths, deepest = np.array(config.depths), config.depths[-1]
    blocks = np.unique(np.geomspace(1, deepest, 15).astype(int))
    first, last = _first_and_last(config, result["gradient"].astype(float))
    start, signal = _first_and_last(config, _behind(result["signal"]))
    for index, norm in enumerate(NORMS):
        plotting.measured(left, blocks, np.exp(result["gradient"][index, -1][:, blocks - 1]), NAMES[norm], index)
        plotting.measured(middle, depths, np.exp(first - last)[index].T, NAMES[norm], index)
    plotting.theory(middle, depths, np.exp((signal - start)[0].mean(axis=1)), "Pre-LN: growth of the signal", 0)
    plotting.theory(middle, depths, np.ones(len(depths)), "flat", 2)
    left.set(xscale="log", yscale="log", xlabel="block, of " + str(deepest), ylabel="norm of the block's gradient")
    left.set_ylim(bottom=0.5)
    left.set_title("who gets the larger gradient")
    left.legend(loc="lower left")
    middle.set(xscale="log", yscale="log", xlabel="blocks", ylabel="gradient of the first over that of the last")
    middle.set_xticks(depths, [str(depth) for depth in depths], minor=False)
    middle.minorticks_off()
    middle.set_title("with depth")
    middle.legend()
    for index, name in enumerate(MIXING):
        spread = np.maximum(result["apart"][index], ROUNDING)
        plotting.measured(right, np.arange(config.layers + 1), spread, name, index + 3)
    right.axhline(ROUNDING, color="grey", linewidth=0.8, linestyle=":")
    right.annotate("zero, to rounding, is drawn here", (0.5, ROUNDING * 1.3), fontsize=7,
                   xycoords=("axes fraction", "data"))  # fmt: skip
    right.set(yscale="log", xlabel="layers of attention", ylabel="distance of tokens from their mean, relative")
    right.set_title("attention alone makes all tokens one")
    right.legend()
    return fig


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
