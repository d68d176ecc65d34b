"""What came of one study, in words: it may have run in another process."""

import dataclasses
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from gradjax.study.claims import Claim
from gradjax.study.contract import Study
from gradjax.study.usage import RecordError, UnwrittenError


class Verdict(NamedTuple):
    """A claim in words."""

    holds: bool
    passes: bool  # it holds, or is declared not to
    sentence: str


@dataclasses.dataclass
class Outcome:
    """The claims of a study in words, or the error that stopped it.

    Args:
        study: which one.
        claims: each claim's verdict; empty where the study failed.
        how: the claims came about: computed, kept, drawn again.
        error: its kind and message; empty where there is none.
        trace: its traceback, where that says more than the message.
    """

    study: Study
    claims: Sequence[Verdict] = ()
    how: str = ""
    error: str = ""
    trace: str = ""

    @property
    def good(self) -> bool:
        """Whether the study finished and all of its claims hold, but those that are declared not to."""
        return not self.error and all(claim.passes for claim in self.claims)

    @classmethod
    def finished(cls, study: Study, claims: Sequence[Claim], how: str) -> "Outcome":
        """The outcome of a study that finished."""
        return cls(study, [Verdict(bool(claim.holds), bool(claim.passes), claim.sentence()) for claim in claims], how)

    @classmethod
    def failed(cls, study: Study, error: BaseException) -> "Outcome":
        """The outcome of a study that raised."""
        said = [f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())]
        # a record's or a disk's trouble is no defect in code: its sentence is enough
        trace = "" if isinstance(error, (RecordError, UnwrittenError)) else "".join(traceback.format_exception(error))
        return cls(study, error=" ".join(said), trace=trace)

    def report(self, seconds: float, say: Callable[..., None]) -> None:
        """Says the claims, and how they came about in so many seconds."""
        if self.error:
            say(f"  failed after {seconds:.1f} s, see below\n", flush=True)
            return
        for claim in self.claims:
            say(f"  {claim.sentence}")
        say(f"  {self.how} in {seconds:.1f} s\n", flush=True)

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {name: value for name, value in vars(self).items() if name != "study"}

    @classmethod
    def from_plain(cls, study: Study, plain: Mapping[str, Any]) -> "Outcome":
        """What ``plain`` was made of."""
        return cls(study, **{**plain, "claims": [Verdict(*claim) for claim in plain["claims"]]})
