from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from openai.resources.images import AsyncImages

if not TYPE_CHECKING:

    class BatchImages(AsyncImages):
        @wraps(AsyncImages.generate)
        async def generate(self, *args: Any, **kwargs: Any) -> Any:
            return await super().generate(*args, **kwargs)

        @wraps(AsyncImages.edit)
        async def edit(self, *args: Any, **kwargs: Any) -> Any:
            return await super().edit(*args, **kwargs)
