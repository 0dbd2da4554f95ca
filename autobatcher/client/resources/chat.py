from __future__ import annotations

from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any

from openai.resources.chat import AsyncChat, AsyncCompletions

from ..fast_path import FastPath, answered_with, arguments_of, model_of

if not TYPE_CHECKING:

    class BatchChatCompletions(AsyncCompletions):
        def __init__(self, client: Any, client_class: type) -> None:
            super().__init__(client)
            self._fast_path = FastPath(client, client_class)

        @wraps(AsyncCompletions.create)
        async def create(self, *args: Any, **kwargs: Any) -> Any:
            request = None if args else self._fast_path.submit(self, kwargs)
            if request is None:
                return await super().create(*args, **kwargs)
            del kwargs
            outcome = await self._fast_path.enqueue(request) if request.tally is None else None
            if outcome is None:
                try:
                    await request.wait()
                except BaseException:
                    request.withdraw()
                    raise
                outcome = request.settled_as
            completion = model_of(outcome)
            if completion is not None:
                return completion
            with answered_with(outcome):
                return await super().create(**arguments_of(request))

    class BatchChat(AsyncChat):
        def __init__(self, client: Any, client_class: type) -> None:
            super().__init__(client)
            self._for_completions = client, client_class

        @cached_property
        def completions(self) -> BatchChatCompletions:
            return BatchChatCompletions(*self._for_completions)
