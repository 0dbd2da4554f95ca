"""The routes of background responses: how they are begun, asked for, cancelled and deleted over HTTP."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from typing import Any
from urllib.parse import parse_qs

import msgspec

from ..client.body_fields import without_fields
from ..client.checked_body import checked_body, invalid_body
from ..client.deadlines import DEADLINE_HEADER
from ..client.header_kinds import forwarded_headers
from ..client.http_parts import HttpParts
from ..client.streams import StreamRequest
from ..engine.digest import digest_of, digest_of_parts
from ..engine.journal.responses import CANCELLED, OPEN, QUEUED, KeptResponse
from ..engine.json_scan import OversizeError
from ..engine.lanes.deadline import seconds_until
from ..errors import BatchError
from ..turns import in_turns
from . import response_object
from .background import ENDPOINT, BackgroundResponses, NewCall
from .body_limiter import HeldBody
from .exchange import ClientGoneError, Exchange, RefusedError
from .keys import bearer_of
from .refusals import batch_error_parts, refusal_parts
from .routes import not_allowed_parts, not_served_parts

BELOW = f"{ENDPOINT}/"

_PREFIX = "resp_bg_"
_ID = re.compile(r"resp_bg_[0-9a-f]{40}")


class ResponseRoutes:
    """Serves them.

    Args:
        forward_keys: use each caller's own bearer token upstream. A response is for its caller alone.
    """

    def __init__(self, background: BackgroundResponses, *, forward_keys: bool) -> None:
        self._background = background
        self._forward_keys = forward_keys

    # ---- POST /v1/responses ----

    async def for_upstream(
        self, asked: StreamRequest, digested: bytes, exchange: Exchange
    ) -> tuple[StreamRequest, bytes]:
        """What a call asks, once the response that it goes on from is named as the upstream knows it.

        Raises:
            RefusedError: 400 if that is one of ours, and is unknown or has not ended well.
            BatchError: if the journal cannot be asked.
        """
        previous = response_object.previous_id(asked.body)
        if previous is None or not _ID.fullmatch(previous):
            return asked, digested
        found = await self._background.get(previous, self._background.owner(self._key_of(exchange)))
        if found is None or found.upstream_id is None:
            state = "not found" if found is None else f"is {found.status}, so that no call can go on from it"
            raise RefusedError(
                400, f"Previous response with id '{previous}' {state}.", code="previous_response_not_found"
            )
        body = response_object.going_on_from(asked.body, found.upstream_id)
        return asked._replace(body=body), await checked_body(ENDPOINT, body)

    async def create(self, asked: StreamRequest, exchange: Exchange, held: HeldBody) -> None:
        """Begin a response, and tell its id at once.

        Raises:
            RefusedError, BatchError: see `BackgroundResponses.create`; 400 for a stream.
            ClientGoneError: the client is gone. Without an `Idempotency-Key` the response is given up.
        """
        if asked.wants_stream:
            raise response_object.refuse_stream()
        api_key = self._key_of(exchange)
        headers = forwarded_headers(exchange.headers)
        call = await _call_of(asked.body, headers, owner=self._background.owner(api_key), exchange=exchange)
        created = await self._background.create(call, held, api_key)
        try:
            if exchange.peer.is_gone():
                raise ClientGoneError
            await exchange.respond(_parts_of(created))
        except ClientGoneError:
            if not call.has_key:
                self._background.discard(created.id, created.owner)
            raise

    # ---- below /v1/responses/ ----

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        try:
            await exchange.drain()
            await exchange.respond(await self._answer(exchange))
        except ClientGoneError:
            return

    async def _answer(self, exchange: Exchange) -> HttpParts:
        method, id_, action = exchange.method, *_parsed(exchange.path)
        if id_ is None or action not in _METHODS:
            return not_served_parts(method, exchange.path)
        if method not in _METHODS[action]:
            return not_allowed_parts(method, exchange.path, _METHODS[action])
        try:
            owner = self._background.owner(self._key_of(exchange))
            if action == "cancel":
                return await self._cancel(id_, owner)
            if method == "DELETE":
                return await self._delete(id_, owner)
            return await self._get(id_, owner, exchange.query)
        except RefusedError as refused:
            return refusal_parts(refused)
        except BatchError as error:  # of the journal
            return batch_error_parts(error, has_journal=True)

    async def _get(self, id_: str, owner: bytes, query: bytes) -> HttpParts:
        if parse_qs(query.decode("latin-1")).get("stream", [""])[-1].lower() == "true":
            raise response_object.refuse_stream()
        found = await self._background.get(id_, owner) if _ID.fullmatch(id_) else None
        if found is None:
            raise _not_found(id_)
        return _parts_of(found)

    async def _cancel(self, id_: str, owner: bytes) -> HttpParts:
        found = await self._background.cancel(id_, owner) if _ID.fullmatch(id_) else None
        if found is None:
            raise _not_found(id_)
        if found.status != CANCELLED:
            article = "an" if found.status[0] in "aeiou" else "a"
            message = f"Cannot cancel {article} {found.status} response."
            return refusal_parts(RefusedError(400, message), param="response_id")
        return _parts_of(found)

    async def _delete(self, id_: str, owner: bytes) -> HttpParts:
        if not _ID.fullmatch(id_) or not await self._background.delete(id_, owner):
            raise _not_found(id_)
        return _json({"id": id_, "object": "response", "deleted": True})

    def _key_of(self, exchange: Exchange) -> str | None:
        """The caller's own key; None for the proxy's. Raises `RefusedError` (401) if it must have one."""
        return bearer_of(exchange.headers.get("authorization", "")) if self._forward_keys else None


_METHODS = {"": ("DELETE", "GET"), "cancel": ("POST",)}


def _parsed(path: str) -> tuple[str | None, str]:
    """The id and the action of a path; None if it has none."""
    id_, _, action = path.removeprefix(BELOW).partition("/")
    return id_ or None, action


async def _call_of(body: bytes, headers: dict[str, str], *, owner: bytes, exchange: Exchange) -> NewCall:
    """Raises `UnbatchableRequestError`."""
    key, now = exchange.headers.get("idempotency-key"), time.time()
    body = await _without_background(body)
    digested = await checked_body(ENDPOINT, body)
    digest = digest_of(ENDPOINT, digested, digest_of_parts(owner, repr(sorted(headers.items())).encode()))
    names, deadline = ", ".join(sorted(headers)), exchange.headers.get(DEADLINE_HEADER)
    if deadline is not None:  # no part of the digest, as for other calls
        headers = {**headers, DEADLINE_HEADER: deadline}
    id_ = _new_id(owner, key)
    begun = response_object.begun(id_, body, now)
    kept = KeptResponse(id_, owner, digest, QUEUED, now, _instant(deadline, now), names, body, begun)
    return NewCall(kept, headers, digested, has_key=key is not None)


def _instant(deadline: str | None, now: float) -> float | None:
    """In Unix seconds. What is no deadline is refused by the engine."""
    try:
        return None if deadline is None else now + seconds_until(deadline, wall_now=now)
    except ValueError:
        return None


async def _without_background(body: bytes) -> bytes:
    """A line of a batch is in the background by itself. Raises `UnbatchableRequestError`."""
    try:
        return await in_turns(without_fields(body, ("background",), call="background", param="background"))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OversizeError) as error:
        reason = error
    raise invalid_body(ENDPOINT, reason)


def _new_id(owner: bytes, key: str | None) -> str:
    """A random id; with an `Idempotency-Key` always the same one for the same caller, which nobody else can guess."""
    if key is None:
        return _PREFIX + secrets.token_hex(20)
    return _PREFIX + hashlib.sha256(digest_of_parts(owner, key.encode())).hexdigest()[:40]


def _not_found(id_: str) -> RefusedError:
    shown = f"Response with id '{id_}'" if _ID.fullmatch(id_) else "Response"
    message = f"{shown} not found. This proxy knows those that were made through it with `background: true`."
    return RefusedError(404, message, code="response_not_found")


def _parts_of(kept: KeptResponse) -> HttpParts:
    is_as_begun = kept.status in OPEN or kept.status == CANCELLED
    content = response_object.with_status(kept.response, kept.status) if is_as_begun else kept.response
    return {"status_code": 200, "headers": _HEADERS, "content": content}


def _json(fields: dict[str, Any]) -> HttpParts:
    return {"status_code": 200, "headers": _HEADERS, "content": msgspec.json.encode(fields)}


_HEADERS = {"content-type": "application/json", "cache-control": "no-store"}
