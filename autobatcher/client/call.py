"""What an HTTP request wants beside its body: who pays, how long it waits, how often it is tried. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from ..engine.request import Answer
from ..errors import BatchError, UnbatchableRequestError
from ..upstream.account import Account

CREDENTIAL_HEADERS = ("authorization", "openai-organization", "openai-project", "api-key")
"""What says who pays. A batch is paid by one account, so calls with other credentials travel in other batches."""

SDK_MAX_RETRIES = 2
"""The SDK's default (openai/_constants.py), for calls that come without an SDK, too."""


@dataclass(frozen=True, slots=True)
class Call:
    """How a request is to be batched.

    Attributes:
        bearer: the key that the client itself would use now; None if it has none.
        wait_seconds: how long its caller waits for the answer; None for as long as it takes.
        max_retries: how many more batches it may travel in after one that failed it in passing.
        outcome: what came of it, if that is known already, and only the SDK has yet to be told.
    """

    account: Account
    bearer: str | None = None
    wait_seconds: float | None = None
    max_retries: int = SDK_MAX_RETRIES
    outcome: Answer | BatchError | None = None


ANSWERED: ContextVar[Answer | BatchError | None] = ContextVar("ANSWERED", default=None)
"""The outcome of the call that is just being made through the SDK; None if that call has yet to be batched."""


def refuse_headers_of_one_call(headers: Iterable[str]) -> None:
    """A line of a batch has no headers: refuse those that somebody gave to one call.

    Ignored are those that SDKs and HTTP libraries always send (user-agent, x-stainless-*, cookies of earlier answers,
    ...) and those of tracers (traceparent, ...); they say nothing to a model.

    Raises:
        UnbatchableRequestError: naming the header.
    """
    for name in headers:
        if not is_ignored_header(name):
            raise UnbatchableRequestError(
                f"A line of a batch has no headers, so {name!r} cannot be sent with this one call. Give it to the "
                "whole client as default_headers=, or make this call with client.unbatched.",
                param="extra_headers",
            )


def refuse_query_of_one_call(names: Iterable[str]) -> None:
    """The same for query parameters. Raises `UnbatchableRequestError`, naming the parameter."""
    for name in names:
        raise UnbatchableRequestError(
            f"A line of a batch has no query, so {name!r} cannot be sent with this one call. Give it to the whole "
            "client as default_query=, or make this call with client.unbatched.",
            param="extra_query",
        )


def is_ignored_header(name: str) -> bool:
    """Whether a header, in lower case, means nothing to a batch."""
    return name in _IGNORED or name.startswith(_IGNORED_PREFIXES)


_ALWAYS_SENT = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "host",
        "transfer-encoding",
        "user-agent",
    }
)
_OF_TRACERS = frozenset(
    {
        "b3",
        "baggage",
        "correlation-context",
        "elastic-apm-traceparent",
        "newrelic",
        "request-context",
        "request-id",
        "sentry-trace",
        "traceparent",
        "tracestate",
        "uber-trace-id",
        "x-amzn-trace-id",
        "x-cloud-trace-context",
    }
)
_OF_FRAMEWORKS = frozenset({"x-irid"})  # inspect-ai numbers its calls, to find them in its own logs
_IGNORED = _ALWAYS_SENT | _OF_TRACERS | _OF_FRAMEWORKS
_IGNORED_PREFIXES = ("x-stainless-", "x-b3-", "x-datadog-", "x-newrelic-", "ot-tracer-", "uberctx-")

CALL_IDS = frozenset({"idempotency-key", "x-client-request-id", "x-correlation-id", "x-request-id"})
"""What tells one call from another. Refused where somebody gave it to one call; where nobody can tell who did, it must
not give each call a batch of its own."""


def wait_seconds(timeout: Mapping[str, Any], default: Mapping[str, Any]) -> float | None:
    """The limit that a caller set to their wait: the read timeout, which is the one for silence.

    Args:
        timeout: a request's extension of that name (connect, read, write and pool, in seconds or None).
        default: the SDK's own, which was made for servers that answer at once and sets no limit to a batch.

    Raises:
        UnbatchableRequestError: for not-a-number.
    """
    seconds: float | None = None if timeout == default else timeout.get("read")
    if seconds is not None and math.isnan(seconds):
        raise UnbatchableRequestError("The timeout of this call is no number.", param="timeout")
    return seconds
