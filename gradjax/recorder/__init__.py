"""A flight recorder for training: an optax wrapper that remembers its last steps, leaf by leaf, under `jit`.

The ring of the last steps is a set of arrays in the optimizer's state. At the first NaN or infinity it stops turning,
so that it holds, whole, the steps that led there.
"""

from gradjax.recorder.reading import NonFinite, Record, plot, read
from gradjax.recorder.ring import RecorderState, record

__all__ = ["NonFinite", "Record", "RecorderState", "plot", "read", "record"]
