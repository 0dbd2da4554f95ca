"""Decides which HTTP requests are batchable and makes the engine's requests of them. Pure."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ..engine.json_scan import is_large
from ..engine.request import Request
from ..errors import UnbatchableRequestError
from ..upstream.account import Account
from ..upstream.providers import BATCHABLE_ENDPOINTS
from .call import SDK_MAX_RETRIES
from .checked_body import checked_at_once, invalid_body


def batchable_endpoint(method: str, url_path: str, base_path: str, *, is_elsewhere: bool = False) -> str | None:
    """Return the endpoint of a batchable call, such as "/v1/embeddings"; None for a call that passes through.

    Args:
        url_path, base_path: the paths of the request's URL and of the account's base URL.
        is_elsewhere: whether their hosts differ.

    Raises:
        UnbatchableRequestError: for a batchable path outside the base URL; it must not be sent in real time.
    """
    if method != "POST":
        return None
    path, base = "/" + url_path.strip("/"), "/" + base_path.strip("/")
    if path.startswith(base) and not is_elsewhere:
        endpoint = "/v1/" + path[len(base) :].strip("/")
        if endpoint in BATCHABLE_ENDPOINTS:
            return endpoint
    if path.endswith(_TAILS):
        raise UnbatchableRequestError(
            f"{url_path} looks batchable but is not below the base URL ({base_path}, same host). To send it at full "
            "price, use client.unbatched."
        )
    return None


def base_url_of(url: str, url_path: str) -> str:
    """Return the part of a URL before its endpoint, with or without /v1.

    A URL that ends with no batchable endpoint is returned unchanged.
    """
    for endpoint in _ENDPOINTS_LONGEST_FIRST:
        tail = endpoint.removeprefix("/v1")
        if url_path.rstrip("/").endswith(tail) and url.rstrip("/").endswith(tail):
            return url.rstrip("/")[: -len(tail)]
    return url


_TAILS = tuple(endpoint.removeprefix("/v1") for endpoint in BATCHABLE_ENDPOINTS)
# "/chat/completions" ends with "/completions", too.
_ENDPOINTS_LONGEST_FIRST = sorted(BATCHABLE_ENDPOINTS, key=len, reverse=True)


def check_content_type(endpoint: str, content_type: str) -> None:
    """Raise `UnbatchableRequestError` for a body that is not JSON, such as multipart."""
    if not content_type.partition(";")[0].strip().lower().endswith("json"):
        raise UnbatchableRequestError(
            f"Batches take JSON only. This call to {endpoint} has content-type {content_type or 'unknown'}, "
            "not application/json.",
            param="content-type",
        )


def batch_request(
    account: Account,
    endpoint: str,
    body: bytes,
    *,
    digested: bytes | None = None,
    max_retries: int = SDK_MAX_RETRIES,
    deadline: float | None = None,
) -> Request:
    """Make the engine's request of a call's body. Only the fields that decide about batching are parsed.

    Args:
        digested: what `checked_body` returned for the body; None checks it now.

    Raises:
        UnbatchableRequestError: if the body is no JSON object, names no model, or asks for a stream.
    """
    if digested is None:
        digested = checked_at_once(endpoint, body)
    fields = _peek(endpoint, body)
    if fields.stream:
        raise UnbatchableRequestError(f"Batches cannot stream. Call {endpoint} without stream=True.", param="stream")
    return Request(
        account=account,
        endpoint=endpoint,
        body=body,
        model=fields.model,
        embedding_inputs=_input_count(fields.input, body) if endpoint == "/v1/embeddings" else 0,
        max_retries=max_retries,
        deadline=deadline,
        digested=digested,
    )


LONGEST_MODEL_NAME = 1_000
"""In characters. It is quoted in errors, events and records, compared and remembered; callers of a proxy choose it."""

# Other endpoints have a default model, or a stored prompt that names one.
_ALWAYS_WITH_MODEL = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings"})


class _Fields(msgspec.Struct):
    model: str = ""
    stream: bool | None = None
    input: msgspec.Raw = msgspec.Raw()


_decode_fields = msgspec.json.Decoder(_Fields).decode


def _peek(endpoint: str, body: bytes) -> _Fields:
    try:
        fields = _decode_fields(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        fields, reason = None, error
    if fields is None:  # not inside of `except`: a UnicodeDecodeError holds the whole body
        raise invalid_body(endpoint, reason)
    if not fields.model and endpoint in _ALWAYS_WITH_MODEL:
        raise UnbatchableRequestError(f"This call to {endpoint} names no model.", param="model")
    if len(fields.model) > LONGEST_MODEL_NAME:
        message = f"The name of the model has more than {LONGEST_MODEL_NAME:,} characters, which no model's name has."
        raise UnbatchableRequestError(message, param="model")
    return fields


def _input_count(raw: msgspec.Raw, body: bytes) -> int:
    """Count the inputs of an embeddings call: one for each item of a list of texts or token lists."""
    if is_large(body):
        return _many_inputs(raw, body)
    try:
        value: Any = msgspec.json.decode(raw, type=list[msgspec.Raw])
    except msgspec.MsgspecError:
        return 1
    is_one_list_of_tokens = bool(value) and bytes(value[0])[:1] not in (b'"', b"[")
    return 1 if is_one_list_of_tokens else len(value)


def _many_inputs(raw: msgspec.Raw, body: bytes) -> int:
    """The same for a large body. The items are counted and not built: there may be millions of empty ones."""
    begin = _FIRST_ITEM.match(raw)
    if begin is None:
        return 1
    if begin[1] == b"[":
        return body.count(b"[") - 1  # no other field of an embeddings call has lists; cutting this one out takes longer
    written = bytes(raw)
    if b"\\" in written:
        written = written.replace(b"\\\\", b"").replace(b'\\"', b"")
    return written.count(b'"') // 2


_FIRST_ITEM = re.compile(rb'\[\s*(["\[])')
