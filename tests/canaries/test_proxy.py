"""Canaries through the proxy: its own key, the upstream's, and those of its callers."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest
import trio

from autobatcher.server import Report
from tests.harness import MODEL, Harness, between
from tests.server.proxies import on_real_trio, open_proxy

from .canaries import FORWARDED_KEY, KEY, PROMPT, PROXY_KEY, WEBHOOK_SECRET, Exits, echo
from .upstreams import Quoting, failures

pytestmark = on_real_trio

BODY: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}]}
PAGES = (
    "/v1/models",
    "/v1/models/m",
    "/status",
    "/metrics",
    "/receipt",
    "/ready",
    "/health",
    "/openapi.json",
    "/",
    "/none",
)
QUICK = (
    'files.create answers 401 with {"erro',
    'models answers 401 with {"erro',
    'models answers 200 with {"erro',
    "a failed batch",
    "a line with a status",
    "an answer",
)
"""Failures that are told at once. For those that are tried for minutes there is virtual time, in test_library.py."""


async def ended(http: httpx.AsyncClient, id_: str) -> httpx.Response:
    """The response that is made in the background, once it has ended."""
    for _ in range(200):
        answer = await http.get(f"/v1/responses/{id_}")
        if answer.json()["status"] not in ("queued", "in_progress"):
            return answer
        await trio.sleep(0.05)
    raise AssertionError("it never ended")


@pytest.mark.parametrize("forwards", [False, True], ids=["its own key", "callers' keys"])
async def test_whatever_fails_nothing_that_leaves_the_proxy_has_a_key(
    forwards: bool, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG, "autobatcher")
    secrets = (KEY, FORWARDED_KEY if forwards else PROXY_KEY, WEBHOOK_SECRET)
    quoted = echo(*secrets)
    plans = dict(failures(quoted))
    bearer = {"authorization": f"Bearer {secrets[1]}"}
    for name in QUICK:
        exits, report = Exits(), Report()
        app: dict[str, Any] = {"forward_keys": True} if forwards else {"proxy_key": PROXY_KEY}
        app["webhook_secrets"] = [WEBHOOK_SECRET]
        told: list[dict[str, Any]] = []

        def take(event: dict[str, Any], told: list[dict[str, Any]] = told, report: Report = report) -> None:
            told.append(event)
            report.take_event(event)

        harness = Harness(faults=plans[name])
        settings = {"http_client": between(harness, Quoting(quoted)), "api_key": KEY, "max_retries": 0}
        with trio.fail_after(30):
            async with (
                open_proxy(app={**app, "report": report}, batch_event_handler=take, **settings) as proxy,
                proxy.http(headers=bearer) as http,
            ):
                for stream in (False, True):
                    exits.add_response("call", await http.post("/v1/chat/completions", json={**BODY, "stream": stream}))
                begun = await http.post("/v1/responses", json={"model": MODEL, "input": PROMPT, "background": True})
                exits.add_response("begun in the background", begun)
                exits.add_response("ended in the background", await ended(http, begun.json()["id"]))
                for page in PAGES:
                    exits.add_response(page, await http.get(page))
                exits.add_response("webhook", await http.post("/webhooks", content=b"{}"))
                if not forwards:
                    exits.add_response("wrong key", await http.get("/v1/models", headers={"authorization": "Bearer x"}))
        harness.emulator.close()
        exits.add("events", told)
        said = capfd.readouterr()
        exits.add("logs, stdout, stderr", caplog.text + said.out + said.err)
        caplog.clear()
        try:
            exits.check(*secrets)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None
