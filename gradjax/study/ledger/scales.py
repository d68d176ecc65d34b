"""Published claims on width, mean field and initialization, as data."""

import math

from gradjax.study.ledger.rows import Row

C = "clipping_meets_initialization"
D = "dynamical_isometry"
F = "finite_width"
G = "exploding_and_vanishing"
P = "phase_diagram"
T = "trainable_depth"

WIDTH = (
    Row("ln |Ju|² has the variance 5 Σ 1/n", "Hanin and Nica 2019", 1.0, (F, "variance: relu, width 100, depth 20"),
        note="at width 100; at width 8 it is twice that", outside=(F, "variance: relu, width 8, depth 8", 5.0)),
    Row("ln |Ju|² has the mean -5/2 Σ 1/n", "Hanin and Nica 2019", -0.5, (F, "mean: relu, width 100, depth 20"),
        note="at width 100; not at width 8", outside=(F, "mean: relu, width 8, depth 8", -2.5)),
    Row("E|Ju|⁴ / (E|Ju|²)² = Π(1 + 5/n) (width 200, depth 10)", "Hanin 2018", 1.025**10, (F, "fourth moment")),
    Row("width 3, depth 8: a share 1 - (1 - 2^-n)^L of networks is dead", "Hanin 2018", 1 - (7 / 8) ** 8,
        (F, "dead networks")),
    Row("only depth over width counts for the variance of ln |Ju|²",
        "Hanin and Nica 2019", 1.0, (F, "depth over width alone"), digits=0.05),
    Row("linear layers give ln |Ju|² the variance 2 Σ 1/n", "Hanin and Nica 2019", 0.4,
        (F, "variance: linear, width 50, depth 10")),
)  # fmt: skip

MEAN_FIELD = (
    Row("tanh (1.3, 0.3): the mean square settles at 0.607", "Poole et al. 2016", 0.60705, (P, "length: ordered")),
    Row("tanh (2.5, 0.3): the mean square settles at 4.079", "Poole et al. 2016", 4.07912, (P, "length: chaotic")),
    Row("tanh (2.5, 0.3): two signals settle at the correlation 0.1221", "Poole et al. 2016", 0.1221,
        (P, "correlation: chaotic")),
    Row("tanh (4, 0.3): chi_1 = 2.367", "Poole et al. 2016", math.log(2.36726), (P, "gain: deep in chaos"), log=True),
    Row("curvature settles at 3 chi_2/(chi_1 (chi_1 - 1)) (tanh 2.5, 0.3)", "Poole et al. 2016", 3.8677,
        (P, "curvature: chaotic")),
    Row("the gradient's norm grows by √chi_1 a layer (tanh 2.5, 0.3)", "Schoenholz et al. 2017", math.log(1.58522) / 2,
        (G, "slope: tanh, σw = 2.5"), log=True),
    Row("tanh, σb² = 0.05 is critical at σw² = 1.76 (ln chi_1 = 0)", "Schoenholz et al. 2017", 0.0,
        (P, "gain: critical"),
        log=True),
    Row("tanh (1.3, 0.05): signals become alike over 7.83 layers", "Schoenholz et al. 2017", 7.83,
        (P, "depth scale of the correlation")),
    Row("dropout leaves no critical point: one input's copies differ (c* < 1)", "Schoenholz et al. 2017", 0.99,
        (P, "dropout: correlation"), relation="<="),
    Row("trainable depth is 6 ξ, within a factor of 3", "Schoenholz et al. 2017", 3.0, (T, "frontier: factor"),
        relation="<="),
    Row("(σw², σb²) = (1.05, 2e-5) is critical for tanh", "Xiao et al. 2018", 0.0, (P, "gain: critical, small bias"),
        log=True),
    Row("tanh (4, 0.3): the mean square settles at 12.604", "Poole et al. 2016", 12.60415,
        (P, "length: deep in chaos")),
    Row("tanh (1.3, 0.3): chi_1 = 0.940", "Poole et al. 2016", math.log(0.93981), (P, "gain: ordered"), log=True),
    Row("tanh (2.5, 0.3): chi_1 = 1.585", "Poole et al. 2016", math.log(1.58522), (P, "gain: chaotic"), log=True),
    Row("tanh (4, 0.3): two signals become nearly unrelated (c* = 0.0297)", "Poole et al. 2016", 0.0297,
        (P, "correlation: deep in chaos"), log=True),
    Row("tanh (4, 0.3): curvature settles at 1.721", "Poole et al. 2016", 1.7214,
        (P, "curvature: deep in chaos")),
    Row("tanh, σw² = 2.5, σb² = 0.05: c* = 0.4468", "Schoenholz et al. 2017", 0.4468,
        (P, "correlation: chaotic, small bias")),
    Row("tanh without bias is critical at σw = 1", "Saxe et al. 2014", 0.0, (P, "gain: critical, no bias"), log=True),
    Row("GELU, σw² = 2.5: short signals settle (ln of the change in 20 layers)", "derived", -3.1649,
        (P, "GELU, short"), log=True),
    Row("GELU, σw² = 2.5: long signals grow (over 10 times in 20 layers)", "derived", math.log(10), (P, "GELU, long"),
        log=True, relation=">="),
    Row("the gradient scale coefficient grows log-linearly in chaos (ln 1.259 a layer)", "Philipp et al. 2017",
        math.log(1.58522) / 2, (P, "coefficient: chaotic"), log=True),
    Row("the gradient scale coefficient stays 1 where weights alone are small", "Philipp et al. 2017", 0.0,
        (P, "coefficient: linear, U[-1/√n, 1/√n]"), log=True),
    Row("200 Gauss-Hermite nodes miss chi_1 of hard tanh (4, 0.3) by 17%", "derived", 0.17,
        (P, "Gauss-Hermite: hard tanh"), digits=0.03),
    Row("32 Gauss-Hermite nodes miss chi_1 of tanh (4, 0.3) by 46%",
        "derived", 0.46, (P, "Gauss-Hermite: tanh"), digits=0.01),
)  # fmt: skip

