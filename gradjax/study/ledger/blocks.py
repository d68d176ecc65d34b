"""Published claims on shattered gradients, normalization and residual networks, as data."""

import math

from gradjax.study.ledger.rows import Row

B = "batch_normalization"
G = "exploding_and_vanishing"
R = "residual_networks"
S = "shattered_gradients"

SHATTERING = (
    Row("ReLU networks shatter gradients like 2^-L (here L = 8)", "Balduzzi et al. 2017", 2.0**-8,
        (S, "plain: correlation at 8 layers"), note="a plain network's falls like a power of L; 2^-L needs batch-norm"),
    Row("with batch-norm each ReLU layer halves the correlation of two gradients", "Balduzzi et al. 2017", 0.5,
        (S, "batch-norm: factor of a layer")),
    Row("a residual network's correlation falls like (3/4)^L (here L = 8)", "Balduzzi et al. 2017", 0.75**8,
        (S, "residual: correlation at 8 blocks"), note="the first block gives 3/4, later ones ever more"),
    Row("the first residual block leaves a correlation of 3/4", "Balduzzi et al. 2017", 0.75,
        (S, "residual: one block")),
    Row("with skip and batch-norm it falls like L^-1/2", "Balduzzi et al. 2017", -0.5,
        (S, "residual with batch-norm: power of depth"), log=True,
        note="a steeper power, -π/(2π - 2) = -0.73 in the end: batch-norm sees a variance, not a mean square"),
    Row("mirrored orthogonal weights give a ReLU network an orthogonal Jacobian", "Balduzzi et al. 2017", 0.0,
        (S, "looks linear: departure from orthogonal"), log=True, digits=1e-9),
    Row("a plain ReLU network's correlation falls like L^-3 (here from 4 to 12 layers)",
        "quoted from the arc-cosine recursion", -3.0, (S, "plain: power of depth"), log=True,
        note="in the end only: -1.6 from 4 to 12 layers, -2.7 from 50 to 100"),
    Row("24 ReLU layers: gradients at inputs 1/64 apart look like white noise", "Balduzzi et al. 2017", 0.0,
        (S, "line, he: distance 1/64"), log=True, note="only with batch-norm; without it neighbours stay alike"),
    Row("with batch-norm they do", "Balduzzi et al. 2017", 0.0, (S, "line, batch-norm: distance 1/64"), log=True),
    Row("He's weights, inputs 1/8 apart: a correlation of 0.606", "Balduzzi et al. 2017", 0.606,
        (S, "line, he: distance 1/8")),
    Row("Glorot's weights, biases everywhere, 1/64 apart: 0.982", "Balduzzi et al. 2017", 0.982,
        (S, "line, glorot: distance 1/64"), digits=0.005),
)  # fmt: skip

NORMALIZATION = (
    Row("batch-norm multiplies the squared gradient by 1.21 a layer (ReLU)", "quoted from Yang et al. 2019", 1.21,
        (B, "rate: relu, batch 256"), note="1.21 is the norm; its square grows by π/(π - 1) = 1.467"),
    Row("batch-norm multiplies the gradient norm by 1.21 a layer (ReLU)", "Yang et al. 2019", 1.21,
        (B, "norm itself: relu, batch 256")),
    Row("ReLU, batch 8: the squared gradient grows by 1.788 a layer", "Yang et al. 2019", 1.7882,
        (B, "rate: relu, batch 8")),
    Row("ReLU, batch 16: 1.590", "Yang et al. 2019", 1.59, (B, "rate: relu, batch 16")),
    Row("the identity, batch 8: (B - 2)/(B - 3) = 1.2", "Yang et al. 2019", 1.2, (B, "rate: linear, batch 8")),
    Row("the scale of the weights drops out: twice as wide, 1.4931", "Yang et al. 2019", 1.4931,
        (B, "rate: relu, batch 64, weights times 2")),
    Row("every other activation explodes faster than the identity (difference above 0)", "Yang et al. 2019", 0.0,
        (B, "least for the identity"), relation=">=", log=True),
    Row("linear, batch-norm, orthogonal weights: no explosion at any depth", "Meterez et al. 2024", 1.0,
        (B, "orthogonal weights")),
    Row("with batch-norm the l-th branch carries 1/(l + 1) of the variance", "De and Smith 2020", 1.0,
        (R, "batch-norm: share of the branch")),
    Row("SELU at its own weights keeps gradients from exploding (ln growth 0 a layer)", "Klambauer et al. 2017", 0.0,
        (G, "slope: selu, σw = 1"), log=True, note="chi_1 = 1.0716: the norm grows by e^0.035 a layer"),
    Row("ReLU, batch 64: 1.4931", "Yang et al. 2019", 1.4931, (B, "rate: relu, batch 64")),
    Row("the identity, batch 16: 14/13", "Yang et al. 2019", 14 / 13, (B, "rate: linear, batch 16")),
    Row("the identity, batch 64: 62/61", "Yang et al. 2019", 62 / 61, (B, "rate: linear, batch 64")),
)  # fmt: skip

