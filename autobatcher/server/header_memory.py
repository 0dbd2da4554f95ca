"""What is read of the headers of a request, and kept for the next request that has the same. Pure.

Nearly all requests of a client have equal headers, but for the length of their bodies: so nothing else that is kept may
depend on that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, TypeVar

from .hypercorn.extensions import HEADER_MEMORY

Headers = TypeVar("Headers")
Read = TypeVar("Read")
Memory = MutableMapping[Callable[..., Any], Any]


def memory_of(scope: Mapping[str, Any]) -> Memory:
    """The memory of a scope; an empty one if the server keeps none."""
    memory: Memory | None = scope.get("extensions", {}).get(HEADER_MEMORY)
    return {} if memory is None else memory


def kept(memory: Memory, read: Callable[[Headers], Read], headers: Headers) -> Read:
    """What `read` says of the headers. Whoever gets it must not change it."""
    if read not in memory:
        memory[read] = read(headers)
    found: Read = memory[read]
    return found
