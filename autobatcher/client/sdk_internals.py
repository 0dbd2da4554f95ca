"""All private names of the SDK and of its HTTP client that autobatcher uses (one more is in upstream/direct.py).

A release of the SDK may rename any of them. Then the fast path is not taken, and everything else falls back to public
names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from inspect import signature
from operator import is_
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import openai

from ..upstream.failures import http_library
from .call import is_ignored_header

add_request_id: Callable[[Any, str | None], None] | None
"""Sets `_request_id` of a model as the SDK does; None if the SDK has moved the function."""
try:
    from openai._models import add_request_id
except ImportError:
    add_request_id = None

construct_type: Callable[..., Any] | None
"""Makes a model of JSON that has missing or odd fields; None if the SDK has moved the function."""
try:
    from openai._models import construct_type
except ImportError:
    construct_type = None


def parsing_module(name: str) -> Any:
    """The SDK's module of what `parse` does beside `create`; None if the SDK has moved it."""
    try:
        return import_module(f"openai.lib._parsing.{name}")
    except ImportError:
        return None


# ---- options of a client ----


def base_url_of(client: Any) -> Any:
    """The base URL of an SDK client, past a property that imports a module each time."""
    url = getattr(client, "_base_url", None)
    return client.base_url if url is None else url


def custom_headers(client: Any) -> Mapping[str, Any]:
    """The `default_headers` that were passed to an SDK client."""
    headers: Mapping[str, Any] | None = getattr(client, "_custom_headers", None)
    return _headers_beside_the_sdks_own(client) if headers is None else headers


def _headers_beside_the_sdks_own(client: Any) -> Mapping[str, Any]:
    """The same by a public name, which includes the SDK's own headers. A custom user agent is not recognised."""
    return {
        name: value
        for name, value in client.default_headers.items()
        if isinstance(value, str)
        and not is_ignored_header(name.lower())
        and name.lower() not in ("openai-organization", "openai-project")
        and value != f"Bearer {client.api_key}"
    }


def private_options(client: Any) -> dict[str, Any]:
    """The private arguments that were passed to an SDK client, if they are not the defaults."""
    is_strict = getattr(client, "_strict_response_validation", False)
    return {"_strict_response_validation": is_strict} if is_strict else {}


def is_http_client_of(client: Any, http_client: Any) -> bool:
    """Whether an SDK client sends through `http_client`."""
    return http_client is not None and http_client is getattr(client, "_client", None)


def copy_with(copy: Callable[..., Any], arguments: Mapping[str, Any], changes: Mapping[str, Any]) -> Any:
    """Call the SDK's `copy` with additional arguments for the constructor.

    Returns None if the SDK cannot pass those on.
    """
    if not _COPY_HANDS_ON:
        return None
    return copy(**{**changes, "_extra_kwargs": {**arguments, **changes.get("_extra_kwargs", {})}})


_COPY_HANDS_ON = "_extra_kwargs" in signature(openai.AsyncOpenAI.copy).parameters

# ---- transports of an HTTP client ----


def library_transports(http_client: Any) -> Iterator[Any]:
    """The transports of an HTTP client that are the library's own, for proxies too. None if httpx has renamed them."""
    http: Any = http_library(type(http_client))
    transports = (getattr(http_client, "_transport", None), *getattr(http_client, "_mounts", {}).values())
    for transport in transports:
        if isinstance(transport, http.AsyncHTTPTransport | http.HTTPTransport):
            yield transport


def send_directly_sync(http_client: Any, request: Any) -> Any:
    """The same as `send_directly` for a sync client."""
    try:
        transport = http_client._transport_for_url(request.url)
    except AttributeError:
        return http_client.send(request, stream=True, follow_redirects=False)
    return transport.handle_request(request)


# ---- the hook that the SDK calls before it sends a request ----


class AsyncRequestHook:
    """Calls `_before_sending` with each request of an async SDK client.

    If the SDK renames its hook, this is never called. Then the transport uses the options of the original client and
    what it reads from the request itself.
    """

    if not TYPE_CHECKING:

        async def _prepare_request(self, request):
            self._before_sending(request)
            await super()._prepare_request(request)


class RequestHook:
    """The same for a sync SDK client."""

    if not TYPE_CHECKING:

        def _prepare_request(self, request):
            self._before_sending(request)
            super()._prepare_request(request)


# ---- whether the fast path may skip the SDK's code ----


def can_be_skipped(client: Any, resource: Any, owner: Any, name: str) -> bool:
    """Whether a call may skip the SDK's own code between one of its methods and the HTTP client.

    False if that code is patched or observed, if the client has options that only that code handles, or if the SDK has
    renamed something.

    Args:
        resource: the resource whose method was called.
        owner: the SDK's class of that resource.
        name: the method's name.
    """
    try:
        return (
            add_request_id is not None
            and resource._post == client.post
            and not client._strict_response_validation
            and _are_plain_headers(client._custom_headers)
            and not _is_watched(client, owner, name)
        )
    except AttributeError:
        return False


def _are_plain_headers(headers: Mapping[str, Any]) -> bool:
    """Whether the headers need none of the SDK's checks."""
    for name, value in headers.items():
        if type(value) is not str or name.lower() in ("authorization", "content-type"):
            return False
    return True


def _is_watched(client: Any, owner: Any, name: str) -> bool:
    """Whether a function that takes part in the SDK's calls is replaced, on this client or on its class.

    (Tracers of httpx itself see the actual HTTP calls: files and batches.)
    """
    http = client._client
    return (
        not _WATCHABLE.isdisjoint(client.__dict__)
        or "send" in http.__dict__
        or "handle_async_request" in http._transport.__dict__
        or any(http.event_hooks.values())
        or not _are_the_sdks_own(type(client), owner, name)
    )


def _are_the_sdks_own(kind: Any, owner: Any, name: str) -> bool:
    """Whether all functions that take part in a call are the SDK's own."""
    functions = (
        *(getattr(owner, name), kind.request, kind.post, kind._prepare_options, kind._build_request),
        *(kind._process_response, openai.AsyncOpenAI._prepare_request),
    )
    own = _own_functions.get((kind, owner, name), ())
    if len(own) == len(functions) and all(map(is_, functions, own)):
        return True
    if not all(map(_is_the_sdks_own, functions)):
        return False
    _own_functions[kind, owner, name] = functions
    return True


_own_functions: dict[tuple[type, type, str], tuple[Any, ...]] = {}
"""Functions that were found to be the SDK's own, by the class of clients and the method. To be the same object says
enough."""


def _is_the_sdks_own(function: Any) -> bool:
    """Whether it is the SDK's own function and not a tracer's. (wrapt's proxies pass `isinstance` and `==`, so this
    compares types.)"""
    return type(function) is FunctionType and function.__code__.co_filename.startswith(_SDK)


_WATCHABLE = frozenset(
    {"request", "post", "_prepare_options", "_build_request", "_process_response", "_prepare_request"}
)
_SDK = str(Path(openai.__file__).parent) + os.sep
