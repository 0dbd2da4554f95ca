"""Whether a session went well, and if not, what there is to read about it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from .clients import Asked, dashed
from .diary import Diary
from .upstream import Found

SHOWN = 5
"""So many texts are told with all that is known about them; of all others that is in a file."""


@dataclass
class Verdict:
    """Attributes:
    failures: what went wrong, one line each; empty if all went well.
    guilty: the texts that were not billed once, or not answered once.
    """

    failures: list[str] = field(default_factory=list)
    guilty: list[Asked] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not self.failures


def judge(asked: Sequence[Asked], found: Found, unfinished: int, others: Iterable[str] = ()) -> Verdict:
    """Each text was answered once and billed once, and nothing is left.

    Args:
        unfinished: how many batches the journal has that are not over.
        others: further failures.
    """
    verdict = Verdict(list(others))
    texts = {one.text: one for one in asked}
    kinds = {
        "not answered": [one for one in asked if not one.answers],
        "answered wrongly": [one for one in asked if one.answers and not one.is_right],
        "never billed": [one for one in asked if one.text not in found.billed],
        "billed more than once": [texts[text] for text, batches in found.billed.items() if len(batches) > 1],
    }
    for kind, guilty in kinds.items():
        if guilty:
            verdict.failures.append(f"{len(guilty)} of {len(asked)} texts were {kind}")
            verdict.guilty += [one for one in guilty if one not in verdict.guilty]
    if found.running:
        verdict.failures.append(f"still running upstream: {', '.join(found.running)}")
    if found.input_files:
        verdict.failures.append(f"input files left upstream: {', '.join(found.input_files)}")
    if unfinished:
        verdict.failures.append(f"{unfinished} batches of the journal are not over")
    return verdict


def receipt_failure(told: tuple[int, int], found: Found) -> str | None:
    """What is wrong with a receipt that tells of so many requests, and of so many that may have been billed."""
    billed, (certain, uncertain) = sum(map(len, found.billed.values())), told
    if certain <= billed <= certain + uncertain:
        return None
    return f"the receipt has {certain} and perhaps {uncertain} requests more, but {billed} were billed"


def explain(verdict: Verdict, found: Found, diary: Diary, passed_on: Sequence[str]) -> Iterator[str]:
    """The failures, and for some texts all lines about them.

    Args:
        passed_on: nginx's lines, one for each try.
    """
    yield from (f"FAILED: {failure}" for failure in verdict.failures)
    crossed = [one.text for one in verdict.guilty if _is_crossed(one, passed_on)]
    if crossed:
        yield f"for {len(crossed)} of them, nginx passed an answer on while the client left: {crossed[:20]}"
    yield from tell_all(verdict.guilty[:SHOWN], found, diary, passed_on)
    left = [*found.running, *found.input_files][:SHOWN]
    if left:
        yield f"\nabout {', '.join(left)}:"
        yield from (f"  {line[:400]}" for line in diary.about(*left))


def tell_all(guilty: Iterable[Asked], found: Found, diary: Diary, passed_on: Sequence[str]) -> Iterator[str]:
    """All that is known of these texts: the batches that billed them, their tries, and what was said meanwhile."""
    for one in guilty:
        yield f"\n{one.text!r}: billed in {len(found.billed.get(one.text, []))} batches"
        yield from (f"  {line}" for line in _creations(found.billed.get(one.text, []), found, diary))
        yield from (f"  answer: {answer!r}" for answer in one.answers)
        yield from (f"  failure: {failure}" for failure in one.failures)
        yield from (f"  {diary.since(at)} try: {told}" for at, told in one.tries)
        yield from (f"  nginx {line}" for line in passed_on if f" {dashed(one.text)} " in line)
        yield from (f"  {line}" for line in _about(one, found, diary))


def _creations(batches: Iterable[str], found: Found, diary: Diary) -> Iterator[str]:
    """When each batch was created, as the emulator saw it, and by which engine."""
    created = {json.loads(told)["id"]: at for at, path, status, told in found.deeds if _is_creation(path, status)}
    for batch in batches:
        status, metadata = found.batches.get(batch, ("unknown", {}))
        moment = diary.since(created[batch]) if batch in created else "never"
        yield f"{moment} created: {batch}, {status}, {metadata}"


def _is_creation(path: str, status: int) -> bool:
    return path.endswith("/batches") and status == 200


def _is_crossed(one: Asked, passed_on: Sequence[str]) -> bool:
    """Whether nginx sent more answers than the client has seen."""
    sent = sum(f" {dashed(one.text)} " in line and " 200 -> 200 " in line for line in passed_on)
    return sent > len(one.answers)


def _about(one: Asked, found: Found, diary: Diary) -> list[str]:
    """The lines about its batches, by time: the replicas', and what was done upstream; and all events since then."""
    batches = found.billed.get(one.text, [])
    words = [one.text, *batches, *_keys(batches, found)]
    deeds = [
        f"{diary.since(at)} upstream   {path} -> {status} {told[:200]}"
        for at, path, status, told in found.deeds
        if any(word in path or word in told for word in words)
    ]
    return sorted([*(line[:400] for line in diary.about(*words)), *deeds, *_events(one, diary)])


def _keys(batches: Iterable[str], found: Found) -> Iterator[str]:
    """What their metadata say by which the journal knows them."""
    for batch in batches:
        _, metadata = found.batches.get(batch, ("", {}))
        yield from (value for value in metadata.values() if len(value) > 12)


def _events(one: Asked, diary: Diary) -> list[str]:
    """What happened while it was asked."""
    first, last = one.tries[0][0] - 5.0, one.tries[-1][0] + 10.0
    between = (line for line in diary.lines if diary.since(first) <= line[:8] <= diary.since(last))
    return [line for line in between if line[9:].startswith("event ")]
