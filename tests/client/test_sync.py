"""`BatchOpenAISync`: one engine for all threads. Real threads, so on the real clock."""

from __future__ import annotations

import gc
import itertools
import os
import re
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import anyio
import openai
import pytest
from pydantic import BaseModel

from autobatcher import BatchOpenAISync, ClientClosedError, UnbatchableRequestError
from autobatcher.emulator import Emulator, FaultPlan, LineFault
from autobatcher.emulator.wire import Request
from autobatcher.upstream.failures import http_library
from tests.harness import MODEL

pytestmark = pytest.mark.real_time
HTTP: Any = http_library(openai.DefaultHttpxClient)
MESSAGES: Any = [{"role": "user", "content": "x"}]


class ToEmulator(HTTP.BaseTransport):  # type: ignore[misc]  # the library is known at run time only
    """A sync transport to an emulator, one call at a time."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):  # the thread that holds it then is not in the child
            os.register_at_fork(after_in_child=self._renew_lock)
        self.threads: set[str] = set()

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()

    def handle_request(self, request: Any) -> Any:
        self.threads.add(threading.current_thread().name)
        sent = Request(
            method=request.method,
            path=request.url.path,
            query=dict(request.url.params),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=request.read(),
        )
        with self._lock:
            return anyio.run(self._answer, sent)

    async def _answer(self, sent: Request) -> Any:
        reply = await self._emulator.handle(sent)
        body = reply.body if isinstance(reply.body, bytes) else b"".join([chunk async for chunk in reply.body])
        return HTTP.Response(reply.status, headers=dict(reply.headers), content=body)


@contextmanager
def open_client(emulator: Emulator | None = None, **settings: Any) -> Iterator[tuple[Emulator, BatchOpenAISync]]:
    """An emulator whose clock is the same in every event loop, and a client that batches quickly."""
    emulator = emulator or Emulator(clock=time.monotonic)
    defaults: dict[str, Any] = {
        "api_key": "test-key",
        "base_url": "http://upstream.test/v1",
        "provider": "openai",
        "batch_window_seconds": 0.2,
        "poll_interval_seconds": 0.05,
        "http_client": HTTP.Client(transport=ToEmulator(emulator)),
    }
    with BatchOpenAISync(**{**defaults, **settings}) as client:
        yield emulator, client
    emulator.close()


@contextmanager
def emulate(*flags: str) -> Iterator[str]:
    """The base URL of `autobatcher emulate`, in a process of its own."""
    command = [sys.executable, "-m", "autobatcher", "emulate", "--port", "0", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield next(found[0] for line in process.stdout if (found := re.search(r"http://[0-9.]+:\d+/v1", line)))
        finally:
            process.terminate()


def chat(client: Any, text: str = "x", **options: Any) -> Any:
    messages = [{"role": "user", "content": text}]
    return client.chat.completions.create(**{"model": MODEL, "messages": messages, **options})


def test_it_is_an_openai_client_and_its_construction_starts_nothing() -> None:
    before = threading.active_count()
    client = BatchOpenAISync(api_key="k")
    assert isinstance(client, openai.OpenAI)
    assert threading.active_count() == before
    client.close()
    client.close()
    with pytest.raises(ValueError, match="batch_size"):
        BatchOpenAISync(api_key="k", batch_size=0)


@pytest.mark.proves("surfaces", "BatchOpenAISync, many threads")
def test_calls_of_many_threads_travel_together_and_each_has_its_own_answer() -> None:
    together = open_client(batch_size=50, batch_window_seconds=30)
    with together as (emulator, client), ThreadPoolExecutor(50) as threads:
        texts = [f"text-{i}." for i in range(50)]
        answers = list(threads.map(lambda text: chat(client, text).choices[0].message.content, texts))
        assert answers == texts
        assert emulator.statistics().batches_created == 1
        assert emulator.statistics().realtime_calls == {}


class City(BaseModel):
    name: str


def streamed(client: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chat(client, "hello", stream=True))


def stream_helper(client: Any) -> Any:
    with client.chat.completions.stream(model=MODEL, messages=MESSAGES) as stream:
        return stream.get_final_completion().choices[0].message.content


SURFACES: dict[str, Any] = {
    "chat.completions.create": lambda c: chat(c, "hello").choices[0].message.content,
    "chat.completions.create, stream=True": streamed,
    "chat.completions.stream": stream_helper,
    "chat.completions.parse": lambda c: (
        c.chat.completions.parse(model=MODEL, messages=MESSAGES, response_format=City).choices[0].message.parsed
    ),
    "with_raw_response": lambda c: (
        c.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES).parse().choices[0].message.content
    ),
    "embeddings.create": lambda c: c.embeddings.create(model=MODEL, input=["a", "b"]).data[1].embedding,
    "responses.create": lambda c: c.responses.create(model=MODEL, input="hello").output_text,
    "responses.parse": lambda c: c.responses.parse(model=MODEL, input="x", text_format=City).output_parsed,
    "with_options": lambda c: chat(c.with_options(max_retries=0), "hello").choices[0].message.content,
}


@pytest.mark.full_price  # the official client's call
@pytest.mark.proves("surfaces", "BatchOpenAISync: {surface}")
@pytest.mark.parametrize("surface", SURFACES)
def test_a_surface_gives_what_the_official_client_gives(surface: str) -> None:
    twin = Emulator(clock=time.monotonic)
    http = HTTP.Client(transport=ToEmulator(twin))
    with openai.OpenAI(api_key="k", base_url="http://upstream.test/v1", http_client=http) as official:
        expected = SURFACES[surface](official)
    twin.close()
    with open_client() as (emulator, client):
        assert SURFACES[surface](client) == expected
        assert emulator.statistics().batches_created == 1
        assert emulator.statistics().realtime_calls == {}


def test_what_is_not_batchable_passes_through_in_the_callers_thread() -> None:
    with open_client() as (emulator, client):
        assert [model.id for model in client.models.list()]
        file = client.files.create(file=("x.jsonl", b'{"a": 1}\n'), purpose="batch")
        assert client.files.content(file.id).content == b'{"a": 1}\n'
        assert emulator.statistics().batches_created == 0


def test_the_engine_reaches_the_upstream_through_the_users_own_client_off_its_event_loop() -> None:
    emulator = Emulator(clock=time.monotonic)
    door = ToEmulator(emulator)
    with open_client(emulator, http_client=HTTP.Client(transport=door)) as (_, client):
        chat(client)
        assert door.threads
        assert "autobatcher" not in door.threads


def test_bytes_are_answered_with_bytes() -> None:
    with open_client() as (_, client):
        answer = client.answer("/v1/embeddings", b'{"model": "m", "input": "x"}')
        assert answer.status_code == 200
        assert b'"embedding"' in answer.body


def test_a_failed_line_raises_the_sdks_own_exception() -> None:
    emulator = Emulator(clock=time.monotonic, faults=FaultPlan((LineFault(kind="fail", status=400),)))
    with open_client(emulator) as (_, client):
        with pytest.raises(openai.BadRequestError):
            chat(client)
        with pytest.raises(UnbatchableRequestError, match="own"):
            chat(client, extra_query={"own": "1"})


def test_headers_of_one_call_go_with_its_batch() -> None:
    emulator = Emulator(clock=time.monotonic)
    sent: set[str | None] = set()
    with open_client(emulator) as (_, client):
        client._engine.upstream.event_hooks["request"].append(lambda request: sent.add(request.headers.get("x-team")))
        chat(client, extra_headers={"X-Team": "a"})
        assert sent == {"a"}


def test_a_timeout_bounds_the_wait_of_one_thread() -> None:
    emulator = Emulator(clock=time.monotonic, batch_seconds=100)
    with open_client(emulator) as (_, client), pytest.raises(openai.APITimeoutError):
        chat(client, timeout=1)


def test_closing_tells_every_waiting_thread() -> None:
    emulator = Emulator(clock=time.monotonic, batch_seconds=100)
    with ThreadPoolExecutor(5) as threads, open_client(emulator) as (_, client):
        calls = [threads.submit(chat, client) for _ in range(5)]
        while not emulator.statistics().batches_created:
            time.sleep(0.01)
        client.close()
        for call in calls:
            with pytest.raises(ClientClosedError):
                call.result(10)
        assert not any(thread.name == "autobatcher" for thread in threading.enumerate())
        with pytest.raises(ClientClosedError):
            chat(client)


def test_copies_share_the_engine_and_the_queue() -> None:
    with open_client() as (emulator, client), ThreadPoolExecutor(3) as threads:
        copies = [client, client.with_options(timeout=50), client.copy(max_retries=0)]
        assert [answer.choices[0].message.content for answer in threads.map(chat, copies)] == ["x"] * 3
        assert emulator.statistics().batches_created == 1
        copies[1].close()
        assert chat(client).choices


@pytest.mark.full_price
def test_the_unbatched_client_answers_at_once_and_at_full_price() -> None:
    with open_client() as (emulator, client):
        assert chat(client.unbatched).choices
        client.unbatched.close()
        assert chat(client).choices
        assert sum(emulator.statistics().realtime_calls.values()) == 1
        assert emulator.statistics().batches_created == 1


def test_a_plain_key_function_is_asked_for_the_engines_calls_too() -> None:
    asked: list[str] = []

    def key() -> str:
        asked.append("key")
        return "test-key"

    with open_client(api_key=key) as (_, client):
        assert chat(client).choices
    assert len(asked) >= 4


def test_an_event_handler_that_calls_the_client_is_told_so_instead_of_waiting_for_itself() -> None:
    outcomes: list[Exception] = []
    clients: list[BatchOpenAISync] = []

    def handler(event: dict[str, Any]) -> None:
        if event["event"] == "batch_submitted":
            try:
                chat(clients[0])
            except Exception as error:
                outcomes.append(error)

    with open_client(batch_event_handler=handler) as (_, client):
        clients.append(client)
        assert chat(client).choices
    assert "event loop thread" in str(outcomes[0].__cause__ or outcomes[0])


def test_an_event_handler_may_close_the_client_and_the_engine_still_shuts_down() -> None:
    emulator = Emulator(clock=time.monotonic, batch_seconds=100)
    clients: list[BatchOpenAISync] = []
    events: list[str] = []

    def handler(event: dict[str, Any]) -> None:
        events.append(event["event"])
        if event["event"] == "batch_submitted":
            clients[0].close()

    with open_client(emulator, batch_event_handler=handler, cancel_active_batches_on_close=True) as (_, client):
        clients.append(client)
        with pytest.raises(ClientClosedError):
            chat(client)
    assert "batch_cancelled_upstream" in events
    assert emulator.statistics().running_batch_ids == ()


def test_a_handler_that_exits_kills_no_engine() -> None:
    def handler(event: dict[str, Any]) -> None:
        raise SystemExit(3)

    with open_client(batch_event_handler=handler) as (_, client):
        assert chat(client).choices


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_starts_an_engine_of_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=40)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["parent", "child"]


def test_statistics_can_be_asked_from_any_thread() -> None:
    with open_client() as (_, client):
        assert client.batch_statistics() is None
        chat(client)
        assert client.batch_statistics().waiting_requests == 0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "arguments", [{"http_client": "foo"}, {"http_client": HTTP.AsyncClient()}, {"api_key": anyio.sleep}]
)
def test_arguments_of_the_wrong_kind_are_refused_by_their_name(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(arguments))):
        BatchOpenAISync(**{"api_key": "k", **arguments})


FORKED = """
import os, time
from tests.client.test_sync import ToEmulator, HTTP, chat
from autobatcher import BatchOpenAISync
from autobatcher.emulator import Emulator

