"""`SharedJournal`: the engine's interface to a journal that other engines use at the same time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import anyio

from ...errors import JournalUnreachableError
from ...upstream.back_off import back_off
from ..event_loop import call_in_task_soon, running_loop
from . import at_exit
from .cap_check import NoRoomError, SharedCaps
from .failures import UnheardCommitError
from .journal import Journal
from .postgres.claims import UNREAD_SECONDS
from .postgres.keeper import keeper_of
from .postgres.shared import HINT, Adopted, Claimed, KeyOutcome, Lost, RemoteOutcome, WantedKey
from .postgres.shared_store import SharedStore
from .postgres.store import PostgresStore
from .records import BatchRecord, Contents, SessionEnding, UnclaimedLine
from .rows import Line

if TYPE_CHECKING:
    from .cap_check import CapCheck
    from .others_cost import OthersCost

logger: logging.Logger = logging.getLogger("autobatcher")

T = TypeVar("T")


class LookUp(NamedTuple):
    """What was found for requests.

    Attributes:
        claimed: for each, in their order.
        elsewhere: the digests of retries for which a session that lives waits for a line without an answer.
        given_before: by digest of a retry that found nothing: an answer that was given a moment ago.
    """

    claimed: list[Claimed | None]
    elsewhere: set[bytes]
    given_before: dict[bytes, Claimed]

    def lines(self) -> list[tuple[str, int]]:
        """All that were claimed, by idempotency key and number."""
        claimed = [each.line for each in (*self.claimed, *self.given_before.values()) if each is not None]
        return [(line.idempotency_key, line.number) for line in claimed]


def look_up_in(store: PostgresStore, digests: Sequence[bytes], retries: Sequence[bytes], *, now: float) -> LookUp:
    """Claim lines; see `SharedJournal.look_up`."""
    # Before: a session that ends in between has left its lines when they are claimed. And after: one that comes back
    # in between has not; and `claim` may have waited until an older retry had the line.
    elsewhere = store.is_awaited_elsewhere(retries) if retries else set()
    claimed = store.claim(digests)
    missed = {digest for digest, each in zip(digests, claimed, strict=True) if each is None}
    lost = _those_in(missed - elsewhere, retries)
    elsewhere |= store.is_awaited_elsewhere(lost) if lost else set()
    lost = _those_in(missed - elsewhere, retries)
    again = store.retake(lost, since=now - UNREAD_SECONDS) if lost else []
    given = {digest: each for digest, each in zip(lost, again, strict=True) if each is not None}
    lines = [each.line for each in (*claimed, *again) if each is not None and each.line.is_stored]
    store.renew([(line.idempotency_key, line.number) for line in lines], now=now)
    return LookUp(claimed, elsewhere, given)


def _those_in(wanted: set[bytes], digests: Sequence[bytes]) -> list[bytes]:
    """Without repetitions, in their order."""
    return [digest for digest in dict.fromkeys(digests) if digest in wanted]


class SharedJournal(Journal):
    """One session of a shared journal, from `open` to `close`.

    Args:
        url: of the database.

    Attributes:
        status_url: where the state of this engine's process can be seen; "" for nowhere. Set it before `open`.
        session: its number, which others see; None before `open`.
        on_interrupted: called when the session was lost and is there again. Others may have taken its batches.
        on_news: called with the idempotency key of a batch of which others may wait for lines.
        on_hint: called with the upstream's id of a batch that is said to have ended.
        caps: which batches must have room in them; None for none.
    """

    def __init__(self, url: str, *, patience_seconds: float, **options: Any) -> None:
        self._patience_seconds = patience_seconds
        self.status_url: str = ""
        self.session: int | None = None
        self.on_interrupted: Callable[[], None] = lambda: None
        self.on_news: Callable[[str], None] = lambda idempotency_key: None
        self.on_hint: Callable[[str], object] = lambda batch_id: None
        self.caps: SharedCaps | None = None
        self._loop: object = None
        self._has_session = False
        self._url = url
        super().__init__(self._open_store, **options)

    def _open_store(self) -> SharedStore:
        return SharedStore(
            self._url,
            at_exit.this_process(),
            now=self.wall_clock(),
            status_url=self.status_url,
            on_interrupted=self._tell_interrupted,
            on_news=self._tell_news,
        )

    # Called in the thread that notices it.

    def _tell_interrupted(self) -> None:
        call_in_task_soon(self._loop, lambda: self.on_interrupted())

    def _tell_news(self, news: str) -> None:
        call_in_task_soon(self._loop, lambda: self._pass_on(news))

    def _pass_on(self, news: str) -> None:
        if news.startswith(HINT):
            self.on_hint(news.removeprefix(HINT))
        else:
            self.on_news(news)

    async def open(self) -> Contents:
        """Begin a session. Nothing is taken from earlier ones before an account is known; see `adopt`.

        Raises:
            JournalError: if the journal cannot be used.
        """
        self._loop = running_loop()
        await self._writer.open()
        self._has_session = True
        contents = await self._writer.ask(self._begin)
        super()._sweep()
        return contents

    def _begin(self, store: SharedStore) -> Contents:
        now = self._swept_at = self.wall_clock()
        self.session = store.session
        store.sweep_sessions(now=now)
        return Contents([], [], store.kept("durations"), store.kept("calibration"))

    def _sweep(self) -> None:
        super()._sweep()
        self._tell("sweep_sessions", now=self.wall_clock())

    def _end(self, ending: Literal["well", "failed"], store: SharedStore) -> None:
        """Answers that were given to callers are kept until the process has exited, too."""
        store.end_session(ending, keeper=keeper_of(self._url) if ending == "well" else None)

    async def close(self, ending: SessionEnding) -> None:
        """Write everything, leave the batches to others, and end the session. Cancelled: it is done all the same."""
        if self._has_session:
            self._tell("release_all")
        await super().close(ending)

    # ---- lines ----

    async def look_up(self, digests: Sequence[bytes], retries: Sequence[bytes]) -> LookUp:
        """Claim a free line for each digest; equal digests get lines of their own. Raises `JournalError`.

        Args:
            retries: those of requests that say that they are retries, whose place may not be free yet.

        Cancelled: what is found is free again.
        """
        if not digests:
            return LookUp([], set(), {})
        now, found = self.wall_clock(), list[LookUp]()

        def look_up(store: SharedStore) -> LookUp:
            found[:] = [look_up_in(store, digests, retries, now=now)]
            return found[0]

        try:
            return await self._ask(look_up)
        except BaseException:  # nobody hears what it found, or will find
            self._writer.tell(lambda store: [store.free(each.lines()) for each in found])
            raise

    async def claim_keys(self, wanted: Sequence[WantedKey]) -> list[KeyOutcome]:
        """Find what becomes of requests with keys; see `KeyClaimStore.claim_keys`. Raises `JournalError`."""
        return await self._ask(lambda store: store.claim_keys(wanted, now=self.wall_clock()))

    async def lost_keys(self, keys: Sequence[bytes]) -> set[bytes]:
        """Which of these keys of ours are ours no more. Raises `JournalError`."""
        return await self._ask(lambda store: store.lost_keys(keys))

    def use_key_up(self, key: bytes) -> None:
        """The request with this key has its answer."""
        if self.is_hash_only:
            self._tell("leave_key", key)

    def release_key(self, key: bytes) -> None:
        """The request with this key failed, or its caller left before it was sent."""
        self._tell("release_key", key)

    async def outcomes(self, awaited: Callable[[], Iterable[UnclaimedLine]]) -> dict[tuple[str, int], RemoteOutcome]:
        """What became of lines that this session waits for, and others see to, by idempotency key and number. Raises
        `JournalError`.

        Args:
            awaited: returns these lines. It is called before each try: a line that was freed since the one before is
                not taken again.
        """

        def ask() -> Callable[[SharedStore], dict[tuple[str, int], RemoteOutcome]]:
            places = [(line.idempotency_key, line.number) for line in awaited()]
            return lambda store: dict(zip(places, store.outcomes_of(places), strict=True))

        return await self._ask_anew(ask)

    def fail(self, idempotency_key: str, numbers: Sequence[int], ending: str) -> None:
        """Delete lines that failed. Who waits for one in another engine gets `ending`."""
        self._tell("fail", idempotency_key, numbers, ending, now=self.wall_clock())

    def free(self, line: UnclaimedLine) -> None:
        """Nobody here waits for the line any more: anybody may claim it."""
        self._tell("free", [(line.idempotency_key, line.number)])

    # ---- limits ----

    async def intend(
        self, record: BatchRecord, lines: list[Line], reserved: Decimal | None = None, **more: Any
    ) -> None:
        """Record a batch before its upload, and what it may cost, in USD.

        Raises:
            NoRoomError: if the caps have no room for it, counting what other engines have spent and reserved.
            JournalError: if it cannot be recorded.
        """
        if self.caps is None:
            await super().intend(record, lines, reserved, **more)
            return
        caps = self.caps
        options: dict[str, Any] = {
            "is_hash_only": self.is_hash_only,
            "budget": self._budget,
            "reserved": reserved,
            **more,
        }

        def intend_if_room(check: CapCheck, store: SharedStore) -> tuple[OthersCost, bool]:
            store.take_turn()
            others = self._cost_of_others(check, store)
            has_room = check.has_room(others)
            if has_room:
                store.intend(record, lines, **options)
            return others, has_room

        # Each try takes down anew what this engine has spent: others of its batches may have been recorded since.
        others, has_room = await self._ask_anew(
            lambda: partial(intend_if_room, caps.check_now(record.account)), goes_first=True
        )
        caps.see(others)
        if not has_room:
            raise NoRoomError

    async def look_at_others(self) -> None:
        """See what other engines have spent and reserved. Raises `JournalError`."""
        if self.caps is not None:
            check = self.caps.check_now()
            self.caps.see(await self._ask(lambda store: self._cost_of_others(check, store)))

    def _cost_of_others(self, check: CapCheck, store: SharedStore) -> OthersCost:
        return check.cost_of(store.others_spent(check.since, self._budget))

    async def reserve_creation(self, place: str, most: int) -> float:
        """Reserve the earliest time at which a batch may be created, and return how long it is until then, in seconds.
        Raises `JournalError`.

        Args:
            place: what has the limit: an account, or an upstream.
            most: how many may be created in any hour.
        """
        now = self.wall_clock()
        return await self._ask_anew(lambda: lambda store: store.reserve_creation(place, most, now=now), goes_first=True)

    # ---- batches ----

    async def adopt(
        self, accounts: Sequence[bytes], *, keys: Sequence[str] = (), but: Sequence[str] = ()
    ) -> list[Adopted]:
        """Take the batches of these accounts that no session runs. Raises `JournalError`.

        Args:
            keys: of batches to take even if they have ended, because their answers are to be read again.
            but: keys of batches to leave to others.
        """
        caps = self.caps
        if caps is None:
            return await self._ask(lambda store: store.adopt(accounts, keys=keys, but=but))

        def adopt(check: CapCheck, store: SharedStore) -> tuple[list[Adopted], OthersCost | None]:
            adopted = store.adopt(accounts, keys=keys, but=but)
            return adopted, self._cost_of_others(check, store) if adopted else None

        adopted, others = await self._ask_anew(lambda: partial(adopt, caps.check_now()))
        if others is not None:  # what was reserved for these batches is known before they run here
            caps.see(others)
        return adopted

    def leave(self, idempotency_key: str) -> None:
        """Leave an unfinished batch of ours to whoever adopts it."""
        self._tell("leave", idempotency_key)

    def pass_hint(self, batch_id: str) -> None:
        """Tell the other engines that this batch of the upstream is said to have ended."""
        self._tell("announce", HINT + batch_id)

    async def lost_batches(self, idempotency_keys: Sequence[str]) -> dict[str, Lost]:
        """Which of these batches of ours are ours no more. Raises `JournalError`."""
        return await self._ask(lambda store: store.lost_batches(idempotency_keys))

    async def awaits_others(self, idempotency_key: str) -> bool:
        """Whether another session waits for a line of this batch. Raises `JournalError`."""
        return await self._ask(lambda store: store.awaits_others(idempotency_key))

    async def _ask(self, statement: Callable[[Any], T]) -> T:
        return await self._ask_anew(lambda: statement)

    async def _ask_anew(self, make: Callable[[], Callable[[Any], T]], *, goes_first: bool = False) -> T:
        """Ask again while the database cannot be reached, for as long as patience lasts.

        Args:
            make: makes the statement, each time.
            goes_first: see `Job`.
        """
        delays, until = back_off(), anyio.current_time() + self._patience_seconds
        while True:
            try:
                self._tell_answers()
                return await self._writer.ask(make(), goes_first=goes_first)
            except UnheardCommitError:
                raise  # it may have been committed: nothing is done twice
            except JournalUnreachableError as error:
                if anyio.current_time() >= until:
                    raise
                logger.warning("autobatcher: %s It is tried again.", error.message)
            await anyio.sleep(next(delays))
