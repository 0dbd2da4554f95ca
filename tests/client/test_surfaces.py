"""Every method of the SDK: batchable calls are batched or refused, all others pass through."""

from __future__ import annotations

import copy
import gzip
import importlib
import json
import logging
import pickle
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import openai
import pytest

from autobatcher import (
    BatchEndedError,
    BatchError,
    BatchOpenAI,
    BatchSubmissionError,
    BatchTimeoutError,
    ClientClosedError,
    EngineError,
    UnbatchableRequestError,
)
from autobatcher.emulator import FaultPlan, HttpFault, LineFault
from tests.engine.test_faults_of_the_upstream import ask_many
from tests.harness import HTTP, MODEL, SDK_LIBRARY, Harness, Send, ask, between, open_harness, outcome_of

MESSAGES: Any = [{"role": "user", "content": "x"}]
BODY = {"model": MODEL, "messages": MESSAGES}


# ---- base URLs ----


@pytest.mark.parametrize(
    "url",
    [
        "http://h/v1",
        "http://h/v1/",
        "http://h/v1//",
        "http://h//v1",
        "http://h/v1/.",
        "http://h/a/../v1",
        "http://h/openai/v1",
        "http://h/my%20proxy/v1",
        "http://h/a%2Fb/v1",
        "http://h/é/v1",
        "http://h/a+b/v1",
    ],
)
async def test_a_base_url_is_taken_however_it_is_written(url: str) -> None:
    async with open_harness() as harness, harness.client(base_url=url) as client:
        assert "x" in await ask(client, "x")
        assert harness.emulator.statistics().batches_created == 1


@pytest.mark.parametrize("url", ["http://h", "http://h/", "http://H/V1", "http://h/~u/v1;p=1/"])
async def test_a_base_url_that_leads_nowhere_raises_the_upstreams_answer(url: str) -> None:
    async with open_harness() as harness, harness.client(base_url=url) as client:
        with pytest.raises(openai.NotFoundError, match="POST /files answered 404"):
            await ask(client, "x")


def test_a_base_url_with_a_query_is_refused_by_its_name() -> None:
    with pytest.raises(ValueError, match="base_url"):
        BatchOpenAI(api_key="k", base_url="http://h/v1?x=1")


# ---- doors to a batch ----

Door = Callable[[BatchOpenAI, Harness], Awaitable[Any]]


def post(path: str) -> Door:
    return lambda client, _: client.post(path, body=BODY, cast_to=object)


def another_http_client(client: BatchOpenAI, harness: Harness) -> Awaitable[Any]:
    copied = client.with_options(http_client=harness.emulator.http_client(library=SDK_LIBRARY))
    return copied.chat.completions.create(model=MODEL, messages=MESSAGES)


DOORS_TO_A_BATCH: dict[str, Door] = {
    "a copy with another HTTP client": another_http_client,
    "raw response": lambda c, _: c.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES),
    "beta parse": lambda c, _: c.beta.chat.completions.parse(model=MODEL, messages=MESSAGES),
    "responses.parse": lambda c, _: c.responses.parse(model=MODEL, input="x"),
    "responses in the background": lambda c, _: c.responses.create(model=MODEL, input="x", background=True),
    "post": post("/chat/completions"),
    "post to a whole URL": post("http://upstream.test/v1/chat/completions"),
    "post with a dot": post("/./chat/completions"),
    "post with a percent sign": post("/chat/%63ompletions"),
    "post with a slash at the end": post("/chat/completions/"),
    "the HTTP client": lambda c, _: c._client.post("http://upstream.test/v1/chat/completions", json=BODY),
}


@pytest.mark.parametrize("name", DOORS_TO_A_BATCH)
async def test_whichever_door_a_batchable_call_takes_it_comes_into_a_batch(name: str) -> None:
    async with open_harness() as harness, harness.client() as client:
        assert await DOORS_TO_A_BATCH[name](client, harness)
        assert harness.emulator.statistics().batches_created == 1


def v1_in_the_path(client: BatchOpenAI, harness: Harness) -> Awaitable[Any]:
    return post("/v1/chat/completions")(client.with_options(base_url="http://upstream.test"), harness)


REFUSED_DOORS: dict[str, Door] = {
    "extra_query": lambda c, _: c.chat.completions.create(model=MODEL, messages=MESSAGES, extra_query={"a": "b"}),
    "streamed images": lambda c, _: c.images.generate(model=MODEL, prompt="x", stream=True),
    "beta.responses, which add a query": lambda c, _: c.beta.responses.create(model=MODEL, input="x"),
    "a path outside the base URL": v1_in_the_path,
}


