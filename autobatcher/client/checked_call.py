"""What a call asks: its body checked, and its streaming taken out. Other tasks run while a large body is read."""

from __future__ import annotations

from ..turns import in_turns
from .checked_body import checked_body
from .streams import STREAMED_ENDPOINTS, StreamRequest, may_ask_for_stream, removal_of_streaming


async def checked_call(endpoint: str, body: bytes) -> tuple[StreamRequest, bytes]:
    """Check the body of a call, take its streaming out, and return what its digests are made of.

    Raises:
        UnbatchableRequestError: as `checked_body` does, and `without_streaming`.
    """
    digested = await checked_body(endpoint, body)
    if endpoint not in STREAMED_ENDPOINTS or not may_ask_for_stream(body):
        return StreamRequest(body, wants_stream=False, include_usage=False), digested
    asked = await in_turns(removal_of_streaming(body))
    if asked.body is not body:
        digested = await checked_body(endpoint, asked.body)
    return asked, digested
