"""Where the verdicts' numbers come from: a constant of theory, a promise, and what they give at a width and a depth.

Two numbers decide. `HARMFUL` is where training ends: a network trains over six depth scales (Schoenholz et al. 2017,
arXiv:1611.01232), so the squared gradient may change by e^±6 from end to end. `ALARMS` is what is promised of healthy
networks: at most one in a hundred raises an alarm. `DEVIATIONS` follows: a Gaussian is beyond 5 of its deviations with
probability 5.7e-7, so 17 000 rows can be asked and the promise still holds. The rest follows at a network's own size:

- a sum over layers, see `chance`: 5/n a layer (Hanin and Nica 2019), and `tied_step` where the weights are tied;
- a flat unit, `flat`, and a frozen attention: the slope below which one unit alone loses e^6 of the squared gradient,
  all that a whole network may lose;
- dead units, `dead_share`: of units that are on at half of their inputs, the binomial's;
- a learning rate, `unstable`: what a step beyond the stability limit makes of the unstable direction within a trial
  must be harmful, e^6 of its square, and the loss on that very batch must have risen: on the edge of stability, where
  a healthy training stays (Cohen et al. 2021, arXiv:2103.00065), it takes more steps;
- an update that rounding swallows: entry by entry all of it is lost (below half a unit of the last place) or a third at
  most (x units become round(x)), so a share is a number of entries, of which HALF is "most";
- the end of a record: the last 5 % of its steps, `flight.TOUCHED`, those that the clip advised for it may touch;
- Adam's second moment, `stale`: Student's law at the optimizer's own decay rate and number of steps;
- a branch or a layer that takes the size out of what it is given, `radial`: less than chance leaves at this width;
- HALF: "most of" something is more than half of it. What counts as agreement is no law of theory: the verdicts on the
  corpus are the same from 0.3 to 0.7 (tests/test_diagnosis_thresholds.py, which varies every number here).

A norm off by a factor of two (`nonfinite.LOST`) has no right bit.
Other numbers of this folder are no thresholds: budgets (entries of a matrix that is formed, steps of an iteration, rows
of a table) and the sizes in remedies, each of which says where it stands what it is for.
"""

import math

import numpy as np

from gradjax.theory.finite_width import RELU_LAYER

HARMFUL = 6.0  # of ln of the squared norm, from end to end
ALARMS = 0.01  # share of healthy networks
DEVIATIONS = 5.0  # erfc(5 / sqrt 2) = 5.7e-7 = ALARMS / 17 000
TIED = 1.645  # where erfc(TIED) / 2 = ALARMS
HALF = 0.5  # "most of"


def chance(widths: np.ndarray, tied: np.ndarray) -> float:
    """By how much ln of a squared norm varies by chance over layers of these widths: ln |J u|² has 5/n a layer.

    >>> round(chance(np.full(20, 48), np.zeros(20, bool)), 2)  # 5 sqrt(20 * 5 / 48)
    7.22
    """
    widths = np.maximum(np.asarray(widths, np.float64), 1)
    return DEVIATIONS * float(np.sum(RELU_LAYER / widths)) ** 0.5 + sum(map(tied_step, widths[tied]))


def tied_step(width: float) -> float:
    """By how much a step through time may grow by chance, 2 ln(1 + TIED / sqrt n), the same at every step.

    Its weights are the same each time, so the growth is that of W's largest eigenvalue. The far end of a real Gaussian
    matrix of variance 1/n has real eigenvalues 1 + ξ / sqrt n of density exp(-ξ²) / (2 sqrt π) at each of its two ends
    (Edelman 1997; Rider and Sinclair 2014, arXiv:1209.6085), so one is beyond ξ with probability erfc(ξ) / 2; that is
    `ALARMS` at ξ = 1.645, `TIED`.
    """
    return 2 * math.log1p(TIED / math.sqrt(width))


def flat() -> float:
    """|φ'| below this is flat, exp(-HARMFUL / 2): one such unit loses what a whole network may lose.

    >>> round(flat(), 4)
    0.0498
    """
    return math.exp(-HARMFUL / 2)


def radial(widths: np.ndarray) -> np.ndarray:
    """ln |J h|² / |h|² over ‖J‖² / n below which a layer takes the size out: for a direction like others it is 0 ± 5/n.

    >>> radial(np.array([80]))  # 5 sqrt(5 / 80)
    array([-1.25])
    """
    return -DEVIATIONS * np.sqrt(RELU_LAYER / np.maximum(widths, 1))


def dead_share(widths: np.ndarray) -> np.ndarray:
    """The share of dead units that chance allows, 1/2 + 5 / (2 sqrt n): a ReLU unit without a bias is on at half.

    Half would be off at every example if the examples were all alike; the number is binomial. All of them is too many
    at any width: nothing passes.

    >>> dead_share(np.array([100, 4]))
    array([0.75, 1.  ])
    """
    return np.minimum(0.5 + DEVIATIONS / (2 * np.sqrt(np.maximum(widths, 1))), np.nextafter(1.0, 0.0))


def stale(decay: float, steps: int) -> float:
    """The root mean square of g / sqrt(v̂) that chance allows at Adam's own decay β and after t steps, g among them.

    v̂ of the t - 1 steps before is a mean square of ν = (1 - β^(t-1)) (1 + β) / ((1 + β^(t-1)) (1 - β)) gradients, so
    |g| / sqrt(v̂ before) is Student's with ν degrees of freedom, even if all entries of a gradient grow together; its
    quantile at DEVIATIONS is taken by Wallace's formula (1959). The v̂ of this step holds g² too, with weight
    (1 - β) / (1 - β^t). inf at the first step, where v̂ = g².

    It is 5.0 at β = 0.999 and 3.6 at 0.95 late in a run; spikes have been seen to follow 2.3 (Wortsman et al. 2023,
    arXiv:2304.13013), which by itself is no rarer than one step in fifty.
    """
    if steps < 2:
        return math.inf
    before = decay ** (steps - 1)
    freedom = (1 - before) * (1 + decay) / ((1 + before) * (1 - decay))
    z = DEVIATIONS * (8 * freedom + 3) / (8 * freedom + 1)
    square = freedom * math.expm1(min(z * z / freedom, 700.0))
    new = (1 - decay) / (1 - decay * before)
    return ((1 - new) / square + new) ** -0.5


def unstable(over: float, momentum: float, steps: int) -> float:
    """ln of the squared growth along the sharpest direction in so many steps, `over` times the stability limit.

    z² + (1 + β) (2 over - 1) z + β = 0 is the recurrence of heavy-ball momentum β at the curvature λ of that direction,
    and of Adam's averaged β in its preconditioned one: at the limit, over = 1, a root is -1.

    >>> round(unstable(1.5, 0.0, 30), 3)  # descent: (2 over - 1)^(2 steps), 60 ln 2
    41.589
    """
    middle = (1 + momentum) * (2 * over - 1) / 2
    return 2 * steps * math.log(middle + math.sqrt(max(middle * middle - momentum, 0.0)))
