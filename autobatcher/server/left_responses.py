"""Background responses that no proxy makes any more, because theirs was stopped or has died: they are begun again.

Such a request finds its line of a batch like every one that comes again. With the proxy's own key all are begun again
when it starts, or by another replica. With forwarded keys those of a caller are when that caller asks for anything.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from itertools import islice

import anyio
import trio
from anyio.abc import TaskStatus

from ..client.checked_body import checked_body
from ..client.deadlines import DEADLINE_HEADER
from ..client.openai import BatchOpenAI
from ..client.server_calls import kept_responses
from ..engine.journal.responses import KeptResponse
from ..errors import BatchError, ClientClosedError, JournalError
from .background import ENDPOINT, BackgroundResponses, NewCall, OpenResponse
from .body_limiter import BodyLimiter, HeldBody
from .exchange import RefusedError, no_room
from .refusals import batch_error_parts, refusal_parts

logger: logging.Logger = logging.getLogger("autobatcher")

LOOK_SECONDS = 5.0
"""How often it is looked which have begun, which were cancelled at another replica, and which nobody makes."""

ADOPTED_AT_ONCE = 500
"""How many of the last kind are begun again at a time."""

LOOKED_AT = 1_000
"""How many are looked at in one turn, whether they were cancelled at another replica."""

MOST_OWNERS = 1_000
"""How many callers' keys are remembered."""


class LeftResponses:
    """Looks after the responses in the journal.

    Args:
        bodies: bounds what they ask together with all other calls.
        forward_keys: whether callers pay with keys of their own.
    """

    def __init__(
        self, client: BatchOpenAI, background: BackgroundResponses, bodies: BodyLimiter, *, forward_keys: bool
    ) -> None:
        self._client = client
        self._background = background
        self._bodies = bodies
        self._forward_keys = forward_keys
        self._keys: OrderedDict[bytes, str | None] = OrderedDict()
        self._may_be_left = True
        self._has_failed = False
        background.on_left = self._note_left
        background.on_owner = self._know

    def _note_left(self) -> None:
        self._may_be_left = True

    def _know(self, owner: bytes, api_key: str | None) -> None:
        self._may_be_left = self._may_be_left or owner not in self._keys
        self._keys[owner] = api_key
        self._keys.move_to_end(owner)
        if len(self._keys) > MOST_OWNERS:
            self._keys.popitem(last=False)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Look now and then, until cancelled."""
        if not self._forward_keys:
            self._background.owner(None)
        task_status.started()
        while True:
            if kept_responses(self._client) is not None:
                await self._look_if_possible()
            await trio.sleep(LOOK_SECONDS)

    async def _look_if_possible(self) -> None:
        try:
            self._tell_begun()
            if self._client.shares_journal:
                await self._give_up_cancelled()
            if self._may_be_left or self._client.shares_journal:
                await self._adopt()
        except ClientClosedError:
            return
        except JournalError as error:
            if not self._has_failed:
                logger.warning("autobatcher: %s No background responses are taken over until it can.", error.message)
            self._has_failed = True
        except Exception as error:
            logger.error("autobatcher: a defect in the proxy, at its background responses", exc_info=error)
        else:
            self._has_failed = False

    def _tell_begun(self) -> None:
        fresh = [own for own in self._background.open.values() if not own.is_told and own.is_in_progress]
        for own in fresh:
            own.is_told = True
        if fresh:
            self._background.kept.begin([own.kept.id for own in fresh])

    async def _give_up_cancelled(self) -> None:
        """Those that another replica was told to cancel or to delete."""
        mine = self._background.open
        ids = list(islice(mine, LOOKED_AT))
        for id_ in ids:
            mine[id_] = mine.pop(id_)  # the next ones are looked at next
        if ids:
            for id_ in set(ids) - await self._background.kept.still_open(ids):
                self._background.give_up(id_)

    async def _adopt(self) -> None:
        found = await self._background.kept.adopt(list(self._keys), most=ADOPTED_AT_ONCE)
        self._may_be_left = bool(found)
        for each in found:
            if each.id not in self._background.open:
                await self._begin_again(each)

    async def _begin_again(self, found: KeptResponse) -> None:
        if (refused := _why_not(found)) is not None:
            self._background.end(found, refusal_parts(refused))
            return
        try:
            await self._submit(found)
        except RefusedError:
            self._background.leave(found.id)  # until there is room
        except (ClientClosedError, JournalError):
            self._background.leave(found.id)
            raise
        except BatchError as error:
            self._background.end(found, batch_error_parts(error, has_journal=True))

    async def _submit(self, found: KeptResponse) -> None:
        if found.owner not in self._keys:
            raise no_room()
        api_key, body = self._keys[found.owner], found.body or b""
        held = HeldBody(self._bodies, api_key or "")
        try:
            if not held.grow(len(body)):
                raise no_room()
            call = NewCall(found, _deadline_left(found), await checked_body(ENDPOINT, body))
            request = self._background.submit(call, api_key)
            request.is_retry = True
            self._background.watch(OpenResponse(found, request, held.handed_over()))
        finally:
            held.release()


def _deadline_left(found: KeptResponse) -> dict[str, str]:
    return {} if found.deadline is None else {DEADLINE_HEADER: str(found.deadline - time.time())}


def _why_not(found: KeptResponse) -> RefusedError | None:
    """Why a response cannot be gone on with."""
    if found.deadline is not None and found.deadline <= time.time():
        return RefusedError(504, "The deadline passed while no proxy was there.", code="deadline_missed")
    if not found.headers:
        return None
    message = (
        "The proxy was restarted, and it does not keep the values of headers. This call had some: "
        f"{found.headers}. Ask again: what was made of it already is not paid twice."
    )
    return RefusedError(503, message, code="lost_headers")
