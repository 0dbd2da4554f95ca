"""The limit on open files and connections of this process."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

COMMON_LIMITS = (1_048_576, 65_536, 10_240)
"""Tried where the hard limit is unlimited or refused. macOS reports "unlimited" and enforces a kernel limit; every
release grants 10,240."""


RESERVED = 64
"""Files that clients cannot use: connections to the upstream, the journal, logs, listening sockets, the event loop."""

UNUSED_CONNECTIONS = 500
"""Connections beyond those of waiting requests: of requests that are read, answered or refused."""


@dataclass(frozen=True)
class FileRoom:
    """What a limit on open files leaves to clients.

    Attributes:
        connections: maximum number of open connections.
        waiting: maximum number of waiting requests, so that further ones can be refused.
    """

    connections: float = math.inf
    waiting: float = math.inf


def room_for_clients(limit: float) -> FileRoom:
    """Pure."""
    if limit == math.inf:
        return FileRoom()
    connections = limit - min(RESERVED, limit // 2)
    return FileRoom(connections, connections - min(UNUSED_CONNECTIONS, connections // 8))


def raise_file_limit(resource: Any = None) -> float:
    """Raise the soft limit as far as the system allows: each waiting HTTP/1.1 request holds a connection.

    Returns the limit that holds then; infinity if there is none.

    Args:
        resource: by default the standard library's module. Windows has neither the module nor the limit.
    """
    if resource is None:
        try:
            import resource
        except ImportError:
            return math.inf
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in limits_to_try(soft, hard, unlimited=resource.RLIM_INFINITY):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):
            continue
        return wanted
    return math.inf if soft == resource.RLIM_INFINITY else float(soft)


def limits_to_try(soft: int, hard: int, *, unlimited: int) -> Iterator[int]:
    """Limits above the current one, highest first."""
    if soft == unlimited:
        return
    if hard != unlimited:
        yield hard
    for limit in COMMON_LIMITS:
        if soft < limit and (hard == unlimited or limit < hard):
            yield limit
