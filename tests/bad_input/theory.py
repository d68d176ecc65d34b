"""What theory says: numbers in, numbers out."""

import math

import jax.numpy as jnp

from bad_input.judge import row
from bad_input.kinds import (
    Argument,
    Tracer,
    activation,
    also,
    array_of,
    bad,
    flag,
    junk,
    numbers,
    optional,
    real,
    whole,
    word,
)
from gradjax.activations import Activation

PHI = activation()
WEIGHT, BIAS, KEEP = real(1.5, "[0, inf)"), real(0.25, "[0, inf)"), real(0.875, "(0, 1]")
Q, LENGTH = optional(real(1.25, "[0, inf)")), real(1.25, "(0, inf)")
CORRELATION = real(0.5, "[-1, 1]")
DEPTH, FROM_ZERO = whole(3), whole(3, 0)
KIND = word("gaussian")
GRID = also(array_of(0.5, "(0, inf)"), without=("one",))
POSITIVE, NOT_NEGATIVE, ANY = real(0.5, "(0, inf)"), real(0.5, "[0, inf)"), real(0.5)


def widths(right=(3, 4, 2)) -> Argument:
    wrong = {"one": lambda: [3], "zero": lambda: [3, 0], "negative": lambda: [3, -1], "half": lambda: [3, 1.5]}
    wrong |= {"nan": lambda: [3, float("nan")], "text within": lambda: [3, "4"], "inf": lambda: [3, float("inf")]}
    wrong |= {
        "number": lambda: 3,
        "none within": lambda: [3, None],
        "nested": lambda: [[3, 4]],
        "tracer": lambda: Tracer((3,)),
    }
    return Argument(lambda: right, junk("generator") + bad("refused", **wrong) + bad("same", list=lambda: list(right)))


MADE = Argument(lambda: Activation(jnp.tanh), junk() + bad("refused", name=lambda: "tanh", tracer=Tracer))
POINTS = also(numbers((3,), values=False), *bad("sound", none=list), without=("empty list", "bool"))
GATES = Argument(lambda: None, bad("refused", few=lambda: [True], number=lambda: 1, text=lambda: "yes"))
BATCH = real(8.0, "[4, inf]")
SIZE = also(whole(8, 4), *bad("sound", inf=lambda: float("inf")), without=("inf",))
STEADY = {"activation": PHI, "weight_std": WEIGHT, "bias_std": BIAS}
KEPT = STEADY | {"keep_probability": KEEP}

