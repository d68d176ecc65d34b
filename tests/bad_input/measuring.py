"""What is measured: the chain, Jacobians, gradients, products, spectra, exponents, the diagnosis."""

import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial

from bad_input.judge import row
from bad_input.kinds import (
    Argument,
    Tracer,
    activations_in,
    also,
    bad,
    batch_axis,
    called,
    factors,
    flag,
    junk,
    layers,
    loss,
    model,
    network,
    optional,
    real,
    seed,
    whole,
)
from gradjax.chain import Stack, as_layers, unroll
from gradjax.recorder import read, record

LAYERS, X, LOSS = layers(), activations_in(), loss()
SHAPES = layers(values=False)
AT = {"layers": LAYERS, "x": X, "batch_axis": batch_axis(), "model": model()}
MEMORY, TOLERANCE, KEY = whole(2**20), real(1e-6, "(0, inf)"), seed()
COUNT = optional(whole(2))


def entry() -> Argument:
    """What `as_layers` returns a list of."""
    return Argument(lambda: as_layers([jnp.tanh])[0], junk())


def halving() -> list:
    return [Stack(Partial(jnp.multiply, jnp.full((20, 3), 0.5)))]


def depths() -> Argument:
    wrong = {
        "zero": lambda: [0],
        "beyond": lambda: [9],
        "half": lambda: [1.5],
        "text": lambda: ["1"],
        "nan": lambda: [np.nan],
    }
    wrong |= {"none": list, "number": lambda: 1, "None within": lambda: [None], "nested": lambda: [[1]]}
    return Argument(
        lambda: [1, 2],
        junk("none", "generator")
        + bad("refused", **wrong, tracer=lambda: Tracer((2,), np.int32))
        + bad("same", numpy=lambda: np.array([1, 2]), tuple=lambda: (1, 2)),
    )


def chosen(right: Argument) -> Argument:
    """Depths where None has no meaning."""
    return also(right, *bad("refused", none=lambda: None))


def names(count: int) -> Argument:
    wrong = {"few": lambda: ["a"] * (count - 1), "many": lambda: ["a"] * (count + 1), "number": lambda: 3}
    return Argument(lambda: None, bad("refused", **wrong))


def tapped(x, point):
    return point("end", jnp.tanh(point("inside", 3 * x)))


def points() -> Argument:
    """A model that names its points."""
    wrong = {
        "no point": lambda: lambda x, point: x,
        "one name twice": lambda: lambda x, point: point("a", point("a", x)),
        "a number for a name": lambda: lambda x, point: point(3, x),
        "integers": lambda: lambda x, point: point("a", x.astype(jnp.int32)),
        "text": lambda: lambda x, point: point("a", "text"),
        "nothing": lambda: lambda x, point: point("a", None),
    }
    return also(
        called(tapped),
        *bad("refused", **wrong, nan=lambda: lambda x, point: point("a", x) * jnp.nan),
        words=("point", "name", "derivative", "loss"),
    )


def trained(clip=None):
    """The state of a recorder after one step."""
    optimizer, w = record(optax.sgd(0.1)), {"w": jnp.ones(2)}
    return optimizer.update(w, optimizer.init(w), w)[1]


def folded(entries, carry, step, reverse):
    from gradjax.chain import fold

    return fold(entries, carry, step, reverse=reverse)


STEP = called(lambda h, layer, _: (layer(h), None))

