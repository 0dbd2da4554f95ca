"""Ordinary calls get ordinary answers and ordinary errors."""

from __future__ import annotations

import base64
import struct

import anyio
import httpx
import openai
import pytest
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from pydantic import BaseModel

from autobatcher import BatchOpenAI, ProviderProfile, UnbatchableRequestError
from autobatcher.emulator import FaultPlan, LineFault
from tests.harness import MODEL, ask, open_harness


def test_the_client_is_an_openai_client() -> None:
    assert isinstance(BatchOpenAI(api_key="k"), openai.AsyncOpenAI)


def test_constructing_needs_no_event_loop_and_falls_back_to_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-env")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://api.doubleword.ai/v1")
    client = BatchOpenAI()
    assert client.api_key == "from-env"
    assert str(client.base_url) == "https://api.doubleword.ai/v1/"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("provider", "nobody"),
        ("provider", 3),
        ("batch_size", 0),
        ("workload_identity", object()),
        ("http_client", "foo"),
    ],
)
def test_a_bad_parameter_is_named_at_construction(name: str, value: object) -> None:
    with pytest.raises((TypeError, ValueError), match=name):
        BatchOpenAI(api_key="k", **{name: value})  # type: ignore[arg-type]


async def test_a_chat_call_returns_a_chat_completion_from_a_batch() -> None:
    async with open_harness() as harness, harness.client() as client:
        completion = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hello"}])
        assert isinstance(completion, ChatCompletion)
        assert "hello" in (completion.choices[0].message.content or "")
        assert completion.usage is not None
        assert completion._request_id
        assert harness.emulator.statistics().batches_created == 1


async def test_embeddings_come_as_numbers_though_the_sdk_asks_for_base64() -> None:
    async with open_harness() as harness, harness.client() as client:
        plain = await client.embeddings.create(model=MODEL, input=["a", "b"])
        encoded = await client.embeddings.create(model=MODEL, input=["a", "b"], encoding_format="base64")
        assert isinstance(plain, CreateEmbeddingResponse)
        vectors = [item.embedding for item in plain.data]
        texts: list[object] = [item.embedding for item in encoded.data]
        decoded = [list(struct.unpack(f"<{len(vectors[0])}f", base64.b64decode(str(text)))) for text in texts]
        assert decoded == vectors
        assert vectors[0] != vectors[1]


async def test_every_batchable_endpoint_returns_its_own_type() -> None:
    async with open_harness() as harness, harness.client() as client:
        response = await client.responses.create(model=MODEL, input="hello")
        assert isinstance(response, Response)
        assert "hello" in response.output_text
        completion = await client.completions.create(model=MODEL, prompt="hello")
        assert completion.choices[0].text
        moderation = await client.moderations.create(model="omni-moderation-latest", input="hello")
        assert moderation.results[0].flagged is False
        images = await client.images.generate(model=MODEL, prompt="a cat")
        assert images.data
        urls = [line.url for line in harness.emulator.statistics().lines]
        assert urls == ["/v1/responses", "/v1/completions", "/v1/moderations", "/v1/images/generations"]


async def test_structured_output_is_parsed_by_the_sdk() -> None:
    class City(BaseModel):
        name: str
        people: int

    async with open_harness() as harness, harness.client() as client:
        completion = await client.chat.completions.parse(
            model=MODEL, messages=[{"role": "user", "content": "a city"}], response_format=City
        )
        assert isinstance(completion.choices[0].message.parsed, City)


async def test_raw_responses_name_the_batch_and_the_line() -> None:
    async with open_harness() as harness, harness.client() as client:
        raw = await client.chat.completions.with_raw_response.create(
            model=MODEL, messages=[{"role": "user", "content": "x"}]
        )
        view = harness.emulator.statistics().batches[0]
        assert raw.headers["x-autobatcher-batch-id"] == view.id
        assert raw.headers["x-autobatcher-custom-id"] in view.custom_ids
        assert isinstance(raw.parse(), ChatCompletion)


async def test_what_is_not_batchable_goes_straight_to_the_upstream() -> None:
    async with open_harness() as harness, harness.client() as client:
        assert [model.id async for model in client.models.list()]
        file = await client.files.create(file=("x.jsonl", b'{"a": 1}\n'), purpose="batch")
        content = await client.files.content(file.id)
        assert content.content == b'{"a": 1}\n'
        with pytest.raises(openai.NotFoundError):
            await client.batches.retrieve("batch_unknown")
        assert harness.emulator.statistics().batches_created == 0


async def test_an_httpx_client_talks_to_the_upstream_whatever_the_sdk_uses_itself() -> None:
    async with open_harness() as harness:
        http = harness.emulator.http_client(library="httpx")
        assert isinstance(http, httpx.AsyncClient)
        async with harness.client(http_client=http) as client:
            assert "hello" in await ask(client, "hello")
            assert [model.id async for model in client.models.list()]
        assert http.is_closed


async def test_openai_gets_one_batch_for_each_model_and_endpoint() -> None:
    async with open_harness("openai") as harness, harness.client() as client:
        async with anyio.create_task_group() as callers:
            for model in ("a", "b", "a"):
                callers.start_soon(ask, client, "x", model)
            callers.start_soon(lambda: client.embeddings.create(model="a", input="x"))
        batches = harness.emulator.statistics().batches
        assert sorted(len(batch.custom_ids) for batch in batches) == [1, 1, 2]


