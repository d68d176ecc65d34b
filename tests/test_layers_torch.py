"""PyTorch computes the same outputs and gradients at the same weights, where it is installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradjax.chain import run
from gradjax.gradients import layer_gradients
from gradjax.layers import (
    convolution,
    dense,
    layer_norm,
    over_time,
    recurrent,
    residual,
    transformer_block,
    weight_norm,
)

torch = pytest.importorskip("torch", reason="PyTorch is in no extra of gradjax: install it to run this")
KEY = jax.random.key(2)


def tensor(array):
    return torch.tensor(np.asarray(array), dtype=torch.float64)


def weights_of(module, pairs):
    """Copy arrays into a module's parameters: name -> array, kernels transposed where the module has (out, in)."""
    with torch.no_grad():
        for name, array in pairs.items():
            target = module.get_parameter(name)
            target.copy_(tensor(array).reshape(target.shape))


def affine(p):
    module = torch.nn.Linear(*p["kernel"].shape, dtype=torch.float64)
    weights_of(module, {"weight": p["kernel"].T, "bias": p["bias"]})
    return module


def perceptron():
    layers = [dense(k, n, m, "tanh", bias_init="normal", dtype=jnp.float64) for k, n, m in
              zip(jax.random.split(KEY, 3), (5, 7, 7), (7, 7, 2), strict=True)]  # fmt: skip
    steps = [step for layer in layers for step in (affine(layer.args[0]), torch.nn.Tanh())]
    return (
        layers,
        jnp.ones((5,)),
        torch.nn.Sequential(*steps),
        lambda m: [{"kernel": linear.weight.grad.T, "bias": linear.bias.grad} for linear in list(m)[::2]],
    )


def ring():
    layers = [convolution(k, n, m, "tanh", bias_init="normal", dtype=jnp.float64, taps=(3, 3)) for k, n, m in
              zip(jax.random.split(KEY), (2, 4), (4, 3), strict=True)]  # fmt: skip
    steps = []
    for layer in layers:
        kernel = layer.args[0]["kernel"]
        module = torch.nn.Conv2d(*kernel.shape[2:], 3, padding=1, padding_mode="circular", dtype=torch.float64)
        weights_of(module, {"weight": kernel.transpose(3, 2, 0, 1), "bias": layer.args[0]["bias"]})
        steps += [module, torch.nn.Tanh()]

    class Planes(torch.nn.Sequential):
        def forward(self, x):
            return super().forward(x.permute(2, 0, 1)[None])[0].permute(1, 2, 0)

    return (
        layers,
        jax.random.normal(KEY, (4, 5, 2), jnp.float64),
        Planes(*steps),
        lambda m: [{"kernel": conv.weight.grad.permute(2, 3, 1, 0), "bias": conv.bias.grad} for conv in list(m)[::2]],
    )


