"""Whatever the HTTP client, its hooks, its auth or the key function raise: callers get a typed error that says so.

`EngineError` stands for a defect of autobatcher. None of these is one.
"""

from __future__ import annotations

import errno
import socket
import ssl
import sys
from collections.abc import Generator
from typing import Any

import anyio
import httpx
import openai
import pytest

from autobatcher import (
    BatchError,
    BatchOpenAI,
    BatchSubmissionError,
    BatchTimeoutError,
    BatchUnreachableError,
    EngineError,
)
from tests.harness import HTTP, Harness, Send, ask, between, open_harness, outcome_of

DAYS = 10 * 86_400.0
SLOW_SECONDS = 290.0
"""How long a read takes to fail, just in time for the engine, which tries for a day: fewer tries."""

ENDPOINT, BODY = "/v1/chat/completions", b'{"model": "m", "messages": []}'

REQUEST = HTTP.Request("GET", "http://upstream.test/v1")
REFUSED = HTTP.Response(418, request=REQUEST, json={"error": {"message": "I am a teapot"}})


def _library_errors() -> list[Exception]:
    """One of every exception class of the HTTP library."""
    made: list[Exception] = [
        HTTP.HTTPError("m"),
        HTTP.HTTPStatusError("m", request=REQUEST, response=REFUSED),
        HTTP.InvalidURL("m"),
        HTTP.CookieConflict("m"),
        HTTP.StreamError("m"),
        HTTP.StreamConsumed(),
        HTTP.StreamClosed(),
        HTTP.ResponseNotRead(),
        HTTP.RequestNotRead(),
    ]
    classes = [value for value in vars(HTTP).values() if isinstance(value, type)]
    made += [each("m", request=REQUEST) for each in classes if issubclass(each, HTTP.RequestError)]
    assert {type(error) for error in made} == {each for each in classes if issubclass(each, Exception)}
    return made


OTHERS: list[Exception] = [
    httpx.ReadError("m"),
    ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"),
    ssl.SSLCertVerificationError(1, "certificate verify failed"),
    socket.gaierror(-2, "Name or service not known"),
    OSError(errno.EMFILE, "Too many open files"),
    OSError(errno.ENOSPC, "No space left on device"),
    TimeoutError(),
    anyio.BrokenResourceError(),
    anyio.ClosedResourceError(),
    anyio.EndOfStream(),
    UnicodeEncodeError("ascii", "é", 0, 1, "m"),
    ZeroDivisionError("m"),
    KeyError("m"),
    AssertionError("m"),
    RuntimeError("m"),
    RuntimeError("got Future attached to a different loop"),
    ExceptionGroup("m", [ValueError("m")]),
    openai.OpenAIError("m"),
    EngineError("m"),
]
ERRORS = [
    pytest.param(error, id=f"{number}-{type(error).__name__}")
    for number, error in enumerate(_library_errors() + OTHERS)
]

STAGES = {
    "upload": ("POST", "/files"),
    "creation": ("POST", "/batches"),
    "poll": ("GET", "/batches/"),
    "read": ("GET", "/content"),
}


def is_of(request: Any, stage: str) -> bool:
    method, part = STAGES[stage]
    path: str = request.url.path
    return request.method == method and (path.endswith(part) if stage != "poll" else part in path)


def raising(
    harness: Harness, error: Exception, stage: str, *, times: float = float("inf"), slow_seconds: float = 0.0
) -> Any:
    left = times

    async def answer(request: Any, send: Send) -> Any:
        nonlocal left
        if is_of(request, stage) and left > 0:
            left -= 1
            await anyio.sleep(slow_seconds)
            raise error.with_traceback(None)  # what was raised for other tests is forgotten
        return await send(request)

    return between(harness, answer)


@pytest.mark.proves("faults", "the HTTP client raises anything at all")
@pytest.mark.sampled(2)
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("error", ERRORS)
async def test_whatever_the_http_client_raises_is_told_as_what_it_is(error: Exception, stage: str) -> None:
    async with open_harness() as harness:
        http_client = raising(harness, error, stage, slow_seconds=SLOW_SECONDS if stage == "read" else 0.0)
        async with harness.client(http_client=http_client, poll_interval_seconds=600.0) as client:
            with anyio.fail_after(DAYS):
                outcome = await outcome_of(ask(client, "x"))
    if isinstance(error, HTTP.HTTPStatusError) and stage in ("upload", "creation"):
        assert isinstance(outcome, openai.APIStatusError)
        assert "418: I am a teapot" in str(outcome)
        return
    kinds = BatchSubmissionError if stage in ("upload", "creation") else (BatchUnreachableError, BatchTimeoutError)
    assert isinstance(outcome, kinds)
    if not isinstance(outcome, BatchTimeoutError):
        assert outcome.__cause__ is error
        assert type(error).__name__ in str(outcome) or "418: I am a teapot" in str(outcome)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    "error", [error for error in ERRORS if isinstance(error.values[0], HTTP.TransportError | OSError)]
)
async def test_a_failure_that_passes_costs_nobody_an_answer(error: Exception, stage: str) -> None:
    lasting = (HTTP.LocalProtocolError, HTTP.UnsupportedProtocol, ssl.SSLCertVerificationError)
    if stage in ("upload", "creation") and (isinstance(error, lasting) or getattr(error, "errno", 0) == errno.ENOSPC):
        pytest.skip("no other try would help")
    async with open_harness() as harness, harness.client(http_client=raising(harness, error, stage, times=2)) as client:
        with anyio.fail_after(DAYS):
            assert "x" in await ask(client, "x")
        assert harness.emulator.statistics().batches_created == 1


