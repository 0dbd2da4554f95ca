"""Hints that a batch has ended, which webhooks and lists bring: its next poll is due now. A hint is never the truth."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet, WeakValueDictionary

import anyio

from ..upstream.identifiers import is_usable_id

FOLLOW_UP_SECONDS = (1.0, 2.0, 4.0, 8.0)
"""Waits before the polls that follow a hint, while they say that the batch runs on: a replica of the upstream may be
late. Then the schedule counts again."""

LEAST_SECONDS = 1.0
"""The shortest wait between two polls of a batch because of hints."""

POLLS_PER_SECOND = 10.0
"""The highest rate of all polls together that follow a hint and find that the batch runs on."""

MOST_EARLY = 1_000
"""How many hints for batches that are not known (yet) are remembered, the latest ones."""


class PollHints:
    """The hints for the batches of one engine."""

    def __init__(self) -> None:
        self._by_id: WeakValueDictionary[str, PollHint] = WeakValueDictionary()
        self._early: dict[str, None] = {}
        self._unconfirmed: WeakSet[PollHint] = WeakSet()

    def give(self, batch_id: str) -> bool:
        """Have this batch polled now. Synchronous; can be called any number of times.

        A batch that is not known may be created just now, and its hint is kept for when it is.

        Args:
            batch_id: as a webhook names it.

        Returns:
            Whether the hint is new: False if an equal one waits for its batch to become known, or no batch has such an
            id.
        """
        bare = bare_id(batch_id)
        hint = self._by_id.get(bare)
        if hint is not None:
            hint.give()
            return True
        if bare in self._early or not is_usable_id(bare):
            return False
        self._early[bare] = None
        if len(self._early) > MOST_EARLY:
            del self._early[next(iter(self._early))]
        return True

    def knows(self, batch_id: str) -> bool:
        """Whether this batch is being polled here."""
        return bare_id(batch_id) in self._by_id

    def of(self, batch_id: str) -> PollHint:
        """The hints for one batch, for as long as the result is referred to."""
        bare = bare_id(batch_id)
        hint = self._by_id[bare] = PollHint(self._unconfirmed)
        if bare in self._early:
            del self._early[bare]
            hint.give()
        return hint


class PollHint:
    """Ends the pause before the next poll of one batch, and shortens those after it.

    Args:
        unconfirmed: the hints that were given of batches which still seem to run. This adds itself.

    Attributes:
        is_followed: whether the next poll is due to a hint, so that only the batch itself can say how it is.
    """

    def __init__(self, unconfirmed: WeakSet[PollHint]) -> None:
        self.is_followed: bool = False
        self._unconfirmed = unconfirmed
        self._is_given = False
        self._not_before = -math.inf
        self._follow_ups: Iterator[float] = iter(())
        self._pause: anyio.CancelScope | None = None

    def give(self) -> None:
        """The batch is said to have ended. However many say so meanwhile, it is polled once. Needs no task."""
        self._is_given = True
        if self._pause is not None:
            self._pause.deadline = self._not_before  # mostly in the past; the time itself only tasks may ask

    @contextmanager
    def pause(self) -> Iterator[None]:
        """A block that waits for the next poll. A hint, also one that came before, cuts it off."""
        try:
            with anyio.CancelScope() as self._pause:
                if self._is_given:
                    self.give()
                yield
        finally:
            self._pause = None
        if self._is_given:
            self._follow()

    def next_wait(self, scheduled: float, least: float = 0.0) -> float:
        """Seconds until the next poll, after one that said that the batch runs on, or failed.

        Args:
            scheduled: seconds until the next poll without a hint.
            least: how long the upstream asks to be left alone, in seconds. No hint shortens it.
        """
        follow_up = next(self._follow_ups, math.inf)
        if follow_up == math.inf:
            self._unconfirmed.discard(self)
        self.is_followed = follow_up < math.inf
        self._not_before = max(self._not_before, anyio.current_time() + least)
        return max(least, min(scheduled, max(follow_up, self._least_seconds)))

    def _follow(self) -> None:
        self._is_given, self.is_followed = False, True
        self._follow_ups = iter(FOLLOW_UP_SECONDS)
        self._unconfirmed.add(self)
        self._not_before = anyio.current_time() + self._least_seconds

    @property
    def _least_seconds(self) -> float:
        return max(LEAST_SECONDS, len(self._unconfirmed) / POLLS_PER_SECOND)


def bare_id(batch_id: str) -> str:
    """What is the same in a webhook and in the API: Doubleword's webhooks name `batch_<uuid>` what its API names
    `<uuid>`, and Gemini has `batches/<id>`."""
    return batch_id.removeprefix("batches/").removeprefix("batch_")
