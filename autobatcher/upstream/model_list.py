"""Which models an upstream lists: asked only after a failure that may come from a mistyped name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import anyio

from .account import Account
from .answers import decoded
from .failures import UpstreamError
from .http import UpstreamHTTP

ASK_SECONDS = 10.0
"""How long the answer may take: callers wait for their error."""

KEPT_SECONDS = 600.0
"""How long it is remembered."""

MOST_LISTED = 10_000
MOST_COMPARED = 1_000
"""How many names are compared with one that is not listed: 20 ms on the event loop."""

LONGEST_NAME = 200
"""In characters. Callers choose the names, and one of a megabyte would be compared for a tenth of a second."""

_SHOWN = 5
_MOST_ACCOUNTS = 100


class ModelList:
    """Asks upstreams for their lists of models."""

    def __init__(self, http: UpstreamHTTP) -> None:
        self._http = http
        self._known: dict[Account, tuple[float, tuple[str, ...]]] = {}

    async def advice(self, account: Account, models: Iterable[str], reason: str) -> str:
        """What to say of models that the upstream does not list; "" if it lists them all, or if nobody knows.

        Args:
            reason: the upstream's, for a failure. One that does not speak of a model is not looked into.

        Cancelled: nothing was changed anywhere.
        """
        if "model" not in reason.lower() or account.provider.name == "azure":  # whose models are names of deployments
            return ""
        listed = await self._listed(account)
        unlisted = sorted(name for name in {*models} - {*listed} if len(name) <= LONGEST_NAME) if listed else []
        return " ".join(_sentence(model, listed) for model in unlisted[:_SHOWN])

    async def _listed(self, account: Account) -> tuple[str, ...]:
        now = anyio.current_time()
        asked_at, listed = self._known.get(account, (0.0, None))
        if listed is None or now - asked_at > KEPT_SECONDS:
            try:
                answer = await self._http.call(account, "GET", "/models", seconds=ASK_SECONDS)
                listed = names_in(decoded("GET /models", answer))
            except UpstreamError:
                listed = ()
            if len(self._known) >= _MOST_ACCOUNTS:
                self._known.clear()
            self._known[account] = now, listed
        return listed


def names_in(answer: Any) -> tuple[str, ...]:
    """The ids of the models in a list; empty for anything else, and for a page of a longer list."""
    items = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(items, list) or answer.get("has_more") is True or len(items) > MOST_LISTED:
        return ()
    names = (item.get("id") for item in items if isinstance(item, dict))
    return tuple(name for name in names if isinstance(name, str) and len(name) <= LONGEST_NAME)


def _sentence(model: str, listed: tuple[str, ...]) -> str:
    nearest = get_close_matches(model, listed[:MOST_COMPARED], n=1)
    if nearest:
        return f"The upstream does not list the model {model!r}; did you mean {nearest[0]!r}?"
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return f"The upstream does not list the model {model!r}, but {', '.join(listed[:_SHOWN])}{more}"