@pytest.mark.parametrize("name", REFUSED_DOORS)
async def test_what_cannot_go_into_a_batch_is_refused_before_anything_is_sent(name: str) -> None:
    async with open_harness() as harness, harness.client() as client:
        if name.startswith("beta.responses") and not hasattr(client.beta, "responses"):
            pytest.skip("this openai has none")
        with pytest.raises(UnbatchableRequestError):
            await REFUSED_DOORS[name](client, harness)
        assert harness.emulator.statistics().http_calls == {}


NOT_ANSWERED_DOORS: dict[str, Door] = {
    "post with double slashes": post("//chat//completions"),
    "images without a model": lambda c, _: c.images.generate(prompt="x"),
    "responses of a stored prompt": lambda c, _: c.responses.create(prompt={"id": "p"}),
}


@pytest.mark.parametrize("name", NOT_ANSWERED_DOORS)
async def test_what_the_upstream_will_not_answer_in_a_batch_is_not_asked_in_real_time(name: str) -> None:
    async with open_harness() as harness, harness.client() as client:
        with pytest.raises(openai.APIError):
            await NOT_ANSWERED_DOORS[name](client, harness)
        assert harness.emulator.statistics().batches_created == 1


async def test_a_streaming_response_of_a_batched_call_can_be_parsed() -> None:
    async with open_harness() as harness, harness.client() as client:
        door = client.chat.completions.with_streaming_response
        async with door.create(model=MODEL, messages=MESSAGES) as response:
            assert (await response.parse()).choices


# ---- headers and keys ----


async def test_credentials_and_query_of_one_call_pay_for_its_batch() -> None:
    seen: list[tuple[str | None, str | None, str | None]] = []

    async def answer(request: Any, send: Send) -> Any:
        headers = request.headers
        version = request.url.params.get("api-version")
        seen.append((headers.get("authorization"), headers.get("openai-project"), version))
        return await send(request)

    async with open_harness() as harness:
        client = harness.client(http_client=between(harness, answer), default_query={"api-version": "7"})
        headers = {"Authorization": "Bearer other", "OpenAI-Project": "p"}
        async with client:
            await client.chat.completions.create(model=MODEL, messages=MESSAGES, extra_headers=headers)
    assert len(seen) >= 5  # upload, creation, poll, content, and the deletion of the input file
    assert set(seen) == {("Bearer other", "p", "7")}


def test_a_key_with_a_line_end_is_refused_by_its_name_and_not_told() -> None:
    with pytest.raises(ValueError, match="api_key") as caught:
        BatchOpenAI(api_key="sk-SECRET\n")
    assert "SECRET" not in str(caught.value)


async def test_a_key_function_that_gives_a_line_end_fails_in_one_try_and_tells_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    asked: list[float] = []

    async def key() -> str:
        asked.append(anyio.current_time())
        return "sk-SECRET\n"

    async with open_harness() as harness:
        (outcome,) = await ask_many(harness, 1, api_key=key)
        assert isinstance(outcome, BatchSubmissionError)
        assert len(asked) == 2  # once by the SDK, for its own request, and once for the upload
        assert harness.emulator.statistics().http_calls == {}
        for told in (str(outcome), repr(outcome), str(harness.events), caplog.text):
            assert "SECRET" not in told


async def test_a_server_that_quotes_what_we_sent_is_not_quoted_in_events() -> None:
    quoting = json.dumps({"error": {"message": 'Line 1: bad {"content": "text-0."} key test-key'}})
    plan = FaultPlan((HttpFault(operation="files.create", status=400, body=quoting),))
    async with open_harness(faults=plan) as harness:
        (outcome,) = await ask_many(harness, 1)
        assert "text-0." in str(outcome)
        (failed,) = harness.events_named("batch_submission_failed")
        assert "text-0" not in str(failed)
        assert "test-key" not in str(failed)


# ---- passing through ----


@pytest.mark.parametrize("library", sorted({"httpx", SDK_LIBRARY}))
async def test_an_upstream_out_of_reach_raises_and_retries_as_the_sdk_does(library: str) -> None:
    plan = FaultPlan((HttpFault(operation="models", refuse=True),))
    async with open_harness(faults=plan) as harness:
        http = harness.emulator.http_client(library=library)
        async with harness.client(http_client=http, max_retries=1) as client:
            with pytest.raises(openai.APIConnectionError):
                await client.models.retrieve("m")
        assert harness.emulator.statistics().http_calls["models"] == 2


