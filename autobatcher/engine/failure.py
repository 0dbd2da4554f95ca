"""What a request failed for, in words that a log, an event or a page may show. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Failure(NamedTuple):
    """What a request failed for.

    Attributes:
        status: the upstream's HTTP status; 0 if it gave none.
        code: the error code; None if there is none.
        message: the reason, on one line. It quotes no prompt.
        lane: on which the request was tried last: "batch", "flex" or "realtime".
        batch_id: the upstream batch; None if there was none.
    """

    status: int
    code: str | None
    message: str
    lane: str
    batch_id: str | None

    def __str__(self) -> str:
        status = str(self.status) if self.status else "no response"
        code = f" ({self.code})" if self.code and self.code not in self.message else ""
        return f"{status}: {self.message}{code}"
