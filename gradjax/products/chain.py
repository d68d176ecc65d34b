"""The product of a long chain in graded form: fast blocks while they hold the tolerance, else the safe route."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from gradjax.products import blocks, pivoted, wide
from gradjax.products.blocks import Block
from gradjax.products.pivoted import Graded
from gradjax.products.plan import Segment, leading_inputs


class State(NamedTuple):
    """Where the loop over the layers of a segment stands."""

    layer: Array  # how many layers of the segment are in the product
    length: Array  # of the next block
    stuck: Array  # the next layer alone would lose more than it may
    product: Any  # a Graded between the routes, a Block inside the fast one
    kept: Graded  # the products after the wanted depths
    leads: Array  # which inputs of each factor lead anywhere, once `explored`
    explored: Array


class Orders(NamedTuple):
    """What the loop looks up about each layer."""

    stack: Array
    rank: Array
    stops: Array
    slots: Array


def graded_products(segments: list[Segment], ranks: Array, allowance: float) -> list[Graded]:
    """The graded product after each wanted depth: one stack of them for every segment that holds any.

    ranks: (depth,), what the zero pattern allows each prefix. allowance: what a single layer's rounding may cost, nats.
    """
    product, found = pivoted.identity(segments[0].stack.shape[-1], segments[0].stack.dtype), []
    for index, segment in enumerate(segments):
        rank = ranks[segment.start : segment.start + segment.stack.shape[-3]]
        product = _fitted(product, segment.stack.shape[-1], rank[0])
        places = (jnp.asarray(table, jnp.int32) for table in (segment.stops, segment.slots))
        orders = Orders(segment.stack, rank, *places)
        product, kept = _run(
            product, orders, len(segment.depths), allowance, lambda i=index: leading_inputs(segments)[i]
        )
        found.append(kept)
    return [kept for kept, segment in zip(found, segments, strict=True) if segment.depths]


def _fitted(product: Graded, size: int, rank: Array) -> Graded:
    """The product with a left factor of `size` rows, its columns no more than that."""
    product = product._replace(left=wide.resize_rows(product.left, size))
    return pivoted.regrade(product, rank) if size < product.right.shape[0] else product


def _run(product: Graded, orders: Orders, wanted: int, allowance: float, explore) -> tuple[Graded, Graded]:
    """The product after all layers of a segment, and after each of its wanted depths."""
    depth = orders.stack.shape[0]

    def alternate(state: State) -> State:
        return _safe_if_stuck(_fast_while_it_holds(state, orders, allowance), orders, explore)

    kept = jax.tree.map(lambda leaf: jnp.zeros((wanted, *leaf.shape), leaf.dtype), product)
    no = jnp.asarray(False)
    start = State(jnp.int32(0), jnp.int32(1), no, product, kept, jnp.zeros(orders.stack.shape[:2], bool), no)
    final = lax.while_loop(lambda state: state.layer < depth, alternate, start)
    return final.product, final.kept


def _fast_while_it_holds(state: State, orders: Orders, allowance: float) -> State:
    """As many fast blocks as lose no more than they may."""
    depth, graded = orders.stack.shape[0], state.product
    begin = state._replace(product=Block(wide.to_float(graded.left), graded.scale, graded.right))
    state_after = lax.while_loop(
        lambda state: (state.layer < depth) & ~state.stuck,
        lambda state: _try_block(state, orders, allowance),
        begin,
    )
    block = state_after.product
    moved = state_after.layer > state.layer  # else the wide left factor is kept: ordinary numbers may have underflowed
    product = _choose(moved, Graded(wide.from_float(block.left), block.scale, block.right), graded)
    return state_after._replace(product=product)


def _try_block(state: State, orders: Orders, allowance: float) -> State:
    """One block, taken if it loses no more than it may; otherwise the next try is shorter."""
    length = jnp.minimum(state.length, orders.stops[state.layer] - state.layer)
    end = state.layer + length
    after, loss = blocks.advance(state.product, orders.stack, state.layer, length, orders.rank[end - 1])
    accepted = loss <= allowance * jnp.sqrt(length.astype(loss.dtype))
    graded = Graded(wide.from_float(after.left), after.scale, after.right)
    return state._replace(
        layer=jnp.where(accepted, end, state.layer),
        length=blocks.next_length(length, loss, accepted, allowance),
        stuck=~accepted & (length == 1),
        product=_choose(accepted, after, state.product),
        kept=_keep(state.kept, graded, end, accepted, orders),
    )


def _safe_if_stuck(state: State, orders: Orders, explore) -> State:
    """One layer by the safe route where the fast one would lose too much."""

    def look_ahead(state: State) -> State:
        return state._replace(leads=explore(), explored=jnp.asarray(True))

    def absorb(state: State) -> State:
        layer = state.layer
        product = pivoted.absorb(state.product, orders.stack[layer], state.leads[layer], orders.rank[layer])
        kept = _keep(state.kept, product, layer + 1, jnp.asarray(True), orders)
        return state._replace(layer=layer + 1, stuck=jnp.asarray(False), product=product, kept=kept)

    # loops of one turn or none, which `vmap` runs only when some member needs them; a cond would always run
    state = lax.while_loop(lambda state: state.stuck & ~state.explored, look_ahead, state)
    return lax.while_loop(lambda state: state.stuck, absorb, state)


def _keep(kept: Graded, product: Graded, end: Array, really: Array, orders: Orders) -> Graded:
    """The store with the product in its place, if `end` layers is a wanted depth."""
    if kept.right.shape[0] == 0:
        return kept
    wanted = really & (orders.stops[end - 1] == end)
    slot = jnp.where(wanted, orders.slots[end - 1], kept.right.shape[0])
    return jax.tree.map(lambda all_, leaf: all_.at[slot].set(leaf, mode="drop"), kept, product)


def _choose(condition: Array, a, b):
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)
