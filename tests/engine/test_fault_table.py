"""Every fault of a batch, through the library and through the proxy: what callers see, and what is billed.

docs/fault_tests.md is generated from this table, and from other tests that it names.
"""

from __future__ import annotations

import errno
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import anyio
import httpx
import openai
import pytest

from autobatcher import BatchOpenAI, ProviderProfile
from autobatcher.emulator import BatchFault, Fault, FaultPlan, HttpFault, LineFault
from autobatcher.server import CallLimits, create_app
from tests.harness import HTTP, MODEL, Harness, Send, between, open_harness, outcome_of

Answer = Literal["answer"]
CALLERS = 5
BAD = "text-1."


@dataclass(frozen=True)
class Case:
    """Five callers, text-0. to text-4., and some faults.

    Args:
        expected: what the callers see: "answer" or an HTTP status, one for all or one for each.
        billed: how many lines are executed and billed, each once; None for as many as there are answers.
        batches: how many batches are created; None for any number.
        emulator, settings: options of the upstream and of the client.
        answer: intercepts calls to the upstream.
    """

    row: str
    faults: tuple[Fault, ...] = ()
    expected: Answer | int | tuple[Answer | int, ...] = "answer"
    billed: int | None = None
    batches: int | None = None
    emulator: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    answer: Callable[[Any, Send], Any] | None = None


def one_bad(status: int) -> tuple[Answer | int, ...]:
    return ("answer", status, "answer", "answer", "answer")


class _Once:
    """Intercepts the first `times` matching calls."""

    def __init__(self, method: str, ending: str, make: Callable[[Any], Any], times: int = 1) -> None:
        self._method, self._ending, self._make, self._times = method, ending, make, times

    def __call__(self) -> Callable[[Any, Send], Any]:
        left = self._times

        async def answer(request: Any, send: Send) -> Any:
            nonlocal left
            if left and request.method == self._method and request.url.path.endswith(self._ending):
                left -= 1
                return self._make(request)
            return await send(request)

        return answer


async def _without_output_file_at_first(request: Any, send: Send) -> Any:
    """The batch is completed, with counts, but its files are only named some seconds later."""
    response = await send(request)
    if request.method == "GET" and "/batches/" in request.url.path:
        await response.aread()
        batch = response.json()
        if batch["status"] == "completed" and anyio.current_time() < 20:
            return HTTP.Response(200, json={**batch, "output_file_id": None})
    return response


async def _counting_one_less(request: Any, send: Send) -> Any:
    """The first batch reports that one of its lines was not executed."""
    response = await send(request)
    if request.method == "GET" and "/batches/" in request.url.path:
        await response.aread()
        batch = response.json()
        counts = batch["request_counts"]
        if counts["total"] == CALLERS and batch["status"] == "completed":
            batch["request_counts"] = {**counts, "completed": counts["completed"] - 1}
        return HTTP.Response(200, json=batch)
    return response


def _raising(error: Callable[[Any], Exception], operation: str) -> Callable[[Any, Send], Any]:
    async def answer(request: Any, send: Send) -> Any:
        if request.url.path.endswith(operation):
            raise error(request)
        return await send(request)

    return answer


def _untrusted(request: Any) -> Exception:
    error = HTTP.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate", request=request)
    error.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
    return error  # type: ignore[no-any-return]


FAILED_4XX = "some lines fail 4xx: in the error file, inside the output file, nested as JSON text (Doubleword)"
ALL_FAILED = "every line failed; no output file; error file id empty"
PASSING = "lines fail 408/409/429/5xx"
HALF = "a batch expired, partly done"
CANCELLED = "a batch cancelled by someone else, partly done"
REFUSED = "a batch failed at validation, with line numbers (Doubleword: the upload)"
NO_ROOM = "the upstream has no room: token_limit_exceeded, 429 at creation or upload"
ODD_LINES = (
    "a line in neither file; duplicate, unknown, null custom_ids; body as JSON text; cut last line; blank lines; CRLF"
)
TROUBLE = "429/5xx/cut connection/HTML on upload, poll, download; download cut half-way"
LOST = "the answer to POST /batches is lost"
EARLY = "the file is not found right after upload; the output file is not there right after completion"
STUCK = "a batch that never moves; a poll that answers 404 for good"
ODD_BATCHES = "unknown statuses, upper case, missing counts, timestamps as text, empty file ids, 201"
TOO_LARGE = "one request larger than the provider's limits"
NO_STATUS = "a line whose status is none (42, 100, 304), with an answer"
OVERLONG = "a line longer than max_answer_bytes"
ODD_IDS = "ids that would lead elsewhere, such as `..`"
QUICK = "no credit, wrong key, bad TLS, full disk: quickly"

