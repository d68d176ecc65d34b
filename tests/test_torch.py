"""PyTorch's gradients of six architectures with the same weights, where PyTorch is installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradjax.chain import unroll
from gradjax.gradients import layer_gradients
from gradjax.layers import attention, convolution, dense, layer_norm, residual
from gradjax.networks import mlp, recurrent

torch = pytest.importorskip("torch", reason="PyTorch is in no extra of gradjax: install it to run this")
KEYS = jax.random.split(jax.random.key(5), 8)
F64 = {"dtype": jnp.float64}


def linear(p):
    """Our dense parameters as torch.nn.Linear has them; linear, so that it maps gradients too."""
    return {"weight": p["kernel"].T, "bias": p["bias"]}


def prefixed(prefix, parameters):
    return {f"{prefix}.{name}": value for name, value in parameters.items()}


def feed_forward():
    layers = mlp(KEYS[0], [4, 5, 6, 3], "tanh", bias_init="normal", **F64)
    linears = [torch.nn.Linear(a, b) for a, b in ((4, 5), (5, 6), (6, 3))]
    model = torch.nn.Sequential(linears[0], torch.nn.Tanh(), linears[1], torch.nn.Tanh(), linears[2])

    def names(gradients):
        return {k: v for i, g in enumerate(gradients) for k, v in prefixed(str(2 * i), linear(g.args[0])).items()}

    return layers, layers, model, names, jax.random.normal(KEYS[7], (4,), **F64)


def skip_and_normalize():
    branch = [layer_norm(6, **F64), dense(KEYS[0], 6, 6, "gelu", bias_init="normal", **F64)]
    layers = [residual(branch, 0.7), dense(KEYS[1], 6, 2, **F64)]

    class Skip(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.inner, self.last = torch.nn.LayerNorm(6), torch.nn.Linear(6, 6), torch.nn.Linear(6, 2)

        def forward(self, h):
            return self.last(h + 0.7 * torch.nn.functional.gelu(self.inner(self.norm(h))))

    def names(gradients):
        leaves = [
            g for g in jax.tree.leaves(gradients[0], is_leaf=lambda g: isinstance(g, dict)) if isinstance(g, dict)
        ]
        norm = next(g for g in leaves if "kernel" not in g)
        inner = next(g for g in leaves if "kernel" in g)
        found = prefixed("inner", linear(inner)) | prefixed("last", linear(gradients[1].args[0]))
        values = sorted(norm.items())
        return found | {f"norm.{'weight' if name in ('gain', 'scale') else 'bias'}": v for name, v in values}

    return layers, layers, Skip(), names, jax.random.normal(KEYS[7], (6,), **F64)


def through_time(kind, order):
    """Vanilla RNN and LSTM: torch has two biases, of which ours is the first; its gates come in another order."""
    cell = recurrent(KEYS[0], kind, 3, 2, kernel_init="mean_field", bias_init="normal", **F64)
    inputs = jax.random.normal(KEYS[1], (5, 2), **F64)
    start = jax.random.normal(KEYS[7], (3,), **F64)

    class Unrolled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = {"rnn": torch.nn.RNNCell, "lstm": torch.nn.LSTMCell}[kind](2, 3)

        def forward(self, h):
            state = (h, h) if kind == "lstm" else h
            for u in torch.tensor(np.asarray(inputs)):
                state = self.cell(
                    u[None], tuple(s.reshape(1, 3) for s in state) if kind == "lstm" else state.reshape(1, 3)
                )
            return torch.cat(state) if kind == "lstm" else state

    def names(found):
        p = jax.tree.leaves(found, is_leaf=lambda g: isinstance(g, dict))[0]
        p = {name: leaf if leaf.ndim == (2 if name == "bias" else 3) else leaf.sum(axis=0) for name, leaf in p.items()}
        by_gate = {name: jnp.stack([leaf[i] for i in order]) for name, leaf in p.items()}
        weights = {"weight_hh": "kernel", "weight_ih": "input_kernel"}
        found = {t: jnp.concatenate([gate.T for gate in by_gate[ours]]) for t, ours in weights.items()}
        return prefixed("cell", found | {"bias_ih": by_gate["bias"].ravel()})

    x = (start, start) if kind == "lstm" else start
    return [unroll(cell, inputs)], cell, Unrolled(), names, x


def on_a_ring():
    layers = [
        convolution(KEYS[i], a, b, "tanh", bias_init="normal", **F64) for i, (a, b) in enumerate([(2, 3), (3, 2)])
    ]
    convs = [torch.nn.Conv1d(a, b, 3, padding=1, padding_mode="circular") for a, b in ((2, 3), (3, 2))]

    class Ring(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.convs = torch.nn.ModuleList(convs)

        def forward(self, h):
            for conv in self.convs:
                h = torch.tanh(conv(h.T[None])[0].T)
            return h

    def names(gradients):
        found = [
            {"weight": jnp.transpose(g.args[0]["kernel"], (2, 1, 0)), "bias": g.args[0]["bias"]} for g in gradients
        ]
        return {k: v for i, g in enumerate(found) for k, v in prefixed(f"convs.{i}", g).items()}

    return layers, layers, Ring(), names, jax.random.normal(KEYS[7], (7, 2), **F64)


def attending():
    layers = [residual([attention(KEYS[0], 6, 2, causal=True, **F64)]), jnp.tanh]

    class Attending(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = torch.nn.MultiheadAttention(6, 2, bias=False, batch_first=True)

        def forward(self, h):
            mask = torch.triu(torch.ones(4, 4, dtype=torch.bool), 1)
            return torch.tanh(h + self.attention(h[None], h[None], h[None], attn_mask=mask, need_weights=False)[0][0])

    def names(gradients):
        p = next(g for g in jax.tree.leaves(gradients, is_leaf=lambda g: isinstance(g, dict)) if isinstance(g, dict))
        together = jnp.concatenate([p[name].T for name in ("query", "key", "value")])
        return prefixed("attention", {"in_proj_weight": together, "out_proj.weight": p["out"].T})

    return layers, layers, Attending(), names, jax.random.normal(KEYS[7], (4, 6), **F64)


ARCHITECTURES = {
    "feed-forward": feed_forward,
    "residual, layer-norm, GELU": skip_and_normalize,
    "vanilla RNN": lambda: through_time("rnn", [0]),
    "LSTM": lambda: through_time("lstm", [1, 0, 2, 3]),
    "convolution": on_a_ring,
    "attention": attending,
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradients_agree_with_copied_weights(name, x64):
    layers, ours, model, names, x = ARCHITECTURES[name]()
    model = model.double()
    weights = names(ours)
    state = {key: torch.zeros_like(value) for key, value in model.state_dict().items()}
    assert set(weights) <= set(state)
    assert all(key in weights or key.endswith(("bias_hh", "out_proj.bias")) for key in state)
    model.load_state_dict(state | {key: torch.tensor(np.array(value)) for key, value in weights.items()})
    out = model(torch.tensor(np.array(x[0] if isinstance(x, tuple) else x)))
    torch.sum(torch.sin(out)).backward()
    gradients = names(layer_gradients(lambda y: sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(y)), layers, x))
    theirs = dict(model.named_parameters())
    for key, value in gradients.items():
        np.testing.assert_allclose(value, theirs[key].grad.numpy(), rtol=1e-10, atol=1e-12)
    assert sum(float(jnp.sum(value**2)) for value in gradients.values()) > 1e-3
