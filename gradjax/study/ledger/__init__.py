"""The ledger: what was published, what theory here says, what was measured, and whether it holds."""

from gradjax.study.ledger.render import ledger_section as ledger_section
from gradjax.study.ledger.render import ledger_text as ledger_text
from gradjax.study.ledger.rows import VERDICTS as VERDICTS
from gradjax.study.ledger.rows import Entry as Entry
from gradjax.study.ledger.rows import Row as Row
from gradjax.study.ledger.rows import judged as judged
from gradjax.study.ledger.table import ROWS as ROWS