_PASSING_TROUBLE: dict[str, dict[str, Any]] = {
    "429": {"status": 429, "headers": {"retry-after": "7"}},
    "500": {"status": 500},
    "cut": {"disconnect": True},
    "lost": {"lose_answer": True},
    "HTML": {"status": 503, "body": "<html>busy</html>"},
}

_ODD_KINDS: tuple[tuple[str, Any], ...] = (
    ("drop", one_bad(502)),  # billed but unreadable: must not be billed twice
    ("null_custom_id", one_bad(502)),
    ("duplicate", "answer"),
    ("unknown_custom_id", "answer"),
    ("text_body", "answer"),
)

CASES: dict[str, Case] = {
    "4xx in the error file": Case(
        FAILED_4XX, (LineFault(kind="fail", containing=BAD, status=400),), one_bad(400), batches=1
    ),
    "4xx in the output file": Case(
        FAILED_4XX, (LineFault(kind="fail", containing=BAD, status=422, in_output_file=True),), one_bad(422), batches=1
    ),
    "all lines 4xx": Case(
        ALL_FAILED, (LineFault(kind="fail", status=404), BatchFault(empty_file_ids=True)), 404, batches=1
    ),
    **{
        f"lines {status}": Case(
            PASSING, (LineFault(kind="fail", containing=BAD, status=status, batches=(1, 2)),), batches=3
        )
        for status in (408, 409, 429, 500, 503)
    },
    "a line 500 for ever": Case(PASSING, (LineFault(kind="fail", containing=BAD),), one_bad(500), batches=3),
    "expired": Case(HALF, (BatchFault(nth=(1,), ends="expired", after=0.5),), batches=2),
    "expired, unlisted": Case(HALF, (BatchFault(nth=(1,), ends="expired", after=0.5, list_unfinished=False),)),
    "refused line": Case(REFUSED, (LineFault(kind="refuse", containing=BAD),), one_bad(400)),
    "refused lines": Case(
        REFUSED, (LineFault(kind="refuse", lines=(1, 2), batches=(1,)),), (400, 400, "answer", "answer", "answer")
    ),
    "no room": Case(NO_ROOM, emulator={"max_enqueued_requests": 2, "batch_seconds": 30}, settings={"max_retries": 0}),
    "429 at creation": Case(NO_ROOM, (HttpFault(operation="batches.create", first=20, status=429),), batches=None),
    **{
        f"{kind} line": Case(
            ODD_LINES,
            (LineFault(kind=kind, containing=BAD, billed=True),),  # type: ignore[arg-type]
            expected,
            billed=5,
            batches=1,
        )
        for kind, expected in _ODD_KINDS
    },
    "a line not executed": Case(
        ODD_LINES,
        (LineFault(kind="drop", containing=BAD, batches=(1,)),),
        answer=_counting_one_less,
        settings={"provider": "conservative"},
        batches=2,
    ),
    "blank lines": Case(ODD_LINES, (BatchFault(blank_lines=True),), batches=1),
    "CRLF": Case(ODD_LINES, (BatchFault(crlf=True),), batches=1),
    **{
        f"{operation} {what}": Case(TROUBLE, (HttpFault(operation=operation, first=3, **fault),), batches=1)
        for operation in ("files.create", "batches.retrieve", "files.content")
        for what, fault in _PASSING_TROUBLE.items()
    },
    "download cut": Case(TROUBLE, (HttpFault(operation="files.content", first=2, cut_after_bytes=700),), batches=1),
    "Retry-After as a date": Case(
        TROUBLE,
        answer=_Once(
            "POST",
            "/files",
            lambda request: HTTP.Response(
                503,
                headers={"date": "Tue, 24 Nov 2026 06:00:00 GMT", "retry-after": "Tue, 24 Nov 2026 06:01:30 GMT"},
            ),
        ),  # type: ignore[arg-type]
    ),
    "creation lost": Case(LOST, (HttpFault(operation="batches.create", nth=(1,), lose_answer=True),), batches=1),
    "creation 502": Case(
        LOST, (HttpFault(operation="batches.create", nth=(1,), status=502, after_processing=True),), batches=1
    ),
    "creation lost, list down": Case(
        LOST,
        (
            HttpFault(operation="batches.create", nth=(1,), lose_answer=True),
            HttpFault(operation="batches.list", first=5, status=500),
        ),
        batches=1,
    ),
    "file not found at creation": Case(EARLY, (HttpFault(operation="batches.create", first=3, status=404),), batches=1),
    "output not found": Case(EARLY, (HttpFault(operation="files.content", first=3, status=404),), batches=1),
    "output file not named": Case(EARLY, answer=_without_output_file_at_first, batches=1),
    "stuck": Case(STUCK, (BatchFault(ends="stuck"),), 504, settings={"deadline_slack_seconds": 60.0}),
    "poll 404 for good": Case(
        STUCK, (HttpFault(operation="batches.retrieve", status=404),), 502, billed=0, emulator={"batch_seconds": 9000}
    ),
    "odd batch objects": Case(
        ODD_BATCHES,
        (
            BatchFault(
                status_text={"validating": "QUEUED", "in_progress": "WORKING", "completed": "COMPLETED"},
                hide_counts=True,
                text_timestamps=True,
                empty_file_ids=True,
            ),
        ),
        batches=1,
    ),
    **{
        f"status {status}": Case(
            NO_STATUS, (LineFault(kind="status", containing=BAD, status=status),), one_bad(502), billed=5, batches=1
        )
        for status in (-5, 100, 304)
    },
    "a line too long": Case(
        OVERLONG,
        (LineFault(kind="canned", containing=BAD, body=f'{{"a": "{"x" * 50_000}"}}'),),
        one_bad(502),
        billed=5,
        batches=1,
        settings={"max_answer_bytes": 20_000},
    ),
    "an odd batch id": Case(ODD_IDS, (BatchFault(members={"id": "../files"}),), 502, billed=5, batches=1),
    "an odd file id": Case(ODD_IDS, (BatchFault(members={"output_file_id": ".."}),), 502, billed=5, batches=1),
    "401": Case(QUICK, expected=401, emulator={"api_key": "right"}, batches=0),
    "402 at creation": Case(
        QUICK, (HttpFault(operation="batches.create", status=402, body="no money"),), 402, batches=0
    ),
    "bad TLS": Case(QUICK, expected=502, answer=_raising(_untrusted, "/files"), batches=0),
    "full disk": Case(
        QUICK, expected=502, answer=_raising(lambda _: OSError(errno.ENOSPC, "No space left"), "/files"), batches=0
    ),
}
LIKES = {
    "expired": ("openai",),
    "expired, unlisted": ("openai",),
    "refused lines": ("openai",),
    "stuck": ("doubleword",),
}
"""Cases that only one kind of upstream shows. All others run with both."""


