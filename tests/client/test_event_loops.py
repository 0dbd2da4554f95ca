"""One client in several event loops and forked processes. On real sockets, since those belong to an event loop."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import warnings
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import anyio
import openai
import pytest

from autobatcher import BatchOpenAI, BatchTransport, WrongEventLoopError
from tests.client.test_sync import emulate
from tests.harness import HTTP, ask

pytestmark = pytest.mark.real_time

Run = Callable[[Callable[[], Awaitable[Any]]], Any]

SECONDS = 20.0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """An upstream whose batches take long enough to leave one before it ends."""
    with emulate("--batch-seconds", "0.3") as url:
        yield url


async def _bounded(call: Callable[[], Awaitable[Any]]) -> Any:
    with anyio.fail_after(SECONDS):
        return await call()


def on_asyncio(call: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(_bounded(call))


def on_uvloop(call: Callable[[], Awaitable[Any]]) -> Any:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_bounded(call))


def on_trio(call: Callable[[], Awaitable[Any]]) -> Any:
    return anyio.run(_bounded, call, backend="trio")


def in_a_loop_closed_by_hand(call: Callable[[], Awaitable[Any]]) -> Any:
    """Nobody cancels the tasks of this loop, so the engine cannot close its connections."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(_bounded(call))
    finally:
        loop.close()


def in_a_loop_that_is_never_closed(call: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.new_event_loop().run_until_complete(_bounded(call))


RUNNERS: tuple[Run, ...] = (on_asyncio, on_uvloop, on_trio, in_a_loop_closed_by_hand, in_a_loop_that_is_never_closed)

MIXED: tuple[tuple[Run, Run], ...] = (
    (on_asyncio, on_trio),
    (on_trio, in_a_loop_closed_by_hand),
    (in_a_loop_that_is_never_closed, on_uvloop),
)

UNLIKE: tuple[Run, ...] = (on_uvloop, on_trio, in_a_loop_that_is_never_closed)
"""Those that differ most, where every call has the same way to its connections."""


@pytest.fixture(scope="module", autouse=True)
def _few_objects() -> Iterator[None]:
    """What earlier tests left in this process need not be looked through after each of these."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _abandoned_loops() -> Iterator[None]:
    """The sockets of a loop that was closed by hand are closed by the garbage collector, which warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def client_of(url: str, *, given: bool, **settings: Any) -> BatchOpenAI:
    http_client = HTTP.AsyncClient() if given else None
    quick = {"batch_window_seconds": 0.05, "poll_interval_seconds": 0.1}
    return BatchOpenAI(api_key="k", base_url=url, provider="openai", http_client=http_client, **{**quick, **settings})


@pytest.mark.proves("faults", "the event loop ends and the client is used in another one")
@pytest.mark.parametrize(
    ("first", "second", "given"),
    [
        (first, second, given)
        for first, second in [*zip(RUNNERS, RUNNERS, strict=True), *MIXED]
        for given in (False, True)
        if not given or (first is on_trio) == (second is on_trio)  # a pool of httpx is bound to asyncio or to trio
    ],
)
def test_calls_of_one_event_loop_after_another_are_answered(first: Run, second: Run, given: bool, url: str) -> None:
    client = client_of(url, given=given)
    for number, run in enumerate((first, second, first)):
        assert str(number) in run(partial(ask, client, f"{number}"))
    on_asyncio(client.close)


def test_an_http_client_that_was_used_on_asyncio_is_refused_on_trio_with_the_reason(url: str) -> None:
    client = client_of(url, given=True)
    on_asyncio(partial(ask, client, "x"))
    with pytest.raises(WrongEventLoopError, match="was used on asyncio and cannot be used on trio"):
        on_trio(partial(ask, client, "y"))
    with pytest.raises(openai.APIError, match="was used on asyncio and cannot be used on trio"):
        on_trio(client.models.list)
    on_asyncio(client.close)


@pytest.mark.parametrize("given", [False, True], ids=["default", "http_client"])
@pytest.mark.parametrize("run", UNLIKE)
def test_calls_that_are_not_batched_work_in_one_event_loop_after_another(run: Run, given: bool, url: str) -> None:
    client = client_of(url, given=given, max_retries=0)

    async def models() -> int:
        return len((await client.models.list()).data)

    assert [run(models) >= 0 for _ in range(3)] == [True, True, True]
    on_asyncio(client.close)


@pytest.mark.parametrize("run", UNLIKE)
def test_calls_at_full_price_work_in_one_event_loop_after_another(run: Run, url: str) -> None:
    client = client_of(url, given=False, max_retries=0)

    async def call() -> str:
        messages: Any = [{"role": "user", "content": "x"}]
        completion = await client.unbatched.chat.completions.create(model="m", messages=messages)
        return completion.choices[0].message.content or ""

    assert all(run(call) for _ in range(3))
    on_asyncio(client.close)


@pytest.mark.parametrize("run", UNLIKE)
def test_calls_through_the_transport_are_answered_in_one_event_loop_after_another(run: Run, url: str) -> None:
    transport: Any = BatchTransport(batch_window_seconds=0.05, poll_interval_seconds=0.1)
    client = openai.AsyncOpenAI(api_key="k", base_url=url, http_client=HTTP.AsyncClient(transport=transport))
    for number in range(3):
        assert str(number) in run(partial(ask, client, f"{number}"))  # type: ignore[arg-type]
    on_asyncio(client.close)


@pytest.mark.parametrize("given", [False, True], ids=["default", "http_client"])
@pytest.mark.parametrize("run", RUNNERS[:4])
def test_a_loop_that_ends_in_the_middle_of_a_batch_spoils_no_later_call(run: Run, given: bool, url: str) -> None:
    submitted: list[anyio.Event] = []
    client = client_of(
        url,
        given=given,
        batch_event_handler=lambda event: submitted[0].set() if event["event"] == "batch_submitted" else None,
    )

    async def call_without_waiting() -> None:
        submitted[:] = [anyio.Event()]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, client, "left")
            await submitted[0].wait()
            tasks.cancel_scope.cancel()

    run(call_without_waiting)
    assert "later" in run(partial(ask, client, "later"))
    on_asyncio(client.close)


