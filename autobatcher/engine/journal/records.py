"""What the journal holds of a batch, of its lines and of their answers."""

from __future__ import annotations

from typing import Literal

import msgspec

Stage = Literal["intended", "creating", "created", "ended"]
"""How far a batch is. intended: its input file may be upstream, the batch is not. creating: it may be, look it up.
created: it is, and has a batch_id. ended: what could be read of it is here, and nothing of ours is left upstream."""

SessionEnding = Literal["well", "failed"] | None
"""How a client was closed. well: what was given to callers is not kept for a rerun, if the process ends well, too.
failed: it is, also in this very process. None: it was cancelled with its event loop; other processes are given it."""

CLOSE_SECONDS = 10.0
"""How long the last writing may take: it is a matter of milliseconds, but disks are slow at times."""


class BatchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One batch.

    Attributes:
        idempotency_key: by which its upstream metadata, its input file's name and its custom_ids recognise it.
        account: the fingerprint of who pays; see `identity.fingerprint`.
        status: what the upstream last said; "" before it said anything.
        created_at, changed_at: Unix seconds.
        answered, taken: how many of its lines have an answer, and how many of these were given to a caller.
        is_hash_only: whether the prompts of its lines are not kept, and so no answers either.
    """

    idempotency_key: str
    account: bytes
    base_url: str
    provider: str
    endpoint: str
    completion_window: str
    models: list[str]
    metadata: dict[str, str]
    request_count: int
    stage: Stage = "intended"
    file_id: str | None = None
    batch_id: str | None = None
    status: str = ""
    completed: int = 0
    failed: int = 0
    created_at: float = 0.0
    changed_at: float = 0.0
    lines: int = 0
    answered: int = 0
    taken: int = 0
    is_hash_only: bool = False


class UnclaimedLine(msgspec.Struct, eq=False, gc=False):
    """A line that nobody waits for: its caller left, or its process died.

    Attributes:
        unclaimed_since: Unix seconds; of a stored answer, when it came.
        is_stored: its answer is in the journal; otherwise its batch has it, or will have it.
        is_gone: it will never have an answer.
    """

    idempotency_key: str
    number: int
    unclaimed_since: float
    is_stored: bool = False
    is_gone: bool = False

    @property
    def custom_id(self) -> str:
        return custom_id_of(self.idempotency_key, self.number)


class StoredAnswer(msgspec.Struct, frozen=True):
    """The answer to a line, as it came."""

    idempotency_key: str
    number: int
    batch_id: str
    status_code: int
    body: bytes
    request_id: str | None


class Contents(msgspec.Struct, frozen=True):
    """What a journal has when it is opened: batches, and lines that nobody waits for with their digests, in the order
    in which they are to be given away."""

    batches: list[BatchRecord]
    unclaimed_lines: list[tuple[bytes, UnclaimedLine]]


def custom_id_of(idempotency_key: str, number: int) -> str:
    """custom_ids that no other batch of anyone has: at most 64 characters of [0-9a-z-], as every provider takes."""
    return f"{idempotency_key}-{number}"


def number_of(custom_id: str) -> int:
    """A line's number in its batch, from its custom_id."""
    return int(custom_id.rpartition("-")[2])
