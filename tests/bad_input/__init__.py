"""The catalogue of bad input: a line for every public function, and what may come to each kind of argument."""

from bad_input.table import ELSEWHERE as ELSEWHERE
from bad_input.table import JUDGED as JUDGED
from bad_input.table import ROWS as ROWS