def test_a_stopped_event_loop_in_which_calls_wait_keeps_the_client(url: str) -> None:
    client = client_of(url, given=False, batch_window_seconds=60.0)
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(ask(client, "x"))
    loop.run_until_complete(asyncio.sleep(0.1))
    with pytest.raises(openai.APIError, match="another event loop"):
        on_asyncio(partial(ask, client, "y"))
    waiting.cancel()
    loop.run_until_complete(asyncio.gather(waiting, client.close(), return_exceptions=True))
    loop.close()


def _run(program: str, url: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", FORKING.replace("URL", url) + program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


FORKING = """
import asyncio, os, openai
from autobatcher import BatchOpenAI, BatchOpenAISync
from tests.harness import HTTP, ask
quick = dict(api_key="k", base_url="URL", batch_window_seconds=0.05, poll_interval_seconds=0.1, max_retries=0)

def in_child(call):
    child = os.fork()
    if child == 0:
        try:
            print(call(), flush=True)
        except BaseException as error:
            print(type(error).__name__, error, flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")


@forks
@pytest.mark.parametrize("http_client", ["None", "HTTP.AsyncClient()"])
def test_a_process_forked_before_the_first_call_or_between_two_loops_is_served(http_client: str, url: str) -> None:
    program = f"""
client = BatchOpenAI(http_client={http_client}, **quick)
in_child(lambda: asyncio.run(ask(client, "one")))
print(asyncio.run(ask(client, "two")), flush=True)
in_child(lambda: asyncio.run(ask(client, "three")))
print(asyncio.run(ask(client, "four")), flush=True)
"""
    said = _run(program, url).splitlines()
    assert [word in line for word, line in zip(("one", "two", "three", "four"), said, strict=True)] == [True] * 4


IN_A_RUNNING_LOOP = """
async def main():
    print(await ask(client, "one"), flush=True)
    in_child(lambda: asyncio.run(ask(client, "two")))
    print(await ask(client, "three"), flush=True)
asyncio.run(main())
"""


@forks
@pytest.mark.proves("faults", "the process is forked while the client is in use")
def test_a_process_forked_in_a_running_loop_gets_connections_of_its_own(url: str) -> None:
    said = _run("client = BatchOpenAI(**quick)" + IN_A_RUNNING_LOOP, url).splitlines()
    assert [word in line for word, line in zip(("one", "two", "three"), said, strict=True)] == [True] * 3


@forks
def test_a_process_forked_in_a_running_loop_is_told_that_an_http_client_cannot_be_shared(url: str) -> None:
    said = _run("client = BatchOpenAI(http_client=HTTP.AsyncClient(), **quick)" + IN_A_RUNNING_LOOP, url).splitlines()
    assert "one" in said[0]
    assert said[1].startswith("WrongEventLoopError This process was forked while the client had open connections")
    assert "three" in said[2]


@forks
@pytest.mark.parametrize("http_client", ["None", "HTTP.Client()"])
def test_a_sync_client_does_not_share_connections_with_a_forked_process(http_client: str, url: str) -> None:
    program = f"""
client = BatchOpenAISync(http_client={http_client}, **quick)
def ask(text):
    client.models.list()
    completion = client.chat.completions.create(model="m", messages=[dict(role="user", content=text)])
    return completion.choices[0].message.content
print(ask("one"), flush=True)
in_child(lambda: ask("two"))
print(ask("three"), flush=True)
client.close()
"""
    said = _run(program, url).splitlines()
    assert [word in line for word, line in zip(("one", "two", "three"), said, strict=True)] == [True] * 3
