"""Target: the upstream is a stranger. Clients on virtual time, and an emulator whose answers are changed on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any
from unittest.mock import patch

import anyio
import openai
from trio.testing import MockClock

from autobatcher import BatchOpenAI, EngineError
from tests.conftest import VirtualTimeLoop
from tests.harness import HTTP, Harness, Send, between

from .findings import is_sdks_own, place_of
from .lies import KINDS, Growth, Lie, Reply, told
from .loop import LoopWatch, TrioBeats
from .target import Case, Play, Target
from .watch import Watch

CASES = 12
CALLERS = 4
VIRTUAL_SECONDS = 3_000_000.0
"""Longer than any patience of the engine."""

KEY = "sk-fuzz-0123456789-abcdefghijklmnop"
"""Long enough that it is looked for in answers."""

OPERATIONS = (
    *("POST files", "POST batches", "GET batches", "GET batches/", "GET content", "GET content", "GET content"),
    *("GET files", "DELETE files/", "POST cancel", "GET models"),
)


@dataclass(frozen=True)
class Plan:
    """One client, its calls, and the lies that it is told."""

    backend: str
    like: str
    max_retries: int
    lies: tuple[Lie, ...]

    @property
    def is_grown(self) -> bool:
        """Whether answers are so large that the SDK's models of them would block the loop: what it does is not ours."""
        return any(lie.kind == "grown" for lie in self.lies)

    @property
    def is_honest_about_money(self) -> bool:
        """Whether the upstream neither denies what exists nor says that something failed which was done."""
        return self.max_retries == 0 and all(lie.operation in ("GET content", "DELETE files/") for lie in self.lies)


def target() -> Target:
    return Target("upstream", cases, _open)


def cases(random: Random) -> list[Plan]:
    return [_plan(random) for _ in range(CASES)]


def _plan(random: Random) -> Plan:
    return Plan(
        backend=random.choice(["asyncio", "trio"]),
        like=random.choice(["openai", "openai", "doubleword"]),
        max_retries=random.choice([0, 0, 2]),
        lies=tuple(_lie(random) for _ in range(random.choice([0, 1, 1, 1, 2, 4]))),
    )


def _lie(random: Random) -> Lie:
    is_grown = random.random() < 0.2  # these find what is slow, and few operations have room for them
    kind = "grown" if is_grown else random.choice(KINDS)
    return Lie(
        operation=random.choice(("GET content", "GET models") if is_grown else OPERATIONS),
        first=random.choice([0, 0, 1]),
        times=random.choice(
            [1, 1, 3, 3 if kind in ("huge", "grown") else 1000]
        ),  # not twelve megabytes for each of a day's polls
        kind=kind,
        seed=random.randrange(10**6),
    )


@contextmanager
def _open(watch: Watch) -> Iterator[Play]:
    """No door stays open here: each plan has its own client and upstream."""

    def play(plans: list[Case]) -> None:
        for plan in plans:
            _Run(plan, watch).carry_out()

    async def at_once(function: Callable[[], Any]) -> Any:
        return function()

    with ExitStack() as stack:  # as tests/conftest.py does: no threads and no dice on virtual time
        stack.enter_context(patch("openai._base_client.asyncify", lambda function: lambda: at_once(function)))
        stack.enter_context(patch("autobatcher.upstream.back_off.JITTER", 0.0))
        watch.loop.is_on = False
        _warm_up(watch)
        watch.loop.is_on = True
        yield play


def _warm_up(watch: Watch) -> None:
    """What is imported or built when it is used for the first time."""
    for backend in ("asyncio", "trio"):
        _Run(Plan(backend, "openai", 0, ()), watch).carry_out()


class WatchedLoop(VirtualTimeLoop):
    """asyncio on virtual time; each pass is watched."""

    watch: LoopWatch

    def _run_once(self) -> None:
        self.watch.beat()
        super()._run_once()  # type: ignore[misc]  # asyncio's own
        self.watch.rest()


