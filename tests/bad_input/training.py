"""What trains: clipping, the loop and its losses, the recorder."""

import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from bad_input.judge import row
from bad_input.kinds import (
    MAYBE_TRACED,
    Argument,
    activations_in,
    also,
    bad,
    called,
    flag,
    junk,
    layers,
    numbers,
    optimizer,
    optional,
    real,
    seed,
    tree,
    whole,
    word,
)
from bad_input.measuring import trained
from gradjax.clipping import CLIPPERS, Rule
from gradjax.recorder import plot, read

NONFINITE = word("nan")
PERCENT = real(50.0, "[0, 100]", MAYBE_TRACED)


def clip(make):
    """A clip made with these arguments, and its first update."""

    def first_update(**arguments):
        made, gradient = make(**arguments), {"w": jnp.full(2, 3.0)}
        return made.update(gradient, made.init(gradient), gradient)[0]

    return first_update


def unlike() -> Argument:
    """A tree that another must match."""
    wrong = {
        "another structure": lambda: [np.ones(2, np.float32)] * 3,
        "another shape": lambda: {"w": np.ones(5, np.float32)},
    }
    return Argument(lambda: {"w": np.ones(2, np.float32)}, bad("refused", **wrong, text=lambda: {"w": "text"}))


def data() -> Argument:
    x, y = np.ones((4, 3), np.float32), np.ones((4, 3), np.float32)
    wrong = {
        "unequal": lambda: (x, y[:2]), "three": lambda: (x, y, y), "scalars": lambda: (1.0, 2.0), "one": lambda: (x,),
        "text": lambda: ("x", "y"), "objects": lambda: (np.array([object()]), y[:1]), "nothing": lambda: (None, None),
        "no examples": lambda: (x[:0], y[:0]), "wider": lambda: (np.ones((4, 9), np.float32), y), "array": lambda: x,
    }  # fmt: skip
    maybe = {"nan": lambda: (x * np.nan, y), "inf": lambda: (x * np.inf, y)}
    return Argument(lambda: (x, y), junk() + bad("refused", **wrong, **maybe), ("layers", "x"))


def targets() -> Argument:
    wrong = {"floats": lambda: np.ones(2), "few": lambda: np.zeros(1, int), "rank": lambda: np.zeros((2, 2), int)}
    wrong |= {"beyond": lambda: np.array([0, 9]), "negative": lambda: np.array([0, -1])}
    return Argument(lambda: np.array([0, 1], np.int32), junk() + bad("refused", **wrong), ("outputs",))


def outputs() -> Argument:
    right = np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0]], np.float32)
    wrong = {
        "vector": lambda: right[0],
        "integers": lambda: right.astype(int),
        "complex": lambda: right + 0j,
        "few": lambda: right[:1],
    }
    maybe = {"huge": lambda: right * 1e38, "float16": lambda: right.astype(np.float16)}
    return Argument(lambda: right, junk() + bad("refused", **wrong) + bad("sound", **maybe), ("targets",))


def squared(out, y):
    return jnp.mean((out - y) ** 2)


def steps_of(**arguments):
    from gradjax.training import train

    return train(**arguments).trace.loss


def threshold(clipper):
    """What a clipper of the table does with a threshold; None is its ordinary one."""
    made = CLIPPERS[clipper]
    return row(
        f"clipping.CLIPPERS[{clipper}]",
        call=clip(lambda threshold: made(threshold)),
        threshold=optional(real(made.default, made.interval, MAYBE_TRACED)),
    )


RULE = Rule(lambda dtype: (), lambda state, size: (jnp.zeros_like(size), state))

