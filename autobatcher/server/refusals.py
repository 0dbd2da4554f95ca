"""The response to a request that the proxy or its engine refuses: OpenAI's error object. Pure."""

from __future__ import annotations

import msgspec

from ..client.http_parts import HttpParts, error_parts
from ..errors import (
    BatchError,
    BudgetExceededError,
    ClientClosedError,
    IdempotencyKeyReusedError,
    JournalUnreachableError,
)
from .exchange import RefusedError

_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    502: "server_error",
    503: "server_error",
}


def refusal_parts(
    refused: RefusedError, *, kind: str | None = None, closes: bool = False, param: str | None = None
) -> HttpParts:
    """An OpenAI-shaped error response. With `closes` the connection (HTTP/1.1) is closed after it."""
    kind = kind or _KINDS.get(refused.status_code, "invalid_request_error")
    fields = {"message": refused.message, "type": kind, "param": param, "code": refused.code}
    headers = {"content-type": "application/json"}
    if refused.retry_after is None:
        headers["x-should-retry"] = "false"
    else:
        headers["retry-after"] = str(refused.retry_after)
    if closes:
        headers["connection"] = "close"
    content = msgspec.json.encode({"error": fields})
    return {"status_code": refused.status_code, "headers": headers, "content": content}


_RAISE = "Wait for their answers, set a limit of output tokens in the call, or ask who runs this proxy to raise {flag}."
_BUDGET_ADVICE = {
    "max_cost": _RAISE.format(flag="--max-cost"),
    "max_cost_per_account": _RAISE.format(flag="--max-cost-per-key"),
    "unknown_prices": "Ask who runs this proxy to give the price by --prices, or to set --unknown-prices admit.",
}
"""A caller cannot change the proxy's settings, and whoever can knows them as flags."""


def key_reused() -> RefusedError:
    """For a client that used its `Idempotency-Key` for another request, here or at another replica."""
    return RefusedError(409, IdempotencyKeyReusedError().message, code="idempotency_key_reused")


RETRY_AFTER_SECONDS = 1
"""When a client is to ask again who loses nothing by that: another replica may take its request by then."""


def shutting_down() -> RefusedError:
    """For a request that comes while the proxy takes nothing new."""
    message = "This proxy is shutting down, and did not take the request: retry in a moment."
    return RefusedError(503, message, code="shutting_down", retry_after=RETRY_AFTER_SECONDS)


def batch_error_parts(error: BatchError, *, has_journal: bool, was_sent: bool = False) -> HttpParts:
    """The response for an error of the engine, in the words of the proxy.

    Args:
        has_journal: whether the same request finds its place again, here after a restart or in another replica.
        was_sent: whether the request may have been sent upstream.
    """
    if isinstance(error, IdempotencyKeyReusedError):
        return refusal_parts(key_reused())
    message = f"{error.reason} {_BUDGET_ADVICE[error.setting]}" if isinstance(error, BudgetExceededError) else None
    loses_nothing = has_journal and isinstance(error, JournalUnreachableError)
    if isinstance(error, ClientClosedError):
        loses_nothing = has_journal or not was_sent
        message = _STOPS_WITH_JOURNAL if has_journal else _STOPS_IN_BATCH if was_sent else shutting_down().message
    parts = error_parts(error, message=message)
    if loses_nothing:
        del parts["headers"]["x-should-retry"]
        parts["headers"]["retry-after"] = str(RETRY_AFTER_SECONDS)
    return parts


_STOPS_WITH_JOURNAL = "This proxy is shutting down: retry in a moment. Nothing is lost, and nothing is paid twice."
_STOPS_IN_BATCH = (
    "This proxy is shutting down before the request was answered. A retry is a new request: what the provider has "
    "done for this one by now is billed all the same."
)
