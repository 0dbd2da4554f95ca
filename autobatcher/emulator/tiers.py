"""Service tiers of real-time calls: which is asked for, which is given, and which lane is billed for it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec

from .wire import RefusedError

Lane: TypeAlias = Literal["batch", "flex", "realtime"]


@dataclass(frozen=True, slots=True)
class Flex:
    """The endpoints with a flex tier. Elsewhere the wish is ignored, and charged as real time, or refused."""

    endpoints: frozenset[str]
    elsewhere: Literal["ignored", "refused"]


_CHAT_AND_RESPONSES = frozenset({"/v1/chat/completions", "/v1/responses"})
OPENAI_FLEX = Flex(_CHAT_AND_RESPONSES, "refused")
DOUBLEWORD_FLEX = Flex(_CHAT_AND_RESPONSES, "ignored")
NO_FLEX = Flex(frozenset(), "ignored")


class _Asked(msgspec.Struct):
    service_tier: Any = None


_decode = msgspec.json.Decoder(_Asked).decode


def asked_tier(body: bytes) -> str | None:
    """The tier that a request asks for; None if it asks for none, or is no JSON object."""
    try:
        tier = _decode(body).service_tier
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return tier if isinstance(tier, str) else None


def given_tier(flex: Flex, endpoint: str, asked: str | None) -> str:
    """The tier that a request gets. Raises `RefusedError` (400) for flex where that is refused."""
    if asked == "flex" and endpoint not in flex.endpoints:
        if flex.elsewhere == "refused":
            message = "Unrecognized request argument supplied: service_tier"
            raise RefusedError(400, message, param="service_tier", code="unsupported_parameter")
        return "default"
    return asked if asked in ("flex", "priority") else "default"


def lane_of(tier: str) -> Lane:
    """The lane that is billed for a real-time call."""
    return "flex" if tier == "flex" else "realtime"
