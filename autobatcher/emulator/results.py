"""The output and error files of a batch, which grow by whole lines."""

from __future__ import annotations

from array import array

import msgspec

from .store import Blob, Store

_encode = msgspec.json.encode


class ResultFile:
    """A file that lines are added to.

    `count` lines were added; `flush()` writes those added since the last flush.
    """

    def __init__(self, store: Store, line_end: bytes) -> None:
        self._store = store
        self._line_end = line_end
        self._ends = array("Q")
        self._size = 0
        self._waiting: list[bytes] = []
        self._blob: Blob | None = None

    @property
    def count(self) -> int:
        return len(self._ends)

    @property
    def blob(self) -> Blob:
        """The file's bytes; pinned in the store until `finish()`."""
        if self._blob is None:
            self._blob = self._store.new(pinned=True)
        return self._blob

    def add(self, line: bytes) -> None:
        line += self._line_end
        self._size += len(line)
        self._ends.append(self._size)
        self._waiting.append(line)

    def flush(self) -> None:
        """Raises `StoreFullError` when the lines do not fit."""
        if self._waiting:
            waiting, self._waiting = b"".join(self._waiting), []
            self.blob.append(waiting)

    def finish(self, *, cut_last_line: bool) -> None:
        """Nothing comes after this. `cut_last_line` leaves half of the last line."""
        if cut_last_line and self.count:
            start = self._ends[-2] if self.count > 1 else 0
            self._ends[-1] = self._size = (start + self._ends[-1]) // 2
            self.blob.cut(self._size)
        if self._blob is not None:
            self._blob.pinned = False

    def position(self, line: int) -> int:
        """The byte at which the line with this index (from 0) starts, or the end of the last one."""
        return self._ends[min(line, self.count) - 1] if line > 0 and self.count else 0


def response_line(line_id: str, custom_id: str | None, request_id: str | None, status: int, body: bytes) -> bytes:
    """A line with an HTTP response in it, as OpenAI writes them for successes and for failures."""
    response = {"status_code": status, "request_id": request_id, "body": msgspec.Raw(body)}
    return _encode({"id": line_id, "custom_id": custom_id, "response": response, "error": None})


def error_line(line_id: str, custom_id: str | None, code: str | None, message: str) -> bytes:
    """A line for a request that has no HTTP response."""
    return _encode(
        {"id": line_id, "custom_id": custom_id, "response": None, "error": {"code": code, "message": message}}
    )