emulator = Emulator(clock=time.monotonic)
client = BatchOpenAISync(
    api_key="k", base_url="http://upstream.test/v1", batch_window_seconds=0.05, poll_interval_seconds=0.05,
    http_client=HTTP.Client(transport=ToEmulator(emulator)),
)
chat(client)
print("parent", flush=True)
child = os.fork()
if child == 0:
    chat(client)
    print("child", flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
client.close()
"""


def test_the_shutdown_at_exit_can_look_up_host_names() -> None:
    """The connection is closed by then. asyncio's executor must not be."""
    with emulate("--batch-seconds", "100") as url:
        program = AT_EXIT.replace("URL", url.replace("127.0.0.1", "localhost"))
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=40)
    assert done.returncode == 0, done.stderr
    assert "batch_cancelled_upstream" in done.stdout, done.stderr


AT_EXIT = """
import threading, time
from autobatcher import BatchOpenAISync

submitted = threading.Event()
def handler(event):
    print(event["event"], flush=True)
    if event["event"] == "batch_submitted":
        submitted.set()

client = BatchOpenAISync(
    api_key="k", base_url="URL", batch_window_seconds=0.05, poll_interval_seconds=30,
    cancel_active_batches_on_close=True, batch_event_handler=handler,
)
threading.Thread(
    target=lambda: client.responses.create(model="m", input="x"), daemon=True
).start()
submitted.wait(20)
time.sleep(6)  # kept-alive connections are dropped after five seconds
"""


