"""Options of one call besides its body: account, timeout, retries. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from ..engine.request import Answer
from ..errors import BatchError, UnbatchableRequestError
from ..upstream.account import Account

CREDENTIAL_HEADERS = ("authorization", "openai-organization", "openai-project", "api-key")
"""Headers that decide who pays. One account pays for a batch, so calls with other credentials go into other batches."""

SDK_MAX_RETRIES = 2
"""The SDK's default (openai/_constants.py), also for calls that come without an SDK."""


@dataclass(frozen=True, slots=True)
class Call:
    """How a request is to be batched.

    Attributes:
        bearer: the client's current key; None if it has none.
        wait_seconds: how long the caller waits for the answer; None for no limit.
        max_retries: how many more batches it may travel in after a retryable error.
        deadline: by when the caller needs the answer, on the clock of the engine's event loop; None for what the
            settings say.
        deadline_header: the deadline that the client has for all its calls, as its header says it.
        outcome: the known outcome, which the transport returns at once; None for a call that is yet to be batched.
    """

    account: Account
    bearer: str | None = field(default=None, repr=False)
    wait_seconds: float | None = None
    max_retries: int = SDK_MAX_RETRIES
    deadline: float | None = None
    deadline_header: str | None = None
    outcome: Answer | BatchError | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What is masked beside the credentials of the request itself."""
        return (*self.account.other_secrets, *([self.bearer] if self.bearer else []))


ANSWERED: ContextVar[Answer | BatchError | None] = ContextVar("ANSWERED", default=None)
"""The known outcome of the call that is being made through the SDK; None if it is yet to be batched."""


def refuse_query_of_one_call(names: Iterable[str]) -> None:
    """Refuse query parameters of one call. Raises `UnbatchableRequestError`, naming the parameter."""
    for name in names:
        raise UnbatchableRequestError(
            f"A line of a batch has no query, so {name!r} cannot be sent with one call. Pass it to the client as "
            "default_query=, or make this call with client.unbatched.",
            param="extra_query",
        )


def is_ignored_header(name: str) -> bool:
    """Whether batches ignore the header of this lower-case name.

    These are headers that SDKs and HTTP libraries always send (user-agent, x-stainless-*, cookies), those of tracers
    (traceparent), and ids of calls, which would give each call its own batch.
    """
    return name in _IGNORED or name.startswith(_IGNORED_PREFIXES) or name.endswith(_CALL_IDS)


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
_OF_FRAMEWORKS = frozenset({"x-irid"})  # inspect-ai numbers its calls for its own logs
_IGNORED = _ALWAYS_SENT | _OF_TRACERS | _OF_FRAMEWORKS
_IGNORED_PREFIXES = ("x-stainless-", "x-b3-", "x-datadog-", "x-newrelic-", "ot-tracer-", "uberctx-")
_CALL_IDS = ("idempotency-key", "request-id", "correlation-id", "trace-id", "span-id", "call-id")


def wait_seconds(timeout: Mapping[str, Any], default: Mapping[str, Any]) -> float | None:
    """Return the limit that a caller set to the wait: the read timeout.

    Args:
        timeout: a request's extension of that name (connect, read, write and pool, in seconds or None).
        default: the SDK's own timeout, which does not limit the wait for a batch.

    Raises:
        UnbatchableRequestError: for NaN.
    """
    seconds: float | None = None if timeout == default else timeout.get("read")
    if seconds is not None and math.isnan(seconds):
        raise UnbatchableRequestError("The timeout of this call is not a number.", param="timeout")
    return seconds
