"""The limit on open files and connections of this process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

COMMON_LIMITS = (1_048_576, 65_536, 10_240)
"""Tried where the hard limit is unlimited or refused. macOS reports "unlimited" and enforces a kernel limit; every
release grants 10,240."""


def raise_file_limit(resource: Any = None) -> None:
    """Raise the soft limit as far as the system allows: each waiting HTTP/1.1 request holds a connection.

    Args:
        resource: by default the standard library's module. Windows has neither the module nor the limit.
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
    """Limits above the current one, highest first."""
    if soft == unlimited:
        return
    if hard != unlimited:
        yield hard
    for limit in COMMON_LIMITS:
        if soft < limit and (hard == unlimited or limit < hard):
            yield limit
