"""How much still fits into a batch. Pure."""

from __future__ import annotations

import math

from ...upstream.providers import ProviderProfile


class Room:
    """What the requests of one batch use of its provider's limits.

    Args:
        batch_size: how many requests a batch may have, if the provider does not allow less.

    Attributes:
        requests: how many there are.
    """

    __slots__ = ("_bytes", "_embedding_inputs", "_most_bytes", "_most_inputs", "_most_requests", "requests")

    def __init__(self, provider: ProviderProfile, batch_size: int) -> None:
        self._most_requests = min(batch_size, provider.max_requests)
        self._most_bytes = provider.max_file_bytes
        self._most_inputs = provider.max_embedding_inputs or math.inf
        self.requests: int = 0
        self._bytes = 0
        self._embedding_inputs = 0

    @property
    def is_full(self) -> bool:
        """Whether no further request fits, however small."""
        return self.requests >= self._most_requests

    def fits(self, size: int, embedding_inputs: int) -> bool:
        """Whether the batch stays within the limits with one more request. An empty batch fits any request."""
        return not self.requests or (
            not self.is_full
            and self._bytes + size <= self._most_bytes
            and self._embedding_inputs + embedding_inputs <= self._most_inputs
        )

    def take(self, size: int, embedding_inputs: int) -> None:
        """A request of so many bytes and embedding inputs is in the batch."""
        self.requests += 1
        self._bytes += size
        self._embedding_inputs += embedding_inputs

    def give_back(self, size: int, embedding_inputs: int) -> None:
        """It has left the batch."""
        self.requests -= 1
        self._bytes -= size
        self._embedding_inputs -= embedding_inputs
