from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from openai.resources.completions import AsyncCompletions

if not TYPE_CHECKING:

    class BatchCompletions(AsyncCompletions):
        @wraps(AsyncCompletions.create)
        async def create(self, *args: Any, **kwargs: Any) -> Any:
            return await super().create(*args, **kwargs)
