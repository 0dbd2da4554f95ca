"""Options of a call: timeouts, retries, headers, queries; and tracers that patch the SDK."""

from __future__ import annotations

import gc
import inspect
from functools import partial
from typing import Any

import anyio
import openai
import pytest
from openai.resources.responses import AsyncResponses

from autobatcher import BatchOpenAI, BatchTimeoutError, UnbatchableRequestError
from autobatcher.client.header_kinds import MOST_HEADER_KINDS
from autobatcher.emulator import FaultPlan, HttpFault, LineFault
from tests.harness import HTTP, MODEL, SDK_LIBRARY, Harness, Send, ask, between, open_harness, outcome_of

MESSAGES: Any = [{"role": "user", "content": "x"}]


async def chat(client: Any, **options: Any) -> Any:
    return await client.chat.completions.create(**{"model": MODEL, "messages": MESSAGES, **options})


# ---- timeouts ----


@pytest.mark.parametrize("said", ["call", "with_options", "client", "httpx.Timeout"])
async def test_a_timeout_bounds_the_whole_wait_and_is_never_sent_again(said: str) -> None:
    limit: Any = HTTP.Timeout(30) if said == "httpx.Timeout" else 30
    async with open_harness(batch_seconds=500) as harness:
        async with harness.client(**({"timeout": limit} if said == "client" else {})) as client:
            begun = anyio.current_time()
            if said == "with_options":
                call = chat(client.with_options(timeout=limit))
            else:
                call = chat(client, **({} if said == "client" else {"timeout": limit}))
            error = await outcome_of(call)
            assert isinstance(error, openai.APITimeoutError)
            assert isinstance(error, BatchTimeoutError)
            assert error.request.url.path == "/v1/chat/completions"
            assert "30 seconds" in str(error)
            assert anyio.current_time() - begun == pytest.approx(30, abs=0.1)
        assert harness.emulator.statistics().batches_created == 1
        assert harness.emulator.statistics().running_batch_ids == ()  # nobody waits for it any more


@pytest.mark.parametrize("options", [{}, {"timeout": None}])
async def test_the_sdks_own_timeout_does_not_apply(options: dict[str, Any]) -> None:
    async with open_harness(batch_seconds=5_000) as harness, harness.client() as client:
        assert (await chat(client, **options)).choices


async def test_an_http_clients_timeout_is_for_its_connections_and_not_for_the_wait() -> None:
    async with open_harness(batch_seconds=5_000) as harness:
        http = HTTP.AsyncClient(transport=harness.emulator.transport(SDK_LIBRARY), timeout=7)
        async with harness.client(http_client=http) as client:
            assert (await chat(client)).choices


async def test_timeouts_of_calls_can_be_ignored_for_the_whole_client() -> None:
    async with open_harness(batch_seconds=5_000) as harness, harness.client(ignore_timeouts=True) as client:
        assert (await chat(client.with_options(timeout=3), timeout=30)).choices


async def test_a_timeout_of_one_caller_leaves_the_others_alone() -> None:
    async with open_harness(batch_seconds=100) as harness, harness.client() as client:
        outcomes: list[Any] = []

        async def call(**options: Any) -> None:
            outcomes.append(await outcome_of(chat(client, **options)))

        async with anyio.create_task_group() as callers:
            callers.start_soon(call)
            callers.start_soon(lambda: call(timeout=10))
        impatient, patient = outcomes
        assert isinstance(impatient, openai.APITimeoutError)
        assert patient.choices
        assert harness.emulator.statistics().batches_created == 1


# ---- retries ----


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
@pytest.mark.parametrize("like", ["openai", "doubleword"])
async def test_a_line_with_a_retryable_error_travels_in_a_later_batch_alone(status: int, like: str) -> None:
    plan = FaultPlan((LineFault(kind="fail", status=status, containing="unlucky", batches=(1,)),))
    async with open_harness(like, faults=plan) as harness, harness.client() as client:
        answers: list[str] = []

        async def call(text: str) -> None:
            answers.append(await ask(client, text))

        async with anyio.create_task_group() as callers:
            for text in ("one", "unlucky", "three"):
                callers.start_soon(call, text)
        assert sorted(answers) == ["one", "three", "unlucky"]
        assert [len(batch.custom_ids) for batch in harness.emulator.statistics().batches] == [3, 1]
        assert all(count == 1 for count in harness.emulator.statistics().billed.values())


