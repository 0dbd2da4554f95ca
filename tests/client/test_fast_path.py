"""The fast path of a plain `create()` equals the SDK's path in objects, errors and bodies."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import anyio
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import NOT_GIVEN, omit
from openai.resources.chat import AsyncCompletions
from openai.types.chat import ChatCompletion

from autobatcher import BatchOpenAI, BudgetExceededError, ClientClosedError, ProgressSnapshot, UnbatchableRequestError
from autobatcher.client.resources.chat import CREATE
from autobatcher.emulator import FaultPlan, HttpFault, LineFault
from tests.client.both_ways import sent_and_told, took
from tests.harness import HTTP, MODEL, Harness, Send, between, open_harness, outcome_of
from tests.receipts import GIVEN_PRICES

MESSAGES: Any = [{"role": "user", "content": "hello"}]


class Text(str):
    """A subclass of str, like numpy's."""


def nested(levels: int) -> Any:
    return {"x": nested(levels - 1)} if levels else "y"


PLAIN: dict[str, dict[str, Any]] = {
    "messages alone": {},
    "options": {"temperature": 0.5, "n": 2, "seed": 3, "stop": ["x"], "logit_bias": {"1": 2}, "metadata": {"a": "é"}},
    "sentinels and None": {"top_p": omit, "temperature": NOT_GIVEN, "stop": None, "stream": omit, "extra_body": None},
    "stream=False": {"stream": False},
    "numbers": {"temperature": 1e-7, "top_p": 1e16, "seed": 2**63, "presence_penalty": -0.0},
    "tools": {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
    },
    "logprobs": {"logprobs": True, "top_logprobs": 2},
    "images": {"messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]},
}
UNUSUAL: dict[str, dict[str, Any]] = {
    "extra_body": {"extra_body": {"x": 1}},
    "extra_headers": {"extra_headers": {"traceparent": "1"}},
    "timeout": {"timeout": 1000},
    "a tuple": {"stop": ("x", "y")},
    "a subclass of str": {"messages": [{"role": "user", "content": Text("hello")}]},
    "a key that is no string": {"logit_bias": {1: 2}},
    "six hundred levels": {"metadata": nested(600)},
    "an iterator": {"messages": iter(MESSAGES)},
    "a model of the SDK": {
        "messages": [openai.types.chat.ChatCompletionMessage(role="assistant", content="x"), *MESSAGES]
    },
}


__all__ = ["took"]


def chat(options: dict[str, Any]) -> Callable[[BatchOpenAI], Any]:
    return lambda client: client.chat.completions.create(**{"model": MODEL, "messages": MESSAGES, **options})


@pytest.mark.parametrize("name", PLAIN)
async def test_a_plain_call_takes_the_fast_path_and_gives_what_the_sdks_way_gives(name: str, took: list[str]) -> None:
    fast, told_fast = await sent_and_told("fast", chat(PLAIN[name]))
    assert took == ["fast"]
    long, told_long = await sent_and_told("sdk", chat(PLAIN[name]))
    assert took == ["fast", "sdk"]
    assert fast == long
    assert told_fast.created == pytest.approx(told_long.created, abs=5)
    told_long.created = told_fast.created
    assert told_fast == told_long
    assert repr(told_fast).split("created")[0] == repr(told_long).split("created")[0]
    assert told_fast.model_dump() == told_long.model_dump()
    assert told_fast.model_fields_set == told_long.model_fields_set  # the emulator answers with known fields only
    assert bool(told_fast._request_id) == bool(told_long._request_id)
    assert told_fast.to_json() == told_long.to_json()


@pytest.mark.parametrize("name", UNUSUAL)
async def test_an_unusual_call_goes_the_sdks_way(name: str, took: list[str]) -> None:
    if name == "an iterator":
        UNUSUAL[name]["messages"] = iter(MESSAGES)
    _, told = await sent_and_told("fast", chat(UNUSUAL[name]))
    assert isinstance(told, ChatCompletion)
    assert took == ["sdk"]


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)
WRONG: dict[str, dict[str, Any]] = {
    "no messages": {"messages": omit},
    "an unknown argument": {"messagez": []},
    "an unknown argument left out": {"messagez": omit},
    "a model that is a number": {"model": 5},
    "a model with a long name": {"model": "m" * 1_001},
    "a model that is a list": {"model": ["m"]},
    "a list that holds itself": {"stop": CIRCLE},
    "a set": {"stop": {"x"}},
    "not a number": {"temperature": float("nan")},
    "a class as response_format": {"response_format": int},
    "a lone surrogate": {"messages": [{"role": "user", "content": "\ud800"}]},
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_the_sdk_refuses_is_refused_in_its_words(name: str) -> None:
    _, fast = await sent_and_told("fast", chat(WRONG[name]))
    _, long = await sent_and_told("sdk", chat(WRONG[name]))
    assert isinstance(fast, Exception)
    assert (type(fast), str(fast)) == (type(long), str(long))


FAILURES: dict[str, Any] = {
    "a line 400": LineFault(kind="fail", status=400),
    "a line 429": LineFault(kind="fail", status=429),
    "a line 500 with odd text": LineFault(kind="fail", status=500, body="oh no"),
    "a line nowhere": LineFault(kind="drop"),
    "no credit": HttpFault(operation="batches.create", status=402, body='{"error": {"message": "no", "code": "c"}}'),
    "unreachable": HttpFault(refuse=True),
    "polls refused": HttpFault(operation="batches.retrieve", status=403),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_failures_are_equal_on_both_ways(name: str) -> None:
    plan = FaultPlan((FAILURES[name],))
    _, fast = await sent_and_told("fast", chat({}), faults=plan)
    _, long = await sent_and_told("sdk", chat({}), faults=plan)
    assert isinstance(fast, openai.APIError)
    assert type(fast) is type(long)
    for field in ("status_code", "code", "param", "type", "body"):
        assert _without_ids(getattr(fast, field, None)) == _without_ids(getattr(long, field, None))
    assert fast.request.url == long.request.url
    assert json.loads(fast.request.content) == json.loads(long.request.content)
    if isinstance(fast, openai.APIStatusError):
        assert isinstance(long, openai.APIStatusError)
        assert fast.response.headers.keys() == long.response.headers.keys()
        assert bool(fast.request_id) == bool(long.request_id)


def _without_ids(body: Any) -> Any:
    ids = ("batch_id", "custom_id", "message")
    return {k: v for k, v in body.items() if k not in ids} if isinstance(body, dict) else body


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body.pop("created"),
        lambda body: body.update(created="123"),
        lambda body: body.update(choices=None),
        lambda body: body["choices"][0].update(finish_reason="a new one"),
        lambda body: body.update(extra={"a": [1, {"b": None}]}),
        lambda body: body["choices"][0]["message"].update(reasoning_content="x"),
        lambda body: body.update(usage={"prompt_tokens": 1.0}),
        lambda body: body["choices"][0]["message"].update(tool_calls=[{"id": 5, "type": "weird"}]),
    ],
)
async def test_odd_answers_become_what_the_sdk_makes_of_them(change: Callable[[Any], Any]) -> None:
    async def answer(request: Any, send: Send) -> Any:
        response = await send(request)
        if request.url.path.endswith("/content"):
            await response.aread()
            line = json.loads(response.content)
            change(line["response"]["body"])
            return HTTP.Response(200, content=json.dumps(line).encode())
        return response

    told = []
    for way in ("fast", "sdk"):
        harness = Harness()
        async with harness.client(http_client=between(harness, answer)) as client:
            if way == "sdk":
                client.request = client.request  # type: ignore[method-assign]
            told.append(await client.chat.completions.create(model=MODEL, messages=MESSAGES))
        harness.emulator.close()
    fast, long = (completion.model_dump(exclude={"created"}, warnings=False) for completion in told)
    assert fast == long
    dicts = [completion.to_dict(warnings=False) for completion in told]
    assert dicts[0].pop("created", None).__class__ is dicts[1].pop("created", None).__class__  # the seconds may differ
    assert dicts[0] == dicts[1]
    assert type(told[0].created if hasattr(told[0], "created") else None) is type(
        told[1].created if hasattr(told[1], "created") else None
    )


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {"id": json_values, "choices": json_values | st.just([]), "created": json_values, "model": json_values},
        optional={"object": json_values | st.just("chat.completion"), "usage": json_values, "more": json_values},
    )
)
@settings(max_examples=150)
def test_whatever_validation_accepts_is_what_construction_makes(body: dict[str, Any]) -> None:
    from openai._models import construct_type

    model = CREATE.validated(json.dumps(body).encode())
    if model is not None:
        constructed: Any = construct_type(type_=ChatCompletion, value=body)
        assert model.model_dump(warnings=False) == constructed.model_dump(warnings=False)


