"""`BatchTransport`: any HTTP client's calls, batched."""

from __future__ import annotations

import importlib
from typing import Any

import anyio
import httpx
import openai
import pytest

from autobatcher import BatchOpenAI, BatchTransport
from autobatcher.emulator import FaultPlan, HttpFault, LineFault
from tests.harness import HTTP, MODEL, SDK_LIBRARY, Harness, Send, ask, between, open_harness

LIBRARIES = sorted({"httpx", SDK_LIBRARY})
URL = "http://upstream.test/openai/v1"


def transport_of(harness: Harness, **options: Any) -> BatchTransport:
    quick = {"batch_window_seconds": 1.0, "poll_interval_seconds": 2.0, "provider": harness.like}
    return BatchTransport(**{**quick, "http_client": harness.emulator.http_client(library="httpx"), **options})


def http_client(harness: Harness, library: str = "httpx", **options: Any) -> Any:
    module: Any = importlib.import_module(library)
    headers = {"authorization": "Bearer key"}
    return module.AsyncClient(transport=transport_of(harness, **options), base_url=URL, headers=headers)


def body(text: str = "x", **options: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **options}


@pytest.mark.proves("surfaces", "BatchTransport in an AsyncClient of {library}")
@pytest.mark.parametrize("library", LIBRARIES)
async def test_calls_of_any_http_client_travel_together_and_each_has_its_own_answer(library: str) -> None:
    async with open_harness() as harness:
        answers: dict[str, str] = {}
        async with http_client(harness, library) as http, anyio.create_task_group() as callers:

            async def call(text: str) -> None:
                response = await http.post("/chat/completions", json=body(text))
                assert response.status_code == 200
                assert response.headers["x-request-id"]
                answers[text] = response.json()["choices"][0]["message"]["content"]

            for text in ("one", "two", "three"):
                callers.start_soon(call, text)
        assert answers == {text: text for text in ("one", "two", "three")}
        assert harness.emulator.statistics().batches_created == 1


@pytest.mark.proves("surfaces", "BatchTransport under the official AsyncOpenAI")
async def test_the_official_client_batches_through_the_transport() -> None:
    async with open_harness() as harness:
        http: Any = httpx.AsyncClient(transport=transport_of(harness))
        async with openai.AsyncOpenAI(api_key="key", base_url=URL, http_client=http) as client:
            completion = await client.chat.completions.create(**body("hello"))
            assert "hello" in completion.choices[0].message.content
            assert [model.id async for model in client.models.list()]
        assert harness.emulator.statistics().batches_created == 1


async def test_a_stream_is_told_as_events() -> None:
    async with open_harness() as harness, http_client(harness) as http:
        async with http.stream("POST", "/chat/completions", json=body(stream=True)) as response:
            lines = [line async for line in response.aiter_lines() if line]
        assert response.headers["content-type"].startswith("text/event-stream")
        assert lines[-1] == "data: [DONE]"


async def test_requests_of_different_callers_share_no_batch() -> None:
    async with open_harness() as harness:
        seen: list[tuple[str, str]] = []

        async def spy(request: httpx.Request) -> None:
            seen.append((request.headers["authorization"], request.headers.get("x-team", "")))

        upstream = harness.emulator.http_client(library="httpx")
        upstream.event_hooks["request"].append(spy)
        async with http_client(harness, http_client=upstream) as http, anyio.create_task_group() as callers:
            for headers in (
                {},
                {"authorization": "Bearer other"},
                {"x-team": "a"},
                {"user-agent": "who", "x-request-id": "1"},
            ):

                async def call(headers: dict[str, str]) -> None:
                    assert (await http.post("/chat/completions", json=body(), headers=headers)).status_code == 200

                callers.start_soon(call, headers)
        assert harness.emulator.statistics().batches_created == 3
        assert set(seen) == {("Bearer key", ""), ("Bearer other", ""), ("Bearer key", "a")}


async def test_what_only_a_batch_can_meet_is_an_http_error_that_asks_for_no_retry() -> None:
    plan = FaultPlan((HttpFault(operation="batches.retrieve", status=403),))
    async with open_harness(faults=plan) as harness, http_client(harness) as http:
        response = await http.post("/chat/completions", json=body())
        assert response.status_code == 502
        assert response.headers["x-should-retry"] == "false"
        assert response.json()["error"]["type"] == "batch_unreachable_error"


