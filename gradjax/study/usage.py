"""What the command line refuses, in one sentence and with exit status 2."""

import importlib.util

EXTRAS = {"tyro": "tyro", "tqdm": "tqdm", "sklearn": "scikit-learn"}
INSTALL = "pip install -e '.[studies]'"


class UsageError(ValueError):
    """The command line was used in a way that cannot be meant: its message is the one sentence that is printed."""


class RecordError(ValueError):
    """A record, or what stands beside it, is missing or is not what its run wrote; its message says all."""


class UnwrittenError(OSError):
    """A file could not be written, by a full disk say; its message names it and the way out."""


def require_extras() -> None:
    """Says which packages of the ``studies`` extra are missing, before anything else fails on them.

    Raises:
        UsageError: naming them and the command that installs them.
    """
    missing = [package for module, package in EXTRAS.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise UsageError(f"the studies need {', '.join(missing)}, which {_are(missing)} not installed: run {INSTALL}")


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"
