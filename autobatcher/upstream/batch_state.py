"""A batch object as an upstream tells it, read leniently."""

from __future__ import annotations

from typing import Any

import msgspec

from ..events import RequestCounts

TERMINAL_STATUSES = frozenset({"completed", "failed", "expired", "cancelled"})


class BatchState(msgspec.Struct, frozen=True, kw_only=True):
    """What one poll said.

    Attributes:
        status: in lower case, "canceled" spelled "cancelled"; a status nobody knows counts as still running.
        output_file_id, error_file_id: None while absent; some servers say "" for that.
        counts: None where the server tells none.
        errors: why the whole batch failed, as the server's own messages.
    """

    id: str
    status: str
    output_file_id: str | None = None
    error_file_id: str | None = None
    input_file_id: str | None = None
    counts: RequestCounts | None = None
    errors: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL_STATUSES


def parse_batch(fields: Any) -> BatchState | None:
    """Read a decoded batch object; None if it is none (no id).

    Statuses in upper case, `canceled`, "" for no file, missing or odd counts, {"job": {...}} around it: all seen in
    the wild, none worth a lost batch.
    """
    if isinstance(fields, dict) and "id" not in fields:
        fields = fields.get("job")
    if not isinstance(fields, dict) or not isinstance(fields.get("id"), str | int):
        return None
    if not str(fields["id"]).strip():
        return None
    metadata = fields.get("metadata")
    return BatchState(
        id=str(fields["id"]),
        status=_status(fields.get("status")),
        output_file_id=_file_id(fields.get("output_file_id")),
        error_file_id=_file_id(fields.get("error_file_id")),
        input_file_id=_file_id(fields.get("input_file_id")),
        counts=_counts(fields.get("request_counts")),
        errors=_errors(fields.get("errors")),
        metadata=metadata if isinstance(metadata, dict) else {},
    )


def _status(value: object) -> str:
    status = str(value or "unknown").lower()
    return {"canceled": "cancelled", "canceling": "cancelling"}.get(status, status)


def _file_id(value: object) -> str | None:
    return str(value) if value else None


def _counts(value: object) -> RequestCounts | None:
    if not isinstance(value, dict):
        return None
    numbers = {name: value.get(name) for name in ("completed", "failed", "total")}
    return RequestCounts(**{name: n for name, n in numbers.items() if isinstance(n, int)})


def _errors(value: object) -> tuple[str, ...]:
    items = value.get("data") if isinstance(value, dict) else value
    if isinstance(items, str):
        return (items,)
    if not isinstance(items, list):
        return ()
    return tuple(_error_text(item) for item in items)


def _error_text(item: object) -> str:
    if not isinstance(item, dict):
        return str(item)
    place = f"line {item['line']}: " if item.get("line") is not None else ""
    code = f" ({item['code']})" if item.get("code") else ""
    return f"{place}{item.get('message') or 'no message'}{code}"
