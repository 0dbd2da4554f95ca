"""The heartbeat interval of a client: neither it nor a load balancer times out. Pure except for the jitter."""

from __future__ import annotations

from collections.abc import Mapping

from ..upstream.back_off import jittered_down

HEARTBEAT_SECONDS = 50.0
"""The default interval: load balancers cut connections after 60 seconds of silence."""

LEAST_SECONDS = 0.25
"""The shortest interval: heartbeats cost work, and a client must not be able to demand too many."""

NODE_SECONDS = 300.0
"""Node's fetch (undici) gives up after this long without headers, whatever the SDK's timeout is."""

EARLY_SECONDS = 10.0
"""A heartbeat is sent this long before the client times out, or after half of its timeout if that is later."""

PATIENCE_HEADERS = ("x-stainless-read-timeout", "x-stainless-timeout")
"""Timeouts in seconds, sent by the official SDKs: Python's read timeout, and Node's timeout of the call."""

_OF_NODE = ("node", "undici", "openai/js")


def heartbeat_seconds(patience: float, default: float) -> float | None:
    """The seconds between heartbeats for a client; None for no heartbeats.

    Args:
        patience: how many seconds the client waits for the next bytes.
        default: the longest interval, in seconds; 0 for no heartbeats.
    """
    if default <= 0:
        return None
    return min(default, max(patience - EARLY_SECONDS, patience / 2, LEAST_SECONDS))


def next_wait(interval: float) -> float:
    """The seconds until the next heartbeat: a little less than the interval, so that thousands of clients that came
    together do not get theirs in one moment, which would hold up all others."""
    return jittered_down(interval)


def patience(headers: Mapping[str, str]) -> float:
    """How many seconds a client waits for the next bytes, as the headers of its request tell, names in lower case."""
    agent = headers.get("user-agent", "").lower()
    by_agent = NODE_SECONDS if agent.startswith(_OF_NODE) else float("inf")
    return min(by_agent, *(_seconds(headers.get(name, "")) for name in PATIENCE_HEADERS))


def _seconds(told: str) -> float:
    try:
        seconds = float(told)
    except ValueError:
        return float("inf")
    return seconds if seconds > 0 else float("inf")
