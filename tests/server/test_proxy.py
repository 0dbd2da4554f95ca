"""What a client of the proxy sees."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import httpx
import openai
import pytest
import trio
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from autobatcher.client.streams import UnstreamableAnswerError
from autobatcher.emulator import FaultPlan, HttpFault, LineFault
from autobatcher.server import CallLimits, served_hosts
from tests.harness import wait_for_event
from tests.server.proxies import on_real_trio, open_proxy

pytestmark = on_real_trio
LIMIT = 20
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


async def test_openai_python_gets_every_kind_of_answer() -> None:
    class City(BaseModel):
        name: str

    with trio.fail_after(LIMIT):
        async with open_proxy("doubleword") as proxy, proxy.openai() as client:
            completion = await client.chat.completions.create(**CHAT)  # type: ignore[call-overload]
            assert isinstance(completion, ChatCompletion)
            assert "hello" in (completion.choices[0].message.content or "")
            parsed = await client.chat.completions.parse(**CHAT, response_format=City)  # type: ignore[arg-type]
            assert parsed.choices[0].message.parsed is not None
            embedding = await client.embeddings.create(model="m", input=["a", "b"])
            assert len(embedding.data) == 2
            assert "hello" in (await client.responses.create(model="m", input="hello")).output_text
            assert [model.id async for model in client.models.list()]
            assert (await client.models.retrieve("org/model-7b")).id == "org/model-7b"


@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")  # the SDK leaves its own unfinished at [DONE]
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_openai_python_streams() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy("doubleword") as proxy, proxy.openai() as client:
            text = ""
            async for chunk in await client.chat.completions.create(  # type: ignore[call-overload]
                **CHAT, stream=True, stream_options={"include_usage": True}
            ):
                text += "".join(choice.delta.content or "" for choice in chunk.choices)
                usage = chunk.usage
            assert "hello" in text
            assert usage.total_tokens > 0
            async with client.chat.completions.stream(**CHAT) as stream:  # type: ignore[arg-type]
                final = await stream.get_final_completion()
            assert "hello" in (final.choices[0].message.content or "")
            async with client.responses.stream(model="m", input="hello") as events:
                response = await events.get_final_response()
            assert "hello" in response.output_text
            assert all("stream" not in body for body in proxy.harness.bodies_sent())


async def test_the_synchronous_sdk_and_curl_work_too() -> None:
    def ask(url: str) -> str:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="dummy", max_retries=0) as client:
            completion = client.chat.completions.create(**CHAT)  # type: ignore[call-overload]
            return str(completion.choices[0].message.content)

    def curl(url: str) -> Any:
        command = ["curl", "-sS", f"{url}/v1/chat/completions", "-d", json.dumps(CHAT)]
        done = subprocess.run(
            [*command, "-H", "content-type: application/json"], capture_output=True, check=True, timeout=LIMIT
        )
        return json.loads(done.stdout)

    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy:
            assert "hello" in await trio.to_thread.run_sync(ask, proxy.url)
            assert (await trio.to_thread.run_sync(curl, proxy.url))["object"] == "chat.completion"


async def test_http2_works_beside_http1() -> None:
    with trio.fail_after(LIMIT):
        gathering = open_proxy(batch_size=20, batch_window_seconds=LIMIT)
        async with gathering as proxy, proxy.http(http1=False, http2=True) as client:
            answers: list[httpx.Response] = []

            async def ask() -> None:
                answers.append(await client.post("/v1/chat/completions", json=CHAT))

            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(ask)
            assert {(answer.http_version, answer.status_code) for answer in answers} == {("HTTP/2", 200)}
            assert proxy.harness.emulator.statistics().batches_created == 1


async def test_fields_nobody_knows_survive_both_ways() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy, proxy.http() as client:
            odd = {**CHAT, "chat_template_kwargs": {"thinking": False}, "x-ü": [1.50, None]}
            answer = await client.post("/v1/chat/completions", json={**odd, "stream": False})
            assert answer.status_code == 200
            (body,) = proxy.harness.bodies_sent()
            assert odd.items() <= body.items()


async def test_simultaneous_clients_share_a_batch() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(batch_size=50, batch_window_seconds=LIMIT) as proxy, proxy.http() as client:
            texts: list[str] = []

            async def ask(number: int) -> None:
                body = {"model": "m", "messages": [{"role": "user", "content": f"caller-{number}."}]}
                answer = (await client.post("/v1/chat/completions", json=body)).json()
                assert f"caller-{number}." in answer["choices"][0]["message"]["content"]
                texts.append(answer["choices"][0]["message"]["content"])

            async with trio.open_nursery() as nursery:
                for number in range(50):
                    nursery.start_soon(ask, number)
            assert len(texts) == 50
            assert proxy.harness.emulator.statistics().batches_created == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failed_line_keeps_its_status(stream: bool) -> None:
    plan = FaultPlan((LineFault(kind="fail", status=422),))
    with trio.fail_after(LIMIT):
        async with open_proxy(emulator={"faults": plan}) as proxy, proxy.http() as client:
            answer = await client.post("/v1/chat/completions", json={**CHAT, "stream": stream})
            assert answer.status_code == 422
            assert answer.headers["x-should-retry"] == "false"
            assert answer.headers["x-autobatcher-batch-id"]
            assert answer.json()["error"]["message"]


async def test_an_answer_that_cannot_be_told_as_a_stream_is_a_bad_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(endpoint: str, body: bytes, *, include_usage: bool) -> None:
        raise UnstreamableAnswerError("The upstream's answer cannot be told as a stream")

    monkeypatch.setattr("autobatcher.server.client_wait.streaming", refuse)
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy, proxy.http() as client:
            answer = await client.post("/v1/chat/completions", json={**CHAT, "stream": True})
            assert answer.status_code == 502
            assert "stream" in answer.json()["error"]["message"]


async def test_a_wrong_upstream_key_is_a_401_that_does_not_tell_the_key() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(emulator={"api_key": "right"}, api_key="sk-wrong") as proxy, proxy.http() as client:
            answer = await client.post("/v1/chat/completions", json=CHAT)
            assert answer.status_code == 401
            assert "sk-wrong" not in answer.text
            assert (await client.get("/v1/models")).status_code == 401


async def test_an_upstream_that_quotes_our_key_does_not_give_it_away() -> None:
    plan = FaultPlan((HttpFault(status=401, body='{"error": {"message": "Bad key: sk-quoted-key"}}'),))
    with trio.fail_after(LIMIT):
        async with open_proxy(emulator={"faults": plan}, api_key="sk-quoted-key") as proxy, proxy.http() as client:
            for answer in (await client.post("/v1/chat/completions", json=CHAT), await client.get("/v1/models")):
                assert answer.status_code == 401
                assert "Bad key: ***" in answer.text
                assert "sk-quoted-key" not in answer.text


async def test_an_upstream_out_of_reach_is_a_bad_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autobatcher.upstream.http.FIRST_CONTACT_SECONDS", 1.0)
    plan = FaultPlan((HttpFault(refuse=True),))
    with trio.fail_after(60):
        async with open_proxy(emulator={"faults": plan}, max_retries=0) as proxy, proxy.http() as client:
            assert (await client.get("/v1/models")).status_code == 502
            answer = await client.post("/v1/chat/completions", json=CHAT)
            assert answer.status_code == 502
            assert answer.json()["error"]["type"] == "batch_submission_error"


BAD_REQUESTS: dict[str, tuple[bytes, str, str | None]] = {
    "malformed JSON": (b'{"model": "m", ', "application/json", None),
    "no JSON object": (b"[1]", "application/json", None),
    "no model": (b'{"messages": []}', "application/json", "model"),
    "wrong content type": (b"model=m", "application/x-www-form-urlencoded", "content-type"),
    "no content type": (b'{"model": "m"}', "", "content-type"),
    "empty": (b"", "application/json", None),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
async def test_a_bad_request_is_refused_at_once_naming_the_field(name: str) -> None:
    body, content_type, param = BAD_REQUESTS[name]
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy, proxy.http() as client:
            headers = {"content-type": content_type} if content_type else {}
            answer = await client.post("/v1/chat/completions", content=body, headers=headers)
            assert answer.status_code == 400
            error = answer.json()["error"]
            assert error["type"] == "invalid_request_error"
            assert error["param"] == param
            assert proxy.harness.emulator.statistics().uploads == 0


async def test_too_large_a_request_is_a_413() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(app={"limits": CallLimits(max_body_bytes=1000)}) as proxy, proxy.http() as client:
            large = {**CHAT, "user": "x" * 2000}
            answer = await client.post("/v1/chat/completions", json=large)
            assert answer.status_code == 413
            assert "max-body-bytes" in answer.json()["error"]["message"]
            assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200


async def test_an_unknown_route_says_what_is_served() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy, proxy.http() as client:
            for answer in (await client.post("/v1/audio/speech", json={}), await client.get("/v1/nowhere/")):
                assert answer.status_code == 404
                assert "/v1/chat/completions" in answer.json()["error"]["message"]


async def test_health_needs_no_key_and_everything_else_does() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(app={"proxy_key": "sesame"}) as proxy, proxy.http() as client:
            health = await client.get("/health")
            assert (health.status_code, health.text) == (200, "ok")
            for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer ü"}):
                encoded = {name.encode(): value.encode() for name, value in headers.items()}
                refused = await client.post("/v1/chat/completions", json=CHAT, headers=encoded)
                assert refused.status_code == 401
                assert refused.json()["error"]["code"] == "invalid_api_key"
                assert (await client.get("/v1/models", headers=encoded)).status_code == 401
            right = {"authorization": "Bearer sesame"}
            assert (await client.post("/v1/chat/completions", json=CHAT, headers=right)).status_code == 200


async def test_a_client_that_does_not_come_back_is_a_caller_that_left() -> None:
    with trio.fail_after(LIMIT):
        limits = CallLimits(grace_seconds=0.3)
        async with open_proxy(emulator={"batch_seconds": 60}, app={"limits": limits}) as proxy, proxy.http() as client:
            with trio.move_on_after(0.5):
                await client.post("/v1/chat/completions", json=CHAT)
            await wait_for_event(proxy.harness, "batch_cancelled_upstream")
            assert proxy.harness.emulator.statistics().running_batch_ids == ()


async def test_stopping_answers_what_waits_with_a_503_and_cancels_upstream() -> None:
    with trio.fail_after(LIMIT):
        async with (
            open_proxy(emulator={"batch_seconds": 60}, batch_size=50, batch_window_seconds=30) as proxy,
            proxy.http() as client,
        ):
            answers: list[httpx.Response] = []

            async def ask() -> None:
                answers.append(await client.post("/v1/chat/completions", json=CHAT))

            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(ask)
                await wait_for_event(proxy.harness, "batch_submitted")
                proxy.stop.set()
            batch_id = proxy.harness.events_named("batch_submitted")[0]["batch_id"]
            assert {answer.status_code for answer in answers} == {503}
            for answer in answers:
                assert answer.headers["x-should-retry"] == "false"
                assert answer.headers["x-autobatcher-batch-id"] == batch_id
                assert answer.json()["error"]["batch_id"] == batch_id
                assert answer.json()["error"]["custom_id"]
        assert proxy.harness.emulator.statistics().running_batch_ids == ()


async def test_headers_of_clients_go_upstream_but_not_those_of_the_way() -> None:
    sent: list[Any] = []

    async def note(request: Any) -> None:
        if request.method == "POST" and request.url.path == "/v1/batches":
            sent.append(request.headers)

    of_the_way = {
        "connection": "keep-alive",
        "te": "trailers",
        "cookie": "a=b",
        "origin": "http://page.test",
        "referer": "http://page.test/x",
        "sec-fetch-mode": "cors",
        "x-forwarded-for": "10.0.0.1",
        "x-api-key": "secret",
        "proxy-authorization": "Basic secret",
        "content-language": "en",
        "if-none-match": "x",
    }
    with trio.fail_after(LIMIT):
        hosts = served_hosts("127.0.0.1", is_loopback=True, cors_origins=["http://page.test"])
        async with open_proxy(app={"hosts": hosts}, batch_window_seconds=0.3) as proxy, proxy.http() as http:
            proxy.client.event_hooks["request"].append(note)

            async def call(headers: dict[str, str]) -> None:
                answer = await http.post("/v1/chat/completions", json=CHAT, headers={**of_the_way, **headers})
                assert answer.status_code == 200

            async with trio.open_nursery() as nursery:
                for headers in ({"x-team": "a"}, {"x-team": "b"}, {"x-team": "a", "x-request-id": "1"}, {}):
                    nursery.start_soon(call, headers)
    assert sorted(headers.get("x-team", "") for headers in sent) == ["", "a", "b"]
    assert not [name for headers in sent for name in of_the_way if name in headers and name != "connection"]
