"""Rows of learning and of recurrent networks."""

import functools

import mpmath
import numpy as np

from gradjax.theory import isometry, learning, recurrent
from theory_rows.networks import (
    clipped_counts,
    descent,
    recurrent_run,
)
from theory_rows.routes import CLOSED, PRECISE, SIMULATED, against, gauss, sampled, sech2


@functools.cache
def tanh_spectrum():
    x = (np.arange(4000) + 0.5) / 4000
    return isometry.lyapunov_spectrum("tanh", 3.0, 0.0, x)


@functools.cache
def recurrent_length():
    return mpmath.findroot(lambda q: 9 * gauss(lambda z: mpmath.tanh(mpmath.sqrt(q) * z) ** 2) - q, 6.0)


def fraction_growing():
    return np.mean(tanh_spectrum() > 0)


@functools.cache
def gate_by_hand(weight_std, bias, square):
    """chi_1 of the gated network by integrals in arbitrary precision and iteration of its length."""

    def average(f, q):
        std = weight_std * mpmath.sqrt(q + square)
        return gauss(lambda z: f(1 / (1 + mpmath.exp(-bias - std * z))))

    q = mpmath.mpf(0)
    for _ in range(60):
        q = average(lambda u: u**2, q) * q + average(lambda u: (1 - u) ** 2, q) * square
    turned = average(lambda u: (u * (1 - u)) ** 2, q)
    return average(lambda u: u**2, q) + weight_std**2 * (q + square) * turned


def gated_network(weight_std, bias, square, width=500, steps=400):
    """ln growth of the squared tangent of h <- u h + (1 - u) z, by step."""
    rng = np.random.default_rng(9)
    first, second = weight_std * rng.standard_normal((2, width, width)) / width**0.5
    h, v, logs = np.zeros(width), rng.standard_normal(width), []
    for _ in range(steps):
        z = square**0.5 * rng.standard_normal(width)
        u = 1 / (1 + np.exp(-(first @ h + second @ z + bias)))
        tangent = u * v + (h - z) * u * (1 - u) * (first @ v)
        logs.append(np.log(tangent @ tangent / (v @ v)))
        h, v = u * h + (1 - u) * z, tangent / np.linalg.norm(tangent)
    return np.array(logs[100:])


def turned(scale, steps):
    """ln of the norm of a power of an orthogonal matrix times a number."""
    w = scale * np.linalg.qr(np.random.default_rng(11).standard_normal((30, 30)))[0]
    return np.log(np.linalg.norm(np.linalg.matrix_power(w, steps), 2))


def sensitivities(factor, chains=4000, steps=200):
    """(dh/d factor)^2 of linear memories of white inputs."""
    rng = np.random.default_rng(10)
    h, s = np.zeros((2, chains))
    for _ in range(steps):
        h, s = factor * h + rng.standard_normal(chains), factor * s + h
    return s**2


