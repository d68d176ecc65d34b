"""Random networks in plain numpy, which know nothing of theory: what the rows are simulated with."""

import functools
import itertools

import numpy as np

from theory_rows.routes import sampled


@functools.cache
def network(steps=300, width=400, weight_std=1.5, bias_std=0.3, keep=1.0, seeds=6, seed=1):
    """Mean square and correlation of two copies behind many tanh layers, and the gain of a tangent, by seed."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(seeds):
        h, v = rng.standard_normal((2, width)), rng.standard_normal(width)
        h[1], gains = 0.5 * h[0] + 0.5 * h[1], []
        for _ in range(steps):
            w, b = weight_std * rng.standard_normal((width, width)) / width**0.5, bias_std * rng.standard_normal(width)
            mask = (rng.random((2, width)) < keep) / keep
            tangent = w @ (mask[0] * (1 - np.tanh(h[0]) ** 2) * v)
            gains.append(tangent @ tangent / (v @ v))
            v = tangent / np.linalg.norm(tangent)
            h = (mask * np.tanh(h)) @ w.T + b
        found.append((h[0] @ h[0] / width, h[0] @ h[1] / np.sqrt((h[0] @ h[0]) * (h[1] @ h[1])), np.mean(gains[10:])))
    return np.array(found).T


def of_network(ours, which, slack=0.02, **options):
    """Against simulated networks: four standard errors over seeds, and what width 400 leaves out."""
    values = network(**options)[which]
    mean, error = sampled(values)
    return ours, mean, error + slack * abs(mean)


def products(slope, depth, width=120, draws=4, orthogonal=False, seed=2):
    """Eigenvalues of J J^T over their mean of products of slopes and weights."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(draws):
        j = np.eye(width)
        for _ in range(depth):
            w = rng.standard_normal((width, width)) / width**0.5
            w = np.linalg.qr(w)[0] if orthogonal else w
            j = slope(rng.standard_normal(width))[:, None] * (w @ j)
        values = np.linalg.svd(j, compute_uv=False) ** 2
        found.append(values / values.mean())
    return np.array(found)


def gate(z):
    return np.sqrt(2) * (z > 0)


def one(z):
    return np.ones_like(z)


@functools.cache
def relu_logs(widths, count=4000, seed=3, readout=False):
    """ln |J u|^2 of alive He-ReLU networks, and the share of dead ones; `readout`: of one output's input gradient."""
    rng = np.random.default_rng(seed)
    h, u = rng.standard_normal((2, count, widths[0]))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    masks, weights = [], []
    for fan_in, width in itertools.pairwise(widths):
        w = rng.standard_normal((count, width, fan_in)) * np.sqrt(2 / fan_in)
        h, u = np.einsum("nij,nj->ni", w, h), np.einsum("nij,nj->ni", w, u)
        masks.append(h > 0)
        weights.append(w)
        u, h = u * (h > 0), np.maximum(h, 0)
    if readout:
        u = rng.standard_normal((count, widths[-1])) / np.sqrt(widths[-1])
        for w, mask in zip(reversed(weights), reversed(masks), strict=True):
            u = np.einsum("nij,ni->nj", w, u * mask)
    squares = np.sum(u**2, axis=1)
    return np.log(squares[squares > 0]), np.mean(squares == 0)


def blocks(phi, slope, depth, scale, width=300, seeds=6, seed=4):
    """ln growth of the squared gradient of residual blocks x + a V phi(W x), by seed."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(seeds):
        x, kept = rng.standard_normal(width), []
        for _ in range(depth):
            w, v = rng.standard_normal((2, width, width)) / width**0.5
            kept.append((w, v, slope(w @ x)))
            x = x + scale * v @ phi(w @ x)
        g = rng.standard_normal(width)
        start = g @ g
        for w, v, d in reversed(kept):
            g = g + scale * w.T @ (d * (v.T @ g))
        found.append(np.log(g @ g / start))
    return np.array(found)


def grown(ours, *arguments):
    mean, error = sampled(blocks(*arguments))
    return ours, mean, error + 0.03 * abs(mean)


def he(x):
    return np.sqrt(2) * np.maximum(x, 0)


def he_slope(x):
    return np.sqrt(2) * (x > 0)


def descent(weights, rate=2e-4):
    a, steps = 1e-3 ** (1 / weights), 0
    while a**weights < 0.5:
        a, steps = a + rate * a ** (weights - 1) * (1 - a**weights), steps + 1
    return steps * rate


def clipped_counts(start):
    x, steps = start, 0
    while abs(np.sinh(x)) >= 1e-3:
        x, steps = x - np.sinh(x) * min(0.5, 0.5 / abs(np.sinh(x))), steps + 1
    return steps


def shatter(layer, depth, width=400, seeds=24, seed=6):
    """Correlation of the gradients of one output at two unrelated inputs, over networks (ratio of sums)."""
    rng, both, alone = np.random.default_rng(seed), [], []
    for _ in range(seeds):
        x = np.linalg.qr(rng.standard_normal((width, 2)))[0].T * width**0.5
        weights = [rng.standard_normal((width, width)) / width**0.5 for _ in range(depth)]
        signals = [x]
        for w in weights:
            signals.append(layer(signals[-1], w))
        g = np.tile(rng.standard_normal(width), (2, 1))
        for x, w in zip(reversed(signals[:-1]), reversed(weights), strict=True):
            back = np.sqrt(2) * (x > 0) * (g @ w.T)
            g = g + back if layer is skip else back
        both.append(g[0] @ g[1])
        alone.append((g[0] @ g[0] + g[1] @ g[1]) / 2)
    ratios = np.array(both) / np.mean(alone)
    mean, error = sampled(ratios)
    return mean, error + 0.02


def plain(x, w):
    return he(x) @ w


def skip(x, w):
    return x + he(x) @ w


def lyapunov_by_qr(width=100, steps=400, seed=7):
    rng, q, logs = np.random.default_rng(seed), np.eye(width), 0
    for step in range(steps):
        q, r = np.linalg.qr(rng.standard_normal((width, width)) / width**0.5 @ q)
        logs = logs + np.log(np.abs(np.diag(r))) * (step >= 50)
    return logs / (steps - 50)


def recurrent_run(gain=3.0, width=300, steps=300, seed=8, top=1):
    """Growth of a tangent through a random tanh RNN, per step, over four networks."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(4):
        w, x = gain * rng.standard_normal((width, width)) / width**0.5, rng.standard_normal(width)
        v, logs = rng.standard_normal(width), []
        for _ in range(steps):
            v = w @ ((1 - np.tanh(x) ** 2) * v)
            x = w @ np.tanh(x)
            logs.append(np.log(np.linalg.norm(v)))
            v /= np.linalg.norm(v)
        found.append(np.mean(logs[50:]))
    return np.array(found)
