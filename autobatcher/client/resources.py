"""The SDK's resources, but for this: what one awaits is a coroutine function.

The SDK checks the arguments of some methods in a plain function around them (`required_args`), so that
`inspect.iscoroutinefunction(client.chat.completions.create)` is False; frameworks (ragas, for one) ask. And what would
go past every batch is refused.
"""

from __future__ import annotations

from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any

from openai.resources.beta import AsyncBeta, Beta
from openai.resources.chat import AsyncChat
from openai.resources.chat import AsyncCompletions as AsyncChatCompletions
from openai.resources.completions import AsyncCompletions
from openai.resources.images import AsyncImages
from openai.resources.responses import AsyncResponses, Responses

from ..errors import UnbatchableRequestError
from . import short_way


def refuse_websocket(*_: Any, **__: Any) -> Any:
    """A WebSocket is at full price. Raises `UnbatchableRequestError`."""
    raise UnbatchableRequestError(_NO_WEBSOCKET)


if not TYPE_CHECKING:  # type checkers see the SDK's own, whose signatures these have

    class BatchChatCompletions(AsyncChatCompletions):
        @wraps(AsyncChatCompletions.create)
        async def create(self, *args: Any, **kwargs: Any) -> Any:
            request = None if args else short_way.submitted(self._client, kwargs)
            if request is None:
                return await super().create(*args, **kwargs)
            del kwargs
            outcome = await request.outcome()
            completion = short_way.model_of(outcome)
            if completion is not None:
                return completion
            with short_way.told_to_the_sdk(outcome):
                return await super().create(**short_way.arguments_of(request))

    class BatchChat(AsyncChat):
        @cached_property
        def completions(self) -> BatchChatCompletions:
            return BatchChatCompletions(self._client)

    class BatchCompletions(AsyncCompletions):
        @wraps(AsyncCompletions.create)
        async def create(self, *args: Any, **kwargs: Any) -> Any:
            return await super().create(*args, **kwargs)

    class BatchImages(AsyncImages):
        @wraps(AsyncImages.generate)
        async def generate(self, *args: Any, **kwargs: Any) -> Any:
            return await super().generate(*args, **kwargs)

        @wraps(AsyncImages.edit)
        async def edit(self, *args: Any, **kwargs: Any) -> Any:
            return await super().edit(*args, **kwargs)

    class BatchResponses(AsyncResponses):
        connect = refuse_websocket

    class BatchBeta(AsyncBeta):
        @cached_property
        def chat(self) -> BatchChat:
            return BatchChat(self._client)

        @cached_property
        def responses(self) -> Any:
            return _without_websocket(super().responses)

    class BatchResponsesSync(Responses):
        connect = refuse_websocket

    class BatchBetaSync(Beta):
        @cached_property
        def responses(self) -> Any:
            return _without_websocket(super().responses)


def _without_websocket(responses: Any) -> Any:
    responses.connect = refuse_websocket
    return responses


_NO_WEBSOCKET = (
    "Responses over a WebSocket cannot go through a batch: use client.responses.create, or "
    "client.unbatched.responses.connect at full price."
)