ROWS = [
    row("clipping.autoclip", call=None, percentile=PERCENT, history=whole(3), nonfinite=NONFINITE),
    row("clipping.by_layer", transformation=optimizer(lambda: optax.clip(1.0)), stacked=called(lambda leaf: False)),
    row("clipping.clip_by_global_norm", max_norm=real(1.0, "[0, inf]", MAYBE_TRACED), nonfinite=NONFINITE),
    row(
        "clipping.clip_by_percentile",
        percentile=PERCENT,
        window=whole(3),
        factor=real(1.0, "(0, inf)"),
        nonfinite=NONFINITE,
    ),
    row(
        "clipping.clip_by_rule",
        rule=Argument(lambda: RULE, junk() + bad("refused", number=lambda: 3)),
        nonfinite=NONFINITE,
    ),
    row("clipping.Rule", init=called(lambda dtype: ()), step=called(lambda state, size: (size, state))),
    row("clipping.cosine", nan=True, one=unlike(), other=unlike()),
    row("clipping.log_global_norm", tree=tree()),
    row("clipping.observe", transformation=optimizer()),
    row(
        "clipping.one_of",
        transformations=Argument(
            lambda: [optax.identity(), optax.clip(1.0)],
            junk() + bad("refused", numbers=lambda: [1, 2], none_within=lambda: [None], one=lambda: optax.identity()),
        ),
        index=also(whole(1, 0, MAYBE_TRACED), without=("less", "negative")),
    ),
    row("clipping.resolve", clipper=word("global_norm", "class", "function")),
    row(
        "clipping.response",
        clipper=word("global_norm"),
        case=word("healthy"),
        threshold=optional(real(1.0, "[0, inf]")),
    ),
    row(
        "clipping.responses",
        clippers=Argument(
            lambda: ["global_norm"],
            junk("none", "empty list", "empty dict", "generator")
            + bad("refused", unknown=lambda: ["nonsense"], number=lambda: 3),
        ),
    ),
    row("clipping.suggest_threshold", log_norms=numbers((5,), values=False), percentile=real(50.0, "(0, 100)")),
    row(
        "clipping.zclip",
        z_threshold=real(2.5, "(0, inf)", MAYBE_TRACED),
        decay=real(0.5, "[0, 1)"),
        warmup=whole(3),
        nonfinite=NONFINITE,
    ),
    row("training.accuracy", outputs=outputs(), targets=also(targets(), without=("beyond", "negative"))),
    row("training.cross_entropy", outputs=outputs(), targets=targets()),
    row(
        "training.over_grid",
        cell=called(lambda a, b: a * b),
        points=Argument(
            lambda: (np.arange(3), np.arange(3)),
            junk()
            + bad(
                "refused",
                unequal=lambda: (np.arange(3), np.arange(2)),
                scalars=lambda: (1, 2),
                text=lambda: ("a", "b"),
                no_points=lambda: (np.zeros(0), np.zeros(0)),
            ),
        ),
        together=optional(whole(2)),
    ),
    row("training.predict", nan=True, layers=layers(values=False), inputs=also(activations_in((2, 3)), words=("x",))),
    row(
        "training.train",
        call=steps_of,
        nan=True,  # a loss that turns NaN is what a training reports
        layers=also(layers(values=False), without=("generated",)),
        loss=also(
            called(squared),
            *bad(
                "refused",
                vector=lambda: lambda out, y: out,
                nothing=lambda: lambda out, y: None,
                text=lambda: lambda out, y: "loss",
            ),
        ),
        optimizer=optimizer(),
        data=data(),
        steps=whole(2),
        batch_size=optional(whole(2)),
        key=seed(),
        per_example=flag(),
        parameters=called(lambda path, leaf: True, "none"),
    ),
    row(
        "recorder.record",
        optimizer=optimizer(),
        steps=whole(4),
        clip=optimizer(lambda: optax.clip(1.0), "none"),
        stacked=called(lambda name, leaf: False),
    ),
    row("recorder.read", opt_state=Argument(trained, junk())),
    row(
        "recorder.plot",
        call=lambda record, kind: plot(record, Figure().subplots(2), kind),
        record=Argument(lambda: read(trained()), junk()),
        kind=word("gradient"),
    ),
    *map(threshold, CLIPPERS),
]
