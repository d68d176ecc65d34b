"""What can go wrong with a sweep besides its arguments, each said in one sentence."""


class SweepError(RuntimeError):
    """The sweep cannot go on, and its message says why and what to do; every chunk that was finished is still there."""


class LostPeer(SweepError):
    """Another process of this sweep ended or no longer answers; no process can go on without it."""