async def test_hooks_of_the_sdks_http_client_see_every_call() -> None:
    """inspect-ai has such."""
    seen: list[str] = []

    async def note(request: Any) -> None:
        seen.append(request.url.path)

    harness = Harness()
    async with harness.client() as client:
        client._client.event_hooks["request"].append(note)
        await client.chat.completions.create(model=MODEL, messages=MESSAGES)
    harness.emulator.close()
    assert seen == ["/v1/chat/completions"]


async def test_what_is_changed_on_a_client_counts_for_its_next_call() -> None:
    paid: list[str] = []

    async def answer(request: Any, send: Send) -> Any:
        if request.method == "POST":
            paid.append(request.headers["authorization"])
        return await send(request)

    harness = Harness()
    async with harness.client(http_client=between(harness, answer)) as client:
        await client.chat.completions.create(model=MODEL, messages=MESSAGES)
        client.api_key = "changed"
        await client.chat.completions.create(model=MODEL, messages=MESSAGES)
        assert set(paid) == {"Bearer test-key", "Bearer changed"}
    harness.emulator.close()


async def test_a_call_whose_caller_changes_its_messages_meanwhile_is_told_of_what_was_sent() -> None:
    """The error describes the request that was sent, not its arguments as they are now."""
    messages = [{"role": "user", "content": "hello"}]
    harness = Harness(faults=FaultPlan((LineFault(kind="fail", status=400),)))
    async with harness.client(max_retries=0) as client, anyio.create_task_group() as callers:

        async def call() -> None:
            with pytest.raises(openai.BadRequestError) as caught:
                await client.chat.completions.create(model=MODEL, messages=messages)  # type: ignore[arg-type]
            assert json.loads(caught.value.request.content)["messages"] == [{"role": "user", "content": "hello"}]

        callers.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        messages.append({"role": "user", "content": "and more"})
    harness.emulator.close()


