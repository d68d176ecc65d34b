"""The rows of `test_theory_meets_measurement`: every public function of `gradjax.theory` by two routes or more."""

from theory_rows import deep, dynamics, meanfield, spectra

ROWS = meanfield.ROWS | spectra.ROWS | dynamics.ROWS | deep.ROWS
