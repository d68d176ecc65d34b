"""Runs the studies, all of them or those that are named: ``python -m studies --help``."""

from pathlib import Path

import gradjax.study

if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(Path(__file__).parent))
