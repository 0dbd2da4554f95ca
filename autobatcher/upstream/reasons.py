"""The reason and the code of a failure, wherever a server puts them. Pure."""

from __future__ import annotations

import re
from typing import Any

_REASON_KEYS = (
    *("message", "error", "detail", "details", "reason", "error_message", "errorMessage", "error_msg", "msg"),
    *("description", "title", "cause"),
)
_CODE_KEYS = ("code", "error_code", "errorCode", "type")
_NESTED_KEYS = ("error", "detail", "details", "innererror", "inner_error")

_MOST_SHOWN = 3

MAX_DEPTH = 10
"""How deep a reason may be nested; a server, or what it relays, may nest as deep as it likes."""

NO_MONEY = frozenset({"insufficient_quota", "billing_hard_limit_reached", "insufficient_balance"})
"""Error codes of an account without credit: retrying does not help. (OpenAI's ordinary rate-limit messages mention
billing, too.)"""

_NO_CAPACITY = re.compile(
    "token_limit_exceeded|enqueued|quota_exceeded|too_many_batches|rate_limit|capacity", re.IGNORECASE
)
"""Error codes of an upstream that has no capacity now: token_limit_exceeded of OpenAI and Azure ("Enqueued token limit
reached ..."), and other servers' names for it. Not too_many_tasks: that batch is too large."""


def reason_in(value: Any, *, depth: int = MAX_DEPTH) -> str | None:
    """Return the reason in a decoded error object of any known shape; None if there is none."""
    if depth == 0:
        return None
    if isinstance(value, str):
        return " ".join(well_formed(value).split()) or None
    if isinstance(value, list):
        found = [reason for item in value[:_MOST_SHOWN] if (reason := reason_in(item, depth=depth - 1)) is not None]
        return "; ".join(found) or None
    if isinstance(value, dict):
        for key in _REASON_KEYS:
            if key in value and (reason := reason_in(value[key], depth=depth - 1)) is not None:
                return reason
    return None


def codes_in(value: Any, *, depth: int = MAX_DEPTH) -> frozenset[str]:
    """Return all error codes and types in a decoded error object, also nested ones."""
    if depth > 0 and isinstance(value, list):
        return frozenset(code for item in value[:_MOST_SHOWN] for code in codes_in(item, depth=depth - 1))
    if depth == 0 or not isinstance(value, dict):
        return frozenset()
    own = frozenset(well_formed(str(value[key])) for key in _CODE_KEYS if isinstance(value.get(key), str | int))
    return own.union(*(codes_in(value[key], depth=depth - 1) for key in _NESTED_KEYS if key in value))


def code_in(value: Any) -> str | None:
    """Return the code in a decoded error object, or else its type; None if it has neither."""
    nested = [value[key] for key in _NESTED_KEYS if key in value] if isinstance(value, dict) else []
    objects = [each for each in (*nested, value) if isinstance(each, dict)]
    found = (each.get(key) for key in _CODE_KEYS for each in objects)
    return next((well_formed(str(code)) for code in found if isinstance(code, str | int) and code), None)


def well_formed(text: str) -> str:
    """Return the text with "?" for each half of a surrogate pair, so that it can be encoded."""
    return text.encode("utf-8", "replace").decode()


def lacks_money(codes: frozenset[str]) -> bool:
    """Whether one of the codes says that the account has no credit."""
    return bool(NO_MONEY & codes)


def lacks_capacity(codes: frozenset[str]) -> bool:
    """Whether one of the codes says that the upstream has no capacity now, and none that the account has no credit."""
    return not lacks_money(codes) and any(_NO_CAPACITY.search(code) for code in codes)
