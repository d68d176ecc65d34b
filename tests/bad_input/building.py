"""What is built: activations, initializers, layers, networks, tasks."""

import jax
import jax.numpy as jnp
import numpy as np

from bad_input.judge import row
from bad_input.kinds import (
    Argument,
    Tracer,
    activations_in,
    also,
    bad,
    called,
    dtype,
    flag,
    junk,
    method,
    network,
    optional,
    real,
    seed,
    weights,
    whole,
    word,
)
from gradjax import initializers
from gradjax.layers import attention, dense, recurrent
from gradjax.tables import resolve

PHI, KERNEL = method("tanh", "activation"), method("lecun_normal", "initializer")
BIASES = method("zeros", "initializer")
DTYPE, KEY, SIZE, SCALE = dtype(), seed(), whole(4), real(0.5)
GAIN = real(0.5, "[0, inf)")
DRAWN = {"kernel_init": KERNEL, "dtype": DTYPE}
LIKE = {"activation": PHI, **DRAWN, "bias_init": BIASES}
ARRAY = activations_in((2, 3))


def array(*without: str) -> Argument:
    """An array of numbers that an elementwise function takes as it is: NaN and infinity pass through it."""
    passes = (
        "empty",
        "wider",
        "nan",
        "inf",
        "-inf",
        "all nan, jax",
        "integers",
        "booleans",
        "complex",
        "huge",
        "empty list",
        *without,
    )
    return also(ARRAY, without=passes)


def sizes(*right: int) -> Argument:
    """The widths of a network."""
    wrong = {"one": lambda: [3], "none": list, "zero": lambda: [*right[:-1], 0], "negative": lambda: [*right[:-1], -1]}
    wrong |= {
        "half": lambda: [*right[:-1], 1.5],
        "nan": lambda: [*right[:-1], np.nan],
        "text": lambda: [*right[:-1], "4"],
    }
    wrong |= {"None within": lambda: [*right[:-1], None], "nested": lambda: [list(right)], "number": lambda: 3}
    wrong |= {"inf": lambda: [*right[:-1], np.inf], "tracer": lambda: Tracer((len(right),))}
    same = {"list": lambda: list(right), "numpy": lambda: np.array(right)}
    return Argument(lambda: right, junk("generator") + bad("refused", **wrong) + bad("same", **same))


def taps(right=3) -> Argument:
    wrong = {
        "zero": lambda: 0,
        "negative": lambda: (-1,),
        "three": lambda: (3, 3, 3),
        "half": lambda: 2.5,
        "none": tuple,
    }
    return Argument(
        lambda: right, junk("generator") + bad("refused", **wrong, nan=lambda: (float("nan"),), tracer=Tracer)
    )


def branch() -> Argument:
    wrong = {"number": lambda: 3, "None within": lambda: [jnp.tanh, None], "text within": lambda: ["tanh"]}
    return Argument(lambda: [weights()], junk("function", "class") + bad("refused", **wrong), ("layers",))


def shape() -> Argument:
    wrong = {
        "number": lambda: 3,
        "negative": lambda: (2, -1),
        "half": lambda: (2, 1.5),
        "text within": lambda: (2, "3"),
    }
    return Argument(
        lambda: (2, 3),
        junk("generator", "empty list", "empty dict")
        + bad("refused", **wrong, vector=lambda: (2,), tracer=lambda: Tracer((2,)))
        + bad("same", list=lambda: [2, 3], numpy=lambda: np.array([2, 3])),
    )


def layer(right) -> Argument:
    """What another function of gradjax made."""
    wrong = {"number": lambda: 3, "list": lambda: [jnp.tanh]}
    return Argument(right, junk() + bad("refused", **wrong))


def elementwise(name: str):
    return row(f"activations.{name}", x=array())


def drawn(name: str):
    """An initializer of the table, called."""
    initializer = initializers.INITIALIZERS[name]
    small = shape() if initializer.ranks else also(shape(), without=("vector",))
    if name in ("looks_linear", "delta_orthogonal"):
        small = Argument({"looks_linear": lambda: (2, 4), "delta_orthogonal": lambda: (1, 2, 3)}[name], small.bad)
        small = also(small, without=("list", "numpy"))
    return row(
        f"initializers.INITIALIZERS[{name}]",
        call=lambda key, shape, dtype: initializer(key, shape, dtype),
        key=KEY,
        shape=small,
        dtype=DTYPE,
    )