def gates():
    """theirs: i, f, g, o; ours: f, i, g, o, one bias."""
    cell = recurrent(3, "lstm", 4, 3, bias_init="normal", dtype=jnp.float64)
    p, order, size = cell.args[0], (1, 0, 2, 3), 4
    module = torch.nn.LSTM(3, size, dtype=torch.float64)
    stacked = {name: jnp.concatenate([p[name][g].T for g in order]) for name in ("kernel", "input_kernel")}
    bias = jnp.concatenate([p["bias"][g] for g in order])
    weights_of(module, {"weight_hh_l0": stacked["kernel"], "weight_ih_l0": stacked["input_kernel"],
                        "bias_ih_l0": bias, "bias_hh_l0": 0 * bias})  # fmt: skip

    class Last(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = module

        def forward(self, x):
            return self.inner(x)[0][-1]

    def split(gradient):
        parts = gradient.reshape(4, size, -1)[list(order)]
        return parts.permute(0, 2, 1)

    def read(m):
        return [{"kernel": split(module.weight_hh_l0.grad), "input_kernel": split(module.weight_ih_l0.grad),
                 "bias": module.bias_ih_l0.grad.reshape(4, size)[list(order)]}]  # fmt: skip

    return [over_time(cell)], jax.random.normal(KEY, (6, 3), jnp.float64), Last(), read


def block_of(norm):
    """torch.nn.TransformerEncoderLayer without biases in attention: theirs are set to zero."""

    def make():
        width, heads, tokens = 6, 2, 5
        layer = transformer_block(KEY, width, heads, norm, "gelu", dtype=jnp.float64)
        module = torch.nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", norm_first=norm == "pre",
                                                  batch_first=True, dtype=torch.float64)  # fmt: skip
        found = {id(p): p for p in _parameters(layer)}
        mixing = next(p for p in found.values() if "query" in p)
        thinking = next(p for p in found.values() if "in" in p)
        weights_of(module, {
            "self_attn.in_proj_weight": jnp.concatenate([mixing[n].T for n in ("query", "key", "value")]),
            "self_attn.in_proj_bias": jnp.zeros(3 * width), "self_attn.out_proj.weight": mixing["out"].T,
            "self_attn.out_proj.bias": jnp.zeros(width), "linear1.weight": thinking["in"].T,
            "linear1.bias": thinking["in_bias"], "linear2.weight": thinking["out"].T,
            "linear2.bias": thinking["out_bias"],
        })  # fmt: skip

        class One(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = module

            def forward(self, x):
                return self.inner(x[None])[0]

        def read(m):
            q, k, v = module.self_attn.in_proj_weight.grad.chunk(3)
            mixed = {"query": q.T, "key": k.T, "value": v.T, "out": module.self_attn.out_proj.weight.grad.T}
            return [mixed, {"in": module.linear1.weight.grad.T, "in_bias": module.linear1.bias.grad}]

        return [layer], jax.random.normal(KEY, (tokens, width), jnp.float64), One(), read

    return make


def _parameters(tree):
    """Every dictionary of parameters within a layer."""
    return [node for node in jax.tree.leaves(tree, is_leaf=lambda n: isinstance(n, dict)) if isinstance(node, dict)]


def normalized_residual():
    """h + layer_norm, then weight normalization."""
    inner = dense(KEY, 5, 5, "tanh", bias_init="normal", dtype=jnp.float64)
    outer = weight_norm(dense(jax.random.key(9), 5, 3, dtype=jnp.float64))
    layers = [residual([layer_norm(5, dtype=jnp.float64), inner]), outer]
    p = outer.args[0]

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.LayerNorm(5, dtype=torch.float64)
            self.inner = affine(inner.args[0])
            self.outer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(5, 3, dtype=torch.float64))
            weights_of(self.outer, {"bias": p["bias"], "parametrizations.weight.original0": p["gain"],
                                    "parametrizations.weight.original1": p["direction"].T})  # fmt: skip

        def forward(self, x):
            return self.outer(x + torch.tanh(self.inner(self.norm(x))))

    def read(m):
        weight = m.outer.parametrizations.weight
        by_direction = {"direction": weight.original1.grad.T, "gain": weight.original0.grad[:, 0]}
        return [{"kernel": m.inner.weight.grad.T, "bias": m.inner.bias.grad}, by_direction]

    return layers, jax.random.normal(KEY, (5,), jnp.float64), Net(), read


ARCHITECTURES = {
    "perceptron": perceptron,
    "convolution": ring,
    "lstm": gates,
    "pre_ln": block_of("pre"),
    "post_ln": block_of("post"),
    "residual": normalized_residual,
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_outputs_and_gradients_are_those_of_pytorch(name, x64):
    """Float64 on both sides: a hundred roundings of the largest entry."""
    layers, x, module, read = ARCHITECTURES[name]()
    theirs = module(tensor(x))
    atol = 1e3 * np.finfo(float).eps
    np.testing.assert_allclose(run(layers, x), theirs.detach().numpy(), rtol=0, atol=atol * 10)
    weigh = np.cos(np.arange(theirs.numel())).reshape(theirs.shape)
    (theirs * torch.tensor(weigh)).sum().backward()
    ours = layer_gradients(lambda y: jnp.sum(y * jnp.asarray(weigh)), layers, x)
    found = _parameters(ours)
    for expected in read(module):
        match = next(p for p in found if all(n in p and p[n] is not None for n in expected)
                     and all(p[n].shape == tuple(g.shape) for n, g in expected.items()))  # fmt: skip
        found = [p for p in found if p is not match]
        for key, gradient in expected.items():
            size = max(1.0, float(gradient.abs().max()))
            np.testing.assert_allclose(match[key], gradient.numpy(), rtol=0, atol=10 * atol * size, err_msg=key)