async def test_a_failed_line_has_its_own_status_and_what_is_no_batch_request_is_a_400() -> None:
    plan = FaultPlan((LineFault(kind="fail", status=404),))
    async with open_harness(faults=plan) as harness, http_client(harness) as http:
        assert (await http.post("/chat/completions", json=body())).status_code == 404
        assert (
            await http.post("/chat/completions", content=b"{", headers={"content-type": "application/json"})
        ).status_code == 400


async def test_a_wait_can_be_bounded() -> None:
    async with open_harness(batch_seconds=500) as harness, http_client(harness, max_wait_seconds=20) as http:
        assert (await http.post("/chat/completions", json=body())).status_code == 504
        assert harness.emulator.statistics().batches_created == 1


async def test_a_nursery_of_the_callers_own_runs_the_engine() -> None:
    async with open_harness() as harness:
        transport = transport_of(harness)
        async with anyio.create_task_group() as nursery:
            await nursery.start(transport.run)
            async with httpx.AsyncClient(transport=transport, base_url=URL) as http:
                assert (await http.post("/embeddings", json={"model": MODEL, "input": "x"})).status_code == 200


async def test_a_path_that_is_encoded_oddly_is_a_400() -> None:
    async with open_harness() as harness, http_client(harness) as http:
        assert (await http.post("http://upstream.test/v1/chat%2Fcompletions", json=body())).status_code == 400
        assert harness.emulator.statistics().http_calls == {}


@pytest.mark.parametrize(
    ("name", "value"), [("max_retries", -1), ("max_retries", "2"), ("max_wait_seconds", 0), ("http_client", 5)]
)
def test_a_parameter_of_its_own_is_checked(name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=name):
        BatchTransport(**{name: value})


def test_a_bad_parameter_is_named_at_construction() -> None:
    with pytest.raises(ValueError, match="batch_size"):
        BatchTransport(batch_size=0)
    with pytest.raises(TypeError, match="batch_sizes"):
        BatchTransport(batch_sizes=0)  # type: ignore[call-arg]


def azure_client(harness: Harness, **options: Any) -> Any:
    """The official Azure client over a `BatchTransport` to an upstream with Azure's routes."""

    async def routes(request: Any, send: Send) -> Any:
        path = request.url.path
        if "/deployments/" in path or request.url.params.get("api-version") != "2025-03-01-preview":
            return HTTP.Response(404, json={"error": {"code": "404", "message": "Resource not found"}})
        assert request.headers["api-key"] == "k"
        request.url = request.url.copy_with(path=path.replace("/openai/", "/v1/"), query=None)
        return await send(request)

    transport: Any = BatchTransport(http_client=between(harness, routes), batch_window_seconds=1.0)
    return openai.AsyncAzureOpenAI(
        api_key="k",
        api_version="2025-03-01-preview",
        azure_endpoint="http://res.openai.azure.com",
        http_client=HTTP.AsyncClient(transport=transport),
        max_retries=0,
        **options,
    )


@pytest.mark.proves("surfaces", "BatchTransport under AsyncAzureOpenAI")
@pytest.mark.parametrize("options", [{}, {"azure_deployment": "dep"}])
async def test_calls_to_an_azure_deployment_are_batched_at_its_resource(options: dict[str, Any]) -> None:
    async with open_harness() as harness, azure_client(harness, **options) as client:
        assert "x" in await ask(client, "x", model="dep")
        assert [body["model"] for body in harness.bodies_sent()] == ["dep"]


async def test_a_model_that_is_not_the_deployment_is_refused_with_what_to_write() -> None:
    async with open_harness() as harness, azure_client(harness, azure_deployment="dep") as client:
        with pytest.raises(openai.BadRequestError, match="pass model='dep'"):
            await ask(client, "x", model="gpt-4o")
        assert harness.emulator.statistics().uploads == 0


def test_a_deployment_as_base_url_is_refused_with_what_to_write() -> None:
    with pytest.raises(ValueError, match=r"Use https://res\.openai\.azure\.com/openai/v1, and the deployment's name"):
        BatchOpenAI(api_key="k", base_url="https://res.openai.azure.com/openai/deployments/dep")