ROWS = {
    "learning.mode_time": [
        (PRECISE, lambda: (learning.mode_time(1.0, 1e-3, 0.5, 2), mpmath.log(999) / 2, 1e-12)),
        (SIMULATED, lambda: (learning.mode_time(1.0, 1e-3, 0.5, 4), descent(4), 0.01)),
    ],
    "learning.mode_strength": [
        (CLOSED, lambda: (learning.mode_strength(2.0, 0.5, 0.0), 0.5, 1e-15)),
        (SIMULATED, lambda: (learning.mode_strength(1.0, 1e-3, descent(2)), 0.5, 1e-3)),
    ],
    "learning.largest_stable_step": [
        (CLOSED, lambda: (learning.largest_stable_step(1.0, 4), 0.5, 0.0)),
        (PRECISE, lambda: (learning.largest_stable_step(1.5, 3),
                           2 / mpmath.diff(lambda a: (a**3 - 1.5) * a**2, mpmath.mpf(1.5) ** (mpmath.mpf(1) / 3)),
                           1e-9)),
    ],
    "learning.clipped_step": [
        (CLOSED, lambda: (learning.clipped_step(4.0, 1.0, 1.0), 0.125, 0.0)),
        (CLOSED + ", a short gradient", lambda: (learning.clipped_step(0.5, 2.0, 1.0), 0.25, 0.0)),
        (SIMULATED, lambda: (clipped_counts(3.0), learning.cosh_steps(3.0, 1e-3, clipped=True), 0)),
    ],
    "learning.cosh_steps": [
        (CLOSED, lambda: (learning.cosh_steps(12.0, 1e-3, clipped=True), 2 * 12 + 8, 0)),
        (SIMULATED, lambda: (learning.cosh_steps(7.5, 1e-3, clipped=True), clipped_counts(7.5), 0)),
    ],
    "learning.cosh_constant_steps": [
        (SIMULATED, lambda: (learning.cosh_constant_steps(6.0, 1e-3) / learning.cosh_steps(6.0, 1e-3, clipped=False),
                             1.0, 0.01)),
        (PRECISE, lambda: (learning.cosh_constant_steps(2.0, 1e-2), mpmath.cosh(2) * mpmath.quad(
            lambda x: 1 / mpmath.sinh(x), [mpmath.asinh(0.01), 0.1, 2]), 1e-9)),
    ],
    "learning.clipped_complexity": [
        (CLOSED, lambda: (learning.clipped_complexity(1.0, 1.0, 1.0, 1.0), 40.0, 0.0)),
        (PRECISE, lambda: (learning.clipped_complexity(2.0, 3.0, 5.0, 0.1),
                           20 * 2 * 5 / mpmath.mpf(0.1) ** 2 + 20 * 9 * mpmath.mpf(5) / 2, 1e-9)),
        (SIMULATED + ", a bound", lambda: (max(clipped_counts(4.0) - learning.clipped_complexity(
            1.0, 1.0, np.cosh(4.0) - 1, 1e-3), 0.0), 0.0, 0.0)),
    ],
    "recurrent.steepest_slope": [
        (CLOSED, lambda: (recurrent.steepest_slope("sigmoid"), 0.25, 1e-12)),
        (PRECISE, lambda: (recurrent.steepest_slope("gelu"),
                           mpmath.ncdf(mpmath.sqrt(2)) + mpmath.sqrt(2) * mpmath.npdf(mpmath.sqrt(2)), 1e-10)),
    ],
    "recurrent.log_gradient_bound": [
        (CLOSED, lambda: (recurrent.log_gradient_bound("sigmoid", 4.0, 9), 0.0, 1e-12)),
        (PRECISE + ", reached by orthogonal weights", lambda: (
            recurrent.log_gradient_bound("linear", 1.8, 9), turned(1.8, 9), 1e-12)),
        (SIMULATED + ", a bound", lambda:
            (max(recurrent_run(0.9).max() - recurrent.log_gradient_bound("tanh", 1.8, 1), 0),
                                           0.0, 0.0)),
    ],
    "recurrent.error_wall": [
        (CLOSED, lambda: (recurrent.error_wall("sigmoid", 5.0, 0.5).bias, 0.5 - 5 / (1 + np.exp(-0.5)), 1e-12)),
        (PRECISE, lambda: (recurrent.error_wall("sigmoid", 5.0, 0.5).rate,
                           5 * mpmath.diff(lambda x: 1 / (1 + mpmath.exp(-x)), 0.5), 1e-10)),
    ],
    "recurrent.fold_biases": [
        (CLOSED, lambda: (recurrent.fold_biases("sigmoid", 5.0).sum(), -5.0, 1e-9)),
        (PRECISE, lambda: (recurrent.fold_biases("tanh", 2.0)[1],
                           2 * mpmath.tanh(mpmath.acosh(mpmath.sqrt(2))) - mpmath.acosh(mpmath.sqrt(2)), 1e-9)),
    ],
    "recurrent.recurrent_exponent": [
        (CLOSED, lambda: (recurrent.recurrent_exponent("linear", 0.5, 1.0), np.log(0.5), 1e-12)),
        (SIMULATED, lambda: (recurrent.recurrent_exponent("tanh", 3.0, 0.0), sampled(recurrent_run())[0],
                             sampled(recurrent_run())[1] + 6 / 300)),
        (PRECISE, lambda: (recurrent.recurrent_exponent("tanh", 3.0, 0.0), mpmath.log(3 * mpmath.sqrt(gauss(
            lambda z: sech2(mpmath.sqrt(recurrent_length()) * z) ** 2))), 1e-10)),
    ],
    "recurrent.chaos": [
        (CLOSED, lambda: (recurrent.chaos("tanh", 0.8, 0.1).entropy_rate, 0.0, 0.0)),
        (PRECISE + ", by its spectrum", lambda:
            (recurrent.chaos("tanh", 3.0, 0.0).positive_fraction, fraction_growing(),
                                                 3e-4)),
        (PRECISE + ", the entropy by its spectrum", lambda: (
            recurrent.chaos("tanh", 3.0, 0.0).entropy_rate, np.mean(np.maximum(tanh_spectrum(), 0.0)), 1e-5)),
        (PRECISE + ", the dimension by its spectrum", lambda: (
            recurrent.chaos("tanh", 3.0, 0.0).attractor_dimension, np.mean(np.cumsum(tanh_spectrum()) > 0), 5e-4)),
    ],
    "recurrent.gate_gain": [
        (CLOSED, lambda: (recurrent.gate_gain(0.0, 1.0, 1.0), 1 / (1 + np.exp(-1)) ** 2, 1e-12)),
        (PRECISE, lambda: (recurrent.gate_gain(1.0, 1.0, 0.5), gate_by_hand(1.0, 1.0, 0.5), 1e-9)),
        (SIMULATED, lambda: against(np.log(recurrent.gate_gain(1.0, 4.0, 0.5)), gated_network(1.0, 4.0, 0.5))),
    ],
    "recurrent.memory_sensitivity": [
        (CLOSED, lambda: (recurrent.memory_sensitivity(0.5), 1.25 / 0.75**3, 1e-12)),
        (PRECISE, lambda: (recurrent.memory_sensitivity(0.9), mpmath.nsum(
            lambda k: (k * mpmath.mpf(0.9) ** (k - 1)) ** 2, [1, mpmath.inf]), 1e-9)),
        (SIMULATED, lambda: against(recurrent.memory_sensitivity(0.9), sensitivities(0.9))),
    ],
}  # fmt: skip
