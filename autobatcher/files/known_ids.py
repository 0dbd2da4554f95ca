"""Custom ids that were seen, in ten bytes each: five million take about sixty megabytes."""

from __future__ import annotations

from hashlib import blake2b

_REST = 8
"""Bytes of a digest that are kept; two more say where. So two ids of ten million are confused once in 10**10 files."""


class KnownIds:
    """A set of custom ids."""

    def __init__(self) -> None:
        self._digests: dict[bytes, bytearray] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, custom_id: str) -> bool:
        """Add an id. Returns whether it is new."""
        place, rest = _digest(custom_id)
        digests = self._digests.setdefault(place, bytearray())
        if _holds(digests, rest):
            return False
        digests += rest
        self._count += 1
        return True

    def __contains__(self, custom_id: str) -> bool:
        place, rest = _digest(custom_id)
        return _holds(self._digests.get(place, b""), rest)


def _digest(custom_id: str) -> tuple[bytes, bytes]:
    digest = blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=2 + _REST).digest()
    return digest[:2], digest[2:]


def _holds(digests: bytes | bytearray, rest: bytes) -> bool:
    at = digests.find(rest)
    while at >= 0 and at % _REST:
        at = digests.find(rest, at + 1)
    return at >= 0
