"""`RealtimeAPI`: one call to a real-time endpoint of the upstream, without retries."""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec
from anyio.lowlevel import checkpoint

from . import tolerant_json
from .account import Account
from .failures import UnusableAnswerError, UpstreamError
from .http import UpstreamHTTP
from .large_line import LARGE_BYTES, LARGE_ODD_BYTES
from .large_turn import LargeTurn

FLEX_TIER = "flex"

SILENCE_SECONDS = 900.0
"""How long a call may be silent that is no flex call. The SDK waits for ten minutes."""


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
        self,
        account: Account,
        endpoint: str,
        body: bytes,
        *,
        most_bytes: int,
        large: LargeTurn,
        tier: str | None = None,
    ) -> RealtimeAnswer:
        """Make one call, and return an answer of 2xx.

        Args:
            endpoint: in OpenAI's spelling, such as "/v1/responses".
            most_bytes: the largest answer.
            large: the turn that is taken for a large one.
            tier: the `service_tier` to ask for; None for what the body says.

        Raises:
            UnusableAnswerError: for an answer of 2xx that is too large, or no JSON.
            UpstreamError: for any other answer, and without one.

        Cancelled: the call may have been sent, executed and billed.
        """
        path = account.provider.line_url(endpoint).removeprefix(account.provider.url_prefix)
        content = body if tier is None else with_tier(body, tier)
        seconds = account.provider.flex_seconds if tier == FLEX_TIER else SILENCE_SECONDS
        async with (
            self._http.open(
                account,
                "POST",
                path,
                seconds=seconds,
                silence_seconds=seconds,
                content_type="application/json",
                body=lambda: {"content": content},
            ) as response,
            large,
        ):
            answered = await response.read_answer(most_bytes, large)
            if not _is_object(answered):
                raise UnusableAnswerError(f"POST {path} gave an answer that is no JSON object", body=answered)
            await checkpoint()
            request_id = response.redactor.redact_text(response.header("x-request-id")) or None
            return RealtimeAnswer(answered, request_id, tier_of(answered))


def with_tier(body: bytes, tier: str) -> bytes:
    """The same call, of that service tier. `body` is a JSON object."""
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    fields["service_tier"] = msgspec.Raw(msgspec.json.encode(tier))
    return msgspec.json.encode(fields)


def tier_of(body: bytes) -> str | None:
    """The service tier that an answer names. None for one that would hold up the event loop."""
    if len(body) > LARGE_BYTES:
        return None
    try:
        tier = msgspec.json.decode(body, type=_Tier).service_tier
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return tier if isinstance(tier, str) else None


class _Tier(msgspec.Struct):
    service_tier: object = None


_OF_GATEWAYS = frozenset({502, 504, 520, 524})
"""The statuses of gateways that lost, or did not wait for, the answer of a server that had the call."""


def was_executed(error: UpstreamError) -> bool | None:
    """Whether a call that failed was executed and billed; None if nobody knows."""
    if isinstance(error, UnusableAnswerError):
        return True
    is_unknown = error.may_have_arrived if error.status_code is None else error.status_code in _OF_GATEWAYS
    return None if is_unknown else False


def refuses_tier(error: UpstreamError) -> bool:
    """Whether a call was refused because of its service tier, such as flex for a model that does not have it."""
    return error.status_code in (400, 422) and _NAMES_TIER.search(error.body) is not None


_NAMES_TIER = re.compile(rb"service.?tier|\bflex\b", re.IGNORECASE)


def _is_object(body: bytes) -> bool:
    """Whether the SDK can read an answer. Of one that would hold up the event loop, the ends are looked at."""
    if len(body) > LARGE_BYTES:
        return _has_braces(body)
    try:
        msgspec.json.decode(body, type=_Tier)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        if len(body) > LARGE_ODD_BYTES:
            return _has_braces(body)
        try:
            tolerant_json.members(body)
        except ValueError:
            return False
    return True


def _has_braces(body: bytes) -> bool:
    return (body[:_END_BYTES].lstrip()[:1], body[-_END_BYTES:].rstrip()[-1:]) == (b"{", b"}")


_END_BYTES = 1000
"""How far from the end of an answer its brace may be."""