BLOCK = {"key": KEY, "width": SIZE, "kind": method("plain", "block"), **LIKE, "depth": SIZE, "layer": called(dense)}
TRANSFORMER = {
    "norm": word("pre"), "mlp": word("gelu"), "kernel_init": KERNEL, "dtype": DTYPE, "causal": flag(),
    "qk_norm": flag(), "hidden": optional(SIZE), "normalization": method("layer_norm", "normalization"),
    "branch_scale": real(0.5, traced=()),
}  # fmt: skip
CONVOLUTIONAL = {
    "sizes": sizes(2, 4, 3),
    "depth": whole(3, 3),
    "kind": method("plain", "block"),
    **LIKE,
    "padding": word("zero"),
}

ROWS = [
    *map(elementwise, ("linear", "erf", "scaled_erf", "gelu")),
    row("activations.resolve", activation=PHI),
    row(
        "activations.Activation",
        fn=called(jnp.tanh),
        kinks=Argument(
            lambda: (0.0, 1.0),
            junk("empty list", "empty dict", "generator")
            + bad(
                "refused", nan=lambda: (np.nan,), inf=lambda: (np.inf,), descending=lambda: (1, 0), twice=lambda: (1, 1)
            )
            + bad(
                "refused", number=lambda: 1.0, text=lambda: ("a",), complex=lambda: (1j,), tracer=lambda: Tracer((1,))
            ),
        ),
    ),
    *map(drawn, initializers.INITIALIZERS),
    row("initializers.variance_scaling", scale=GAIN, mode=word("fan_in"), distribution=word("normal")),
    row("initializers.mean_field", weight_std=GAIN),
    row("initializers.normal", std=GAIN),
    row("initializers.truncated_normal", std=GAIN),
    row("initializers.uniform", limit=GAIN),
    row("initializers.constant", value=SCALE),
    row("initializers.constant_scale", std=GAIN),
    row("initializers.scaled_orthogonal", gain=GAIN),
    row("initializers.delta_orthogonal", gain=GAIN),
    row("initializers.identity", gain=GAIN),
    row("initializers.looks_linear", gain=GAIN, mirror=word("both")),
    row("initializers.stacked", initializer=called(initializers.normal(1.0), "text")),
    row("initializers.resolve", initializer=KERNEL),
    row(
        "tables.resolve",
        call=lambda table, candidate, kind: resolve(table, candidate, kind),
        table=Argument(lambda: {"a": jnp.tanh}, junk("empty dict", "dict")),
        candidate=method("a", "method"),
        kind=Argument(lambda: "method", ()),
    ),
    row("layers.dense", key=KEY, inputs=SIZE, outputs=SIZE, **LIKE),
    row("layers.convolution", key=KEY, inputs=SIZE, outputs=SIZE, **LIKE, taps=taps(), padding=word("zero")),
    row("layers.pool", h=also(activations_in((2, 3)), without=("nan", "inf", "-inf", "all nan, jax", "wider", "huge"))),
    row(
        "layers.attention",
        key=KEY,
        width=SIZE,
        heads=also(whole(2), *bad("refused", no_divisor=lambda: 3)),
        **DRAWN,
        causal=flag(),
        qk_norm=flag(),
        value_gain=SCALE,
    ),
    row(
        "layers.attention_logits",
        layer=layer(lambda: attention(jax.random.key(0), 3)),
        h=also(activations_in((2, 3)), without=("nan", "inf", "-inf", "all nan, jax", "huge")),
    ),
    row("layers.layer_norm", size=SIZE, epsilon=real(1e-5, "(0, inf)"), affine=flag(True), dtype=DTYPE),
    row("layers.rms_norm", size=SIZE, epsilon=real(1e-5, "(0, inf)"), affine=flag(True), dtype=DTYPE),
    row("layers.batch_norm", size=SIZE, epsilon=real(1e-5, "(0, inf)"), affine=flag(True), dtype=DTYPE),
    row("layers.block", **BLOCK),
    row("layers.compose", layers=branch()),
    row("layers.dropout", key=KEY, rate=real(0.5, "[0, 1)"), each=flag()),
    row("layers.redraw", layers=Argument(lambda: network(), ()), key=KEY),
    row(
        "layers.feed_forward",
        key=KEY,
        width=SIZE,
        kind=also(word("gelu"), words=("mlp",)),
        **DRAWN,
        hidden=optional(SIZE),
        value_gain=SCALE,
    ),
    row("layers.gated", key=KEY, size=SIZE, branch=branch(), **DRAWN, gate_bias=SCALE),
    row("layers.gates", key=KEY, size=SIZE, **DRAWN, gate_bias=SCALE),
    row("layers.through_gates", gate=called(jnp.tanh), branch=branch()),
    row(
        "layers.recurrent",
        key=KEY,
        cell=word("gru"),
        size=SIZE,
        input_size=SIZE,
        activation=PHI,
        kernel_init=KERNEL,
        input_init=KERNEL,
        bias_init=BIASES,
        dtype=DTYPE,
        forget_bias=SCALE,
    ),
    row("layers.initial_state", cell=layer(lambda: recurrent(0, "gru", 3, 2))),
    row("layers.over_time", cell=layer(lambda: recurrent(0, "gru", 3, 2)), every=flag()),
    row("layers.at_each_step", layer=called(jnp.tanh)),
    row(
        "layers.residual",
        branch=branch(),
        scale=real(0.5, traced=()),
        learned=flag(),
        dtype=DTYPE,
        carry=real(1.0, traced=()),
    ),
    row(
        "layers.state_space",
        key=KEY,
        size=SIZE,
        input_size=SIZE,
        largest_angle=real(3.0, "(0, inf)"),
        dtype=DTYPE,
        radius=Argument(
            lambda: (0.5, 0.75),
            junk()
            + bad(
                "refused",
                wide=lambda: (0.5, 1.0),
                order=lambda: (0.75, 0.5),
                nan=lambda: (0.5, np.nan),
                one=lambda: (0.5,),
            )
            + bad(
                "refused",
                number=lambda: 0.5,
                text=lambda: ("a", "b"),
                complex=lambda: (0.5, 1j),
                tracer=lambda: Tracer((2,)),
            ),
        ),
    ),
    row("layers.supervised", layer=called(jnp.tanh), head=called(jnp.sin)),
    row("layers.open_heads", count=SIZE, outputs=SIZE),
    row("layers.close_heads", head=called(jnp.sin)),
    row("layers.transformer_block", key=KEY, width=SIZE, heads=whole(2), **TRANSFORMER, depth=SIZE),
    row("layers.weight_norm", layer=layer(lambda: dense(jax.random.key(0), 3, 2))),
    row("networks.mlp", key=KEY, sizes=sizes(3, 4, 4, 2), **LIKE, final_activation=PHI),
    row(
        "networks.deep",
        key=KEY,
        sizes=sizes(3, 4, 2),
        depth=whole(3, 3),
        kind=method("residual", "block"),
        **LIKE,
        layer=called(dense),
    ),
    row("networks.convnet", key=KEY, **CONVOLUTIONAL, taps=taps()),
    row("networks.resnet", key=KEY, **CONVOLUTIONAL, taps=taps((3, 3))),
    row(
        "networks.transformer",
        key=KEY,
        depth=whole(2),
        width=SIZE,
        heads=whole(2),
        tokens=SIZE,
        vocabulary=optional(whole(5)),
        outputs=optional(whole(2)),
        embedding_std=GAIN,
        **TRANSFORMER,
    ),
    row(
        "networks.embedding",
        key=KEY,
        tokens=SIZE,
        width=SIZE,
        vocabulary=optional(whole(5)),
        std=GAIN,
        dtype=DTYPE,
    ),
    row(
        "tasks.digits", seed=also(seed(), without=("key", "many keys")), test_fraction=real(0.25, "(0, 1)"), dtype=DTYPE
    ),
    row("tasks.hubble_1929", dtype=DTYPE),
    row("tasks.adding_problem", key=KEY, examples=SIZE, length=whole(12, 2), dtype=DTYPE),
    row("tasks.temporal_order", key=KEY, examples=SIZE, length=whole(20, 10), dtype=DTYPE),
    row("tasks.delayed_copy", key=KEY, examples=SIZE, length=whole(6, 3), delay=whole(2, 0), dtype=DTYPE),
]
