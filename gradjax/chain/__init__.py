"""The protocol: a network is a sequence of callable pytrees.

`layers: Sequence[Callable[[Array], Array]]`. A layer maps one activation to the next; its inexact array leaves are its
parameters. `jax.tree_util.Partial(apply, params)` is such a layer, and the form that gradjax's own networks have.

Models from elsewhere are taken apart into such a sequence; `gradjax` imports none of their frameworks. Hand in the
whole model beside the layers (`model=`), and it is checked that they compose to it. For a model that is no sequence
there is `gradjax.gradients.tap`. In every recipe `x` is one example of four numbers and `key` a random key.

Plain functions, their parameters in a `Partial`::

    w = jax.random.normal(key, (4, 4))
    layers = [jax.tree_util.Partial(lambda w, h: w @ h, w), jnp.tanh]
    model = lambda x: jnp.tanh(w @ x)

Equinox; an `eqx.nn.MLP` keeps its activations apart from its layers, a `Sequential` does not::

    import equinox as eqx
    model = eqx.nn.MLP(4, 3, 5, 2, key=key)
    first, second, last = model.layers
    layers = [first, model.activation, second, model.activation, last]

Flax NNX, in evaluation mode, for else batch statistics and dropout change as it runs::

    from flax import nnx
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(nnx.Linear(4, 5, rngs=rngs), nnx.BatchNorm(5, rngs=rngs), jnp.tanh)
    model.eval()
    layers = model.layers

Flax Linen; a bound module has its variables, `unbind` gives them apart::

    from flax import linen
    module = linen.Sequential([linen.Dense(5), jnp.tanh, linen.Dense(3)])
    variables = module.init(key, x)
    parts = [p.unbind() if isinstance(p, linen.Module) else p for p in module.bind(variables).layers]
    layers = [jax.tree_util.Partial(p[0].apply, p[1]) if isinstance(p, tuple) else p for p in parts]
    model = lambda x: module.apply(variables, x)

Haiku, one transformed function a block::

    import haiku as hk
    block = hk.without_apply_rng(hk.transform(lambda h: jnp.tanh(hk.Linear(4)(h))))
    weights = [block.init(k, x) for k in jax.random.split(key, 3)]
    layers = [jax.tree_util.Partial(block.apply, w) for w in weights]

PyTorch; its Jacobians are arrays, and `gradjax.products` takes those::

    import torch
    h, factors = torch.tensor(np.asarray(x)), []
    for module in torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)):
        factors.append(torch.func.jacfwd(module)(h).detach().numpy())
        h = module(h)
    values = gradjax.products.log_singular_values(factors)
"""

from gradjax.chain.door import Constant, Coupled, Layer, as_layer, is_parameter
from gradjax.chain.forward import admit, describe, fold, hidden_states, run
from gradjax.chain.linearization import Linearization, factors_as_layers, linearize
from gradjax.chain.stack import Stack, as_layers, depth_of, layer_of, unroll, untied

__all__ = [
    "Constant",
    "Coupled",
    "Layer",
    "Linearization",
    "Stack",
    "admit",
    "as_layer",
    "as_layers",
    "depth_of",
    "describe",
    "factors_as_layers",
    "fold",
    "hidden_states",
    "is_parameter",
    "layer_of",
    "linearize",
    "run",
    "unroll",
    "untied",
]