@asynccontextmanager
async def library(client: BatchOpenAI) -> AsyncGenerator[Any]:
    yield client


@asynccontextmanager
async def proxy(client: BatchOpenAI) -> AsyncGenerator[Any]:
    """An ordinary SDK client, connected to the proxy in memory."""
    app: Any = create_app(client, limits=CallLimits(heartbeat_seconds=0))  # in memory, nothing times out
    http: Any = httpx.AsyncClient(transport=httpx.ASGITransport(app), timeout=None)
    official = openai.AsyncOpenAI(base_url="http://proxy.test/v1", api_key="any", max_retries=0, http_client=http)
    async with official:
        yield official


Door = Callable[[BatchOpenAI], Any]

THROUGH_BOTH_DOORS = pytest.mark.parametrize(
    ("door", "anyio_backend"),
    [pytest.param(library, "asyncio"), pytest.param(library, "trio"), pytest.param(proxy, "trio")],
    indirect=["anyio_backend"],
    ids=["library-asyncio", "library-trio", "proxy-trio"],
)
"""The proxy runs on trio only."""


async def outcomes_at(door: Door, harness: Harness, settings: dict[str, Any]) -> list[Any]:
    outcomes: list[Any] = [None] * CALLERS
    async with harness.client(**settings) as client, door(client) as caller, anyio.create_task_group() as callers:

        async def call(i: int) -> None:
            messages = [{"role": "user", "content": f"text-{i}."}]
            outcomes[i] = await outcome_of(caller.chat.completions.create(model=MODEL, messages=messages))
            await anyio.lowlevel.checkpoint()

        for i in range(CALLERS):
            callers.start_soon(call, i)
            await anyio.wait_all_tasks_blocked()  # keeps the lines in this order
    return outcomes


def seen(i: int, outcome: Any) -> Answer | int:
    if isinstance(outcome, openai.APIError):
        status: int | None = getattr(outcome, "status_code")  # noqa: B009  (ours and the SDK's both have one)
        return status or 502  # the proxy's status for an error without one
    assert outcome.choices[0].message.content == f"text-{i}."
    return "answer"


