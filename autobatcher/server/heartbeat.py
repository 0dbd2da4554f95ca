"""How often a client of the proxy gets a heartbeat: before it, or something in between, gives up on us. Pure."""

from __future__ import annotations

from collections.abc import Mapping

HEARTBEAT_SECONDS = 50.0
"""Between heartbeats where nobody asks for more: load balancers cut connections after 60 seconds of silence."""

LEAST_SECONDS = 0.25
"""However impatient a client says it is: heartbeats cost work, and a client must not make us do nothing else."""

NODE_SECONDS = 300.0
"""Node's fetch (undici) gives up when no headers came for so long, whatever the SDK's timeout says."""

EARLY_SECONDS = 10.0
"""How long before a client would give up it gets its heartbeat; half of its patience, if that is short."""

PATIENCE_HEADERS = ("x-stainless-read-timeout", "x-stainless-timeout")
"""What the official SDKs say, in seconds: Python's its read timeout, Node's the timeout of the call, if it has one."""

_OF_NODE = ("node", "undici", "openai/js")


def heartbeat_seconds(headers: Mapping[str, str], default: float) -> float | None:
    """The seconds between two heartbeats of a client; None for no heartbeats.

    Args:
        headers: of its request, names in lower case.
        default: the longest time between heartbeats for any client; 0 for no heartbeats at all.
    """
    if default <= 0:
        return None
    patience = _patience(headers)
    return min(default, max(patience - EARLY_SECONDS, patience / 2, LEAST_SECONDS))


def _patience(headers: Mapping[str, str]) -> float:
    agent = headers.get("user-agent", "").lower()
    by_agent = NODE_SECONDS if agent.startswith(_OF_NODE) else float("inf")
    return min(by_agent, *(_seconds(headers.get(name, "")) for name in PATIENCE_HEADERS))


def _seconds(told: str) -> float:
    try:
        seconds = float(told)
    except ValueError:
        return float("inf")
    return seconds if seconds > 0 else float("inf")
