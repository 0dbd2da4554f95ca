from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openai.resources.responses import AsyncResponses, Responses
from openai.types.responses import Response

from ...errors import UnbatchableRequestError
from ..fast_path import FastPath, with_fast_path
from ..parse_method import ParseResponse
from ..plain_method import PlainMethod
from ..sdk_internals import parsing_module

CREATE = PlainMethod(AsyncResponses, "create", "/v1/responses", Response, has_unions=True)
PARSE = ParseResponse(AsyncResponses, Response, parsing_module("_responses"))


def refuse_websocket(*_: Any, **__: Any) -> Any:
    """Raise `UnbatchableRequestError`: WebSocket calls are billed at full price."""
    raise UnbatchableRequestError(
        "Responses over a WebSocket cannot be batched. Use client.responses.create, or "
        "client.unbatched.responses.connect at full price."
    )


if not TYPE_CHECKING:

    class BatchResponses(AsyncResponses):
        def __init__(self, client: Any, client_class: type) -> None:
            super().__init__(client)
            self._fast_path = FastPath(client, client_class)

        create = with_fast_path(CREATE)
        parse = with_fast_path(PARSE)
        connect = refuse_websocket

    class BatchResponsesSync(Responses):
        connect = refuse_websocket