@pytest.mark.proves("faults", "{row}")
@pytest.mark.sampled(2)
@THROUGH_BOTH_DOORS
@pytest.mark.parametrize(
    ("name", "row", "like"),
    [(name, case.row, like) for name, case in CASES.items() for like in LIKES.get(name, ("openai", "doubleword"))],
)
async def test_callers_see_what_they_should_and_nothing_is_paid_twice(
    name: str, row: str, like: str, door: Door
) -> None:
    case = CASES[name]
    expected = case.expected if isinstance(case.expected, tuple) else (case.expected,) * CALLERS
    async with open_harness(like, faults=FaultPlan(case.faults), **case.emulator) as harness:
        settings = dict(case.settings)
        if case.answer is not None:
            answer = case.answer() if isinstance(case.answer, _Once) else case.answer
            settings["http_client"] = between(harness, answer)
        with anyio.fail_after(200_000):
            outcomes = await outcomes_at(door, harness, settings)
        assert [seen(i, outcome) for i, outcome in enumerate(outcomes)] == list(expected)
        statistics = harness.emulator.statistics()
        assert set(statistics.billed.values()) <= {1}
        answers = expected.count("answer") if case.billed is None else case.billed
        assert len(statistics.billed) == answers or name in ("stuck", "expired", "expired, unlisted")
        assert case.batches is None or statistics.batches_created == case.batches
        assert statistics.running_batch_ids == ()
        assert statistics.input_file_ids == () or like == "doubleword" or case.row == ODD_IDS
        assert "unknown" not in statistics.http_calls
        if case.row == QUICK:
            assert anyio.current_time() < 60


@pytest.mark.proves("faults", CANCELLED)
@THROUGH_BOTH_DOORS
async def test_a_batch_that_someone_cancelled_is_not_started_again(door: Door) -> None:
    plan = FaultPlan((BatchFault(ends="cancelled", after=0.5),))
    async with open_harness(faults=plan, batch_seconds=20) as harness:
        outcomes = [seen(i, outcome) for i, outcome in enumerate(await outcomes_at(door, harness, {}))]
        assert sorted(map(str, outcomes)) == ["502", "502", "502", "answer", "answer"]
        assert harness.emulator.statistics().batches_created == 1


@pytest.mark.proves("faults", TOO_LARGE)
@THROUGH_BOTH_DOORS
async def test_a_request_too_large_is_refused_at_once_and_hurts_nobody(door: Door) -> None:
    small = ProviderProfile(name="small", max_line_bytes=2_000)
    async with open_harness() as harness, harness.client(provider=small) as client, door(client) as caller:
        answers: list[Any] = []

        async def good() -> None:
            messages = [{"role": "user", "content": "good"}]
            answers.append(await caller.chat.completions.create(model=MODEL, messages=messages))

        async with anyio.create_task_group() as callers:
            callers.start_soon(good)
            await anyio.wait_all_tasks_blocked()
            huge: Any = [{"role": "user", "content": "x" * 3_000}]
            begun = anyio.current_time()
            outcome = await outcome_of(caller.chat.completions.create(model=MODEL, messages=huge))
            assert anyio.current_time() == begun
        assert outcome.status_code == 400
        assert "2,000" in str(outcome)
        assert answers[0].choices
        assert len(harness.emulator.statistics().billed) == 1


@pytest.mark.proves("faults", "a line with U+2028, U+0085 and line ends; a line of 10 MB")
@pytest.mark.parametrize("like", ["openai", "doubleword"])
async def test_odd_and_large_texts_come_back_as_they_went(like: str) -> None:
    texts = [
        "a\u2028b\u0085c\u2029d",
        "a\r\nb\nc\rd",
        "\u0000\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
        "x" * 10_000_000,
    ]
    async with open_harness(like) as harness, harness.client() as client:
        answers: dict[int, str] = {}

        async def call(i: int) -> None:
            messages: Any = [{"role": "user", "content": texts[i]}]
            completion = await client.chat.completions.create(model=MODEL, messages=messages)
            answers[i] = completion.choices[0].message.content or ""

        async with anyio.create_task_group() as callers:
            for i in range(len(texts)):
                callers.start_soon(call, i)
        assert [answers[i] for i in range(len(texts))] == texts


@pytest.mark.proves("faults", "the engine itself has a bug")
@THROUGH_BOTH_DOORS
async def test_a_defect_of_ours_is_told_as_such(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise ZeroDivisionError("a bug")

    async with open_harness() as harness:
        with monkeypatch.context() as patch:
            patch.setattr("autobatcher.engine.batch.results.ResultReader.read_everything", broken)
            outcomes = await outcomes_at(door, harness, {})
        for outcome in outcomes:
            assert outcome.status_code == 500
            assert "report it" in str(outcome)
