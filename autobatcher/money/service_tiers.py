"""Service tiers of real-time calls: each is billed at prices of its own, like a lane. Pure."""

from __future__ import annotations

import re

import msgspec

from .price_list import REALTIME
from .usage import END_BYTES, LARGE_BYTES

OTHER_TIER = "(other tier)"
"""What is billed for tiers with odd names. It has no price."""

_PLAIN = frozenset({"", "auto", "default", "standard", "on_demand"})
"""The tiers of real time, by the names that OpenAI, Google and Groq give it. What "auto" means, the answer says."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")


def billed_lane(lane: str, asked: bytes, answered: bytes = b"") -> str:
    """The lane at whose prices a call is billed: "batch", "flex", "realtime", or a service tier such as "priority".

    A line of a batch is billed as that, whatever it asks for.

    Args:
        lane: on which the call was made.
        asked: its body.
        answered: the body of its answer, whose word counts; b"" if there is none.
    """
    if lane != REALTIME:
        return lane
    tier = tier_in(answered) or tier_in(asked)
    return REALTIME if tier in _PLAIN else tier if _NAME.fullmatch(tier) and tier not in _LANES else OTHER_TIER


_LANES = frozenset({"batch", REALTIME})


class _Body(msgspec.Struct):
    service_tier: object = None


_decode = msgspec.json.Decoder(_Body).decode
_NAMED_TIER = re.compile(rb'(?<!\\)"service_tier"\s*:\s*"([^"\\]{0,100})"')


def tier_in(body: bytes) -> str:
    """The service tier that a request asks for, or that an answer names, in lower case; "" for none. Never raises.

    Of a large body only both ends are looked at: a parser would hold the event loop.
    """
    try:
        tier = _decode(body).service_tier if len(body) <= LARGE_BYTES else _tier_at_the_ends(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        tier = _tier_at_the_ends(body)
    return tier.strip().lower() if isinstance(tier, str) else ""


def _tier_at_the_ends(body: bytes) -> str:
    found = [*_NAMED_TIER.findall(body[:END_BYTES]), *_NAMED_TIER.findall(body[-END_BYTES:])]
    return found[-1].decode(errors="replace") if found else ""
