"""Why does the gradient of this deep network explode or vanish, exactly how fast, and what stops it?

Two towers rise from one ground and never import each other, so that their agreement is evidence:

    ground     activations  initializers  tasks  numerics  arguments  room  chain (a network is a sequence of layers)
    measured   layers -> networks;  jacobians  gradients  products -> spectra;  clipping  training  recorder  diagnosis
    theory/    quadrature -> meanfield  isometry  finite_width  ...   (numbers in, numbers out)
    study/     claims, records, plotting, page -> runner: what the scripts in studies/ are made of
"""

from gradjax import activations as activations
from gradjax import chain as chain
from gradjax import clipping as clipping
from gradjax import diagnose as diagnose
from gradjax import gradients as gradients
from gradjax import initializers as initializers
from gradjax import jacobians as jacobians
from gradjax import layers as layers
from gradjax import networks as networks
from gradjax import products as products
from gradjax import spectra as spectra
from gradjax import sweep as sweep
from gradjax import tasks as tasks
from gradjax import theory as theory
from gradjax import training as training
