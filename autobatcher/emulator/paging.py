"""Cursor paging as OpenAI's lists have it: `after` the id of the last item seen, `limit` items at most."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from .wire import RefusedError


class HasId(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=HasId)


def page(
    items: Sequence[T], query: Mapping[str, str], as_dict: Callable[[T], Any], *, default: int, most: int
) -> dict[str, Any]:
    """One page of `items`; nothing comes after an unknown id.

    Raises `RefusedError` (400) for a `limit` outside 1..`most`.
    """
    limit = _limit(query, default, most)
    after = query.get("after")
    start = 0
    if after:
        start = next((index + 1 for index, item in enumerate(items) if item.id == after), len(items))
    shown = items[start : start + limit]
    return {
        "object": "list",
        "data": [as_dict(item) for item in shown],
        "first_id": shown[0].id if shown else None,
        "last_id": shown[-1].id if shown else None,
        "has_more": start + limit < len(items),
    }


def _limit(query: Mapping[str, str], default: int, most: int) -> int:
    text = query.get("limit", str(default))
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise RefusedError(400, f"'limit' must be a whole number from 1 to {most}: {text!r}", param="limit")
    return int(text)
