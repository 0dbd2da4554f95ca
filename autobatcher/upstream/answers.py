"""What an upstream answers to a call on files or batches, read leniently. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from .batch_state import BatchState, parse_batch
from .failures import UpstreamError


def decoded(operation: str, content: bytes) -> Any:
    """JSON, decoded. Raises `UpstreamError`."""
    try:
        return msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # A 200 with a page of HTML is a proxy's doing: nothing that the API answered.
        raise UpstreamError(f"{operation} answered something that is not JSON") from error


def files_listed(page: Any) -> list[Any]:
    """The items of a page of the list of files."""
    items = page.get("data") if isinstance(page, dict) else None
    return items if isinstance(items, list) else []


def batches_listed(page: Any) -> list[BatchState]:
    """The batches of a page of the list. What is no list of batches is no answer, least of all an empty one."""
    items = page.get("data") if isinstance(page, dict) else page or None
    if not isinstance(items, list):
        raise UpstreamError("GET /batches answered no list")
    return [state for item in items if (state := parse_batch(item)) is not None]


def batch_answered(operation: str, content: bytes) -> BatchState:
    """The batch object of an answer. Raises `UpstreamError` if there is none."""
    state = parse_batch(decoded(operation, content))
    if state is None:
        raise UpstreamError(f"{operation} answered no batch object")
    return state


def id_answered(operation: str, content: bytes) -> str:
    """The id of the object of an answer. Raises `UpstreamError` if there is none."""
    fields = decoded(operation, content)
    if not isinstance(fields, dict) or not fields.get("id"):
        raise UpstreamError(f"{operation} answered no id")
    return str(fields["id"])
