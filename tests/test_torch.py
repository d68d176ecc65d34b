"""PyTorch's outputs and gradients of nine architectures with the same weights, where PyTorch is installed.

An architecture is a line of the table: our layers, their activation, torch's module, and `names`, which gives a tree of
our parameters (or of their gradients: it is linear) under torch's names.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradjax.chain import run, unroll
from gradjax.gradients import layer_gradients
from gradjax.layers import (
    attention,
    convolution,
    dense,
    layer_norm,
    over_time,
    residual,
    transformer_block,
    weight_norm,
)
from gradjax.networks import mlp, recurrent

torch: Any = pytest.importorskip("torch", reason="PyTorch is in no extra of gradjax: install it to run this")
KEYS = jax.random.split(jax.random.key(5), 8)
F64 = {"dtype": jnp.float64}
GATES = {"rnn": [0], "lstm": [1, 0, 2, 3]}  # torch's i, f, g, o among our f, i, g, o


def normal(*shape):
    return jax.random.normal(KEYS[7], shape, **F64)


def dicts(tree) -> list[dict]:
    """Every dictionary of parameters within a tree of layers, in order."""

    def is_dict(node):
        return isinstance(node, dict) and bool(node)

    return [node for node in jax.tree.leaves(tree, is_leaf=is_dict) if is_dict(node)]


def prefixed(prefix: str, parameters: dict) -> dict:
    return {f"{prefix}.{name}": value for name, value in parameters.items()}


def linear(p: dict) -> dict:
    return {"weight": p["kernel"].T, "bias": p["bias"]}


def norm(p: dict) -> dict:
    return {"weight": p["gain"], "bias": p["shift"]}


class Applied(torch.nn.Module):
    """Modules by name, and a function of them and the activation."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, h):
        return self.function(self, h)


def feed_forward():
    steps = [step for a, b in ((4, 5), (5, 6)) for step in (torch.nn.Linear(a, b), torch.nn.Tanh())]
    model = torch.nn.Sequential(*steps, torch.nn.Linear(6, 3))

    def names(layers):
        return {k: v for i, p in enumerate(dicts(layers)) for k, v in prefixed(str(2 * i), linear(p)).items()}

    return mlp(KEYS[0], [4, 5, 6, 3], "tanh", bias_init="normal", **F64), normal(4), model, names


def skip_and_normalize():
    branch = [layer_norm(6, **F64), dense(KEYS[0], 6, 6, "gelu", bias_init="normal", **F64)]
    layers = [residual(branch, 0.7), weight_norm(dense(KEYS[1], 6, 2, bias_init="normal", **F64))]
    last = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(6, 2))

    def forward(m, h):
        return m.last(h + 0.7 * torch.nn.functional.gelu(m.inner(m.norm(h))))

    def names(layers):
        before, inner, last = dicts(layers)
        weight = {"original0": last["gain"][:, None], "original1": last["direction"].T}
        found = prefixed("norm", norm(before)) | prefixed("inner", linear(inner)) | {"last.bias": last["bias"]}
        return found | prefixed("last.parametrizations.weight", weight)

    model = Applied(forward, norm=torch.nn.LayerNorm(6), inner=torch.nn.Linear(6, 6), last=last)
    return layers, normal(6), model, names


def through_time(kind, whole):
    """Our one bias is torch's first; `unroll` gives each step a gradient of its own, whose sum is torch's."""
    cell = recurrent(KEYS[0], kind, 4, 3, kernel_init="mean_field", bias_init="normal", **F64)
    inputs, module = normal(6, 3), {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM}[kind](3, 4)

    def forward(m, h):
        return m.inner(h)[0][-1] if whole else m.inner(torch.tensor(np.asarray(inputs)), h[None])[0][-1]

    def names(layers):
        [p] = dicts(layers) or dicts(layers[0].layer.rebuild())  # of what stands behind the door
        ranks = {"kernel": 3, "input_kernel": 3, "bias": 2}
        by_gate = {name: leaf.reshape(-1, *leaf.shape[-ranks[name] :]).sum(axis=0) for name, leaf in p.items()}
        by_gate = {name: jnp.stack([leaf[gate] for gate in GATES[kind]]) for name, leaf in by_gate.items()}
        weights = {"weight_hh_l0": "kernel", "weight_ih_l0": "input_kernel"}
        found = {theirs: jnp.concatenate([gate.T for gate in by_gate[ours]]) for theirs, ours in weights.items()}
        return prefixed("inner", found | {"bias_ih_l0": by_gate["bias"].ravel()})

    layers, x = ([over_time(cell)], inputs) if whole else ([unroll(cell, inputs)], normal(4))
    return layers, x, Applied(forward, inner=module), names