class Proxy:
    """Like wrapt's proxies: passes `isinstance` and `==`."""

    def __init__(self, wrapped: Any, seen: list[str]) -> None:
        self._wrapped, self._seen = wrapped, seen

    @property  # type: ignore[misc]  # wrapt does it in C
    def __class__(self) -> Any:
        return type(self._wrapped)

    @property
    def __code__(self) -> Any:
        return self._wrapped.__code__

    def __eq__(self, other: object) -> bool:
        return bool(self._wrapped == other)

    def __hash__(self) -> int:
        return hash(self._wrapped)

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self if instance is None else partial(self, instance)

    def __call__(self, *args: Any, **options: Any) -> Any:
        self._seen.append("called")
        return self._wrapped(*args, **options)


def traced(function: Any, seen: list[str]) -> Any:
    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        seen.append("called")
        return function(*args, **options)

    return call


CLASSES: list[tuple[Any, str]] = [
    *((AsyncCompletions, name) for name in ("create",)),
    *((openai.AsyncOpenAI, name) for name in ("request", "post", "_prepare_options", "_prepare_request")),
    *((openai.AsyncOpenAI, name) for name in ("_build_request", "_process_response")),
    *((BatchOpenAI, name) for name in ("request", "post")),
]


@pytest.mark.parametrize("wrapper", [Proxy, traced])
@pytest.mark.parametrize(("owner", "name"), CLASSES)
async def test_a_replaced_function_of_a_class_sees_every_call(
    owner: Any, name: str, wrapper: Any, monkeypatch: pytest.MonkeyPatch, took: list[str]
) -> None:
    seen: list[str] = []
    await sent_and_told("fast", chat({}))
    monkeypatch.setattr(owner, name, wrapper(getattr(owner, name), seen))
    _, told = await sent_and_told("fast", chat({}))
    assert isinstance(told, ChatCompletion)
    assert (took, bool(seen)) == (["fast", "sdk"], True)


INSTANCES: dict[str, Callable[[Any], Any]] = {
    **{name: lambda client: client for name in ("request", "post", "_prepare_options", "_prepare_request")},
    **{name: lambda client: client for name in ("_build_request", "_process_response")},
    "_post": lambda client: client.chat.completions,
    "create": lambda client: client.chat.completions,
    "send": lambda client: client._client,
    "handle_async_request": lambda client: client._client._transport,
}


@pytest.mark.parametrize("name", INSTANCES)
async def test_a_replaced_function_of_one_client_sees_its_calls(name: str) -> None:
    seen: list[str] = []
    harness = Harness()
    async with harness.client() as client:
        owner = INSTANCES[name](client)
        setattr(owner, name, traced(getattr(owner, name), seen))
        await client.chat.completions.create(model=MODEL, messages=MESSAGES)
    harness.emulator.close()
    assert seen


