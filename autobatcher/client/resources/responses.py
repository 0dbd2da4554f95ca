from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openai.resources.responses import AsyncResponses, Responses

from ...errors import UnbatchableRequestError


def refuse_websocket(*_: Any, **__: Any) -> Any:
    """Raise `UnbatchableRequestError`: WebSocket calls are billed at full price."""
    raise UnbatchableRequestError(
        "Responses over a WebSocket cannot be batched. Use client.responses.create, or "
        "client.unbatched.responses.connect at full price."
    )


if not TYPE_CHECKING:

    class BatchResponses(AsyncResponses):
        connect = refuse_websocket

    class BatchResponsesSync(Responses):
        connect = refuse_websocket