def test_a_client_that_is_dropped_warns_and_ends_its_engine() -> None:
    emulator = Emulator(clock=time.monotonic)
    client = BatchOpenAISync(
        api_key="k",
        base_url="http://upstream.test/v1",
        batch_window_seconds=0.05,
        poll_interval_seconds=0.05,
        http_client=HTTP.Client(transport=ToEmulator(emulator)),
    )
    assert chat(client).choices
    thread = next(thread for thread in threading.enumerate() if thread.name == "autobatcher")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        del client
        gc.collect()
    assert any("never closed" in str(warning.message) for warning in caught)
    thread.join(10)
    assert not thread.is_alive()
    emulator.close()


PROGRAM = """
import threading, time
import openai
from tests.client.test_sync import ToEmulator, HTTP, chat
from autobatcher import BatchOpenAISync
from autobatcher.emulator import Emulator

emulator = Emulator(clock=time.monotonic, batch_seconds=100)
client = BatchOpenAISync(
    api_key="k", base_url="http://upstream.test/v1", batch_window_seconds=0.05, poll_interval_seconds=0.05,
    cancel_active_batches_on_close=True, http_client=HTTP.Client(transport=ToEmulator(emulator)),
    batch_event_handler=lambda event: print(event["event"], flush=True),
)
threading.Thread(target=chat, args=(client,), daemon=True).start()
while not emulator.statistics().batches_created:
    time.sleep(0.01)
time.sleep(0.2)
"""


