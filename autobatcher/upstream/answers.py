"""Parsing responses to calls on files and batches, leniently. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from .batch_state import BatchState, identified, parse_batch, unusable_id_in
from .bounded_json import check_bounds
from .failures import UpstreamError
from .identifiers import MAX_ID_CHARACTERS, is_usable_id

MOST_SHOWN = 300
"""Characters of an answer that an error quotes."""


def decoded(operation: str, content: bytes) -> Any:
    """Decode JSON. Raises `UpstreamError`."""
    try:
        check_bounds(content)
    except msgspec.DecodeError as error:
        raise UpstreamError(f"{operation} answered JSON that is not decoded: {error}") from error
    try:
        return msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # Such as a page of HTML with status 200: that is from a proxy, not from the API.
        raise UpstreamError(f"{operation} answered something that is not JSON", body=content[:MOST_SHOWN]) from error


def files_listed(page: Any) -> list[tuple[str, Any]]:
    """Return the ids and names of the files of one page of the list, without those whose ids cannot be used."""
    items = _items(page) if isinstance(page, dict) else None
    files = [item for item in items or () if isinstance(item, dict) and item.get("id")]
    return [(str(file["id"]), file.get("filename")) for file in files if is_usable_id(str(file["id"]))]


def has_list(page: Any) -> bool:
    """Whether an answer is a list of any known shape, perhaps an empty one."""
    if isinstance(page, dict):
        return page.get("object") == "list" or _items(page) is not None
    return isinstance(page, list)


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
        UpstreamError: if the page has no list, or a batch with an unusable id. Do not mistake that for an empty one:
            the batch may be the one that is looked for.
    """
    items = _items(page) if isinstance(page, dict) else page or None
    if not isinstance(items, list):
        raise UpstreamError("GET /batches answered no list")
    if any(unusable_id_in(item) == "id" for item in items):
        raise _unusable("GET /batches", "id")
    return [state for item in items if (state := parse_batch(item)) is not None]


def batch_answered(operation: str, content: bytes) -> BatchState:
    """Return the batch object in a response. Raises `UpstreamError` if there is none."""
    answer = decoded(operation, content)
    if (member := unusable_id_in(answer)) is not None:
        raise _unusable(operation, member)
    state = parse_batch(answer)
    if state is None:
        raise UpstreamError(f"{operation} answered no batch object")
    return state


def id_answered(operation: str, content: bytes) -> str:
    """Return the id of the file in a response.

    Raises:
        UpstreamError: if there is none, or an unusable one. It is permanent: another try would bring the same answer,
            and another file.
    """
    _, file_id = identified(decoded(operation, content), "file_id", "fileId", "uuid")
    if file_id is not None and not is_usable_id(file_id):
        raise _unusable(operation, "id")
    if file_id is None:
        received = " ".join(content.decode(errors="replace").split())[:MOST_SHOWN]
        summary = f"{operation} succeeded, but its answer has no id of a file"
        raise UpstreamError(f"{summary}: {received}", summary=summary, is_permanent=True)
    return file_id


def _unusable(operation: str, member: str) -> UpstreamError:
    """It is permanent: whatever was created under that id is not created again."""
    return UpstreamError(
        f"{operation} answered an {member} that cannot be part of a URL: it has slashes, spaces or the like, or is "
        f"longer than {MAX_ID_CHARACTERS:,} characters",
        is_permanent=True,
        may_have_been_sent=True,
    )
