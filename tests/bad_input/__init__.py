"""The catalogue of bad input: a line for every public function, and what may come to each kind of argument."""

from bad_input.table import AFTER_COMPUTING as AFTER_COMPUTING
from bad_input.table import ELSEWHERE as ELSEWHERE
from bad_input.table import ROWS as ROWS
from bad_input.table import is_costly as is_costly
