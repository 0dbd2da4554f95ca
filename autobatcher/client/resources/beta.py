from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from openai.resources.beta import AsyncBeta, Beta

from .responses import refuse_websocket

if not TYPE_CHECKING:

    class BatchBeta(AsyncBeta):
        def __init__(self, client: Any) -> None:
            super().__init__(client)
            self._batch_client = client

        @cached_property
        def chat(self) -> Any:
            return self._batch_client.chat

        @cached_property
        def responses(self) -> Any:
            return _without_websocket(super().responses)

    class BatchBetaSync(Beta):
        @cached_property
        def responses(self) -> Any:
            return _without_websocket(super().responses)


def _without_websocket(responses: Any) -> Any:
    responses.connect = refuse_websocket
    return responses
