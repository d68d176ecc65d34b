"""What is wrong with this training, which layer, why, and what to change: a verdict with numbers that can be applied.

`diagnose` takes a network as a sequence of layers, `diagnose_step` any loss function with its parameters and batch,
`diagnose_record` what a flight recorder kept. It is the one part of gradjax, beside tests and studies, in which what
is measured meets what theory says: thresholds are theory's at the network's own width and depth.
"""

from gradjax.diagnosis.causes import CAUSES
from gradjax.diagnosis.flight import diagnose_record
from gradjax.diagnosis.layers import diagnose
from gradjax.diagnosis.report import Diagnosis, Finding, Remedy
from gradjax.diagnosis.training_step import diagnose_step

__all__ = ["CAUSES", "Diagnosis", "Finding", "Remedy", "diagnose", "diagnose_record", "diagnose_step"]
