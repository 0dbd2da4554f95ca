"""`background: true`: a response that is told at once, and asked for later."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest
import trio

from autobatcher.emulator import FaultPlan, HttpFault, LineFault
from autobatcher.engine.journal.responses import KeptResponse
from autobatcher.server import CallLimits
from autobatcher.server.kept_responses import RETENTION_SECONDS, ResponsesInMemory
from tests.harness import open_harness, wait_for_event
from tests.server.apps import ended, open_app, plain, sdk, serving

pytestmark = pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)

CALL: dict[str, Any] = {"model": "m", "input": "hello", "background": True}
PATH = "/v1/responses"


async def posted(http: httpx.AsyncClient, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    return await http.post(PATH, json={**CALL, **fields}, headers=headers)


async def status_at_end(http: httpx.AsyncClient, id_: str, headers: dict[str, str] | None = None) -> Any:
    """The response object, polled until it has ended."""
    for _ in range(10_000):
        answer = await http.get(f"{PATH}/{id_}", headers=headers)
        if answer.json()["status"] not in ("queued", "in_progress"):
            return answer.json()
        await trio.sleep(1)
    raise AssertionError("it never ended")


async def test_a_response_is_queued_at_once_then_in_progress_then_completed_under_its_id() -> None:
    nobody_is_waited_for = {"limits": CallLimits(grace_seconds=0.0)}
    async with (
        open_harness(batch_seconds=60.0) as harness,
        serving(harness, app=nobody_is_waited_for) as app,
        sdk(app) as client,
    ):
        begun = await client.responses.create(**CALL, metadata={"a": "b"}, temperature=0.5)
        assert (begun.status, begun.background, begun.object, begun.model) == ("queued", True, "response", "m")
        assert (begun.output, begun.error, begun.usage, begun.metadata) == ([], None, None, {"a": "b"})
        assert begun.temperature == 0.5
        assert begun.id.startswith("resp_")
        await wait_for_event(harness, "batch_submitted")
        assert (await client.responses.retrieve(begun.id)).status == "in_progress"
        response = await ended(client, begun.id)
        assert (response.status, response.id, response.created_at) == ("completed", begun.id, begun.created_at)
        assert response.background is True
        assert "hello" in response.output_text
        assert response.usage is not None
        (sent,) = harness.bodies_sent()
        assert sent == {"model": "m", "input": "hello", "metadata": {"a": "b"}, "temperature": 0.5}
        with pytest.raises(openai.BadRequestError, match="Cannot cancel a completed response"):
            await client.responses.cancel(begun.id)
        await client.responses.delete(begun.id)
        with pytest.raises(openai.NotFoundError, match=begun.id):
            await client.responses.retrieve(begun.id)


async def test_a_cancelled_response_is_withdrawn_and_stays_cancelled() -> None:
    async with open_harness(batch_seconds=600.0) as harness, serving(harness) as app, sdk(app) as client:
        unsent = await client.responses.create(**CALL)
        assert (await client.responses.cancel(unsent.id)).status == "cancelled"
        sent = await client.responses.create(**{**CALL, "input": "other"})
        await wait_for_event(harness, "batch_submitted")
        assert (await client.responses.cancel(sent.id)).status == "cancelled"
        await wait_for_event(harness, "batch_cancelled_upstream")
        for id_ in (unsent.id, sent.id):
            assert (await client.responses.cancel(id_)).status == "cancelled"
            assert (await client.responses.retrieve(id_)).status == "cancelled"
        assert [body["input"] for body in harness.bodies_sent()] == ["other"]


async def test_a_deleted_response_is_withdrawn_and_unknown() -> None:
    async with open_app(emulator={"batch_seconds": 600.0}) as (http, harness):
        id_ = (await posted(http)).json()["id"]
        await wait_for_event(harness, "batch_submitted")
        answer = await http.delete(f"{PATH}/{id_}/")
        assert answer.json() == {"id": id_, "object": "response", "deleted": True}
        await wait_for_event(harness, "batch_cancelled_upstream")
        for again in (await http.get(f"{PATH}/{id_}"), await http.delete(f"{PATH}/{id_}")):
            assert again.status_code == 404


@pytest.mark.parametrize(
    ("faults", "code", "message"),
    [
        (
            LineFault(kind="fail", status=429, body='{"error": {"message": "slow down", "code": "rate_limit"}}'),
            *("rate_limit", "slow down"),
        ),
        (LineFault(kind="fail", status=400, body="no JSON"), *("server_error", "no JSON")),
        (HttpFault(operation="batches.create", nth=(1,), status=401), *("server_error", "401")),
    ],
)
async def test_a_response_that_fails_says_why(faults: Any, code: str, message: str) -> None:
    plan = FaultPlan((faults,))
    async with open_app(emulator={"faults": plan}, batch_window_seconds=0.1) as (http, _):
        found = await status_at_end(http, (await posted(http)).json()["id"])
        assert (found["status"], found["error"]["code"], found["output"]) == ("failed", code, [])
        assert message in found["error"]["message"]


async def test_what_cannot_be_made_in_the_background_is_refused_at_once() -> None:
    async with open_app() as (http, harness):
        stream = await posted(http, stream=True)
        assert (stream.status_code, stream.json()["error"]["code"]) == (400, "background_stream")
        assert (await http.get(f"{PATH}/x?stream=true")).status_code == 400
        twice = b'{"model": "m", "input": "x", "background": false, "background": true}'
        for content in (twice, b'{"background": true', b'{"background": true, "model": 7}'):
            answer = await http.post(PATH, content=content, headers={"content-type": "application/json"})
            assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error"), content
        assert not harness.bodies_sent()
    async with open_app(app={"limits": CallLimits(max_background=1)}) as (http, _):
        first = await posted(http)
        full = await posted(http)
        assert (full.status_code, full.headers["retry-after"]) == (503, "10")
        await http.delete(f"{PATH}/{first.json()['id']}")
        assert (await posted(http)).status_code == 200


async def test_unknown_ids_and_wrong_methods_are_told() -> None:
    async with open_app() as (http, _):
        for id_ in ("resp_unknown", "resp_bg_" + "0" * 40, "<b>"):
            for answer in (
                await http.get(f"{PATH}/{id_}"),
                await http.delete(f"/responses/{id_}/"),
                await http.post(f"{PATH}/{id_}/cancel"),
            ):
                assert (answer.status_code, answer.json()["error"]["code"]) == (404, "response_not_found")
                assert "<b>" not in answer.text
        unknown = (await http.get(f"{PATH}/x/input_items")).json()["error"]
        assert unknown["code"] == "unknown_url"
        assert f"{PATH}/{{id}}" in unknown["message"]  # what is served
        for path in ("/v1/files", "/batches/b/cancel"):
            itself = (await http.post(path)).json()["error"]["message"]
            assert "makes batches itself (BatchOpenAI): run it without autobatcher run" in itself
            assert "model" not in itself  # else its batches would look for one that is mistyped
        wrong = [await http.post(f"{PATH}/x"), await http.get(f"{PATH}/x/cancel")]
        assert [(answer.status_code, answer.headers["allow"]) for answer in wrong] == [
            (405, "DELETE, GET"),
            (405, "POST"),
        ]


async def test_a_response_is_for_the_key_that_made_it_alone() -> None:
    own, other = ({"authorization": f"Bearer {name}"} for name in ("one", "two"))
    async with open_app(app={"forward_keys": True}, batch_window_seconds=0.1) as (http, _):
        id_ = (await posted(http, own)).json()["id"]
        for seen in range(2):
            assert (await http.get(f"{PATH}/{id_}", headers=other)).status_code == 404
            assert (await http.post(f"{PATH}/{id_}/cancel", headers=other)).status_code == 404
            assert (await http.delete(f"{PATH}/{id_}", headers=other)).status_code == 404
            assert (await http.get(f"{PATH}/{id_}")).status_code == 401
            if not seen:
                assert (await status_at_end(http, id_, own))["status"] == "completed"
    async with open_app(app={"proxy_key": "sesame"}) as (http, _):
        assert (await posted(http)).status_code == 401
        assert (await http.get(f"{PATH}/x")).status_code == 401


async def test_an_idempotency_key_is_one_response() -> None:
    async with open_app(batch_window_seconds=0.1) as (http, harness):
        key = {"idempotency-key": "k"}
        first = (await posted(http, key)).json()
        again = await posted(http, key)
        assert (again.status_code, again.json()["id"]) == (200, first["id"])
        assert (await posted(http, key, input="else")).status_code == 409
        assert (await status_at_end(http, first["id"]))["status"] == "completed"
        assert (await posted(http, key)).json()["status"] == "completed"
        assert (await posted(http)).json()["id"] != first["id"]
        assert len(harness.bodies_sent()) == 1


async def test_a_call_can_go_on_from_a_response_by_its_id() -> None:
    async with open_app(batch_window_seconds=0.1) as (http, harness):
        first = (await posted(http)).json()["id"]
        early = await posted(http, previous_response_id=first)
        assert (early.status_code, early.json()["error"]["code"]) == (400, "previous_response_not_found")
        await status_at_end(http, first)
        second = (await posted(http, previous_response_id=first)).json()
        assert second["previous_response_id"] is not None
        await status_at_end(http, second["id"])
        foreground = {"model": "m", "input": "x", "previous_response_id": second["id"]}
        assert (await http.post(PATH, json=foreground)).status_code == 200
        elsewhere = {**foreground, "previous_response_id": "resp_of_upstream"}
        assert (await http.post(PATH, json=elsewhere)).status_code == 200
        told = [body.get("previous_response_id") for body in harness.bodies_sent()]
        assert (told[0], told[3], first in told, second["id"] in told) == (None, "resp_of_upstream", False, False)
        unknown = {**foreground, "previous_response_id": "resp_bg_" + "0" * 40}
        assert (await http.post(PATH, json=unknown)).status_code == 400


async def test_a_deadline_holds_in_the_background_too() -> None:
    async with open_app() as (http, _):
        assert (await posted(http, {"x-autobatcher-deadline": "soon"})).status_code == 400
        assert (await posted(http, {"x-autobatcher-deadline": "1s"})).status_code == 504


def kept(name: str, owner: bytes = b"o", size: int = 0) -> KeptResponse:
    return KeptResponse(name, owner, b"", "queued", 0.0, None, "", b"prompt", b"x" * size)


async def test_memory_keeps_ended_responses_for_a_day_and_within_bounds() -> None:
    now = 0.0
    memory = ResponsesInMemory(most_bytes=20_000, clock=lambda: now)
    for name, owner in (("greedy1", b"g"), ("modest", b"m"), ("greedy2", b"g"), ("greedy3", b"g")):
        await memory.add(kept(name, owner))
        memory.end(kept(name, owner, size=5_000)._replace(status="completed"))
    await memory.add(kept("open"))
    found = {name for name in ("greedy1", "greedy2", "greedy3") if await memory.get(name, b"g")}
    assert found == {"greedy2", "greedy3"}
    modest = await memory.get("modest", b"m")
    assert modest is not None
    assert modest.body is None
    now = RETENTION_SECONDS + 1
    assert await memory.get("modest", b"m") is None
    assert await memory.get("open", b"o") is not None


async def test_memory_keeps_how_a_response_ended_first() -> None:
    memory = ResponsesInMemory()
    await memory.add(kept("a"))
    await memory.cancel("a", b"o")
    memory.end(kept("a")._replace(status="completed"))
    found = await memory.get("a", b"o")
    assert found is not None
    assert found.status == "cancelled"


def scope_of(method: str, path: str, query: bytes = b"") -> dict[str, Any]:
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    names = {"type": "http", "http_version": "1.1", "state": {}, "headers": headers}
    return {**names, "method": method, "path": path, "query_string": query}


async def test_a_query_that_is_no_ascii_does_no_harm() -> None:
    statuses = []
    async with open_harness() as harness, serving(harness) as app:

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b""}

        async def send(message: dict[str, Any]) -> None:
            statuses.append(message.get("status"))

        await app.asgi_app(scope_of("GET", f"{PATH}/resp_x", b"stream=\xff&\xfe"), receive, send)
    assert statuses[0] == 404


async def test_a_client_that_left_before_it_knew_the_id_leaves_nothing() -> None:
    body = b'{"model": "m", "input": "x", "background": true}'
    async with open_harness() as harness, serving(harness) as app:

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(message: dict[str, Any]) -> None:
            raise trio.BrokenResourceError

        await app.asgi_app(scope_of("POST", PATH), receive, send)
        async with plain(app) as http:
            status = (await http.get("/status")).json()
            assert (status["queued"], status["requests"]) == (0, 1)


async def test_a_proxy_without_a_journal_says_what_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    async with open_app(batch_window_seconds=3600.0) as (http, _):
        for _ in range(2):
            await posted(http)
    told = [record.message for record in caplog.records if "are lost with this proxy" in record.message]
    assert len(told) == 1
    assert "--journal" in told[0]
