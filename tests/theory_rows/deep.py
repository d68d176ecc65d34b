"""Rows of normalization, residual networks and shattered gradients."""

import mpmath
import numpy as np

from gradjax.theory import normalization, residual, shattering
from theory_rows.networks import blocks, grown, he, he_slope, plain, shatter, skip
from theory_rows.routes import CLOSED, PRECISE, SIMULATED, Z, against, sampled

B = 8


def fixup_steps(depth, rule, width=200):
    """The first step's effect on a residual network whose branches end in zeros, sum over blocks of |dL/dV_l|^2: what
    each unit of each block would make of it."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal(width)
    x *= width**0.5 / np.linalg.norm(x)
    hidden = [he(rng.standard_normal((width, width)) @ x / width**0.5) for _ in range(depth)]
    return depth * (rule * np.concatenate(hidden)) ** 2


def deepnorm_step(depth, decoder=False):
    """The same for DeepNorm's two-matrix branches: 2 N sublayers, each of size (beta / alpha)^2, twice."""
    c = residual.deepnorm_constants(0, depth) if decoder else residual.deepnorm_constants(depth, 0)
    alpha, beta = (c.decoder_alpha, c.decoder_beta) if decoder else (c.encoder_alpha, c.encoder_beta)
    return 2 * depth * 2 * (beta / alpha) ** 2


def gate_pair(c, power):
    """(E phi' phi' / E phi'^2)^power of ReLU by samples of correlation c."""
    other = c * Z[0] + np.sqrt(1 - c**2) * Z[1]
    mean, error = sampled(2.0 * ((Z[0] > 0) & (other > 0)))
    return mean**power, power * mean ** (power - 1) * error


def relu_angles(depth, skip=False):
    """prod 1 - theta/pi along the arc-cosine map from unrelated inputs, or with a skip beside each layer."""
    c, kept = mpmath.mpf(0), mpmath.mpf(1)
    for _ in range(depth):
        angle = mpmath.acos(c)
        both, after = 1 - angle / mpmath.pi, (mpmath.sin(angle) + (mpmath.pi - angle) * c) / mpmath.pi
        c, kept = ((c + after) / 2, kept * (1 + both) / 2) if skip else (after, kept * both)
    return kept


def relu_batchnorm_rate(batch):
    """The closed form of Yang et al. (2019) for ReLU, by arbitrary precision."""
    c = mpmath.mpf(-1) / (batch - 1)
    j = (mpmath.sqrt(1 - c * c) + (mpmath.pi - mpmath.acos(c)) * c) / mpmath.pi
    slope = (mpmath.pi - mpmath.acos(c)) / mpmath.pi
    top = (batch - 1) * (slope + (batch - 1)) / mpmath.mpf((batch - 3) * (batch - 1)) / (1 - j)
    return top - mpmath.mpf(1) / (batch - 3)


def tokens(depth, count, post, scale, width=300, seeds=6):
    """Mean square and correlation of the tokens of a random transformer with uniform attention, by seed."""
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        x = np.linalg.qr(rng.standard_normal((width, count)))[0] * width**0.5
        for _ in range(depth):
            v, w1, w2 = rng.standard_normal((3, width, width)) / width**0.5
            for branch in (lambda n, v=v: v @ n.mean(axis=1, keepdims=True),
                           lambda n, w1=w1, w2=w2: w2 @ np.maximum(w1 @ n, 0)):  # fmt: skip
                x = scale * x + branch(x / np.sqrt(np.mean(x**2, axis=0)))
                x = x / np.sqrt(np.mean(x**2, axis=0)) if post else x
        gram = x.T @ x / width
        off = (gram.sum() - np.trace(gram)) / count / (count - 1)
        found.append((np.trace(gram) / count, off / (np.trace(gram) / count)))
    return np.array(found).T


def deepnorm_network(depth):
    """ln of the squared gradient of the second matrices, summed over DeepNorm's blocks: deep less shallow."""

    def total(depth, seeds=6, width=64):
        c, found = residual.deepnorm_constants(depth, 0), []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            x, kept = rng.standard_normal(width), []
            for _ in range(depth):
                w, v = c.encoder_beta * rng.standard_normal((2, width, width)) / width**0.5
                hidden = np.maximum(w @ x, 0)
                y = c.encoder_alpha * x + v @ hidden
                kept.append((w, v, hidden, y))
                x = (y - y.mean()) / y.std()
            g, squares = rng.standard_normal(width), 0.0
            for w, v, hidden, y in reversed(kept):
                n = (y - y.mean()) / y.std()
                g = (g - g.mean() - n * np.mean(n * g)) / y.std()
                squares += (g @ g) * (hidden @ hidden)
                g = c.encoder_alpha * g + w.T @ ((hidden > 0) * (v.T @ g))
            found.append(squares / width**2)
        return sampled(np.log(found))

    (deep, one), (shallow, two) = total(depth), total(4)
    return deep - shallow, 0.0, np.hypot(one, two) + 0.5 * (2 * 4) ** -0.5  # the rule is the leading order in 1/alpha^2