@pytest.mark.parametrize(("options", "batches"), [({}, 3), ({"max_retries": 0}, 1), ({"max_retries": 4}, 5)])
async def test_max_retries_counts_resubmissions_and_the_sdk_adds_none(options: dict[str, Any], batches: int) -> None:
    plan = FaultPlan((LineFault(kind="fail", status=500),))
    async with open_harness(faults=plan) as harness, harness.client() as client:
        with pytest.raises(openai.InternalServerError):
            await chat(client.with_options(**options))
        assert harness.emulator.statistics().batches_created == batches


async def test_a_refused_line_is_not_sent_again() -> None:
    plan = FaultPlan((LineFault(kind="fail", status=400),))
    async with open_harness(faults=plan) as harness, harness.client() as client:
        with pytest.raises(openai.BadRequestError):
            await chat(client)
        assert harness.emulator.statistics().batches_created == 1


async def test_a_retried_line_whose_caller_leaves_is_not_sent() -> None:
    plan = FaultPlan((LineFault(kind="fail", status=500),))
    async with open_harness(faults=plan) as harness, harness.client(batch_window_seconds=50) as client:
        with anyio.move_on_after(80):  # the first window takes 50 s, the second one is still open
            await chat(client)
        await anyio.sleep(500)
        assert harness.emulator.statistics().batches_created == 1
        assert client.batch_statistics().waiting_requests == 0  # type: ignore[union-attr]


# ---- headers and queries ----


@pytest.mark.proves("surfaces", "chat.completions.create, extra_headers")
async def test_calls_with_equal_headers_travel_together_and_the_headers_go_with_their_batch() -> None:
    sent: list[tuple[str, str | None]] = []

    async def answer(request: Any, send: Send) -> Any:
        sent.append((request.url.path, request.headers.get("x-team")))
        return await send(request)

    async with open_harness() as harness, harness.client(http_client=between(harness, answer)) as client:
        async with anyio.create_task_group() as calls:
            for team in ("a", "b", "a", None):
                headers = {"X-Team": team} if team else {}
                calls.start_soon(partial(chat, client, extra_headers=headers))
        assert harness.emulator.statistics().batches_created == 3
        assert sorted(map(str, {team for path, team in sent})) == ["None", "a", "b"]
        for team in ("a", "b", None):
            assert {path for path, sent_team in sent if sent_team == team} >= {"/v1/files", "/v1/batches"}


async def test_a_header_of_one_call_replaces_that_of_the_client() -> None:
    sent: set[str] = set()

    async def answer(request: Any, send: Send) -> Any:
        sent.add(request.headers["x-team"])
        return await send(request)

    async with open_harness() as harness:
        http_client = between(harness, answer)
        async with harness.client(http_client=http_client, default_headers={"X-Team": "client"}) as client:
            await chat(client, extra_headers={"X-Team": "call"})
            assert sent == {"call"}
            await chat(client)
            assert sent == {"call", "client"}


@pytest.mark.proves("faults", "every call has other headers")
async def test_headers_that_differ_with_every_call_are_refused_beyond_a_bound() -> None:
    outcomes: list[Any] = []
    async with open_harness() as harness, harness.client() as client:

        async def call(number: int) -> None:
            outcomes.append(await outcome_of(chat(client, extra_headers={"X-User": str(number)})))

        async with anyio.create_task_group() as calls:
            for number in range(MOST_HEADER_KINDS + 3):
                calls.start_soon(call, number)
        refused = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        assert [type(error) for error in refused] == [UnbatchableRequestError] * 3
        assert "x-user" in str(refused[0])
        assert harness.emulator.statistics().batches_created == MOST_HEADER_KINDS
        del refused
        outcomes.clear()
        gc.collect()
        assert (await chat(client, extra_headers={"X-User": "later"})).choices


@pytest.mark.parametrize(
    "headers",
    [
        {"User-Agent": "framework/1"},
        {"traceparent": "00-1-2-03", "baggage": "a=b"},
        {"x-stainless-foo": "1"},
        {"Cookie": "a=b", "newrelic": "x", "uber-trace-id": "1:2:3:4"},
        {"Idempotency-Key": "1", "x-client-request-id": "2", "X-Langfuse-Trace-Id": "3"},
    ],
    ids=str,
)
async def test_headers_that_say_nothing_to_a_model_are_ignored(headers: dict[str, str]) -> None:
    async with open_harness() as harness, harness.client() as client:
        async with anyio.create_task_group() as calls:
            calls.start_soon(lambda: chat(client, extra_headers=headers))
            calls.start_soon(chat, client)
        assert harness.emulator.statistics().batches_created == 1