INITIALIZATION = (
    Row("weights U[-1/√n, 1/√n]: a layer divides the gradient's variance by 3", "Glorot and Bengio 2010", -math.log(3),
        (P, "gain: linear, U[-1/√n, 1/√n]"), log=True),
    Row("variance 2/n keeps a ReLU network's gradient", "He et al. 2015", 0.0, (G, "slope: relu, σw = √2"), log=True),
    Row("variance 1/n: a ReLU layer multiplies the gradient by 2^-1/2", "He et al. 2015", -math.log(2) / 2,
        (C, "slope: vanishing"), log=True),
    Row("30 layers with variance 1/n stall (test accuracy at most 0.2)", "He et al. 2015", 0.2,
        (C, "vanishing: no help"),
        relation="<="),
    Row("a mode of 2 matrices is learnt in the time 3.4534", "Saxe et al. 2014", 3.4534,
        (D, "learning time: 2 matrices")),
    Row("a mode of 4 matrices is learnt in the time 15.529",
        "Saxe et al. 2014", 15.5292, (D, "learning time: 4 matrices")),
    Row("a mode of 29 matrices is learnt in the time 23.118",
        "Saxe et al. 2014", 23.1177, (D, "learning time: 29 matrices")),
    Row("the variance 2/(n_in + n_out) keeps a signal's size", "Glorot and Bengio 2010", 0.0,
        (P, "square layer: signal"), log=True,
        note="where both sides are alike; from 4 n units to n it grows 1.6 times, and the gradient shrinks to 0.4",
        outside=(P, "rectangular layer: signal", 0.0)),
    Row("PReLU: ½ (1 + a²) n Var[w] = 1 keeps the gradient", "He et al. 2015", 0.0, (P, "gain: critical, PReLU"),
        log=True),
    Row("64 filters of 3 x 3 need weights of deviation 0.059", "He et al. 2015", 0.059,
        (P, "convolutions: kernels"), digits=0.01),
    Row("with 0.01 everywhere the gradient at conv2 fades to 1/17022", "He et al. 2015", -math.log(17022),
        (P, "convolutions: fading"), log=True, digits=0.02),
    Row("a mode of 9 matrices is learnt in the time 30.909",
        "Saxe et al. 2014", 30.909, (D, "learning time: 9 matrices")),
    Row("the largest learning rate falls like 1/N: 4 matrices bear 29/4 times the step of 29", "Saxe et al. 2014",
        29 / 4, (D, "largest step")),
    Row("a² - b² is conserved while a b learns", "Saxe et al. 2014", 0.0, (D, "conserved"), log=True),
    Row("orthogonal weights: learning takes no longer at greater depth (64 layers over 4)", "Saxe et al. 2014", 1.0,
        (T, "orthogonal: time"), relation="<="),
    Row("a step is stable up to 2/λ (loss with the half): there an error keeps its size", "textbook", 1.0,
        ("gradients_in_a_simple_model", "across, at")),
)  # fmt: skip