async def test_a_hook_that_raises_after_the_creation_does_not_have_the_batch_created_again() -> None:
    async with open_harness() as harness:
        broken: list[str] = []

        async def hook(response: Any) -> None:
            if is_of(response.request, "creation") and not broken:
                broken.append("once")
                raise ZeroDivisionError

        http_client = harness.emulator.http_client(library=HTTP.__name__)
        http_client.event_hooks = {"response": [hook]}
        async with harness.client(http_client=http_client) as client:
            assert "x" in await ask(client, "x")
        assert broken
        assert harness.emulator.statistics().batches_created == 1


async def test_a_hook_that_always_raises_after_the_creation_is_told_as_an_uncertain_batch() -> None:
    async with open_harness() as harness:

        async def hook(response: Any) -> None:
            if "/batches" in response.request.url.path:
                raise ZeroDivisionError

        http_client = harness.emulator.http_client(library=HTTP.__name__)
        http_client.event_hooks = {"response": [hook]}
        async with harness.client(http_client=http_client) as client:
            with (
                anyio.fail_after(DAYS),
                pytest.raises(BatchSubmissionError, match="may have been created or not") as caught,
            ):
                await ask(client, "x")
        assert "ZeroDivisionError" in str(caught.value)
        assert harness.emulator.statistics().batches_created == 1


@pytest.mark.parametrize("stage", STAGES)
async def test_a_hook_with_raise_for_status_keeps_what_the_status_means(stage: str) -> None:
    async with open_harness() as harness:
        left = 2

        async def busy(request: Any, send: Send) -> Any:
            nonlocal left
            if is_of(request, stage) and left:
                left -= 1
                return HTTP.Response(503, json={"error": {"message": "busy"}})
            return await send(request)

        async def hook(response: Any) -> None:
            response.raise_for_status()

        http_client = between(harness, busy, event_hooks={"response": [hook]})
        async with harness.client(http_client=http_client) as client:
            assert "x" in await ask(client, "x")
        assert left == 0


class BrokenAuth(HTTP.Auth):  # type: ignore[misc]  # the base class is the library's
    def auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        request.headers["authorization"] = self._token()
        yield request

    def _token(self) -> str:
        raise LookupError("no token")


async def test_an_auth_that_raises_is_named() -> None:
    async with open_harness() as harness:
        http_client = harness.emulator.http_client(library=HTTP.__name__)
        http_client.auth = BrokenAuth()
        async with harness.client(http_client=http_client) as client:
            with pytest.raises(BatchSubmissionError, match=r"http_client raised LookupError, perhaps in .* its auth"):
                await ask(client, "x")


async def test_a_closed_http_client_is_named() -> None:
    async with open_harness() as harness:
        http_client = harness.emulator.http_client(library=HTTP.__name__)
        async with harness.client(http_client=http_client) as client:
            await http_client.aclose()
            with pytest.raises(BatchSubmissionError, match="http_client is closed; keep it open"):
                await ask(client, "x")


@pytest.mark.parametrize("given", [None, 7, b"bytes", ["list"]], ids=repr)
async def test_a_key_function_that_gives_no_text_is_named(given: Any) -> None:
    async def key() -> Any:
        return given

    async with open_harness() as harness, harness.client(api_key=key) as client:
        with (
            anyio.fail_after(DAYS),
            pytest.raises(BatchSubmissionError, match=r"the api_key function gave .*, not text"),
        ):
            await client.answer(ENDPOINT, BODY)


async def test_a_key_function_that_is_not_async_is_named() -> None:
    key: Any = lambda: "key"  # noqa: E731
    async with open_harness() as harness, harness.client(api_key=key) as client:
        with anyio.fail_after(DAYS), pytest.raises(BatchSubmissionError, match="the api_key function is not async"):
            await client.answer(ENDPOINT, BODY)


async def test_a_key_function_that_raises_is_named_with_its_exception() -> None:
    async def key() -> str:
        raise LookupError("no token")

    async with open_harness() as harness, harness.client(api_key=key) as client:
        with anyio.fail_after(DAYS), pytest.raises(BatchSubmissionError, match="raised LookupError") as caught:
            await client.answer(ENDPOINT, BODY)
    assert isinstance(caught.value.__cause__, LookupError)


def test_a_journal_without_sqlite3_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setitem(sys.modules, "autobatcher.engine.journal.places", None)

    async def call() -> None:
        client = BatchOpenAI(api_key="k", journal=tmp_path / "journal")
        with pytest.raises(BatchError, match="A journal needs sqlite3"):
            await ask(client, "x")
        await client.close()

    anyio.run(call)
