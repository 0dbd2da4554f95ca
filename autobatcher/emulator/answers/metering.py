"""How answers count tokens: what came from a cache, and what was thought before it was said. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Metering:
    """Documented in `Emulator`."""

    cached_share: float = 0.0
    reasoning_tokens: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.cached_share <= 1:
            raise ValueError(f"cached_share must be from 0 to 1: {self.cached_share}")
        if self.reasoning_tokens < 0:
            raise ValueError(f"reasoning_tokens must not be negative: {self.reasoning_tokens}")

    def cached(self, asked: int) -> int:
        """How many of the input tokens came from a cache."""
        return int(self.cached_share * asked)

    def reasoning(self, said: int, limit: Any) -> int:
        """How many tokens are thought before `said` ones: within the limit of the request, if it has one."""
        room = max(0, limit - said) if isinstance(limit, int) else self.reasoning_tokens
        return min(self.reasoning_tokens, room)


COUNTED_PLAINLY = Metering()
