"""Networks with a known fault, and healthy ones, drawn by seed: what the diagnosis is scored on."""

from gradjax.diagnosis.corpus.faults import FAULTS
from gradjax.diagnosis.corpus.healthy import HEALTHY
from gradjax.diagnosis.corpus.patients import Patient, draw

__all__ = ["FAULTS", "HEALTHY", "Patient", "draw"]
