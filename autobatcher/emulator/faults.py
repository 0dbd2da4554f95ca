"""Faults on demand: which request, batch or line goes wrong, when, and how."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Annotated, Any, Generic, Literal, TypeAlias, TypeVar

import msgspec

from .durations import Duration, seconds_of
from .lines import Line


class HttpFault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True,
                tag_field="level", tag="http"):  # fmt: skip
    """An HTTP request goes wrong.

    `operation` is "files.create", "files.retrieve", "files.content", "files.delete", "files.list",
    "files.cost_estimate", "batches.create", "batches.retrieve", "batches.cancel", "batches.list", "batches.delete",
    "batches.analytics", "models",
    "realtime", "flex" (a real-time call that asks for that tier), "unknown", or "*" for any; with `containing`, only
    those with that text in their body, and only from `from_seconds` until `until_seconds` after the emulator's first
    request. Of those requests, counted from 1, the fault hits the `nth`, each `every`-th, the `first` so many, or each
    with `probability`; with none of the four, all of them.

    status, headers: this response instead of the real one, by default before the request was processed.
    body:            its body; without it, an error with `code` and `message` in the provider's own words.
    refuse:          no connection at all (httpx.ConnectError).
    disconnect:      the connection breaks before the request was processed (httpx.ReadError).
    lose_answer:     the request is processed, then the connection breaks.
    cut_after_bytes: the connection breaks after this many bytes of the response body.
    pad_bytes:       so many spaces follow the body.
    gzip:            the body is sent compressed, padding included.
    drip_seconds:    the body comes byte by byte, so long after each other.
    redirect_to:     the request is sent to its own path at this origin, with `status` or 307.
    delay_seconds:   the request waits before it is processed; a number, a LogNormal or a Recorded.
    after_processing: `status` and `delay_seconds` take effect after the request was processed.
    service_tier:    a real-time call is answered, and billed, at this tier ("default", "flex", "priority"), whatever it
                     asked for.
    """

    operation: str = "*"
    containing: str = ""
    from_seconds: float = 0.0
    until_seconds: float | None = None
    nth: tuple[int, ...] = ()
    every: int = 0
    first: int = 0
    probability: float = 0.0
    status: int | None = None
    body: str | None = None
    code: str | None = None
    message: str = "The emulator's fault plan wants this answer."
    headers: dict[str, str] = {}
    refuse: bool = False
    disconnect: bool = False
    lose_answer: bool = False
    cut_after_bytes: int | None = None
    pad_bytes: int = 0
    gzip: bool = False
    drip_seconds: float = 0.0
    redirect_to: str | None = None
    delay_seconds: Duration = 0.0
    after_processing: bool = False
    service_tier: str | None = None


class BatchFault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True,
                 tag_field="level", tag="batch"):  # fmt: skip
    """A whole batch goes wrong, or takes its own time: the `nth` created (from 1), each `every`-th, the `first` so
    many, with `probability`, or all; with `window`, only those of that completion window.

    ends:            the batch ends with this status, or stays "stuck", after the fraction `after` of its lines: until
                     its completion window ends, or forever where batches do not expire.
    stuck_in:        where a stuck batch stays: "in_progress", or "validating" for one that never starts.
    takes:           how long it is worked on, instead of `batch_seconds`: a number, a LogNormal or a Recorded.
    waits_seconds:   how long it is "in_progress" before the work starts; as above.
    at_once:         its lines are all done at its end, and none before.
    cancelling_seconds, finished_while_cancelling: instead of the emulator's.
    error_code, error_message: the contents of `errors` of a failed batch.
    error_lines:     the line numbers (from 1) in it, one error each; without them one error without a line.
    list_unfinished: an expired or cancelled batch names its unfinished lines in its error file.
    status_text:     other words for a status, e.g. {"in_progress": "IN_PROGRESS"}.
    hide_counts:     no `request_counts`.
    members:         members of the batch object as they come instead, such as {"output_file_id": ".."}.
    text_timestamps: times as text, like "2025-01-29 13:05:05".
    empty_file_ids:  "" instead of null for a missing file.
    crlf:            the lines of the output and error files end with CRLF.
    blank_lines:     an empty line follows each of their lines.
    cut_last_line:   their last line is cut in half.
    """

    nth: tuple[int, ...] = ()
    every: int = 0
    first: int = 0
    probability: float = 0.0
    ends: Literal["expired", "cancelled", "failed", "stuck"] | None = None
    after: float = 0.0
    window: str = ""
    stuck_in: Literal["validating", "in_progress"] = "in_progress"
    takes: Duration | None = None
    waits_seconds: Duration = 0.0
    at_once: bool = False
    cancelling_seconds: Duration | None = None
    finished_while_cancelling: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    error_code: str | None = None
    error_message: str = "The batch failed because its fault plan says so."
    error_lines: tuple[int, ...] = ()
    list_unfinished: bool = True
    status_text: dict[str, str] = {}
    hide_counts: bool = False
    members: dict[str, Any] = {}
    text_timestamps: bool = False
    empty_file_ids: bool = False
    crlf: bool = False
    blank_lines: bool = False
    cut_last_line: bool = False


class LineFault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True,
                tag_field="level", tag="line"):  # fmt: skip
    """A line of a batch goes wrong: those with a number in `lines` (from 1), those `containing` a text in
    their body, each with `probability`, or all; only in the batches with a number in `batches` (from 1), if
    given.

    kind "fail":     it fails with HTTP `status` and `body` (an OpenAI-shaped error by default), or, with
                     `code`, with `response: null` and that error code; `in_output_file` puts it there.
    kind "drop":     it is in neither file; `billed` says whether it was executed.
    kind "refuse":   it is refused at validation, by its number: the whole batch fails (Doubleword: the upload).
    kind "duplicate": its result comes twice.
    kind "unknown_custom_id": a second answer comes with an unknown custom_id.
    kind "null_custom_id": its result says `custom_id: null`.
    kind "text_body": the body of its response is JSON text instead of an object.
    kind "status":   it is executed, and its result says that its status is `status`.
    kind "canned":   `body` comes as its answer, whatever was asked, and is billed by what it says.
    kind "usage":    its answer says `usage`, whatever that is, instead of what is billed; without it, no usage at all.
    """

    kind: Literal[
        "fail",
        "drop",
        "refuse",
        "duplicate",
        "unknown_custom_id",
        "null_custom_id",
        "text_body",
        "status",
        "canned",
        "usage",
    ]
    lines: tuple[int, ...] = ()
    containing: str = ""
    probability: float = 0.0
    batches: tuple[int, ...] = ()
    status: int = 500
    body: str | None = None
    code: str | None = None
    message: str = "The line failed because its fault plan says so."
    in_output_file: bool = False
    billed: bool = False
    usage: Any = msgspec.UNSET


Fault: TypeAlias = HttpFault | BatchFault | LineFault


class FaultPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Faults, and a seed for those with a probability or a distribution. A plan is deterministic.

    The first matching fault applies to each request, batch or line. A plan has no state: several emulators can share
    it.
    """

    faults: tuple[Fault, ...] = ()
    seed: int = 0

    @classmethod
    def flaky(cls, seed: int, rate: float) -> FaultPlan:
        """A server on a bad day: that share of requests and of lines fails by chance, in all the usual ways.

        Raises:
            ValueError: for a rate outside 0 <= rate < 1.
        """
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be at least 0 and less than 1: {rate}")
        if rate == 0:
            return cls(seed=seed)
        share = rate / len(_FLAKY_WAYS)
        faults = [HttpFault(probability=share, **way) for way in _FLAKY_WAYS]
        return cls((*faults, LineFault(kind="fail", probability=rate, status=503)), seed)

    @classmethod
    def from_json(cls, text: bytes | str) -> FaultPlan:
        """Loads a plan from a JSON file. Raises `msgspec.ValidationError`, which names the invalid field."""
        return msgspec.json.decode(text, type=cls)

    @classmethod
    def load(cls, path: str | Path) -> FaultPlan:
        return cls.from_json(Path(path).read_bytes())

    def to_json(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self))

    def save(self, path: str | Path) -> None:
        Path(path).write_bytes(self.to_json())