async def test_debug_logging_of_the_sdk_tells_of_every_call(took: list[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="openai")
    await sent_and_told("fast", chat({}))
    assert took == ["sdk"]


async def test_a_bad_model_harms_no_other_call() -> None:
    """One batch holds all models where they may be mixed. A refused call takes up no room in the queue."""
    harness = Harness("doubleword")
    async with harness.client(max_queued_bytes=150) as client, anyio.create_task_group() as callers:

        async def refused(model: Any) -> None:
            with pytest.raises(UnbatchableRequestError):
                await client.chat.completions.create(model=model, messages=MESSAGES)

        for model in (5, ["m"], None, True):
            callers.start_soon(refused, model)
        callers.start_soon(partial(client.chat.completions.create, model=MODEL, messages=MESSAGES))
        callers.start_soon(partial(client.chat.completions.create, model=MODEL, messages=MESSAGES))
    assert len(harness.bodies_sent()) == 2
    harness.emulator.close()


async def test_a_call_made_while_another_is_told_its_outcome_is_a_call_of_its_own() -> None:
    harness = Harness(faults=FaultPlan((LineFault(kind="fail", status=400, batches=(1,)),)))
    asked: list[str] = []

    async def ask_again(request: Any) -> None:
        if not asked:
            asked.append("")
            message: Any = {"role": "user", "content": "another"}
            completion = await client.chat.completions.create(model=MODEL, messages=[message])
            asked.append(str(completion.choices[0].message.content))

    async with harness.client(max_retries=0) as client, anyio.create_task_group() as callers:

        async def call() -> None:
            with pytest.raises(openai.BadRequestError):
                await client.chat.completions.create(model=MODEL, messages=MESSAGES)

        callers.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        client._client.event_hooks["request"].append(ask_again)
    assert [body["messages"][0]["content"] for body in harness.bodies_sent()] == ["hello", "another"]
    harness.emulator.close()


async def test_where_the_queue_is_full_a_plain_call_waits_in_turn_without_the_sdks_code(took: list[str]) -> None:
    harness = Harness()
    async with harness.client(max_queued_bytes=10) as client, anyio.create_task_group() as callers:
        for number in range(3):
            callers.start_soon(
                partial(
                    client.chat.completions.create, model=MODEL, messages=[{"role": "user", "content": str(number)}]
                )
            )
    assert len(harness.bodies_sent()) == 3
    harness.emulator.close()
    assert took == ["fast"] * 3


async def test_a_call_that_leaves_while_it_waits_for_room_is_not_sent_and_one_that_is_refused_is_told_why() -> None:
    harness, refused = Harness(), []
    async with harness.client(max_queued_bytes=10) as client, anyio.create_task_group() as callers:

        async def call(text: str) -> None:
            message: Any = {"role": "user", "content": text}
            refused.append(await outcome_of(client.chat.completions.create(model=MODEL, messages=[message])))

        callers.start_soon(call, "queued")
        with anyio.move_on_after(0.5):
            await call("left")
        callers.start_soon(call, "waits")
        await anyio.wait_all_tasks_blocked()
        await client.close()
    assert harness.bodies_sent() == []
    assert [type(each) for each in refused] == [ClientClosedError] * 2
    assert all(isinstance(each.request, HTTP.Request) for each in refused)  # as the SDK promises
    harness.emulator.close()


@pytest.mark.parametrize("method", ["chat", "embeddings", "responses"])
async def test_a_call_that_is_refused_at_once_is_counted_once(method: str) -> None:
    shown: list[ProgressSnapshot] = []
    settings: dict[str, Any] = {"max_cost": "0.00000001", "prices": GIVEN_PRICES, "progress": shown.append}
    async with open_harness() as harness, harness.client(**settings) as client:
        calls: dict[str, Callable[[], Any]] = {
            "chat": lambda: client.chat.completions.create(model=MODEL, messages=MESSAGES),
            "embeddings": lambda: client.embeddings.create(model=MODEL, input="hello"),
            "responses": lambda: client.responses.create(model=MODEL, input="hello"),
        }
        refusal = await outcome_of(calls[method]())
    assert isinstance(refusal, BudgetExceededError)
    assert isinstance(refusal.request, HTTP.Request)  # as the SDK promises
    assert (shown[-1].requests, shown[-1].failed) == (1, 1)