def test_a_program_that_just_ends_still_shuts_the_engine_down() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=40)
    assert done.returncode == 0, done.stderr
    assert "batch_cancelled_upstream" in done.stdout


INTERRUPTED = """
import signal, threading, time
from tests.client.test_sync import ToEmulator, HTTP, chat
from autobatcher import BatchOpenAISync
from autobatcher.emulator import Emulator

emulator = Emulator(clock=time.monotonic, batch_seconds=100)
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored under `nohup ... &`

def interrupt(event):
    if event["event"] == "batch_submitted":
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

with BatchOpenAISync(
    api_key="k", base_url="http://upstream.test/v1", batch_window_seconds=0.05, poll_interval_seconds=0.05,
    http_client=HTTP.Client(transport=ToEmulator(emulator)),
    batch_event_handler=interrupt,
) as client:
    try:
        chat(client)
    except KeyboardInterrupt:
        print("interrupted")
    while emulator.statistics().running_batch_ids:  # nobody waits for it any more
        time.sleep(0.01)
    print("withdrawn")
"""


def test_an_interrupted_call_is_withdrawn() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=40)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["interrupted", "withdrawn"]


def test_a_map_needs_no_threads_and_reads_no_further_ahead_than_it_may() -> None:
    read = 0

    def endless() -> Iterator[dict[str, Any]]:
        nonlocal read
        for read in itertools.count(1):
            yield {"model": MODEL, "messages": [{"role": "user", "content": f"{read - 1}."}]}

    with open_client() as (_, client):
        for taken, result in enumerate(client.map(endless(), ahead=20, ordered=True)):
            assert read - taken <= 20
            assert result.index == taken
            assert f"{taken}." in result.answer.choices[0].message.content
            if taken == 50:
                break
        wait_until(lambda: client.batch_statistics().waiting_requests == 0)  # type: ignore[union-attr]
        with pytest.raises(ZeroDivisionError):
            list(client.map(1 // number for number in (1, 0)))  # type: ignore[misc]
        client.close()
        with pytest.raises(ClientClosedError):
            next(client.map(endless()))


def test_a_map_of_a_client_that_is_closed_meanwhile_ends() -> None:
    with open_client(batch_window_seconds=1000.0) as (_, client):
        results = client.map([{"model": MODEL, "messages": MESSAGES}, {"model": MODEL}, {"messages": MESSAGES}])
        first = next(results)  # names no model
        assert isinstance(first.exception, UnbatchableRequestError)
        client.close()
        assert {type(result.exception) for result in results} == {ClientClosedError}


def test_a_map_that_another_thread_closes_ends_and_withdraws_its_calls() -> None:
    reads, may_go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[dict[str, Any]]:
        yield {"model": MODEL, "messages": MESSAGES}
        reads.set()
        may_go_on.wait(30)
        yield {"model": MODEL, "messages": MESSAGES}

    with open_client(batch_window_seconds=1000.0) as (_, client), ThreadPoolExecutor(2) as threads:
        waits = client.map([{"model": MODEL, "messages": MESSAGES}] * 2)
        ended = threads.submit(list, waits)
        wait_until(lambda: bool((now := client.batch_statistics()) and now.queued_requests == 2))
        waits.close()
        assert ended.result(30) == list(waits) == []
        wait_until(lambda: client.batch_statistics().waiting_requests == 0)  # type: ignore[union-attr]

        reading = client.map(slow())
        ended = threads.submit(list, reading)
        reads.wait(30)
        reading.close()
        may_go_on.set()
        assert ended.result(30) == []
        wait_until(lambda: client.batch_statistics().waiting_requests == 0)  # type: ignore[union-attr]


def test_a_flush_sends_what_is_queued_at_once() -> None:
    with open_client(batch_window_seconds=1000.0) as (_, client):
        client.flush()
        with ThreadPoolExecutor(1) as threads:
            call = threads.submit(chat, client)
            wait_until(lambda: bool((now := client.batch_statistics()) and now.queued_requests))
            client.flush()
            assert call.result(30)


def wait_until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)
