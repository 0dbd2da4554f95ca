"""Applies an HTTP fault to one request and its response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio

from .dialects import OpenAIDialect
from .distension import compressed, dripping, padded
from .faults import Hit, HttpFault
from .wire import ConnectionLostError, CutBody, RefusedError, Reply, close_body


async def misbehave(
    hit: Hit[HttpFault], dialect: OpenAIDialect, path: str, process: Callable[[], Awaitable[Reply]]
) -> Reply:
    """The response to a request with a fault.

    Args:
        path: the request's.
        process: processes the request and returns the real response.

    Raises:
        ConnectionLostError: the fault breaks the connection.
    """
    fault, delay = hit.fault, hit.seconds(hit.fault.delay_seconds)
    if fault.refuse or fault.disconnect:
        message = "The emulator loses this request, as its fault plan says."
        raise ConnectionLostError(message, connected=not fault.refuse)
    if fault.after_processing:
        reply = await process()
        await anyio.sleep(delay)
        return await _distort(fault, dialect, reply)
    await anyio.sleep(delay)
    if fault.redirect_to is not None:
        return Reply(fault.status or 307, {"location": fault.redirect_to + path})
    if fault.status is not None:
        return _distend(fault, _planned_reply(fault, dialect, fault.status))
    return await _distort(fault, dialect, await process())


async def _distort(fault: HttpFault, dialect: OpenAIDialect, reply: Reply) -> Reply:
    """The response after a fault that takes effect after processing."""
    if fault.lose_answer or fault.status is not None:
        await close_body(reply.body)
    if fault.lose_answer:
        raise ConnectionLostError("The emulator loses this answer, as its fault plan says.")
    if fault.status is not None:
        return _planned_reply(fault, dialect, fault.status)
    if fault.cut_after_bytes is not None:
        return replace(reply, body=CutBody(reply.body, fault.cut_after_bytes))
    return _distend(fault, reply)


def _distend(fault: HttpFault, reply: Reply) -> Reply:
    """The response, longer than it should be, or longer under way."""
    body = reply.body
    headers = {name: value for name, value in reply.headers.items() if name != "content-length"}
    if fault.pad_bytes:
        body = padded(body, fault.pad_bytes)
    if fault.gzip:
        body, headers = compressed(body), {**headers, "content-encoding": "gzip"}
    if fault.drip_seconds:
        body = dripping(body, fault.drip_seconds)
    return reply if body is reply.body else replace(reply, headers=headers, body=body)


def _planned_reply(fault: HttpFault, dialect: OpenAIDialect, status: int) -> Reply:
    reply = dialect.refusal(RefusedError(status, fault.message, code=fault.code))
    body = reply.body if fault.body is None else fault.body.encode()
    headers = {name.lower(): value for name, value in fault.headers.items()}
    return Reply(status, {**reply.headers, **headers}, body)
