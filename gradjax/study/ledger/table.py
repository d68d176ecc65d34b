"""The published claims in one table: a line in one of the three lists adds a row."""

from gradjax.study.ledger import blocks, scales, spectra

ROWS = (
    *(blocks.SHATTERING + blocks.NORMALIZATION + blocks.RESIDUAL),
    *(scales.WIDTH + scales.MEAN_FIELD + scales.INITIALIZATION),
    *(spectra.ISOMETRY + spectra.RECURRENT + spectra.OPEN),
)
