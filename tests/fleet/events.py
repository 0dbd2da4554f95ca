"""What happens in a session: drawn from a seed, so that the same seed gives the same events in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

ALWAYS = {"kill": 22, "terminate": 20, "pause": 18}
"""How often each kind comes, relative to the others."""

OF_FLEETS = {"roll": 3, "abandon": 5}
OF_DATABASES = {"restart": 6, "crash": 6, "cut": 12, "refuse": 6, "freeze": 4}

PAUSE_SECONDS = (3.0, 25.0)
REFUSE_SECONDS = (0.5, 8.0)
FREEZE_SECONDS = (1.0, 15.0)
DOWN_SECONDS = (0.0, 4.0)
EARLY = 0.2
"""The share of events that do not wait until a replica serves. If all came early, a slow machine would never serve."""


@dataclass(frozen=True)
class Event:
    """One of them.

    Attributes:
        kind: "kill" (SIGKILL, and a restart), "terminate" (SIGTERM, and a restart), "pause" (SIGSTOP, later SIGCONT),
            "roll" (all replicas are terminated and restarted, one after the other), "abandon" (SIGKILL, and no restart
            before the others have adopted its batches); "restart" and "crash" (the database stops, in order or not,
            and starts again), "cut", "refuse", "freeze" (the connections between a replica and the database).
        replica: whom it happens to; of no meaning for the whole fleet and the database.
        seconds: how long it lasts.
        gap: how long after the one before, in seconds.
        is_early: whether it may happen to a replica that does not yet serve.
    """

    kind: str
    replica: int
    seconds: float
    gap: float
    is_early: bool

    def __str__(self) -> str:
        who = "" if self.kind in ("roll", "restart", "crash") else f" replica {self.replica}"
        return f"{self.kind}{who} {self.seconds:.1f} s"


def draw(seed: int, count: int, *, replicas: int, has_database: bool, mean_gap: float, longest: float) -> list[Event]:
    """`count` events.

    Args:
        mean_gap: the mean of the gaps between them, in seconds.
        longest: what lasts longer is cut to this many seconds.
    """
    dice = Random(seed)
    return list(_draw(dice, count, _kinds(replicas, has_database), replicas, mean_gap, longest))


def _kinds(replicas: int, has_database: bool) -> dict[str, int]:
    return {
        **ALWAYS,
        **(OF_FLEETS if replicas > 1 and has_database else {}),
        **(OF_DATABASES if has_database else {}),
    }


def _draw(
    dice: Random, count: int, kinds: dict[str, int], replicas: int, mean_gap: float, longest: float
) -> Iterator[Event]:
    lasting = {"pause": PAUSE_SECONDS, "refuse": REFUSE_SECONDS, "freeze": FREEZE_SECONDS}
    lasting |= {"restart": DOWN_SECONDS, "crash": DOWN_SECONDS}
    for _ in range(count):
        (kind,) = dice.choices(list(kinds), list(kinds.values()))
        least, most = lasting.get(kind, (0.0, 0.0))
        seconds = min(dice.uniform(least, most), longest)
        gap, is_early = dice.expovariate(1 / mean_gap), dice.random() < EARLY
        yield Event(kind, dice.randrange(replicas), seconds, gap, is_early)