async def test_doubleword_gets_one_batch_for_all_of_them() -> None:
    async with open_harness("doubleword") as harness, harness.client() as client:
        results: list[object] = []

        async def embed() -> None:
            results.append(await client.embeddings.create(model="a", input="x"))

        async def respond() -> None:
            results.append(await client.responses.create(model="c", input="x"))

        async with anyio.create_task_group() as callers:
            for model in ("a", "b"):
                callers.start_soon(ask, client, "x", model)
            callers.start_soon(embed)
            callers.start_soon(respond)
        (batch,) = harness.emulator.statistics().batches
        assert len(batch.custom_ids) == 4
        assert {type(result) for result in results} == {CreateEmbeddingResponse, Response}


async def test_doubleword_answers_reach_their_callers_while_the_batch_still_runs() -> None:
    async with open_harness("doubleword", batch_seconds=100) as harness, harness.client() as client:
        finished: list[float] = []

        async def call(text: str) -> None:
            assert text in await ask(client, text)
            finished.append(anyio.current_time())
            if len(finished) == 1:
                assert len(harness.emulator.statistics().running_batch_ids) == 1

        async with anyio.create_task_group() as callers:
            for i in range(10):
                callers.start_soon(call, f"text {i}")
        assert harness.emulator.statistics().batches_created == 1
        assert finished[-1] - finished[0] > 80  # spread over the batch's life, as the lines were


async def test_a_full_window_is_submitted_before_its_time() -> None:
    async with open_harness() as harness, harness.client(batch_size=3, batch_window_seconds=1000) as client:
        start = anyio.current_time()
        async with anyio.create_task_group() as callers:
            for i in range(6):
                callers.start_soon(ask, client, str(i))
        assert anyio.current_time() - start < 100
        assert [len(batch.custom_ids) for batch in harness.emulator.statistics().batches] == [3, 3]


async def test_a_failed_line_raises_the_sdks_own_exception_for_its_caller_only() -> None:
    plan = FaultPlan((LineFault(kind="fail", containing="bad", status=400),))
    for like in ("openai", "doubleword"):
        async with open_harness(like, faults=plan) as harness, harness.client() as client:
            answers: list[str] = []

            async def good() -> None:
                answers.append(await ask(client, "good"))  # noqa: B023

            async def bad() -> None:
                with pytest.raises(openai.BadRequestError) as caught:
                    await ask(client, "bad")
                assert caught.value.status_code == 400
                assert isinstance(caught.value.body, dict)
                assert caught.value.body["message"]
                assert caught.value.response.headers["x-autobatcher-batch-id"]

            async with anyio.create_task_group() as callers:
                callers.start_soon(good)
                callers.start_soon(bad)
            assert len(answers) == 1
            assert len(harness.bodies_sent()) == 2  # the SDK retried nothing


async def test_a_failed_lines_request_id_reaches_the_exception() -> None:
    plan = FaultPlan((LineFault(kind="fail", status=429),))
    async with open_harness(faults=plan) as harness, harness.client(max_retries=0) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await ask(client, "x")
        assert caught.value.request_id
        assert harness.emulator.statistics().batches_created == 1


async def test_a_batch_in_which_every_line_failed_gives_each_caller_its_own_error() -> None:
    plan = FaultPlan((LineFault(kind="fail", status=404),))
    for like in ("openai", "doubleword"):
        async with open_harness(like, faults=plan) as harness, harness.client() as client:
            failures: list[Exception] = []

            async def call() -> None:
                try:
                    await ask(client, "x")
                except openai.NotFoundError as error:
                    failures.append(error)  # noqa: B023

            async with anyio.create_task_group() as callers:
                for _ in range(5):
                    callers.start_soon(call)
            assert len({id(failure) for failure in failures}) == 5


async def test_multipart_is_refused_rather_than_paid_in_full() -> None:
    async with open_harness() as harness, harness.client() as client:
        with pytest.raises(UnbatchableRequestError, match="JSON") as caught:
            await client.images.edit(model=MODEL, prompt="x", image=("i.png", b"png"))
        assert caught.value.request.url.path == "/v1/images/edits"


async def test_an_endpoint_the_provider_has_no_batch_for_is_refused() -> None:
    async with open_harness("doubleword") as harness, harness.client() as client:
        with pytest.raises(UnbatchableRequestError, match="/v1/moderations"):
            await client.moderations.create(input="x")


async def test_a_request_larger_than_the_provider_takes_hurts_nobody_else() -> None:
    small = ProviderProfile(name="small", max_line_bytes=2_000)
    async with open_harness() as harness, harness.client(provider=small) as client:
        answers: list[str] = []

        async def good() -> None:
            answers.append(await ask(client, "good"))

        async with anyio.create_task_group() as callers:
            callers.start_soon(good)
            with pytest.raises(UnbatchableRequestError, match="takes 2,000 at most"):
                await ask(client, "x" * 3_000)
        assert len(answers) == 1