ROWS = [
    row("theory.meanfield.length_map", **KEPT, q=array_of(1.25, "[0, inf)")),
    row("theory.meanfield.length_fixed_points", **KEPT),
    row("theory.meanfield.length_fixed_point", **KEPT),
    row("theory.meanfield.gradient_gain", **KEPT, q=Q),
    row("theory.meanfield.critical_weight_std", activation=PHI, bias_std=BIAS),
    row("theory.meanfield.correlation_map", **KEPT, correlation=CORRELATION, q=Q),
    row("theory.meanfield.correlation_fixed_point", **KEPT, q=Q),
    row("theory.meanfield.depth_scales", **KEPT, q=Q),
    row("theory.meanfield.curvature_gain", **STEADY, q=Q),
    row("theory.meanfield.curvature_map", **STEADY, curvature=NOT_NEGATIVE, q=Q),
    row("theory.meanfield.gradient_gain_spread", **STEADY),
    row("theory.meanfield.gains_by_layer", **STEADY, square=NOT_NEGATIVE, depth=DEPTH),
    row(
        "theory.meanfield.phase_diagram",
        activation=PHI,
        weight_stds=numbers((2,), "(0, inf)", 1.5),
        bias_stds=numbers((2,), "[0, inf)", 0.25),
    ),
    row("theory.isometry.fuss_catalan_moment", depth=DEPTH, order=FROM_ZERO),
    row("theory.isometry.fuss_catalan_density", depth=whole(1), angles=array_of(0.5, "(0, 1.5707963267948966)")),
    row("theory.isometry.isometric_point", activation=PHI, depth=whole(64), variance=real(0.25, "(0, inf)")),
    row(
        "theory.isometry.limit_largest_squared_singular_value",
        universality=word("smooth"),
        variance=real(0.25, "(0, inf)"),
    ),
    row(
        "theory.isometry.limit_squared_singular_value_density",
        universality=word("smooth"),
        variance=real(0.25, "(0, inf)"),
        grid=GRID,
    ),
    row("theory.isometry.universality_class", activation=PHI),
    row(
        "theory.isometry.lyapunov_spectrum",
        **STEADY,
        fractions=array_of(0.5, "[0, 1]"),
        weights=KIND,
        q=Q,
    ),
    row(
        "theory.isometry.squared_singular_value_moments",
        activation=PHI,
        weights=KIND,
        depth=DEPTH,
        q=LENGTH,
        count=whole(3),
    ),
    row("theory.isometry.squared_singular_value_variance", activation=PHI, weights=KIND, depth=DEPTH, q=LENGTH),
    row("theory.isometry.largest_squared_singular_value", activation=PHI, weights=KIND, depth=DEPTH, q=LENGTH),
    row("theory.isometry.linear_gaussian_edge", depth=DEPTH),
    row(
        "theory.isometry.squared_singular_value_density", activation=PHI, weights=KIND, depth=DEPTH, q=LENGTH, grid=GRID
    ),
    row("theory.finite_width.log_squared_norm_moments", widths=widths(), gated=GATES),
    row("theory.finite_width.log_squared_gradient_moments", widths=widths()),
    row("theory.finite_width.leading_log_squared_norm_moments", widths=widths(), gated=GATES),
    row("theory.finite_width.fourth_moment_ratio", widths=widths(), gated=GATES),
    row("theory.finite_width.gaussian_product_exponents", width=DEPTH, weight_std=POSITIVE),
    row(
        "theory.learning.mode_time",
        singular_value=also(real(1.0, "(0.5, inf)"), words=("start",)),
        start=real(0.125, "(0, 1)"),
        end=real(0.5, "(0, 1)"),
        weights=also(whole(3), *bad("sound", inf=lambda: float("inf")), without=("inf",)),
        time_constant=real(0.5, "(0, inf)"),
    ),
    row(
        "theory.learning.mode_strength",
        singular_value=also(real(1.0, "(0.125, inf)"), words=("start",)),
        start=real(0.125, "(0, 1)"),
        times=array_of(0.5, "[0, inf)"),
        time_constant=real(0.5, "(0, inf)"),
    ),
    row("theory.learning.largest_stable_step", singular_value=POSITIVE, weights=DEPTH),
    row("theory.learning.clipped_step", gradient_norm=NOT_NEGATIVE, curvature=POSITIVE, curvature_growth=NOT_NEGATIVE),
    row("theory.learning.cosh_steps", start=real(2.0, "(0, 16]"), tolerance=real(0.5, "(0, 1)"), clipped=flag()),
    row(
        "theory.learning.cosh_constant_steps",
        start=real(2.0, "(0, inf)"),
        tolerance=real(0.5, f"(0, {math.sinh(2.0)!r})"),
    ),
    row(
        "theory.learning.clipped_complexity",
        curvature=POSITIVE,
        curvature_growth=NOT_NEGATIVE,
        gap=POSITIVE,
        tolerance=POSITIVE,
    ),
    row("theory.normalization.batchnorm_gradient_rate", activation=PHI, batch_size=SIZE),
    row(
        "theory.quadrature.as_activation",
        activation=also(PHI, without=("pair", "to integers", "to complex", "to nothing", "to text", "to NaN", "pole")),
    ),
    row("theory.quadrature.evaluate", activation=MADE, x=POINTS, order=whole(1, 0)),
    row("theory.quadrature.partition", activation=MADE, reach=real(16.0, "(0, inf)")),
    row("theory.quadrature.partition_for", activation=MADE, largest=real(16.0, "[0, inf)")),
    row(
        "theory.quadrature.gaussian_rule",
        edges=also(numbers((2,)), *bad("sound", none=list), without=("empty list",)),
        mean=also(array_of(0.5), without=("none",)),
        std=also(array_of(0.5, "(0, inf)"), without=("none",)),
    ),
    row("theory.recurrent.steepest_slope", activation=PHI),
    row("theory.recurrent.log_gradient_bound", activation=PHI, largest_singular_value=POSITIVE, steps=FROM_ZERO),
    row("theory.recurrent.error_wall", activation=PHI, weight=real(5.0), start=real(0.5)),
    row("theory.recurrent.fold_biases", activation=PHI, weight=real(5.0)),
    row("theory.recurrent.recurrent_exponent", **STEADY),
    row("theory.recurrent.gate_gain", weight_std=NOT_NEGATIVE, bias=ANY, input_square=NOT_NEGATIVE),
    row("theory.recurrent.memory_sensitivity", factor=real(0.5, "(-1, 1)")),
    row("theory.recurrent.chaos", **(STEADY | {"weight_std": real(3.0, "[0, inf)")})),
    row(
        "theory.residual.residual_growth",
        activation=PHI,
        weight_std=WEIGHT,
        depth=DEPTH,
        branch_scale=ANY,
        output_std=NOT_NEGATIVE,
        bias_std=BIAS,
        q=POSITIVE,
    ),
    row("theory.residual.stable_branch_scale", depth=DEPTH),
    row("theory.residual.fixup_branch_scale", depth=DEPTH, layers_per_branch=whole(2, 2)),
    row("theory.residual.deepnorm_constants", encoder_depth=FROM_ZERO, decoder_depth=FROM_ZERO),
    row(
        "theory.residual.transformer_signals",
        depth=DEPTH,
        tokens=DEPTH,
        post=flag(),
        skip=NOT_NEGATIVE,
        branch=NOT_NEGATIVE,
    ),
    row("theory.shattering.gradient_correlation", **STEADY, depth=FROM_ZERO, correlation=CORRELATION, q=Q),
    row(
        "theory.shattering.residual_gradient_correlation",
        activation=PHI,
        branch_std=WEIGHT,
        depth=FROM_ZERO,
        correlation=CORRELATION,
        q=POSITIVE,
    ),
    row(
        "theory.shattering.batchnorm_gradient_correlation",
        activation=PHI,
        depth=FROM_ZERO,
        batch_size=real(8.0, "[2, inf]"),
    ),
    row(
        "theory.shattering.batchnorm_residual_gradient_correlation",
        activation=PHI,
        branch_std=WEIGHT,
        depth=FROM_ZERO,
        batch_size=real(8.0, "[2, inf]"),
    ),
    row("theory.special.digamma", x=array_of(0.5, "(0, inf)")),
    row("theory.special.trigamma", x=array_of(0.5, "(0, inf)")),
]