async def test_credentials_of_one_call_pay_for_it_also_when_the_key_is_a_function() -> None:
    paid: list[str] = []

    async def answer(request: Any, send: Send) -> Any:
        if request.method == "POST":
            paid.append(request.headers["authorization"])
        return await send(request)

    async def key() -> str:
        return "the-clients"

    async with open_harness() as harness, harness.client(api_key=key, http_client=between(harness, answer)) as client:
        await chat(client, extra_headers={"Authorization": "Bearer the-calls"})
        assert set(paid) == {"Bearer the-calls"}
        paid.clear()
        await chat(client)
        assert set(paid) == {"Bearer the-clients"}


async def test_headers_and_query_of_the_whole_client_go_with_each_upstream_call() -> None:
    client_options = {"default_headers": {"X-Team": "a"}, "default_query": {"api-version": "7", "tags": ["x", "y"]}}
    async with open_harness() as harness, harness.client(**client_options) as client:
        assert (await chat(client, extra_headers={"X-Team": "a"})).choices
        with pytest.raises(UnbatchableRequestError, match="api-version") as caught:
            await chat(client, extra_query={"api-version": "8"})
        assert caught.value.param == "extra_query"


async def test_calls_that_are_not_batchable_take_headers_and_queries_of_their_own() -> None:
    async with open_harness() as harness, harness.client() as client:
        assert [model.id async for model in client.models.list(extra_headers={"x-a": "b"}, extra_query={"c": "d"})]


# ---- full price ----


@pytest.mark.full_price
async def test_the_unbatched_client_answers_at_once_and_at_full_price() -> None:
    harness = Harness(batch_seconds=500)
    async with harness.client(default_headers={"x-team": "a"}) as client:
        begun = anyio.current_time()
        assert (await chat(client.unbatched, extra_headers={"x-own": "1"})).choices
        assert anyio.current_time() - begun < 1
        assert not isinstance(client.unbatched, BatchOpenAI)
        assert (client.unbatched.api_key, client.unbatched.base_url) == (client.api_key, client.base_url)
        await client.unbatched.close()
        assert (await chat(client)).choices
    assert harness.realtime_calls == 1
    assert harness.emulator.statistics().batches_created == 1
    harness.emulator.close()


async def test_responses_over_a_websocket_are_refused_rather_than_paid_in_full() -> None:
    async with open_harness() as harness, harness.client() as client:
        if not hasattr(AsyncResponses, "connect"):
            pytest.skip("this openai has none")
        with pytest.raises(UnbatchableRequestError, match="unbatched"):
            client.responses.connect()


@pytest.mark.parametrize("where", ["responses", "beta"])
async def test_no_websocket_of_any_kind_is_opened(where: str) -> None:
    async with open_harness() as harness, harness.client() as client:
        try:
            door: Any = client.responses if where == "responses" else client.beta.responses
        except AttributeError:
            pytest.skip("this openai has none")
        with pytest.raises(UnbatchableRequestError, match="unbatched"):
            door.connect()


@pytest.mark.parametrize(
    "url",
    [
        "http://elsewhere.test/v1/chat/completions",
        "http://elsewhere.test/api/chat/completions",
        "http://upstream.test/openai/deployments/x/chat/completions",
        "http://upstream.test:81/v1/chat/completions",
        "https://upstream.test/v1/chat/completions",
        "/../v2/chat/completions",
    ],
)
async def test_a_batchable_call_to_somewhere_else_is_refused(url: str) -> None:
    async with open_harness() as harness, harness.client() as client:
        with pytest.raises(UnbatchableRequestError, match="looks batchable"):
            await client.post(url, body={"model": MODEL, "messages": MESSAGES}, cast_to=object)
        assert harness.emulator.statistics().http_calls == {}


async def test_a_request_without_a_model_spoils_no_batch_of_others() -> None:
    async with open_harness("doubleword") as harness, harness.client() as client:
        answers: list[Any] = []

        async def good() -> None:
            answers.append(await chat(client))

        async with anyio.create_task_group() as callers:
            callers.start_soon(good)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(UnbatchableRequestError, match="model"):
                await client.responses.create(input="x")
        assert answers[0].choices


async def test_a_copy_with_another_http_client_sends_through_it_what_is_not_batched() -> None:
    harness, other = Harness(), Harness()
    http = other.emulator.http_client(library=SDK_LIBRARY)
    async with harness.client() as client:
        copied = client.copy(http_client=http)
        assert (await chat(copied)).choices
        assert [model.id async for model in copied.models.list()]
        with pytest.raises(TypeError, match="http_client"):
            client.copy(http_client=object())  # type: ignore[arg-type]
    assert harness.emulator.statistics().batches_created == 1
    assert list(other.emulator.statistics().http_calls) == ["models"]
    await http.aclose()
    harness.emulator.close()
    other.emulator.close()


