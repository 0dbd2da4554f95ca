"""What can go wrong in a journal, beside what its callers are told."""

from __future__ import annotations

from ...errors import JournalError, JournalUnreachableError


class UnheardCommitError(JournalUnreachableError):
    """The connection was lost during a commit, and did not come back. `JournalStore.was_committed` tells later what
    happened."""


class NotOurBatchError(JournalError):
    """Another engine has adopted the batch meanwhile, or it was forgotten. It must not be created here."""


class CollisionError(JournalUnreachableError):
    """What another engine did at the same moment undid the transaction. The same statements may succeed at once."""


class JournalLostError(JournalError):
    """The journal's file is gone, or another one is in its place."""
