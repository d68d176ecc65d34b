"""The product of a long chain in graded form: a quick route while it holds the tolerance, else the safe one.

Quick are blocks of several layers, or for chains with zeros to keep one layer at a time in doubled digits.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from gradjax.products import blocks, doubled, pivoted, scales, wide
from gradjax.products.pivoted import Graded
from gradjax.products.plan import Segment, leading_inputs

ADVANCE = 0.25  # of what the whole chain may lose: at hand from the first layer on
# shares of a layer that one step may take: later layers enlarge a large loss, in float32 to a nat where it was 1e-4
AT_ONCE = {"float64": math.inf, "float32": 4.0}


class Plan(NamedTuple):
    """How the chain is to be multiplied."""

    allowance: Array  # what a single layer's rounding may cost, in nats
    twice: bool = False  # whether in twice the digits
    watched: bool = False  # whether to look for layers that mix scales in no order


class State(NamedTuple):
    """Where the loop over the layers of a segment stands."""

    layer: Array  # how many layers of the segment are in the product
    length: Array  # of the next block
    spent: Array  # the squares of what the blocks so far may have lost, in nats: independent roundings, a random walk
    stuck: Array  # the next layer alone would lose more than is left
    product: Any  # a Graded between the routes, a Block or Doubled inside the quick one
    kept: Graded  # the products after the wanted depths
    blurred: Array  # the first layer of the chain that mixed scales in no order and was eliminated; past the last: none
    leads: Array  # which inputs of each factor lead anywhere, once `explored`
    explored: Array


class Orders(NamedTuple):
    """What the loop looks up about each layer."""

    stack: Array
    rank: Array
    stops: Array
    slots: Array
    start: int  # how many layers of the chain come before
    end: Array  # how many layers to go through


def graded_products(
    segments: list[Segment], ranks: Array, plan: Plan, really: Array | bool = True
) -> tuple[list[Graded], Array]:
    """The graded product after each wanted depth: one stack of them for every segment that holds any.

    And the first layer that may have lost what no jitter shows, if the plan watches for it; past the last: none.

    ranks: (depth,), what the zero pattern allows each prefix. really: else no layer is looked at, and zeros come back.
    """
    product, found = pivoted.identity(segments[0].stack.shape[-1], segments[0].stack.dtype), []
    blurred = jnp.int32(ranks.shape[0])
    for index, segment in enumerate(segments):
        rank = ranks[segment.start : segment.start + segment.stack.shape[-3]]
        product = _fitted(product, segment.stack.shape[-1], rank[0])
        places = (jnp.asarray(table, jnp.int32) for table in (segment.stops, segment.slots))
        end = jnp.where(really, segment.stack.shape[-3], 0)
        orders = Orders(segment.stack, rank, *places, start=segment.start, end=end)
        start = _start(product, orders, len(segment.depths), blurred)
        final = _run(start, orders, plan, lambda i=index: leading_inputs(segments)[i])
        product, blurred = final.product, final.blurred
        found.append(final.kept)
    return [kept for kept, segment in zip(found, segments, strict=True) if segment.depths], blurred


def _fitted(product: Graded, size: int, rank: Array) -> Graded:
    """The product with a left factor of `size` rows, its columns no more than that."""
    product = product._replace(left=wide.resize_rows(product.left, size))
    return pivoted.regrade(product, rank) if size < product.right.shape[0] else product


def _start(product: Graded, orders: Orders, wanted: int, blurred: Array) -> State:
    """Before the first layer of a segment in which so many depths are wanted."""
    return State(
        layer=jnp.int32(0),
        length=jnp.int32(1),
        spent=jnp.zeros((), product.right.dtype),
        stuck=jnp.asarray(False),
        product=product,
        kept=jax.tree.map(lambda leaf: jnp.zeros((wanted, *leaf.shape), leaf.dtype), product),
        blurred=blurred,
        leads=jnp.zeros(orders.stack.shape[:2], bool),
        explored=jnp.asarray(False),
    )


def _run(start: State, orders: Orders, plan: Plan, explore) -> State:
    """Where the loop stands after all layers of a segment."""

    def alternate(state: State) -> State:
        return _safe_if_stuck(_quick_while_it_holds(state, orders, plan), orders, plan, explore)

    return lax.while_loop(lambda state: state.layer < orders.end, alternate, start)


def _quick_while_it_holds(state: State, orders: Orders, plan: Plan) -> State:
    """As many steps of the quick route as lose no more than they may."""
    graded = state.product
    begin = state._replace(product=(doubled if plan.twice else blocks).begin(graded))
    state_after = lax.while_loop(
        lambda state: (state.layer < orders.end) & ~state.stuck,
        lambda state: _try_step(state, orders, plan),
        begin,
    )
    moved = state_after.layer > state.layer  # else the wide left factor is kept: ordinary numbers may have underflowed
    return state_after._replace(product=_choose(moved, _as_graded(state_after.product), graded))


def _as_graded(product) -> Graded:
    return Graded(wide.from_float(product.left), product.scale, product.right)


def _try_step(state: State, orders: Orders, plan: Plan) -> State:
    """One block or layer, taken if it loses no more than is left; otherwise the next try is shorter."""
    route, depth = (doubled if plan.twice else blocks), orders.stack.shape[0]
    length = jnp.minimum(jnp.minimum(state.length, route.LONGEST), orders.stops[state.layer] - state.layer)
    end = state.layer + length
    after, loss = route.advance(state.product, orders.stack, state.layer, length, orders.rank[end - 1])
    spent = state.spent + loss**2  # what earlier layers did not use is left for a bad one
    accepted = spent <= plan.allowance**2 * (end.astype(loss.dtype) + ADVANCE * depth)
    accepted &= loss <= AT_ONCE[loss.dtype.name] * plan.allowance
    return state._replace(
        layer=jnp.where(accepted, end, state.layer),
        length=blocks.next_length(length, loss, accepted, plan.allowance),
        spent=jnp.where(accepted, spent, state.spent),
        stuck=~accepted & (length == 1),
        product=_choose(accepted, after, state.product),
        kept=_keep(state.kept, after, end, accepted, orders),
    )


def _safe_if_stuck(state: State, orders: Orders, plan: Plan, explore) -> State:
    """One layer by the safe route where the fast one would lose too much."""

    def look_ahead(state: State) -> State:
        return state._replace(leads=explore(), explored=jnp.asarray(True))

    def absorb(state: State) -> State:
        layer = state.layer
        product = pivoted.absorb(state.product, orders.stack[layer], state.leads[layer], orders.rank[layer])
        kept = _keep(state.kept, product, layer + 1, jnp.asarray(True), orders)
        after = state._replace(layer=layer + 1, stuck=jnp.asarray(False), product=product, kept=kept)
        if not plan.watched:
            return after
        first = jnp.where(scales.mixed(orders.stack[layer]), orders.start + layer, state.blurred)
        return after._replace(blurred=jnp.minimum(state.blurred, first))

    # loops of one turn or none, which `vmap` runs only when some member needs them; a cond would always run
    state = lax.while_loop(lambda state: state.stuck & ~state.explored, look_ahead, state)
    return lax.while_loop(lambda state: state.stuck, absorb, state)


def _keep(kept: Graded, product, end: Array, really: Array, orders: Orders) -> Graded:
    """The store with the product in its place, if `end` layers is a wanted depth."""
    if kept.right.shape[0] == 0:
        return kept
    wanted, slot = really & (orders.stops[end - 1] == end), orders.slots[end - 1]

    def store(state):
        graded = product if isinstance(product, Graded) else _as_graded(product)
        found = jax.tree.map(lambda all_, leaf: all_.at[slot].set(leaf, mode="drop"), state[1], graded)
        return jnp.zeros_like(wanted), found

    # a loop of one turn or none: most steps end at no wanted depth, and a product is large
    return lax.while_loop(lambda state: state[0], store, (wanted & (slot < kept.right.shape[0]), kept))[1]


def _choose(condition: Array, a, b):
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)
