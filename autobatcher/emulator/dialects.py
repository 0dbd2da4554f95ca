"""The differences on the wire between OpenAI's Batch API and Doubleword's.

Sources: openai SDK 3.51 (types/batch.py), OpenAI's Batch API guide; Doubleword's open server control-layer
10.13 (batches.rs, files.rs, errors.rs) and its fusillade-core.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

import msgspec

from .results import error_line, response_line
from .shapes import OPENAI_SHAPES, Shapes
from .tiers import DOUBLEWORD_FLEX, OPENAI_FLEX, Flex
from .validation import DOUBLEWORD_ENDPOINTS, OPENAI_ENDPOINTS
from .wire import RefusedError, Reply, json_reply, text_reply

_RETRIED_BY_DOUBLEWORD = frozenset({404, 408, 429, 499})


@dataclass(frozen=True, kw_only=True)
class OpenAIDialect:
    """OpenAI: prefixed ids, 200 for everything, JSON errors, and file ids only at the end, for files with lines.

    The defaults are OpenAI's; known_dialects.py has those of others.

    file_id, batch_id: what ids look like: "#" and a number of hexadecimal digits, or "#uuid".
    url_prefix:     what line urls, and the endpoint of a batch, begin with.
    purpose, upload_path, upload_fields: what an upload must say, and where it goes.
    completion_windows: those allowed; () allows any.
    max_requests, max_file_bytes, max_embedding_inputs: the limits of an input file.
    no_room_status: what POST /batches answers without room; None: the batch is created, and fails.
    cannot_cancel_status: what cancelling a batch that has ended is answered with.
    cancelling_seconds: how long a cancellation may take. OpenAI says up to ten minutes.
    lists_cancelled: whether the error file of a cancelled batch names the lines that were not executed.
    flex:           which real-time endpoints have a flex tier.
    tells_model_and_usage: whether a batch says its model, and at its end its tokens. OpenAI began both at once.
    tells_costs:    whether files have cost estimates, and batches analytics.
    lacks:          the operations that there are none of.
    """

    created_status: int = 200
    endpoints: frozenset[str] = OPENAI_ENDPOINTS
    url_prefix: str = "/v1"
    purpose: str = "batch"
    upload_path: str = "/files"
    upload_fields: tuple[str, ...] = ("file", "purpose")
    completion_windows: tuple[str, ...] = ("24h",)
    max_requests: int = 50_000
    max_file_bytes: int = 200_000_000
    max_embedding_inputs: int = 50_000
    validates_at_upload: bool = False
    file_ids_from_the_start: bool = False
    serves_partial_output: bool = False
    expires: bool = True
    tells_model_and_usage: bool = True
    tells_costs: bool = False
    file_id: str = "file-#24"
    batch_id: str = "batch_#32"
    no_room_status: int | None = None
    cannot_cancel_status: int = 400
    cancelling_seconds: float = 600.0
    lists_cancelled: bool = True
    flex: Flex = OPENAI_FLEX
    lacks: frozenset[str] = frozenset()
    shapes: Shapes = OPENAI_SHAPES

    def new_file_id(self, random: Random) -> str:
        return _new_id(self.file_id, random)

    def new_batch_id(self, random: Random) -> str:
        return _new_id(self.batch_id, random)

    def openai_endpoint(self, url: str) -> str:
        """OpenAI's spelling of a line's url; "" for one that is not of this dialect."""
        is_ours = url.startswith(self.url_prefix + "/")
        return "/v1" + url.removeprefix(self.url_prefix) if is_ours else ""

    def check_id(self, what: str, given: str) -> None:
        """Raises `RefusedError` for a malformed id."""

    def refusal(self, refused: RefusedError) -> Reply:
        return self.shapes.refusal(refused)

    def failed_line(self, line_id: str, custom_id: str | None, request_id: str, status: int, body: bytes) -> bytes:
        return self.shapes.failed_line(line_id, custom_id, request_id, status, body)

    def success_line(self, line_id: str, custom_id: str | None, request_id: str, status: int, body: bytes) -> bytes:
        return response_line(line_id, custom_id, request_id, status, body)

    def line_id(self, batch_id: str, number: int) -> str:
        return f"batch_req_{batch_id[6:22]}{number:08x}"

    def metadata(self, given: dict[str, str] | None) -> dict[str, str] | None:
        return given

    def end_of_work(self, completed: int, total: int) -> str:
        """The final status of a batch whose lines are all done."""
        return "completed"


def _new_id(pattern: str, random: Random) -> str:
    prefix, _, digits = pattern.partition("#")
    if digits == "uuid":
        return prefix + str(uuid.UUID(int=random.getrandbits(128), version=4))
    return f"{prefix}{random.getrandbits(4 * int(digits)):0{digits}x}"


@dataclass(frozen=True, kw_only=True)
class DoublewordDialect(OpenAIDialect):
    """Doubleword: bare UUIDs, 201, plain-text errors, both file ids from the start, partial output, never `expired`."""

    created_status: int = 201
    endpoints: frozenset[str] = DOUBLEWORD_ENDPOINTS
    completion_windows: tuple[str, ...] = ("24h", "1h")
    validates_at_upload: bool = True
    file_ids_from_the_start: bool = True
    serves_partial_output: bool = True
    expires: bool = False
    tells_model_and_usage: bool = False
    tells_costs: bool = True
    file_id: str = "#uuid"
    batch_id: str = "#uuid"
    no_room_status: int | None = 429
    lists_cancelled: bool = False
    flex: Flex = DOUBLEWORD_FLEX

    _RESERVED: ClassVar = (
        "created_by_email",
        "context_name",
        "context_type",
        "request_source",
        "created_by",
        "dw_user_agent",
    )

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
