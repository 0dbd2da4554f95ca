"""What several engines know of one another's batches and lines."""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

import msgspec

from ..records import BatchRecord, StoredAnswer, UnclaimedLine

HINT = "poll "
"""How news begins that is the upstream's id of a batch which is said to have ended. Other news are idempotency keys."""


class Claimed(NamedTuple):
    """A line that is ours from now on: a request may wait for it.

    Attributes:
        owner: the session whose engine runs its batch; None if none does.
    """

    line: UnclaimedLine
    owner: int | None
    is_owner_alive: bool


class Missing(msgspec.Struct, frozen=True):
    """The line is gone, or another session has claimed it while ours was lost: its request must be sent again."""


class Waiting(msgspec.Struct, frozen=True):
    """The line will be answered."""


class Unread(msgspec.Struct, frozen=True):
    """The batch has ended, nobody runs it, and the journal has no bodies: `adopt` it to read the answer upstream."""


class Failed(msgspec.Struct, frozen=True):
    """The line has no answer, and its request is not sent again.

    Attributes:
        ending: how its batch ended, as the engine that ran it has told; see `recovery.line_failures`.
    """

    ending: str


class Adopted(NamedTuple):
    """A batch that is ours from now on.

    Attributes:
        lines: those without an answer: the digest, the line, and the session that waits for it.
    """

    record: BatchRecord
    lines: list[tuple[bytes, UnclaimedLine, int | None]]


class Lost(Enum):
    """What became of a batch of ours while our session was lost."""

    ADOPTED = auto()
    """Another engine runs it, or may."""

    FORGOTTEN = auto()
    """It is not in the journal any more."""


class WantedKey(NamedTuple):
    """What a request with an idempotency key asks of the journal.

    Attributes:
        key: of its caller.
        digest: of the request.
        is_ours: whether it is the request for which this session took the key before.
    """

    key: bytes
    digest: bytes
    is_ours: bool


class Reused(msgspec.Struct, frozen=True):
    """The key is the one of another request."""


class Held(msgspec.Struct, frozen=True):
    """The request with the key waits for its answer, in a session that lives."""


RemoteOutcome = StoredAnswer | Missing | Waiting | Unread | Failed
"""What is known of a line that this session waits for and another one's engine sees to."""

KeyOutcome = Reused | Held | StoredAnswer | Claimed | None
"""What becomes of a request with a key. None: it is to be sent."""