_FLAKY_WAYS: tuple[dict[str, Any], ...] = (
    {"status": 500},
    {"status": 503, "headers": {"retry-after": "1"}},
    {"status": 429},
    {"status": 502, "body": "<html>Bad Gateway</html>", "after_processing": True},
    {"disconnect": True},
    {"lose_answer": True},
)

F = TypeVar("F", bound=HttpFault | BatchFault)


@dataclass(frozen=True, slots=True)
class Hit(Generic[F]):
    """A fault that strikes for the `number`-th time, from 1."""

    fault: F
    number: int
    seed: int

    def seconds(self, duration: Duration) -> float:
        """One of the fault's durations, this time."""
        return seconds_of(duration, self.number, self.seed)


NO_BATCH_FAULT = Hit(BatchFault(), 1, 0)


class FaultsAtWork:
    """A plan as executed by one emulator, with its counters."""

    def __init__(self, plan: FaultPlan) -> None:
        self.follow(plan)

    def follow(self, plan: FaultPlan) -> None:
        """Another plan from now on. Its faults count from here, and its time begins with the next request."""
        self.plan = plan
        self._seed = plan.seed
        self._began: float | None = None
        self._http = _counted(plan, HttpFault)
        self._batches = _counted(plan, BatchFault)
        self._lines = [fault for fault in plan.faults if isinstance(fault, LineFault)]

    def for_request(self, operation: str, body: bytes, now: float) -> Hit[HttpFault] | None:
        """The fault of a request at the clock's time `now`."""
        self._began = now if self._began is None else self._began
        elapsed = now - self._began
        seen = [counted for counted in self._http if _concerns(counted.fault, operation, body, elapsed)]
        return self._first_hit(seen)

    def for_batch(self, window: str) -> Hit[BatchFault]:
        seen = [counted for counted in self._batches if counted.fault.window in ("", window)]
        return self._first_hit(seen) or NO_BATCH_FAULT

    def _first_hit(self, seen: Iterable[_Counted[F]]) -> Hit[F] | None:
        hits = [counted for counted in seen if counted.hits()]
        if not hits:
            return None
        hits[0].strikes += 1
        return Hit(hits[0].fault, hits[0].strikes, self._seed)

    def refused_lines(self, batch_number: int, lines: Sequence[Line]) -> list[tuple[Line, LineFault]]:
        """The lines of an input file that are refused at validation."""
        found = self.for_lines(batch_number, lines)
        return [
            (line, found[line.number]) for line in lines if line.number in found and found[line.number].kind == "refuse"
        ]

    def for_lines(self, batch_number: int, lines: Sequence[Line]) -> dict[int, LineFault]:
        """The fault of each line that has one, by the line's number."""
        found: dict[int, LineFault] = {}
        for index, fault in enumerate(self._lines):
            if fault.batches and batch_number not in fault.batches:
                continue
            random = Random(f"{self._seed}:line:{index}:{batch_number}")  # noqa: S311 - a test's dice
            for line in lines:
                if _hits_line(fault, line, random):
                    found.setdefault(line.number, fault)
        return found


