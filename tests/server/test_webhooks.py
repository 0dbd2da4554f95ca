"""`POST /webhooks`: who may say that a batch has ended, and what comes of it."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import trio

from autobatcher.server import Report
from autobatcher.server.webhooks import MOST_BYTES
from tests.harness import Harness, wait_for_event
from tests.server.apps import open_app
from tests.server.webhooks import SECRET, event, signed

pytestmark = pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)

OLD_SECRET = "whsec_" + base64.b64encode(b"the one before").decode()
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
KEY = {"authorization": "Bearer sesame"}


@pytest.fixture
def report() -> Report:
    return Report()


@pytest.fixture
async def door(report: Report) -> AsyncIterator[tuple[httpx.AsyncClient, Harness]]:
    """A proxy with a key, which polls nothing by itself; its batches take half a minute."""
    app = {"webhook_secrets": (SECRET, OLD_SECRET), "proxy_key": "sesame", "report": report}
    async with open_app(emulator={"batch_seconds": 30}, app=app, poll_interval_seconds=6_000.0) as opened:
        yield opened


async def post(http: httpx.AsyncClient, content: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
    return await http.post("/webhooks", content=content, headers=signed(content) if headers is None else headers)


@pytest.mark.parametrize(
    ("kind", "name", "prefix"),
    [
        ("batch.completed", "id", "batch_"),
        ("batch.completed", "batch_id", "batch_"),
        ("batch.succeeded", "id", "batches/"),
    ],
    ids=["OpenAI", "Doubleword", "Gemini"],
)
async def test_a_signed_webhook_brings_the_answer_at_once(
    door: tuple[httpx.AsyncClient, Harness], report: Report, kind: str, name: str, prefix: str
) -> None:
    http, harness = door
    answers: list[httpx.Response] = []

    async def ask() -> None:
        answers.append(await http.post("/v1/chat/completions", json=CHAT, headers=KEY, timeout=None))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_for_event(harness, "batch_submitted")
        await trio.sleep(35)
        (batch,) = harness.emulator.statistics().batches
        taken = await post(http, event(kind, **{name: prefix + batch.id.removeprefix("batch_")}))
        assert (taken.status_code, taken.content) == (204, b"")
    assert answers[0].status_code == 200
    assert trio.current_time() < 40
    assert report.tally.webhooks == {"batch": 1}


async def test_what_is_no_end_of_a_batch_of_ours_is_taken_and_has_no_effect(
    door: tuple[httpx.AsyncClient, Harness], report: Report
) -> None:
    http, harness = door
    for content in (event("batch.completed", id="batch_of_others"), event("response.completed", id="resp_1")):
        assert (await post(http, content)).status_code == 204
    assert (await post(http, b'{"type": "batch.created", "data": []}')).status_code == 204
    old = event("batch.failed", id="another")
    assert (await post(http, old, signed(old, secret=OLD_SECRET))).status_code == 204
    assert report.tally.webhooks == {"unknown_batch": 2, "no_end": 2}
    assert not harness.emulator.statistics().http_calls


@pytest.mark.proves("faults", "a webhook that is not the provider's, that is repeated later, too large, or no event")
async def test_what_the_provider_has_not_signed_just_now_is_refused_and_told_once(
    door: tuple[httpx.AsyncClient, Harness], report: Report, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "autobatcher")
    http, _ = door
    good = event("batch.completed", id="batch_1")
    headers = signed(good)
    wrong: list[dict[str, str]] = [
        {},
        KEY,
        signed(good, age_seconds=400),
        signed(good, age_seconds=-400),
        signed(good + b" "),
        signed(good, secret="whsec_AAAA"),
        {**headers, "webhook-id": "msg_2"},
        {**headers, "webhook-timestamp": "9" * 5_000},
        {**headers, "webhook-signature": ""},
    ]
    for each in wrong:
        coded = [(name.encode(), value.encode("latin-1")) for name, value in each.items()]
        refused = await http.post("/webhooks", content=good, headers=coded)
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_webhook_signature"), each
    assert (await post(http, b"\xff\xfe")).status_code == 401
    assert len([record for record in caplog.records if "webhook" in record.message]) == 1
    assert "batch_1" not in caplog.text
    for secret in (SECRET, OLD_SECRET, headers["webhook-signature"]):
        assert secret not in caplog.text
    assert report.tally.webhooks == {"wrong_signature": len(wrong) + 1}


async def test_several_signatures_in_a_header_are_fine_if_one_is_right(
    door: tuple[httpx.AsyncClient, Harness],
) -> None:
    http, _ = door
    content = event("batch.expired", id="b")
    headers = signed(content)
    several = f"v1a,abcd v1,{base64.b64encode(b'x').decode()} {headers['webhook-signature']}"
    assert (await post(http, content, {**headers, "webhook-signature": several})).status_code == 204


DEEP = b'{"type": "batch.failed", "data": ' + b"[" * 5_000 + b"]" * 5_000 + b"}"
NO_EVENTS = [b"", b"[]", b'{"type": 1}', event("batch.failed"), b'{"type": "batch.failed", "data": 1}', DEEP]


async def test_a_signed_body_that_is_no_event_gets_a_400(door: tuple[httpx.AsyncClient, Harness]) -> None:
    http, _ = door
    for content in NO_EVENTS:
        refused = await post(http, content)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "no_event"), content


async def test_the_door_takes_small_posts_alone(door: tuple[httpx.AsyncClient, Harness]) -> None:
    http, _ = door
    assert (await post(http, b" " * (MOST_BYTES + 1))).status_code == 413
    assert (await http.get("/webhooks")).status_code == 405
    assert (await http.post("/v1/chat/completions", json=CHAT)).status_code == 401
    assert "/webhooks" in (await http.get("/openapi.json")).json()["paths"]


async def test_without_a_secret_there_is_no_door() -> None:
    content = event("batch.completed", id="b")
    async with open_app() as (http, _):
        assert (await post(http, content)).status_code == 404
        assert "/webhooks" not in (await http.get("/openapi.json")).json()["paths"]
    async with open_app(app={"proxy_key": "sesame"}) as (http, _):
        assert (await post(http, content)).status_code == 401


async def test_a_secret_that_can_sign_nothing_is_refused_at_the_start() -> None:
    for secret in ("", "whsec_", "whsec_not base64"):
        with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="a webhook secret"), flatten_subgroups=True):
            async with open_app(app={"webhook_secrets": [secret]}):
                pass
