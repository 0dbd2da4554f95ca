"""Sends a request past an HTTP client, through the transport that the client has for it."""

from __future__ import annotations

from typing import Any


async def send_directly(http_client: Any, request: Any) -> Any:
    """Send a request without the client's hooks, auth, cookies and log.

    If httpx renames its private method, the client sends it, without its auth and cookies.
    """
    try:
        transport = http_client._transport_for_url(request.url)
    except AttributeError:
        return await http_client.send(request, stream=True, follow_redirects=False, auth=None)
    return await transport.handle_async_request(request)
