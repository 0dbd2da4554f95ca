"""Records of batches, lines and answers in the journal."""

from __future__ import annotations

from typing import Literal

import msgspec

from ..lanes.lane import Lane

Stage = Literal["calling", "intended", "creating", "created", "ended"]
"""How far a batch is, or a call on another lane. calling: the call may have been sent, and billed. intended: its input
file may be upstream, the batch is not. creating: outcome unknown; look the batch up. created: it is upstream and has a
batch_id. ended: its readable results are stored, and nothing of ours is left upstream."""

SessionEnding = Literal["well", "failed"] | None
"""How a client was closed. well: delivered answers are not kept for a rerun if the process also exits cleanly. failed:
they are kept, even for this process. None: cancelled with its event loop; kept for other processes."""

CLOSE_SECONDS = 10.0
"""How long the last writes may take: milliseconds, but disks are slow at times."""


UNCERTAIN = "uncertain"
"""The status of a call on another lane that may have been billed, once a caller was told so."""


class BatchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One batch; or one call on another lane, which has one line and nothing upstream.

    Attributes:
        idempotency_key: identifies the batch in its upstream metadata, its input file's name and its custom_ids.
        account: the account's fingerprint; see `identity.fingerprint`.
        completion_window: of the batch; of a call, its lane.
        status: the last known upstream status; "" if unknown.
        created_at, changed_at: in Unix seconds.
        lines, answered, taken: how many lines are stored, have an answer, and had it delivered to a caller.
        refused: how many of the answers are errors.
        is_hash_only: whether neither prompts nor answers are stored.
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
    refused: int = 0
    is_hash_only: bool = False

    @property
    def lane(self) -> str:
        """ "batch"; of a call, the lane on which it was made or answered."""
        return lane_in(self.completion_window)

    @property
    def is_call(self) -> bool:
        """Whether it is a call on another lane, and no batch."""
        return self.lane != Lane.BATCH.value


class UnclaimedLine(msgspec.Struct, eq=False, gc=False):
    """A line that no request waits for: its caller left, or its process died.

    Attributes:
        unclaimed_since: in Unix seconds; for a stored answer, when it came.
        is_stored: whether its answer is in the journal. Otherwise its batch has it, or will.
        is_gone: whether it can never be answered.
        lane: "batch"; of a call, the lane on which it was made.
        is_paid: whether what it cost, or may have cost, is recorded.
    """

    idempotency_key: str
    number: int
    unclaimed_since: float
    is_stored: bool = False
    is_gone: bool = False
    lane: str = Lane.BATCH.value
    is_paid: bool = False

    @property
    def custom_id(self) -> str:
        return custom_id_of(self.idempotency_key, self.number)

    @property
    def is_call(self) -> bool:
        """Whether it is a call on another lane. Without a stored answer, nobody can know whether it was billed."""
        return self.lane != Lane.BATCH.value


class StoredAnswer(msgspec.Struct, frozen=True):
    """The answer to a line."""

    idempotency_key: str
    number: int
    batch_id: str
    status_code: int
    body: bytes
    request_id: str | None
    lane: str = Lane.BATCH.value

    def __repr__(self) -> str:
        """The body may quote a prompt."""
        return f"StoredAnswer({self.idempotency_key!r}, {self.number}, {self.status_code}, {len(self.body)} bytes)"


class Contents(msgspec.Struct, frozen=True):
    """The contents of a journal when it is opened: its batches, and unclaimed lines with their digests, in the order in
    which they are to be claimed; and an encoded `Durations` and `Calibration`."""

    batches: list[BatchRecord]
    unclaimed_lines: list[tuple[bytes, UnclaimedLine]]
    durations: bytes = b""
    calibration: bytes = b""


def lane_in(completion_window: str) -> str:
    """The lane of a record, in which a call has its lane instead of a completion window."""
    return completion_window if completion_window in _CALLS else Lane.BATCH.value


_CALLS = frozenset(lane.value for lane in Lane if lane is not Lane.BATCH)


def custom_id_of(idempotency_key: str, number: int) -> str:
    """Make a globally unique custom_id: at most 64 characters of [0-9a-z-], which every provider accepts."""
    return f"{idempotency_key}-{number}"


def line_of(custom_id: str) -> tuple[str, int]:
    """Return the idempotency key of a line's batch, and the line's number in it."""
    idempotency_key, _, number = custom_id.rpartition("-")
    return idempotency_key, int(number)


def number_of(custom_id: str) -> int:
    """Return a line's number in its batch."""
    return int(custom_id.rpartition("-")[2])