RESIDUAL = (
    Row("Post-LN gradients decay as (2/3)^((L-l)/2)", "Xiong et al. 2020", math.sqrt(2 / 3),
        (R, "Post-LN: factor of a block"),
        note="only in the last few blocks; then the tokens' gradients are alike and stay"),
    Row("Post-LN: the last block's gradient does not depend on depth", "Xiong et al. 2020", 1.0,
        (R, "Post-LN: last block by depth")),
    Row("Pre-LN: the last block's gradient falls like 1/√L (from 16 to 64 blocks: 2 times)", "Xiong et al. 2020", 2.0,
        (R, "Pre-LN: last block by depth")),
    Row("Pre-LN: the stream's mean square grows by at most 3/2 a block", "Xiong et al. 2020", 1.5,
        (R, "Pre-LN: length"), relation="<="),
    Row("Pre-LN: early layers have the larger gradients", "Shleifer et al. 2021 (NormFormer)", 1.0,
        (R, "Pre-LN: first over last block"), relation=">="),
    Row("ReLU blocks with branches of full strength: the squared gradient grows like 2^L", "Yang and Schoenholz 2017",
        64 * math.log(2), (R, "growth: ReLU, a = 1"), log=True),
    Row("branches scaled by 1/√L: at most e", "Yang and Schoenholz 2017", 1.0, (R, "growth: ReLU, a = 1/√L"), log=True,
        digits=0.02),
    Row("branches scaled by 1/L: no growth (e^(1/L))", "Yang and Schoenholz 2017", 1 / 64, (R, "growth: ReLU, a = 1/L"),
        log=True),
    Row("tanh blocks: ln |g|² grows like 1.064 √L", "Yang and Schoenholz 2017", 1.064 * 8, (R, "growth: tanh, a = 1"),
        log=True),
    Row("Fixup begins as the identity", "Zhang et al. 2019", 0.0, (R, "Fixup: identity"), log=True, digits=1e-9),
    Row("Fixup: the effect of the first step does not depend on depth", "Zhang et al. 2019", 0.0,
        (R, "Fixup: first step by depth"), log=True),
    Row("DeepNorm: the effect of the first step does not depend on depth", "Wang et al. 2022", 0.0,
        (R, "DeepNorm: first step by depth"), log=True),
    Row("Post-LN: the sum in front of the second norm has the mean square 3/2", "Xiong et al. 2020", 1.5,
        (R, "Post-LN: length")),
    Row("a layer norm's Jacobian has the norm √d / |x|", "Xiong et al. 2020", 1.0, (R, "layer norm: Jacobian")),
    Row("Fixup: at the first step only the last layers of branches move", "Zhang et al. 2019", 0.0,
        (R, "Fixup: no step"), log=True, digits=1e-9),
    Row("rank collapse: queries and keys lose their gradient (8 Post-LN blocks: less than 1/10 of it squared)",
        "Noci et al. 2022", -math.log(10), (R, "queries: Post-LN"), log=True, relation="<="),
    Row("branches scaled by 1/√L keep it (more than half)", "Noci et al. 2022", -math.log(2), (R, "queries: skip √L"),
        log=True, relation=">="),
)  # fmt: skip
