"""The diagnosis under its short name: `gradjax.diagnose.diagnose`, `diagnose_step`, `diagnose_record`.

What they do and are made of stands in `gradjax.diagnosis`.
"""

from gradjax.diagnosis import Diagnosis, diagnose, diagnose_record, diagnose_step

__all__ = ["Diagnosis", "diagnose", "diagnose_record", "diagnose_step"]
