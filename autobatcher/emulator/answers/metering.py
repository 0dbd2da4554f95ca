"""How answers count tokens: what came from a cache, and what was thought before it was said. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Metering:
    """Documented in `Emulator`."""

    cached_share: float = 0.0
    reasoning_tokens: int = 0
    cache_write_share: float = 0.0

    def __post_init__(self) -> None:
        for name in ("cached_share", "cache_write_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1: {getattr(self, name)}")
        if self.reasoning_tokens < 0:
            raise ValueError(f"reasoning_tokens must not be negative: {self.reasoning_tokens}")

    def cached(self, asked: int) -> int:
        """How many of the input tokens came from a cache."""
        return int(self.cached_share * asked)

    def into_cache(self, asked: int) -> int:
        """How many of the others were written into it."""
        return int(self.cache_write_share * (asked - self.cached(asked)))

    def reasoning(self, said: int, limit: Any) -> int:
        """How many tokens are thought before `said` ones: within the limit of the request, if it has one."""
        room = max(0, limit - said) if isinstance(limit, int) else self.reasoning_tokens
        return min(self.reasoning_tokens, room)


COUNTED_PLAINLY = Metering()
