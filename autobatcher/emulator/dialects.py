"""The differences on the wire between OpenAI's Batch API and Doubleword's.

Sources: openai SDK 3.51 (types/batch.py), OpenAI's Batch API guide; Doubleword's open server control-layer
10.13 (batches.rs, files.rs, errors.rs) and its fusillade-core.
"""

from __future__ import annotations

import uuid
from random import Random
from typing import Any

import msgspec

from .results import error_line, response_line
from .validation import DOUBLEWORD_ENDPOINTS, OPENAI_ENDPOINTS
from .wire import RefusedError, Reply, json_reply, openai_error, text_reply

_RETRIED_BY_DOUBLEWORD = frozenset({404, 408, 429, 499})


class OpenAIDialect:
    """OpenAI: prefixed ids, 200 for everything, JSON errors, and file ids only at the end, for files with lines."""

    created_status = 200
    endpoints = OPENAI_ENDPOINTS
    completion_windows: tuple[str, ...] = ("24h",)
    validates_at_upload = False
    file_ids_from_the_start = False
    serves_partial_output = False
    expires = True
    tells_model = True

    def new_file_id(self, random: Random) -> str:
        return f"file-{random.getrandbits(96):024x}"

    def new_batch_id(self, random: Random) -> str:
        return f"batch_{random.getrandbits(128):032x}"

    def check_id(self, what: str, given: str) -> None:
        """Raises `RefusedError` for a malformed id."""

    def refusal(self, refused: RefusedError) -> Reply:
        body = openai_error(refused.status, refused.message, param=refused.param, code=refused.code)
        return json_reply(refused.status, body)

    def failed_line(self, line_id: str, custom_id: str | None, request_id: str, status: int, body: bytes) -> bytes:
        return response_line(line_id, custom_id, request_id, status, body)

    def success_line(self, line_id: str, custom_id: str | None, request_id: str, status: int, body: bytes) -> bytes:
        return response_line(line_id, custom_id, request_id, status, body)

    def line_id(self, batch_id: str, number: int) -> str:
        return f"batch_req_{batch_id[6:22]}{number:08x}"

    def metadata(self, given: dict[str, str] | None) -> dict[str, str] | None:
        return given

    def end_of_work(self, completed: int, total: int) -> str:
        """The final status of a batch whose lines are all done."""
        return "completed"


class DoublewordDialect(OpenAIDialect):
    """Doubleword: bare UUIDs, 201, plain-text errors, both file ids from the start, partial output, never `expired`."""

    created_status = 201
    endpoints = DOUBLEWORD_ENDPOINTS
    completion_windows: tuple[str, ...] = ("24h", "1h")
    validates_at_upload = True
    file_ids_from_the_start = True
    serves_partial_output = True
    expires = False
    tells_model = False

    _RESERVED = (
        "created_by_email",
        "context_name",
        "context_type",
        "request_source",
        "created_by",
        "dw_user_agent",
    )

    def new_file_id(self, random: Random) -> str:
        return str(uuid.UUID(int=random.getrandbits(128), version=4))

    new_batch_id = new_file_id

    def check_id(self, what: str, given: str) -> None:
        try:
            uuid.UUID(given)
        except ValueError:
            raise RefusedError(400, f"Invalid {what} ID format") from None

    def refusal(self, refused: RefusedError) -> Reply:
        if refused.status == 429:
            return _busy(429, "too_many_requests", refused.message, retry_after=60)
        if refused.status == 503:
            return _busy(503, "service_unavailable", refused.message, retry_after=30)
        return text_reply(refused.status, refused.message)

    def failed_line(self, line_id: str, custom_id: str | None, request_id: str, status: int, body: bytes) -> bytes:
        retried = status >= 500 or status in _RETRIED_BY_DOUBLEWORD
        kind = "RetriableHttpStatus" if retried else "NonRetriableHttpStatus"
        failure = {"type": kind, "details": {"status": status, "body": body.decode("utf-8", "replace")}}
        return error_line(line_id, custom_id, None, msgspec.json.encode(failure).decode())

    def success_line(self, line_id: str, custom_id: str | None, request_id: str, status: int, body: bytes) -> bytes:
        return response_line(line_id, custom_id, None, status, body)

    def line_id(self, batch_id: str, number: int) -> str:
        return f"batch_req_{batch_id[:-8]}{number:08x}"

    def metadata(self, given: dict[str, str] | None) -> dict[str, str] | None:
        kept = {key: value for key, value in (given or {}).items() if key not in self._RESERVED}
        injected = {"request_source": "api", "created_by_email": "emulator@example.com"}
        return kept | injected | {"context_name": "emulator", "context_type": "personal"}

    def end_of_work(self, completed: int, total: int) -> str:
        return "failed" if completed == 0 else "completed"


def _busy(status: int, code: str, message: str, *, retry_after: int) -> Reply:
    # The header says 60 and the body 30, as in the real server (errors.rs:373-399).
    content: dict[str, Any] = {"error": code, "message": message, "retry_after_seconds": 30}
    reply = json_reply(status, content)
    return Reply(status, {**reply.headers, "retry-after": str(retry_after)}, reply.body)


DIALECTS: dict[str, OpenAIDialect] = {"openai": OpenAIDialect(), "doubleword": DoublewordDialect()}
