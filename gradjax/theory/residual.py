"""Residual networks: how much signals and gradients grow, and the branch scales that keep them from it.

x <- x + a V phi(W x + b) adds to the mean squared signal and multiplies the mean squared gradient by
1 + a^2 output_std^2 weight_std^2 E phi'^2 per block, so a = 1 / sqrt(depth) bounds the whole network's growth by a
constant, and a = 1 explodes like 2^depth for ReLU (Yang and Schoenholz 2017, arXiv:1712.08969).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gradjax.arguments import DEEPEST, SQUARABLE, flag, real, reals, whole
from gradjax.theory.meanfield.moments import check_stds, moments
from gradjax.theory.quadrature import as_activation


class ResidualGrowth(NamedTuple):
    """Mean squared signal in front of every block and behind the last, and ln |dL/dx_l|^2 - ln |dL/dx_depth|^2."""

    length: np.ndarray
    log_squared_gradient: np.ndarray


class DeepNormConstants(NamedTuple):
    """x <- LN(alpha x + F(x)) with the weights of F's value and feed-forward parts multiplied by beta."""

    encoder_alpha: float
    encoder_beta: float
    decoder_alpha: float
    decoder_beta: float


def residual_growth(
    activation,
    weight_std: float,
    depth: int,
    branch_scale: float | Sequence[float],
    *,
    output_std: float = 1.0,
    bias_std: float = 0.0,
    q: float = 1.0,
) -> ResidualGrowth:
    """Return how signal and gradient grow through blocks x <- x + a V phi(W x + b), block by block.

    q' = q + a^2 output_std^2 E phi(h)^2 and |g|^2 = |g'|^2 (1 + a^2 output_std^2 weight_std^2 E phi'(h)^2), with h of
    variance weight_std^2 q + bias_std^2.

    Args:
        activation: a callable, an `Activation`, or a name.
        weight_std: of W, times sqrt(fan_in).
        depth: number of blocks, at least 1.
        branch_scale: a, one number or one for each block.
        output_std: of V, times sqrt(fan_in).
        bias_std: of b.
        q: mean squared input, above 0.

    Reference: Yang and Schoenholz (2017, arXiv:1712.08969).

    >>> residual_growth("relu", 2 ** 0.5, 3, 1.0).length.round(9)
    array([1., 2., 4., 8.])
    """
    activation = as_activation(activation)
    weight_std, bias_std, _ = check_stds(weight_std, bias_std)
    output_std = real("output_std", output_std, SQUARABLE)
    depth, scales = whole("depth", depth, 1, DEEPEST), reals("branch_scale", branch_scale)
    scales = scales if scales.ndim else np.broadcast_to(scales, (depth,))
    if scales.shape != (depth,):
        raise ValueError(
            f"branch_scale has shape {scales.shape}; expected one finite number or one for each of {depth}"
        )
    length, log_gain = [real("q", q, "(0, inf)")], [0.0]
    for scale in scales:
        m = moments(activation, weight_std**2 * length[-1] + bias_std**2)
        branch = (scale * output_std) ** 2
        length.append(length[-1] + branch * float(m.square))
        if not np.isfinite(length[-1]):
            raise ValueError(f"block {len(length) - 2} overflows: branch_scale, output_std or weight_std is too large")
        log_gain.append(log_gain[-1] + float(np.log1p(branch * weight_std**2 * m.slope_square)))
    return ResidualGrowth(np.array(length), log_gain[-1] - np.array(log_gain))


def stable_branch_scale(depth: int) -> float:
    """Return 1 / sqrt(depth): the branch scale under which growth stays bounded, by e for He-scaled ReLU blocks.

    SkipInit (De and Smith 2020, arXiv:2002.10444) reaches the same at the start with a learnt scalar at 0, and so does
    ReZero (Bachlechner et al. 2020, arXiv:2003.04887).

    >>> stable_branch_scale(4)
    0.5
    """
    return whole("depth", depth) ** -0.5


def fixup_branch_scale(depth: int, layers_per_branch: int) -> float:
    """Return the factor on the weights inside a residual branch under Fixup: depth^(-1 / (2m - 2)).

    The last layer of each branch and the classifier start at zero, so at the first step only those have a gradient.

    Args:
        depth: number of residual branches, at least 1.
        layers_per_branch: m, at least 2.

    Reference: Zhang, Dauphin, Ma (2019, arXiv:1901.09321).

    >>> fixup_branch_scale(100, 2)
    0.1
    """
    depth, layers = whole("depth", depth), whole("layers_per_branch", layers_per_branch, 2)
    return depth ** (-1 / (2 * layers - 2))