ROWS = {
    "normalization.batchnorm_gradient_rate": [
        (CLOSED, lambda: (normalization.batchnorm_gradient_rate("linear", B), 6 / 5, 1e-9)),
        (SIMULATED, lambda: against(normalization.batchnorm_gradient_rate("relu", np.inf),
                                    (Z[0] > 0) / np.var(np.maximum(Z[0], 0)))),
        (PRECISE, lambda: (normalization.batchnorm_gradient_rate("relu", B), relu_batchnorm_rate(B), 1e-9)),
    ],
    "residual.transformer_signals": [
        (CLOSED, lambda: (residual.transformer_signals(6, 1).length[6], 1 + 1.5 * 6, 1e-12)),
        (SIMULATED, lambda: against(residual.transformer_signals(4, 8).length[4], tokens(4, 8, False, 1.0)[0])),
        (SIMULATED + ", Post-LN", lambda: against(
            residual.transformer_signals(3, 8, post=True, skip=2.0).correlation[3], tokens(3, 8, True, 2.0)[1])),
    ],
    "residual.residual_growth": [
        (CLOSED, lambda:
            (residual.residual_growth("relu", 2**0.5, 10, 1.0).log_squared_gradient[0], 10 * np.log(2), 1e-9)),
        (SIMULATED, lambda: grown(residual.residual_growth("tanh", 1.0, 12, 0.8).log_squared_gradient[0], np.tanh,
                                  lambda h: 1 / np.cosh(h) ** 2, 12, 0.8)),
    ],
    "residual.stable_branch_scale": [
        (CLOSED, lambda: (residual.stable_branch_scale(16), 0.25, 0.0)),
        (SIMULATED + " of SkipInit's alternative: growth below e", lambda: grown(
            12 * np.log1p(1 / 12), he, he_slope, 12, residual.stable_branch_scale(12))),
        (CLOSED + ", ReZero and SkipInit start at the identity", lambda:
            (blocks(he, he_slope, 8, 0.0).max(), 0.0, 1e-12)),
    ],
    "residual.fixup_branch_scale": [
        (CLOSED, lambda: (residual.fixup_branch_scale(16, 3), 0.5, 1e-12)),
        (SIMULATED, lambda: against(1.0, fixup_steps(64, residual.fixup_branch_scale(64, 2)))),
        (SIMULATED + ", few blocks", lambda: against(1.0, fixup_steps(4, residual.fixup_branch_scale(4, 2)))),
    ],
    "residual.deepnorm_constants": [
        (CLOSED + ", encoder", lambda: (deepnorm_step(37), 1.0, 1e-12)),
        (CLOSED + ", decoder", lambda: (deepnorm_step(500, decoder=True), 1.0, 1e-12)),
        (SIMULATED, lambda: deepnorm_network(32)),
    ],
    "shattering.gradient_correlation": [
        (CLOSED, lambda: (shattering.gradient_correlation("relu", 2**0.5, 0.0, 1)[1], 0.5, 1e-9)),
        (PRECISE, lambda: (shattering.gradient_correlation("relu", 2**0.5, 0.0, 20)[20], relu_angles(20), 1e-9)),
        (SIMULATED, lambda: (shattering.gradient_correlation("relu", 2**0.5, 0.0, 3)[3], *shatter(plain, 3))),
    ],
    "shattering.residual_gradient_correlation": [
        (CLOSED, lambda: (shattering.residual_gradient_correlation("relu", 2**0.5, 1)[1], 0.75, 1e-9)),
        (PRECISE, lambda: (shattering.residual_gradient_correlation("relu", 2**0.5, 20)[20], relu_angles(20, True),
                           1e-9)),
        (SIMULATED, lambda: (shattering.residual_gradient_correlation("relu", 2**0.5, 3)[3], *shatter(skip, 3))),
    ],
    "shattering.batchnorm_gradient_correlation": [
        (CLOSED, lambda: (shattering.batchnorm_gradient_correlation("relu", 5)[5], 2.0**-5, 1e-12)),
        (PRECISE, lambda: (shattering.batchnorm_gradient_correlation("relu", 5, batch_size=B)[5],
                           (1 - mpmath.acos(mpmath.mpf(-1) / (B - 1)) / mpmath.pi) ** 5, 1e-9)),
        (SIMULATED, lambda: (shattering.batchnorm_gradient_correlation("relu", 3, batch_size=B)[3],
                             *gate_pair(-1 / (B - 1), 3))),
    ],
    "shattering.batchnorm_residual_gradient_correlation": [
        (CLOSED, lambda: (shattering.batchnorm_residual_gradient_correlation("relu", 2**0.5, 1)[1], 0.75, 1e-12)),
        (PRECISE, lambda: (shattering.batchnorm_residual_gradient_correlation("relu", 2**0.5, 40)[40], mpmath.nprod(
            lambda k: (1.5 + (1 - 1 / mpmath.pi) * k) / (2 + (1 - 1 / mpmath.pi) * k), [0, 39]), 1e-10)),
    ],
}  # fmt: skip
