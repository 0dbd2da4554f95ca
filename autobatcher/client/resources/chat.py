from __future__ import annotations

from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any

from openai.resources.chat import AsyncChat, AsyncCompletions

from .. import fast_path

if not TYPE_CHECKING:

    class BatchChatCompletions(AsyncCompletions):
        @wraps(AsyncCompletions.create)
        async def create(self, *args: Any, **kwargs: Any) -> Any:
            request = None if args else fast_path.submitted(self, kwargs)
            if request is None:
                return await super().create(*args, **kwargs)
            del kwargs
            try:
                await request.wait()
            except BaseException:
                request.withdraw()
                raise
            outcome = request.settled_as
            completion = fast_path.model_of(outcome)
            if completion is not None:
                return completion
            with fast_path.told_to_the_sdk(outcome):
                return await super().create(**fast_path.arguments_of(request))

    class BatchChat(AsyncChat):
        @cached_property
        def completions(self) -> BatchChatCompletions:
            return BatchChatCompletions(self._client)
