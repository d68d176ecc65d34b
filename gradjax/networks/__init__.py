"""Networks: layers composed into the sequences that every analysis takes.

Layers of one shape are one `Stack`, so that the program of a network of constant width does not grow with its depth.
"""

from collections.abc import Callable

from gradjax.layers import recurrent
from gradjax.networks.convolutional import convnet, resnet
from gradjax.networks.dense import deep, mlp
from gradjax.networks.embedding import embedding
from gradjax.networks.transformer import transformer

__all__ = ["ARCHITECTURES", "convnet", "deep", "embedding", "mlp", "recurrent", "resnet", "transformer"]

ARCHITECTURES: dict[str, Callable] = {
    "mlp": mlp,
    "deep": deep,
    "convnet": convnet,
    "resnet": resnet,
    "recurrent": recurrent,
    "transformer": transformer,
}