class _Run:
    """One plan, carried out."""

    def __init__(self, plan: Plan, watch: Watch) -> None:
        self._plan = plan
        self._watch = watch
        self._harness = Harness(plan.like)
        self._seen: dict[str, int] = {}

    def carry_out(self) -> None:
        try:
            anyio.run(self._within_time, backend=self._plan.backend, backend_options=self._options())
        except TimeoutError:
            self._watch.report("hang", self._plan.backend, f"no end within {VIRTUAL_SECONDS} virtual seconds")
        except Exception as error:
            self._watch.report("crash", place_of(error), f"the client's block raised {error!r}")
        finally:
            self._harness.emulator.close()

    def _options(self) -> dict[str, Any]:
        loop = self._watch.loop
        if self._plan.backend == "trio":
            return {"clock": MockClock(autojump_threshold=0), "instruments": [TrioBeats(loop)]}
        return {"loop_factory": type("Loop", (WatchedLoop,), {"watch": loop})}

    async def _within_time(self) -> None:
        with anyio.fail_after(VIRTUAL_SECONDS):
            async with self._client() as client, anyio.create_task_group() as callers:
                for number in range(CALLERS):
                    callers.start_soon(self._call, client, number)
        self._check_tasks()
        self._check_money()

    def _client(self) -> BatchOpenAI:
        return self._harness.client(
            api_key=KEY,
            http_client=between(self._harness, self._answer),
            max_retries=self._plan.max_retries,
            poll_interval_seconds=120.0,
            batch_size=3,
        )

    async def _call(self, client: BatchOpenAI, number: int) -> None:
        """Exactly one answer, or one error of a known type."""
        try:
            await self._ask(client, number)
        except EngineError as error:
            self._watch.report("defect", place_of(error.__cause__ or error), f"a caller was told {error!r}")
        except openai.APIError as error:
            str(error)
        except Exception as error:
            if not is_sdks_own(error):
                self._watch.report("untyped error", place_of(error), f"a caller was told {error!r}")

    async def _ask(self, client: BatchOpenAI, number: int) -> None:
        """A call of one of four kinds. The answers of those without a model are not decoded."""
        message: Any = {"role": "user", "content": f"caller {number}"}
        chats: Any = client.chat.completions
        raw: Any = chats.with_raw_response
        match number:
            case 0:
                await client.embeddings.with_raw_response.create(model="m", input=f"caller {number}")
            case 1:
                await (raw if self._plan.is_grown else chats).create(model="m", messages=[message])
            case 2:
                await raw.create(model="m", messages=[message], stream=True)
            case _:
                await client.models.with_raw_response.list()

    async def _answer(self, request: Any, send: Send) -> Any:
        """The emulator's response, or a lie instead of it. Neither takes part in what is watched."""
        with self._watch.loop.exempt():
            response = await send(request)
            reply = Reply(response.status_code, dict(response.headers), await response.aread())
            for lie in self._lies(_operation(request)):
                reply = told(lie, reply)
        if reply.failure is not None:
            raise getattr(HTTP, reply.failure)("as planned", request=request)
        content: Any = _drip(reply) if reply.drip_seconds is not None else _body(reply)
        return HTTP.Response(reply.status, headers=_encoded(reply.headers), content=content)

    def _lies(self, operation: str) -> list[Lie]:
        count = self._seen[operation] = self._seen.get(operation, -1) + 1
        lies = [lie for lie in self._plan.lies if lie.operation == operation]
        return [lie for lie in lies if lie.first <= count < lie.first + lie.times]

    def _check_tasks(self) -> None:
        if self._plan.backend == "asyncio" and (left := asyncio.all_tasks() - {asyncio.current_task()}):
            self._watch.report("left behind", "tasks", f"tasks that did not end with the client: {left}")

    def _check_money(self) -> None:
        seen = self._harness.emulator.statistics()
        asked = [json.dumps(line.body, sort_keys=True) for line in seen.lines if line.billed]
        if self._plan.is_honest_about_money and len(asked) > len(set(asked)):
            self._watch.report("money", "billed twice", f"{asked}")
        if seen.realtime_calls:
            self._watch.report("money", "full price", f"{seen.realtime_calls}")


async def _drip(reply: Reply) -> AsyncIterator[bytes]:
    for at in range(min(len(reply.body), 2000)):
        await anyio.sleep(reply.drip_seconds or 0)
        yield reply.body[at : at + 1]


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("utf-8", "surrogatepass")) for name, value in headers.items()]


def _body(reply: Reply) -> bytes | AsyncIterator[bytes]:
    return reply.body if reply.growth is None else _growing(reply.body, reply.growth)


async def _growing(body: bytes, growth: Growth) -> AsyncIterator[bytes]:
    yield body[: growth.at] + growth.opening
    for _ in range(growth.times):
        yield growth.piece
    yield growth.closing + body[growth.at :]


def _operation(request: Any) -> str:
    """ "GET batches/" is one batch, "GET batches" their list."""
    parts = request.url.path.strip("/").split("/")[1:]
    name = parts[-1] if parts[-1] in ("content", "cancel") else parts[0] + ("/" if len(parts) > 1 else "")
    return f"{request.method} {name}"
