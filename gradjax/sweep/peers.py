"""What the processes of one sweep say to each other, and what is said when one of them is gone."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from gradjax.sweep.trouble import LostPeer


def is_writer() -> bool:
    """Whether this process is the one that writes files and shows progress."""
    return jax.process_index() == 0


def gathered(leaves: Sequence[jax.Array]) -> list[np.ndarray]:
    """The whole arrays, in every process.

    Raises:
        LostPeer: where another process is gone.
    """
    if jax.process_count() == 1:
        return [np.asarray(leaf) for leaf in leaves]
    jax.block_until_ready(leaves)  # what goes wrong in computing is no peer's fault
    return _together(lambda: [np.asarray(multihost_utils.process_allgather(leaf, tiled=True)) for leaf in leaves])


def told(array: np.ndarray) -> np.ndarray:
    """The writer's array, bit for bit, in every process; the others give one of the same shape and type.

    Bytes travel, for processes add what they hold: a sum of −0.0 and 0 would lose the sign.
    """
    if jax.process_count() == 1 or array.size == 0:
        return array
    flat = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
    heard = np.asarray(_together(lambda: multihost_utils.broadcast_one_to_all(flat)))
    return np.frombuffer(bytearray(heard.tobytes()), array.dtype).reshape(array.shape)


def _together(talk: Callable[[], Any]) -> Any:
    """What the collective gives.

    A process that ends closes its connections, which the transport reports at once; one that is alive but stuck is
    ended by the heartbeat of ``jax.distributed``.
    """
    try:
        return talk()
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        words = " ".join(str(error).split())
        raise LostPeer(
            f"process {jax.process_index()} lost another process of this sweep ({words:.120}); start all of them "
            "again: the chunks that were finished are kept"
        ) from error
