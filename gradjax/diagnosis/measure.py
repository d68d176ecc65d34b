"""One pass forward and one back through the layers: every number that a cause is judged by, also where it is NaN.

Nothing here raises for a NaN: it is what is looked for. The signal travels back as û · 2^e (see `gradjax.gradients`),
so that no depth over- or underflows. What a layer does to a direction is seen at random tangents v, t = J v: the mean
of |t|² over |v|² is ‖J‖² / n, and a unit at which t is 0 for every example responds to nothing.
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradjax.chain import depth_of, fold, linearize
from gradjax.chain.forward import is_differentiable
from gradjax.diagnosis import thresholds
from gradjax.diagnosis.units import Unit
from gradjax.jacobians.plan import MEMORY, at_work
from gradjax.jacobians.summary import layer_summary
from gradjax.numerics import HIGHEST, all_finite, exponent, is_inexact, log_norm, scale_by_power_of_two

LARGEST_FORMED = 2**18  # entries of a Jacobian that is formed for its singular values: 512 units in and out
LANCZOS, PROBES = 48, 2  # products with random vectors, of those that are not


class Plan(NamedTuple):
    """What is measured of an entry beside the rest: its kernel's place, its layout, if J is formed, what is flat."""

    kernel: int | None
    transposed: bool
    form: bool
    flat: float


class Measures(NamedTuple):
    """By layer, (depth,) each, NumPy float64; sizes are natural logs."""

    by_layer: dict[str, np.ndarray]
    states: list  # the activation that enters each entry, with a depth axis for a Stack
    output: Any
    log_cotangent: float  # ln |d loss / d output|
    loss: float
    finite_examples: np.ndarray | None  # (depth, examples), of each layer's output


def measure(loss: Callable, entries, x, units: list[Unit | None], *, examples: int | None, form: bool = True):
    """The `Measures` of a network at x.

    Args:
        loss, entries, x: behind the door (`gradjax.chain.admit`); x and parameters may hold NaN.
        units: see `gradjax.diagnosis.units.recognized`.
        examples: how many there are along the leading axis of every activation; None for one alone.
        form: whether to take the singular values of one example's Jacobian of each layer: from the matrix where that
            has 2^18 entries at most, else estimates with their errors (see `gradjax.jacobians.singular_value_summary`).
    """
    plans = tuple(_plan(unit, form) for unit in units)
    kept, out, value, cotangent, behind = _measure(loss, entries, x, jax.random.key(0), examples, plans)
    found = [row | back for (_, row), back in zip(kept, behind, strict=True)]
    masks = [row.pop("finite_examples", None) for row in found]
    by_layer = {name: _rows(entries, [row.get(name) for row in found]) for name in {n for row in found for n in row}}
    finite = None if masks[0] is None else np.concatenate([np.asarray(m).reshape(-1, examples or 1) for m in masks])
    return Measures(by_layer, [h for h, _ in kept], out, float(cotangent), float(value), finite)


def _plan(unit: Unit | None, form: bool) -> Plan:
    if unit is None or unit.kind not in ("dense", "transposed"):
        return Plan(None, False, form, thresholds.flat())
    return Plan(unit.kernel, unit.kind == "transposed", form, thresholds.flat())


def _rows(entries, columns: list) -> np.ndarray:
    parts = [
        np.full(depth_of(entry), np.nan) if column is None else np.asarray(column, np.float64).reshape(-1)
        for entry, column in zip(entries, columns, strict=True)
    ]
    return np.concatenate(parts)


@functools.partial(jax.jit, static_argnames=("examples", "plans"))
def _measure(loss, entries, x, key, examples, plans):
    with jax.default_matmul_precision(HIGHEST):
        kept, h = [], (x, key)
        for entry, plan in zip(entries, plans, strict=True):
            h, (row,) = fold([entry], h, functools.partial(_forward, examples, plan))
            kept.append(row)
        out = h[0]
        value, u = jax.value_and_grad(lambda h: loss(h))(out)
        e = exponent(u)
        states = [h for h, _ in kept]
        _, behind = fold(entries, (scale_by_power_of_two(u, -e), e), backward, states, reverse=True)
    return kept, out, value, log_norm(u), behind


