"""How many files and connections this process may have open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

COMMON_LIMITS = (1_048_576, 65_536, 10_240)
"""What is tried where no finite limit is allowed. macOS says "unlimited", and refuses more than its kernel's own limit;
10,240 is what each of its releases grants."""


def raise_file_limit(resource: Any = None) -> None:
    """Allow as many open connections as the system grants: each waiting HTTP/1.1 request holds one.

    Args:
        resource: the standard library's module of that name by default. Windows has neither the module nor the limit.
    """
    if resource is None:
        try:
            import resource
        except ImportError:
            return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in limits_to_try(soft, hard, unlimited=resource.RLIM_INFINITY):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):
            continue
        return


def limits_to_try(soft: int, hard: int, *, unlimited: int) -> Iterator[int]:
    """Limits above the present one, the highest first."""
    if soft == unlimited:
        return
    if hard != unlimited:
        yield hard
    for limit in COMMON_LIMITS:
        if soft < limit and (hard == unlimited or limit < hard):
            yield limit