def _concerns(fault: HttpFault, operation: str, body: bytes, elapsed: float) -> bool:
    until = math.inf if fault.until_seconds is None else fault.until_seconds
    return (
        fault.operation in ("*", operation)
        and fault.from_seconds <= elapsed < until
        and fault.containing.encode() in body
    )


def _counted(plan: FaultPlan, kind: type[F]) -> list[_Counted[F]]:
    return [_Counted(fault, plan.seed, index) for index, fault in enumerate(plan.faults) if isinstance(fault, kind)]


class _Counted(Generic[F]):
    """A fault, its counter, and its random numbers."""

    def __init__(self, fault: F, seed: int, index: int) -> None:
        self.fault = fault
        self.strikes = 0
        self._count = 0
        self._random = Random(f"{seed}:{index}")  # noqa: S311 - a test's dice

    def hits(self) -> bool:
        self._count += 1
        nth, every, first, probability = _when(self.fault)
        if not (nth or every or first or probability):
            return True
        return (
            self._count in nth
            or bool(every and self._count % every == 0)
            or self._count <= first
            or bool(probability and self._random.random() < probability)
        )


def _when(fault: HttpFault | BatchFault) -> tuple[tuple[int, ...], int, int, float]:
    return fault.nth, fault.every, fault.first, fault.probability


def _hits_line(fault: LineFault, line: Line, random: Random) -> bool:
    if not (fault.lines or fault.containing or fault.probability):
        return True
    return (
        line.number in fault.lines
        or bool(fault.containing and fault.containing.encode() in line.body)
        or bool(fault.probability and random.random() < fault.probability)
    )