async def test_the_unbatched_client_is_like_the_client() -> None:
    client = BatchOpenAI(api_key="k", webhook_secret="w", organization="o", timeout=7, max_retries=5)
    client.api_key = "changed"
    plain = client.unbatched
    assert (plain.webhook_secret, plain.organization, plain.timeout, plain.max_retries) == ("w", "o", 7, 5)
    assert plain.api_key == "changed"
    await client.close()


async def test_raw_responses_tell_how_long_it_took() -> None:
    async with open_harness(batch_seconds=50) as harness, harness.client() as client:
        raw = await client.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES)
        assert 50 < raw.elapsed.total_seconds() < 200


async def test_the_error_of_a_timeout_names_the_batch_and_the_line() -> None:
    async with open_harness(batch_seconds=500) as harness, harness.client() as client:
        error = await outcome_of(chat(client, timeout=30))
        (batch,) = harness.emulator.statistics().batches
        assert error.batch_id == batch.id
        assert error.custom_id in batch.custom_ids


async def test_a_timeout_that_is_no_number_is_refused_by_its_name() -> None:
    async with open_harness() as harness, harness.client() as client:
        with pytest.raises(UnbatchableRequestError) as caught:
            await chat(client, timeout=float("nan"))
        assert caught.value.param == "timeout"


# ---- tracers and wrappers ----


async def test_a_tracer_that_patches_the_clients_request_sees_every_call() -> None:
    """logfire does it this way."""
    seen: list[str] = []
    async with open_harness() as harness, harness.client() as client:
        original = client.request

        async def request(cast_to: Any, options: Any, **rest: Any) -> Any:
            seen.append(options.url)
            return await original(cast_to, options, **rest)

        client.request = request  # type: ignore[method-assign]
        await chat(client)
        await client.embeddings.create(model=MODEL, input="x")
        await client.responses.create(model=MODEL, input="x")
    assert seen == ["/chat/completions", "/embeddings", "/responses"]


async def test_a_tracer_that_wraps_the_class_sees_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """openinference does it this way, and opentelemetry wraps `AsyncCompletions.create`."""
    seen: list[str] = []
    original, original_create = openai.AsyncOpenAI.request, openai.resources.chat.AsyncCompletions.create

    async def request(self: Any, *args: Any, **options: Any) -> Any:
        seen.append("request")
        return await original(self, *args, **options)

    async def create(self: Any, *args: Any, **options: Any) -> Any:
        seen.append("create")
        return await original_create(self, *args, **options)

    monkeypatch.setattr(openai.AsyncOpenAI, "request", request)
    monkeypatch.setattr(openai.resources.chat.AsyncCompletions, "create", create)
    async with open_harness() as harness, harness.client() as client:
        await chat(client)
    assert seen == ["create", "request"]


async def test_a_wrapper_that_replaces_create_is_called() -> None:
    """langsmith does it this way."""
    seen: list[str] = []
    async with open_harness() as harness, harness.client() as client:
        original = client.chat.completions.create

        async def create(**options: Any) -> Any:
            seen.append(options["model"])
            return await original(**options)

        client.chat.completions.create = create  # type: ignore[method-assign]
        await chat(client)
    assert seen == [MODEL]


COROUTINE_FUNCTIONS = (
    "chat.completions.create",
    "chat.completions.parse",
    "beta.chat.completions.create",
    "completions.create",
    "embeddings.create",
    "responses.create",
    "responses.parse",
    "moderations.create",
    "images.generate",
)


@pytest.mark.parametrize("name", COROUTINE_FUNCTIONS)
def test_what_is_awaited_is_a_coroutine_function_with_the_sdks_signature(name: str) -> None:
    """ragas checks this; other frameworks read the signature."""
    ours, official = (
        eval(f"client.{name}", {"client": kind(api_key="k")}) for kind in (BatchOpenAI, openai.AsyncOpenAI)
    )
    assert inspect.iscoroutinefunction(ours)
    assert inspect.signature(ours) == inspect.signature(official)
    assert ours.__doc__ == official.__doc__


async def test_a_call_without_what_it_needs_is_told_so_as_by_the_sdk() -> None:
    async with open_harness() as harness, harness.client() as client:
        with pytest.raises(TypeError, match="Missing required arguments"):
            await client.chat.completions.create(model="m")  # type: ignore[call-overload]


async def test_an_ambiguous_failure_of_a_passed_through_call_is_retried_by_the_sdk_as_always() -> None:
    plan = FaultPlan((HttpFault(operation="models", nth=(1,), status=500),))
    async with open_harness(faults=plan) as harness, harness.client() as client:
        assert [model.id async for model in client.models.list()]
        assert harness.emulator.statistics().http_calls["models"] == 2