ROWS = [
    row("chain.admit", nan=True, layers=SHAPES, x=X, batch_axis=batch_axis(), model=model()),
    row("chain.as_layer", layer=called(jnp.tanh, words=("layers",)), parameters=called(lambda path, leaf: True)),
    row(
        "chain.as_layers",
        nan=True,
        layers=also(
            SHAPES,
            without=(
                "raising",
                "two arguments",
                "to nothing",
                "to text",
                "to integers",
                "to booleans",
                "branching on values",
                "to NumPy",
                "Stack that narrows",
                "Stack that changes dtype",
            ),
        ),
        parameters=called(lambda path, leaf: True),
    ),
    row("chain.depth_of", entry=entry()),
    row("chain.layer_of", entry=entry()),
    row("chain.describe", tree=Argument(lambda: jnp.ones(3), ())),
    row("chain.factors_as_layers", nan=True, factors=also(factors(values=False), without=("list", "tuple"))),
    row(
        "chain.fold",
        call=folded,
        entries=Argument(lambda: as_layers(network()), junk("empty list")),
        carry=Argument(lambda: jnp.ones(3), ()),
        step=STEP,
        reverse=flag(),
    ),
    row("chain.hidden_states", nan=True, layers=SHAPES, x=X),
    row("chain.run", nan=True, layers=SHAPES, x=X),
    row("chain.is_parameter", path=Argument(lambda: "", ()), leaf=Argument(lambda: np.ones(2), ())),
    row(
        "chain.linearize",
        layer=called(jnp.tanh, words=("layers",)),
        h=also(X, without=("nan", "inf", "-inf", "all nan, jax", "wider", "empty")),
    ),
    row(
        "chain.unroll",
        cell=called(lambda h, u: 0.5 * h + u),
        inputs=Argument(
            lambda: np.ones((3, 2), np.float32),
            junk("function", "class")
            + bad(
                "refused",
                scalar=lambda: 1.0,
                unequal=lambda: (np.ones((3, 1)), np.ones((2, 1))),
                no_steps=lambda: np.ones((0, 2)),
            ),
        ),
    ),
    row("chain.untied", stack=Argument(lambda: unroll(lambda h, u: h + u, jnp.ones((3, 2))), junk())),
    row(
        "chain.Stack",
        call=lambda layer: Stack(layer)(jnp.ones(3)),
        layer=Argument(
            lambda: Partial(jnp.multiply, jnp.ones((2, 3))),
            junk("function", "class")
            + bad("refused", leafless=lambda: jnp.tanh, scalar=lambda: Partial(jnp.multiply, jnp.float32(1.0))),
            ("layers",),
        ),
    ),
    row("jacobians.layer_jacobians", **AT, memory=MEMORY),
    row("jacobians.input_output_jacobian", **AT, memory=MEMORY),
    row(
        "jacobians.jacobian",
        layer=called(jnp.tanh),
        h=also(X, without=("nan", "inf", "-inf", "all nan, jax", "wider")),
        work=MEMORY,
    ),
    row("jacobians.jacobian_sizes", layers=SHAPES, x=X, batch_axis=batch_axis(), memory=MEMORY),
    row("jacobians.log_jacobian_norms", **AT, memory=MEMORY),
    row(
        "jacobians.singular_value_summary",
        **AT,
        limit=whole(9, 0),
        steps=whole(4, 2),
        probes=whole(2),
        key=KEY,
        memory=MEMORY,
    ),
    row("gradients.layer_gradients", loss=LOSS, **AT),
    row("gradients.log_gradient_norms", loss=LOSS, **(AT | {"layers": also(LAYERS, without=("to float16",))})),
    row("gradients.log_signal_norms", loss=LOSS, **(AT | {"layers": also(LAYERS, without=("to float16",))})),
    row(
        "gradients.tap",
        model=points(),
        x=Argument(lambda: np.ones(2, np.float32), ()),
        loss=optional(LOSS),
        names=Argument(
            lambda: ["inside"],
            junk("none", "generator", "empty list", "empty dict")
            + bad(
                "refused",
                unknown=lambda: ["nowhere"],
                twice=lambda: ["end"] * 2,
                number=lambda: 3,
                none_within=lambda: [None],
            ),
        ),
        jacobians=flag(True),
        memory=MEMORY,
    ),
    row("products.log_singular_values", factors=factors(), tolerance=TOLERANCE),
    row("products.log_singular_values_with_error", factors=factors(), tolerance=TOLERANCE),
    row("products.naive_log_singular_values", factors=factors()),
    row("products.prefix_log_singular_values", factors=factors(), depths=chosen(depths()), tolerance=TOLERANCE),
    row("products.singular_vectors", factors=factors(), tolerance=TOLERANCE),
    *(
        row(
            f"leading.{end}_log_singular_values",
            layers=LAYERS,
            x=X,
            k=whole(2),
            tolerance=TOLERANCE,
            passes=COUNT,
            key=KEY,
        )
        for end in ("leading", "trailing")
    ),
    row("spectra.jacobian_spectrum", **AT, depths=depths(), tolerance=TOLERANCE, memory=MEMORY),
    row("lyapunov.log_growths", layers=LAYERS, x=X, count=COUNT, key=KEY),
    row(
        "lyapunov.lyapunov_exponents",
        layers=also(layers(right=halving), without=("to float16",)),
        x=X,
        count=COUNT,
        transient=whole(2, 0),
        key=KEY,
    ),
    row("flossing.flossing_penalty", layers=LAYERS, x=X, count=COUNT, key=KEY),
    row(
        "diagnosis.diagnose",
        nan=True,
        layers=SHAPES,
        x=also(X, without=("nan", "inf", "-inf", "all nan, jax")),
        loss=loss(values=False),
        names=names(2),
        batch_axis=batch_axis(),
        model=model(),
        optimizer=Argument(lambda: None, ()),
    ),
    row("diagnosis.diagnose_record", nan=True, record=Argument(lambda: read(trained()), junk())),
    row(
        "diagnosis.diagnose_step",
        nan=True,
        loss_fn=also(
            called(lambda w, x: jnp.sum(w * x)),
            *bad(
                "refused",
                vector=lambda: lambda w, x: w * x,
                nothing=lambda: lambda w, x: None,
                text=lambda: lambda w, x: "loss",
                integer=lambda: lambda w, x: jnp.argmax(w * x),
            ),
            words=("loss",),
        ),
        params=Argument(lambda: np.ones(3, np.float32), junk() + bad("refused", integers=lambda: np.ones(3, int))),
        batch=Argument(lambda: np.ones(3, np.float32), junk()),
        names=names(1),
    ),
]
