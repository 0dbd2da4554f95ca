"""Responses that are made in the background: begun by one request, and asked for by others.

The engine makes them like any call. Nobody waits for one, so nobody's leaving withdraws it: only its cancellation or
its deletion does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import anyio

from ..client.http_parts import HttpParts, answer_parts
from ..client.openai import BatchOpenAI
from ..client.server_calls import kept_responses
from ..engine.digest import digest_of_parts
from ..engine.journal.responses import IN_PROGRESS, KeptResponse
from ..engine.request import Answer, Request
from ..engine.shares import Shares
from ..errors import BatchError, ClientClosedError, JournalError
from . import response_object
from .body_limiter import HeldBody
from .exchange import no_room
from .kept_responses import KeptResponses, ResponsesInMemory
from .refusals import batch_error_parts, key_reused
from .tally import Tally

logger: logging.Logger = logging.getLogger("autobatcher")

ENDPOINT = "/v1/responses"

_LOSS = (
    "Background responses that have not ended are lost with this proxy. With --journal the next one goes on with them."
)


class NewCall(NamedTuple):
    """A call for a response.

    Attributes:
        kept: what is kept of it. Its body is what the upstream is asked.
        headers: for the upstream.
        digested: what `checked_body` returned for the body.
        has_key: whether a client that asks again finds it by an `Idempotency-Key`.
    """

    kept: KeptResponse
    headers: dict[str, str]
    digested: bytes
    has_key: bool = False


class OpenResponse:
    """One that this proxy makes.

    Attributes:
        kept: as it was when this proxy began it.
        request: in the engine.
        held: its body, as far as the bytes of all bodies are bounded.
        began_at: on the event loop's clock.
        is_told: whether the journal knows that it is in progress.
    """

    __slots__ = ("began_at", "held", "is_told", "kept", "request")

    def __init__(self, kept: KeptResponse, request: Request, held: HeldBody) -> None:
        self.kept: KeptResponse = kept._replace(body=None)
        self.request: Request = request
        self.held: HeldBody = held
        self.began_at: float = anyio.current_time()
        self.is_told: bool = kept.status == IN_PROGRESS

    @property
    def is_in_progress(self) -> bool:
        """Whether it is in a batch, or was in one."""
        return self.is_told or (self.request.holder is not None and self.request.holder.batch_id is not None)

    @property
    def seen(self) -> KeptResponse:
        """As its owner sees it."""
        return self.kept._replace(status=IN_PROGRESS) if self.is_in_progress else self.kept


class BackgroundResponses:
    """All background responses of a proxy.

    Args:
        on_outcome: is shown each request that has an outcome, and how many seconds it took.
        most: how many may be open. They hold no connections.
        isolates: whether owners are strangers to each other.

    Attributes:
        open: those that this proxy makes, by id.
        on_left: called when one was left in the journal, to be taken up again.
        on_owner: called with the owner and the key of each caller.
    """

    def __init__(
        self,
        client: BatchOpenAI,
        tally: Tally,
        on_outcome: Callable[[Request, float], None],
        *,
        most: int,
        isolates: bool,
    ) -> None:
        self.open: dict[str, OpenResponse] = {}
        self.on_left: Callable[[], None] = lambda: None
        self.on_owner: Callable[[bytes, str | None], None] = lambda owner, api_key: None
        self._client = client
        self._tally = tally
        self._tell_outcome = on_outcome
        self._places = Shares(most, isolates=isolates)
        self._in_memory = ResponsesInMemory()
        self._has_told_loss = False

    @property
    def kept(self) -> KeptResponses:
        """Where they are kept."""
        return kept_responses(self._client) or self._in_memory

    def owner(self, api_key: str | None) -> bytes:
        """Who may ask for responses that are made with this key; None is the proxy's own."""
        owner = self._client.owner_of(api_key)
        self.on_owner(owner, api_key)
        return owner

    # ---- what clients ask ----

    async def create(self, call: NewCall, held: HeldBody, api_key: str | None) -> KeptResponse:
        """Begin a response, and return it; or the one that has its id.

        Args:
            held: the call's body. It is handed over.
            api_key: which pays; None is the proxy's own.

        Raises:
            RefusedError: 503 if there is no room; 409 if the id was used for another call.
            BatchError: if the engine does not take the request, or the journal cannot keep it. Nothing was begun.

        Cancelled: the request is withdrawn. One with a key may go on.
        """
        request = self.submit(call, api_key)
        try:
            found = await self.kept.add(call.kept)
        except BaseException:
            self._withdraw(call.kept, request)
            self._give_back(call)
            raise
        if found is None:
            self.watch(OpenResponse(call.kept, request, held.handed_over()))
            return call.kept
        self._withdraw(call.kept, request)
        if found.digest != call.kept.digest:
            raise key_reused()
        return found

    async def get(self, id_: str, owner: bytes) -> KeptResponse | None:
        """The response as it is now; None if this owner has none with that id. Raises `JournalError`."""
        own = self.open.get(id_)
        if own is not None:
            return own.seen if own.kept.owner == owner else None
        return await self.kept.get(id_, owner)

    async def cancel(self, id_: str, owner: bytes) -> KeptResponse | None:
        """Cancel the response if it has not ended, and return it. Raises `JournalError`."""
        found = await self.kept.cancel(id_, owner)
        if found is not None and not found.is_open:
            self.give_up(id_)
        return found

    async def delete(self, id_: str, owner: bytes) -> bool:
        """Delete the response, and withdraw its request. False if there is none. Raises `JournalError`."""
        is_found = await self.kept.delete(id_, owner)
        if is_found:
            self.give_up(id_)
        return is_found

    def discard(self, id_: str, owner: bytes) -> None:
        """The client went away before it was told the id. Synchronous."""
        self.give_up(id_)
        self.kept.discard(id_, owner)

    # ---- in the engine ----

    def has_room(self, owner: bytes) -> bool:
        """Whether this owner may have another one."""
        return self._places.fits(owner)

    def submit(self, call: NewCall, api_key: str | None) -> Request:
        """Submit the request for a response, which takes a place. Then `watch` it. Raises as `create` does."""
        kept = call.kept
        if not self.has_room(kept.owner):
            raise no_room()
        try:
            request = self._client.submit_nowait(
                ENDPOINT, kept.body or b"", api_key=api_key, headers=call.headers, digested=call.digested
            )
        except anyio.WouldBlock:
            raise no_room() from None
        except BatchError as error:
            self._tally.take_refusal(error)
            raise
        request.key = digest_of_parts(kept.owner, kept.id.encode())  # replicas that make one response share its line
        self._places.take(kept.owner)
        return request

    def watch(self, own: OpenResponse) -> None:
        """Keep what becomes of a response that was submitted."""
        self.open[own.kept.id] = own
        self._tally.requests += 1
        own.held.enqueue()
        own.request.notify(partial(self._on_outcome, own.kept.id))

    def _on_outcome(self, id_: str) -> None:
        own = self.open.get(id_)
        if own is None:
            return
        self._let_go(own)
        self._tell_outcome(own.request, anyio.current_time() - own.began_at)
        outcome = own.request.settled_as
        if isinstance(outcome, ClientClosedError | JournalError) and kept_responses(self._client) is not None:
            self.leave(id_)
            return
        if isinstance(outcome, ClientClosedError) and not self._has_told_loss:
            self._has_told_loss = True
            logger.warning("autobatcher: %s", _LOSS)
        self.end(own.kept, self._parts_of(outcome))

    def _parts_of(self, outcome: Answer | BatchError) -> HttpParts:
        if isinstance(outcome, Answer):
            return answer_parts(outcome)
        return batch_error_parts(outcome, has_journal=self._client.has_journal)

    def end(self, kept: KeptResponse, parts: HttpParts) -> None:
        """Keep the end of a response: an answer of the upstream, or an error in its place."""
        end = response_object.ended(kept.response, parts)
        self.kept.end(kept._replace(status=end.status, response=end.response, upstream_id=end.upstream_id))

    def leave(self, id_: str) -> None:
        """The next proxy, another replica, or this one in a moment goes on with a response in the journal."""
        self.kept.leave(id_)
        self.on_left()

    def give_up(self, id_: str) -> None:
        """Withdraw the request, if this proxy has it."""
        if (own := self.open.get(id_)) is not None:
            self._let_go(own)
            own.request.withdraw()

    def _let_go(self, own: OpenResponse) -> None:
        del self.open[own.kept.id]
        own.held.release()
        self._places.give_back(own.kept.owner)

    def _withdraw(self, kept: KeptResponse, request: Request) -> None:
        self._places.give_back(kept.owner)
        request.withdraw()

    def _give_back(self, call: NewCall) -> None:
        """Nobody knows whether it was kept. With a key its client finds it; without, nobody does."""
        if call.has_key:
            self.leave(call.kept.id)
        else:
            self.kept.discard(call.kept.id, call.kept.owner)
