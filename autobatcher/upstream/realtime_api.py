"""`RealtimeAPI`: one call to a real-time endpoint of the upstream, without retries."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from .account import Account
from .failures import UpstreamError
from .http import UpstreamHTTP

SILENCE_SECONDS = 900.0
"""How long a call may be silent. OpenAI advises 15 minutes for flex (guides/flex-processing, November 2026)."""


class RealtimeAnswer(NamedTuple):
    """A good response of the upstream.

    Attributes:
        service_tier: at which tier it was billed, as far as the answer says; None if it does not.
    """

    body: bytes
    request_id: str | None
    service_tier: str | None


class RealtimeAPI:
    """The real-time endpoints of upstreams."""

    def __init__(self, http: UpstreamHTTP) -> None:
        self._http = http

    async def post(
        self, account: Account, endpoint: str, body: bytes, *, most_bytes: int, tier: str | None = None
    ) -> RealtimeAnswer:
        """Make one call, and return an answer of 2xx.

        Args:
            endpoint: in OpenAI's spelling, such as "/v1/responses".
            most_bytes: the largest answer.
            tier: the `service_tier` to ask for; None for what the body says.

        Raises:
            UpstreamError: for any other answer, and without one.

        Cancelled: the call may have been sent, executed and billed.
        """
        path = account.provider.line_url(endpoint).removeprefix(account.provider.url_prefix)
        content = body if tier is None else with_tier(body, tier)
        async with self._http.open(
            account,
            "POST",
            path,
            seconds=SILENCE_SECONDS,
            silence_seconds=SILENCE_SECONDS,
            content_type="application/json",
            body=lambda: {"content": content},
        ) as response:
            answered = await response.read_answer(most_bytes)
            request_id = response.redactor.redact_text(response.header("x-request-id")) or None
            return RealtimeAnswer(answered, request_id, tier_of(answered))


def with_tier(body: bytes, tier: str) -> bytes:
    """The same call, of that service tier. `body` is a JSON object."""
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    fields["service_tier"] = msgspec.Raw(msgspec.json.encode(tier))
    return msgspec.json.encode(fields)


def tier_of(body: bytes) -> str | None:
    """The service tier that an answer names."""
    try:
        tier = msgspec.json.decode(body, type=_Tier).service_tier
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return tier if isinstance(tier, str) else None


class _Tier(msgspec.Struct):
    service_tier: object = None


def was_executed(error: UpstreamError) -> bool | None:
    """Whether a call that failed was executed and billed: False if certainly not, None if nobody knows."""
    if error.status_code is None:
        return None if error.may_have_arrived else False
    return None if error.status_code == 504 else False
