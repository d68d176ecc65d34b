"""One pure cell over a grid, on whatever devices and hosts there are; killed, it goes on where it stood.

``grid`` names the cells, ``program`` computes them in blocks of one width, ``peers`` brings the hosts together,
``folder`` keeps what is finished, ``progress`` says how long it still takes, and ``engine`` is the loop.
"""

from gradjax.sweep.engine import sweep as sweep
from gradjax.sweep.trouble import LostPeer as LostPeer
from gradjax.sweep.trouble import SweepError as SweepError