def on_a_torus(positions):
    """Circular convolutions on a line or a plane: ours keep channels last, theirs first."""
    rank, sizes = len(positions), ((2, 4), (4, 3))
    layers = [
        convolution(key, a, b, "tanh", bias_init="normal", taps=(3,) * rank, **F64)
        for key, (a, b) in zip(KEYS, sizes, strict=False)
    ]
    conv = {1: torch.nn.Conv1d, 2: torch.nn.Conv2d}[rank]
    convs = torch.nn.ModuleList([conv(a, b, 3, padding=1, padding_mode="circular") for a, b in sizes])

    def forward(m, h):
        h = torch.movedim(h, -1, 0)[None]
        for one in m.convs:
            h = torch.tanh(one(h))
        return torch.movedim(h[0], 0, -1)

    def names(layers):
        axes = (rank + 1, rank, *range(rank))
        found = [{"weight": jnp.transpose(p["kernel"], axes), "bias": p["bias"]} for p in dicts(layers)]
        return {k: v for i, p in enumerate(found) for k, v in prefixed(f"convs.{i}", p).items()}

    return layers, normal(*positions, 2), Applied(forward, convs=convs), names


def mixing(p: dict) -> dict:
    together = jnp.concatenate([p[name].T for name in ("query", "key", "value")])
    return {"in_proj_weight": together, "out_proj.weight": p["out"].T}


def attending():
    layers = [residual([attention(KEYS[0], 6, 2, causal=True, **F64)]), jnp.tanh]

    def forward(m, h):
        mask = torch.triu(torch.ones(4, 4, dtype=torch.bool), 1)
        return torch.tanh(h + m.attention(h[None], h[None], h[None], attn_mask=mask, need_weights=False)[0][0])

    model = Applied(forward, attention=torch.nn.MultiheadAttention(6, 2, bias=False, batch_first=True))
    return layers, normal(4, 6), model, lambda layers: prefixed("attention", mixing(dicts(layers)[0]))


def block(arrangement):
    layers = [transformer_block(KEYS[0], 6, 2, arrangement, "gelu", **F64)]
    model = torch.nn.TransformerEncoderLayer(
        6, 2, 24, 0.0, "gelu", norm_first=arrangement == "pre", batch_first=True
    )  # fmt: skip

    def names(layers):
        found = dicts(layers)
        attends, thinks = (next(p for p in found if name in p) for name in ("query", "in"))
        first, second = (norm(p) for p in found if "shift" in p)
        inner = {"linear1.weight": thinks["in"].T, "linear1.bias": thinks["in_bias"]}
        inner |= {"linear2.weight": thinks["out"].T, "linear2.bias": thinks["out_bias"]}
        inner |= prefixed("norm1", first) | prefixed("norm2", second) | prefixed("self_attn", mixing(attends))
        return prefixed("inner", inner)

    return layers, normal(5, 6), Applied(lambda m, h: m.inner(h[None])[0], inner=model), names


ARCHITECTURES = {
    "feed-forward": feed_forward,
    "residual, layer-norm, weight-norm": skip_and_normalize,
    "vanilla RNN, unrolled": lambda: through_time("rnn", False),
    "LSTM over time": lambda: through_time("lstm", True),
    "convolution on a ring": lambda: on_a_torus((7,)),
    "convolution on a torus": lambda: on_a_torus((4, 5)),
    "causal attention": attending,
    "transformer block, Pre-LN": lambda: block("pre"),
    "transformer block, Post-LN": lambda: block("post"),
}
OTHER_BIASES = ("bias_hh_l0", "in_proj_bias", "out_proj.bias")  # torch's, which we have not: they are zero


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_outputs_and_gradients_are_those_of_pytorch(name, x64):
    """Float64 on both sides: a thousand roundings of the largest entry, as many as meet in one."""
    layers, x, model, names = ARCHITECTURES[name]()
    model, weights = model.double(), names(layers)
    state = {key: torch.zeros_like(value) for key, value in model.state_dict().items()}
    assert set(weights) <= set(state) and all(key.endswith(OTHER_BIASES) for key in set(state) - set(weights))
    model.load_state_dict(state | {key: torch.tensor(np.array(value)) for key, value in weights.items()})
    out = model(torch.tensor(np.array(x)))
    out = out.reshape(run(layers, x).shape)
    rounding = 1e3 * np.finfo(float).eps
    value = out.detach().numpy()
    np.testing.assert_allclose(run(layers, x), value, rtol=0, atol=rounding * np.abs(value).max())
    torch.sum(torch.sin(out)).backward()
    gradients = names(layer_gradients(lambda y: jnp.sum(jnp.sin(y)), layers, x))
    theirs = dict(model.named_parameters())
    for key, value in gradients.items():
        size = float(jnp.max(jnp.abs(value)))
        assert size > 1e-4  # of a gradient that is nothing, nothing would be said
        np.testing.assert_allclose(value, theirs[key].grad.numpy(), rtol=0, atol=rounding * size, err_msg=key)
