"""Parsing responses to calls on files and batches, leniently. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from .batch_state import BatchState, identified, parse_batch
from .failures import UpstreamError

MOST_SHOWN = 300
"""Characters of an answer that an error quotes."""


def decoded(operation: str, content: bytes) -> Any:
    """Decode JSON. Raises `UpstreamError`."""
    try:
        return msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # Such as a page of HTML with status 200: that is from a proxy, not from the API.
        raise UpstreamError(f"{operation} answered something that is not JSON") from error


def files_listed(page: Any) -> list[Any]:
    """Return the items of one page of the file list."""
    items = _items(page) if isinstance(page, dict) else None
    return items if isinstance(items, list) else []


def _items(page: dict[str, Any]) -> Any:
    """Return the list in a page, which servers have called by several names and wrapped once more."""
    for name in ("data", "items", "result", "results", "batches", "files"):
        value = page.get(name)
        if isinstance(value, list):
            return value
        if isinstance(value, dict) and isinstance(inner := _items(value), list):
            return inner
    return None


def batches_listed(page: Any) -> list[BatchState]:
    """Return the batches of one page of the list.

    Raises:
        UpstreamError: if the page has no list. Do not mistake that for an empty one.
    """
    items = _items(page) if isinstance(page, dict) else page or None
    if not isinstance(items, list):
        raise UpstreamError("GET /batches answered no list")
    return [state for item in items if (state := parse_batch(item)) is not None]


def batch_answered(operation: str, content: bytes) -> BatchState:
    """Return the batch object in a response. Raises `UpstreamError` if there is none."""
    state = parse_batch(decoded(operation, content))
    if state is None:
        raise UpstreamError(f"{operation} answered no batch object")
    return state


def id_answered(operation: str, content: bytes) -> str:
    """Return the id of the file in a response.

    Raises:
        UpstreamError: if there is none. It is permanent: another try would bring the same answer, and another file.
    """
    _, file_id = identified(decoded(operation, content), "file_id", "fileId", "uuid")
    if file_id is None:
        received = " ".join(content.decode(errors="replace").split())[:MOST_SHOWN]
        summary = f"{operation} succeeded, but its answer has no id of a file"
        raise UpstreamError(f"{summary}: {received}", summary=summary, is_permanent=True)
    return file_id
