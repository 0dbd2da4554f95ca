"""Parsing responses to calls on files and batches, leniently. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from .batch_state import BatchState, parse_batch
from .failures import UpstreamError


def decoded(operation: str, content: bytes) -> Any:
    """Decode JSON. Raises `UpstreamError`."""
    try:
        return msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # Such as a page of HTML with status 200: that is from a proxy, not from the API.
        raise UpstreamError(f"{operation} answered something that is not JSON") from error


def files_listed(page: Any) -> list[Any]:
    """Return the items of one page of the file list."""
    items = page.get("data") if isinstance(page, dict) else None
    return items if isinstance(items, list) else []


def batches_listed(page: Any) -> list[BatchState]:
    """Return the batches of one page of the list.

    Raises:
        UpstreamError: if the page has no list. Do not mistake that for an empty one.
    """
    items = page.get("data") if isinstance(page, dict) else page or None
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
    """Return the id of the object in a response. Raises `UpstreamError` if there is none."""
    fields = decoded(operation, content)
    if not isinstance(fields, dict) or not fields.get("id"):
        raise UpstreamError(f"{operation} answered no id")
    return str(fields["id"])
