"""A batch object of an upstream, parsed leniently. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple, TypeGuard

import msgspec

from ..events import TERMINAL_STATUSES, RequestCounts
from .identifiers import is_usable_id

MAX_LINES = 2**32
"""Larger than any provider's limit for one batch."""

MAX_TIME = 2.0**40
"""In Unix seconds. What is later is no time of a batch."""


MAX_TOKENS = 2**50
"""More than any batch has."""

MAX_STATUS_CHARACTERS = 64
MAX_CODE_CHARACTERS = 200
MAX_MESSAGE_CHARACTERS = 2_000
"""How much of a server's words is kept. They go to every caller, into events and into logs."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One reason why a whole batch failed.

    Attributes:
        code: the server's error code; "" if it has none.
        line: the line of the input file that is at fault, from 1; None if no single one is.
    """

    message: str
    code: str = ""
    line: int | None = None

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line is not None else ""
        return f"{place}{self.message}{f' ({self.code})' if self.code else ''}"


class BatchTokens(NamedTuple):
    """Tokens of a batch. Cached and cache-written ones are part of the input, reasoning part of the output.

    Each is None if the server does not say.

    Attributes:
        cost: what the server bills for all of them, in USD; None if it does not say.
    """

    input: int
    cached: int | None
    output: int
    reasoning: int | None
    cache_write: int | None = None
    cost: Decimal | None = None


class BatchState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a batch at one poll.

    Attributes:
        status: lower case, with "canceled" spelled "cancelled". An unknown status counts as running.
        output_file_id, error_file_id: None while there is none. (Some servers say "" for that.)
        counts: None if the server reports none.
        tokens: what the server bills for the whole batch, once it has ended; None if it does not say.
        problems: why the whole batch failed.
        created_at: in Unix seconds, by the server's clock; None if it does not say.
    """

    id: str
    status: str
    output_file_id: str | None = None
    error_file_id: str | None = None
    input_file_id: str | None = None
    counts: RequestCounts | None = None
    tokens: BatchTokens | None = None
    problems: tuple[Problem, ...] = ()
    metadata: dict[str, Any] = {}
    created_at: float | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether the batch has ended."""
        return self.status in TERMINAL_STATUSES

    @property
    def lacks_output_file(self) -> bool:
        """Whether the counts include answers but no output file is named yet."""
        return self.output_file_id is None and self.counts is not None and self.counts.completed > 0


WRAPPERS = ("data", "result", "job", "batch", "file")
"""Members in which servers have wrapped the object that they answer with, such as SiliconFlow in "data"."""


def identified(value: Any, *other_names: str) -> tuple[dict[str, Any] | None, str | None]:
    """Return the object with an id that a server answered, unwrapped, and the id; None for what has none.

    The id may be unusable; see `is_usable_id`.

    Args:
        other_names: what servers call the id beside "id".
    """
    candidates = [value] if isinstance(value, dict) else []
    candidates += [value[name] for name in WRAPPERS if candidates and isinstance(value.get(name), dict)]
    for candidate in candidates:
        for name in ("id", *other_names):
            found = candidate.get(name)
            if isinstance(found, str | int) and not isinstance(found, bool) and str(found).strip():
                return candidate, str(found)
    return None, None


def unusable_id_in(value: Any) -> str | None:
    """Return the member of a batch object that has an id that cannot be used; None if all can be."""
    fields, batch_id = identified(value, *_BATCH_ID_NAMES)
    if fields is None or batch_id is None:
        return None
    if not is_usable_id(batch_id):
        return "id"
    return next((name for name in _FILE_IDS if fields.get(name) and _file_id(fields[name]) is None), None)


_BATCH_ID_NAMES = ("batch_id", "job_id", "batchId")
_FILE_IDS = ("output_file_id", "error_file_id")


def parse_batch(fields: Any) -> BatchState | None:
    """Parse a decoded batch object; None if it is not one (it has no id, or none that can be used).

    Accepts what servers really send: upper-case statuses, `canceled`, "" for no file, missing or odd counts, another
    object around it, and other names of its id.
    """
    fields, batch_id = identified(fields, *_BATCH_ID_NAMES)
    if fields is None or batch_id is None or not is_usable_id(batch_id):
        return None
    metadata = fields.get("metadata")
    return BatchState(
        id=batch_id,
        status=_status(fields.get("status")),
        output_file_id=_file_id(fields.get("output_file_id")),
        error_file_id=_file_id(fields.get("error_file_id")),
        input_file_id=_file_id(fields.get("input_file_id")),
        counts=_counts(fields.get("request_counts")),
        tokens=_tokens(fields.get("usage")),
        problems=_problems(fields.get("errors")),
        metadata=metadata if isinstance(metadata, dict) else {},
        created_at=_time(fields.get("created_at")),
    )


def _status(value: object) -> str:
    status = value[:MAX_STATUS_CHARACTERS].lower() if isinstance(value, str) and value else "unknown"
    return {"canceled": "cancelled", "canceling": "cancelling"}.get(status, status)


def _file_id(value: object) -> str | None:
    """Return the id of a file; None if there is none, or none that can be used."""
    is_id = isinstance(value, str | int) and not isinstance(value, bool)
    return str(value) if value and is_id and is_usable_id(str(value)) else None


def _tokens(value: object) -> BatchTokens | None:
    if not isinstance(value, dict):
        return None
    read, written = value.get("input_tokens"), value.get("output_tokens")
    cached = _member(value.get("input_tokens_details"), "cached_tokens")
    reasoning = _member(value.get("output_tokens_details"), "reasoning_tokens")
    kept = _member(value.get("input_tokens_details"), "cache_write_tokens", None)
    if not (is_tokens(read) and is_tokens(cached) and is_tokens(written) and is_tokens(reasoning)):
        return None
    return BatchTokens(read, cached, written, reasoning, kept if is_tokens(kept) else None)


def _member(value: object, name: str, default: int | None = 0) -> object:
    return value.get(name, default) if isinstance(value, dict) else default


def is_tokens(value: object) -> TypeGuard[int]:
    """Whether it can be a number of tokens."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS


def _time(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if 0 < value < MAX_TIME else None


def _counts(value: object) -> RequestCounts | None:
    if not isinstance(value, dict):
        return None
    return RequestCounts(**{name: _count(value.get(name)) for name in ("completed", "failed", "total")})


def _count(value: object) -> int:
    """Return a number of lines, or 0 for anything else. Larger numbers do not fit into a database."""
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return value if 0 <= value <= MAX_LINES else 0


def _problems(value: object) -> tuple[Problem, ...]:
    items = value.get("data") if isinstance(value, dict) else value
    if isinstance(items, str):
        return (Problem(message=items[:MAX_MESSAGE_CHARACTERS]),)
    if not isinstance(items, list):
        return ()
    return tuple(_problem(item) for item in items)


def _problem(item: object) -> Problem:
    if not isinstance(item, dict):
        return Problem(message=str(item)[:MAX_MESSAGE_CHARACTERS])
    line = item.get("line")
    is_number = isinstance(line, int) and not isinstance(line, bool)
    return Problem(
        message=str(item.get("message") or "no message")[:MAX_MESSAGE_CHARACTERS],
        code=str(item.get("code") or "")[:MAX_CODE_CHARACTERS],
        line=line if is_number else None,
    )