def _forward(examples, plan: Plan, carry, layer, _):
    h, key = carry
    key, own = jax.random.split(key)
    out = layer(h)
    row = {"log_activation": log_norm(out) - _half_log_size(out), "finite": all_finite(out)}
    row |= {"log_parameter": log_norm(layer.parameters), "finite_parameters": all_finite(layer.parameters)}
    if examples is not None:
        flags = [
            jnp.isfinite(leaf).reshape(examples, -1).all(axis=1) for leaf in jax.tree.leaves(out) if is_inexact(leaf)
        ]
        row["finite_examples"] = jnp.stack(flags).all(axis=0) if flags else jnp.ones(examples, bool)
    if is_differentiable(h):
        row |= _seen_at_a_tangent(examples, plan, layer, h, out, own)
    return (out, key), (h, row)


def _seen_at_a_tangent(examples, plan: Plan, layer, h, out, key) -> dict:
    linear = linearize(layer, h)
    v = jax.random.normal(key, linear.h.shape, linear.h.dtype)
    t = linear.jvp(v)
    radial = linear.jvp(linear.h)
    sizes = [2 * (log_norm(a) - _half_log_size(a)) for a in (t, v, linear.h)]
    outputs = float(np.log(t.size / v.size))
    row = {"log_gain": sizes[0] - sizes[1], "log_shape": jnp.asarray(outputs, sizes[0].dtype)}
    row |= {"finite_derivative": all_finite(t)}
    # |J h|² / |h|² over ‖J‖² / n: near 0 where the layer takes the size out
    row["log_radial"] = 2 * (log_norm(radial) - _half_log_size(radial)) - sizes[2] - row["log_gain"]
    if t.shape == v.shape:
        wide = t.astype(sizes[0].dtype)
        along = v.astype(wide.dtype)
        row["trace"] = jnp.vdot(along, wide) / jnp.vdot(along, along)
        row["log_branch"] = 2 * (log_norm(wide - along) - _half_log_size(along)) - sizes[1]
        straight = radial.astype(wide.dtype) - linear.h.astype(wide.dtype)
        row["log_branch_radial"] = 2 * (log_norm(straight) - _half_log_size(straight)) - sizes[2] - row["log_branch"]
    leaves = jax.tree.leaves(out)
    if len(leaves) == 1 and leaves[0].ndim:
        units = t.reshape(leaves[0].shape).reshape(-1, leaves[0].shape[-1])
        row["dead"] = jnp.mean(jnp.all(units == 0, axis=0).astype(jnp.float32))
        row |= _saturated(plan, layer, h, v, units)
    if plan.form:
        alone = examples is not None and not layer.coupled
        one = jax.tree.map(lambda a: a[0], h) if alone else h
        own = replace(layer, mapped=False) if alone else layer
        found = layer_summary(own, one, key, LARGEST_FORMED, LANCZOS, PROBES, at_work(MEMORY))
        row |= {name: jnp.asarray(value, sizes[0].dtype) for name, value in found._asdict().items()}
    return row


def _saturated(plan: Plan, layer, h, v, t) -> dict:
    """The share of units whose own slope t / (v W) is flat: φ' where the layer is φ(h W + b) or φ(h)."""
    leaves = jax.tree.leaves(h)
    if len(leaves) != 1 or leaves[0].ndim == 0:
        return {}
    v = v.reshape(-1, leaves[0].shape[-1])
    if plan.kernel is not None:
        w = layer.parameters[plan.kernel]
        v = v @ (w.T if plan.transposed else w)
    elif layer.parameters:
        return {}
    if v.shape != t.shape:
        return {}
    return {"saturated": jnp.mean((jnp.abs(t) < plan.flat * jnp.abs(v).astype(t.dtype)).astype(jnp.float32))}


def _half_log_size(tree) -> float:
    return float(np.log(max(1, sum(leaf.size for leaf in jax.tree.leaves(tree) if is_inexact(leaf))))) / 2


def backward(signal, layer, h):
    """One step of the signal û · 2^e back through a layer, and what is seen there (a step of `gradjax.chain.fold`)."""
    u, e = signal

    def call(parameters, h):
        return layer.with_parameters(parameters)(h)

    if not is_differentiable(h):
        of_parameters = jax.vjp(lambda p: call(p, h), layer.parameters)[1](u)[0]
        row = {"log_gradient": log_norm(of_parameters, e), "finite_gradient": all_finite(of_parameters)}
        return (u, e), row
    of_parameters, of_input = jax.vjp(call, layer.parameters, h)[1](u)
    step = exponent(of_input)
    before = (scale_by_power_of_two(of_input, -step), e + step)
    row = {"log_gradient": log_norm(of_parameters, e), "log_signal": log_norm(u, e)}
    row |= {"log_signal_below": log_norm(*before), "finite_gradient": all_finite((of_parameters, of_input))}
    return before, row