def deepnorm_constants(encoder_depth: int, decoder_depth: int) -> DeepNormConstants:
    """Return alpha and beta of DeepNorm, for an encoder of N and a decoder of M layers; either may be 0.

    Encoder alone: (2N)^(1/4), (8N)^(-1/4); decoder alone the same in M. Both: encoder 0.81 (N^4 M)^(1/16),
    0.87 (N^4 M)^(-1/16); decoder (3M)^(1/4), (12M)^(-1/4). Constants of the part that is not there are 1.

    Reference: Wang et al. (2022, arXiv:2203.00555).

    >>> deepnorm_constants(8, 0).encoder_alpha
    2.0
    """
    n, m = whole("encoder_depth", encoder_depth, 0), whole("decoder_depth", decoder_depth, 0)
    if not n and not m:
        raise ValueError("encoder_depth and decoder_depth are both 0")
    if not m:
        return DeepNormConstants((2 * n) ** 0.25, (8 * n) ** -0.25, 1.0, 1.0)
    if not n:
        return DeepNormConstants(1.0, 1.0, (2 * m) ** 0.25, (8 * m) ** -0.25)
    mixed = (n**4 * m) ** (1 / 16)
    return DeepNormConstants(0.81 * mixed, 0.87 / mixed, (3 * m) ** 0.25, (12 * m) ** -0.25)


class TransformerSignals(NamedTuple):
    """Mean square of a token in front of every block and behind the last, and the correlation of two tokens there."""

    length: np.ndarray
    correlation: np.ndarray


def transformer_signals(depth: int, tokens: int, *, post: bool = False, skip: float = 1.0, branch: float = 1.0):
    """Return how long and how alike the tokens of a random transformer are, as `TransformerSignals`.

    A block adds uniform attention, the same vector for every token with the mean square m = (1 + (T - 1) c) / T, and a
    ReLU network of two layers, mean square 1/2 and cross product J(c)/2 by the arc-cosine kernel; weights have the
    variance 1/width, and both read normalized tokens. Pre-LN: q <- skip^2 q + branch^2 (m, then 1/2). Post-LN divides
    the sum by its length again. Tokens that become alike leave queries and keys without a gradient (rank collapse);
    skip = sqrt(depth) in Post-LN, or branch = 1/sqrt(depth) in Pre-LN, keeps them apart at any depth.

    Args:
        depth: blocks, at least 1.
        tokens: T, at least 1; unrelated, of mean square 1, in front of the first block.
        post: whether the normalization follows the sum.
        skip, branch: factors of the two summands.

    Reference: derived; Xiong et al. (2020, arXiv:2002.04745) for the lengths, Noci et al. (2022, arXiv:2206.03126) for
    rank collapse.

    >>> transformer_signals(4, 1).length
    array([1. , 2.5, 4. , 5.5, 7. ])
    """
    depth, count = whole("depth", depth, 1, DEEPEST), whole("tokens", tokens)
    post, skip, branch = flag("post", post), real("skip", skip, SQUARABLE), real("branch", branch, SQUARABLE)
    q, cross, found = 1.0, 0.0 if count > 1 else 1.0, []
    for _ in range(depth):
        found.append((q, cross / q))
        for kernel in (lambda c: ((1 + (count - 1) * c) / count,) * 2, lambda c: (0.5, _arc_cosine(c) / 2)):
            square, product = kernel(cross / q)
            q, cross = skip**2 * q + branch**2 * square, skip**2 * cross + branch**2 * product
            if not np.isfinite(q):
                raise ValueError(f"block {len(found) - 1} overflows: skip or branch is too large")
            q, cross = (1.0, cross / q) if post else (q, cross)
    return TransformerSignals(*np.array([*found, (q, cross / q)]).T)


def _arc_cosine(c: float) -> float:
    """The correlation of two signals behind a ReLU layer (Cho and Saul 2009)."""
    c = min(max(c, -1.0), 1.0)
    return float((np.sqrt(1 - c * c) + (np.pi - np.arccos(c)) * c) / np.pi)