TEXT = b"hello" * 100_000


async def storage(request: Any, send: Send) -> Any:
    """A server that compresses its files, has one of them elsewhere, and lists its models elsewhere."""
    path = request.url.path
    if path.endswith("/files/elsewhere/content"):
        return HTTP.Response(302, headers={"location": "http://upstream.test/v1/files/zipped/content"})
    if path.endswith("/files/zipped/content"):
        return HTTP.Response(200, headers={"content-encoding": "gzip"}, content=gzip.compress(TEXT))
    if path.endswith("/models"):
        return HTTP.Response(307, headers={"location": "http://upstream.test/v1/models2"})
    if path.endswith("/models2"):
        return HTTP.Response(200, json={"object": "list", "data": [{"id": "a", "object": "model"}]})
    return await send(request)


@pytest.mark.parametrize("follows", [True, False])
async def test_compressed_and_redirected_answers_pass_through(follows: bool) -> None:
    async with open_harness() as harness:
        http = between(harness, storage, follow_redirects=follows)
        async with harness.client(http_client=http) as client:
            assert (await client.files.content("zipped")).content == TEXT
            assert (await client.files.content("elsewhere")).content == TEXT
            assert [model.id async for model in client.models.list()] == ["a"]
            async with client.files.with_streaming_response.content("zipped") as response:
                assert b"".join([chunk async for chunk in response.iter_bytes()]) == TEXT


@pytest.mark.proves("faults", "a redirect of what passes through leads elsewhere")
@pytest.mark.parametrize("library", sorted({"httpx", SDK_LIBRARY}))
async def test_what_passes_through_is_not_led_elsewhere_but_for_downloads_which_go_alone(library: str) -> None:
    http = importlib.import_module(library)
    met: list[Any] = []

    async def upstream(request: Any) -> Any:
        if request.url.host == "elsewhere.test":
            met.append(request)
            return http.Response(200, content=TEXT, headers={"content-type": "application/octet-stream"})
        return http.Response(307, headers={"location": f"https://elsewhere.test{request.url.path}"})

    async with open_harness() as harness:
        through = http.AsyncClient(transport=http.MockTransport(upstream))
        secrets = {"x-portkey-api-key": "secret", "cookie": "session=secret"}
        async with harness.client(http_client=through, default_headers=secrets, max_retries=0) as client:
            for call in (client.models.list(), client.files.create(file=b"prompts", purpose="batch")):
                with pytest.raises(openai.APIStatusError) as caught:
                    await call
                assert caught.value.status_code == 307
            assert not met
            assert (await client.files.content("file")).content == TEXT
        await through.aclose()
    assert [request.headers.keys() - {"host", "connection", "user-agent"} for request in met] == [
        {"accept", "accept-encoding"}
    ]


async def test_large_files_pass_through_both_ways() -> None:
    lines = b'{"a":1}\n' * 500_000
    async with open_harness() as harness, harness.client() as client:
        file = await client.files.create(file=("big.jsonl", lines), purpose="batch")
        assert (await client.files.content(file.id)).content == lines


# ---- errors ----


async def test_the_exception_of_a_failed_line_has_all_that_the_sdks_own_have() -> None:
    plan = FaultPlan((LineFault(kind="fail", status=400),))
    async with open_harness(faults=plan) as harness, harness.client() as client:
        error = await outcome_of(ask(client, "x"))
        assert isinstance(error, openai.BadRequestError)
        assert error.response.status_code == 400
        assert error.request.url.path == "/v1/chat/completions"
        assert "400" in str(error)


async def test_an_error_of_ours_has_its_request_also_when_the_client_is_closed() -> None:
    async with open_harness() as harness:
        client = harness.client()
        await client.close()
        with pytest.raises(ClientClosedError) as caught:
            await ask(client, "x")
        assert caught.value.request.url.path == "/v1/chat/completions"


@pytest.mark.parametrize(
    "error",
    [
        BatchEndedError("m", status="failed", batch_id="b"),
        BatchSubmissionError("m", status_code=400, response_body=b"no"),
        BatchTimeoutError("m"),
        ClientClosedError("m", batch_id="b"),
        EngineError("m"),
        UnbatchableRequestError("m", param="p"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_can_be_copied_and_sent_between_processes(error: BatchError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert again.__dict__ == error.__dict__
