"""Calls on both paths of a client: the fast one, and the SDK's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from autobatcher import BatchOpenAI
from autobatcher.client.fast_path import FastPath
from tests.harness import HTTP, Harness, Send, between, outcome_of


@pytest.fixture
def took(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Records which path each call took."""
    ways: list[str] = []
    submit = FastPath.submit

    def noted(self: FastPath, *arguments: Any) -> Any:
        request = submit(self, *arguments)
        ways.append("sdk" if request is None else "fast")
        return request

    monkeypatch.setattr(FastPath, "submit", noted)
    return ways


async def sent_and_told(
    way: str,
    call: Callable[[BatchOpenAI], Any],
    change: Callable[[Any], Any] | None = None,
    **world_settings: Any,
) -> tuple[Any, Any]:
    """The lines that were sent and the outcome, on one of the paths.

    Args:
        change: is given the body of each answer, and changes it.
    """
    harness = Harness(**world_settings)
    http_client = harness.emulator.http_client(library=HTTP.__name__) if change is None else changing(harness, change)
    async with harness.client(max_retries=0, http_client=http_client) as client:
        if way == "sdk":
            client.request = client.request  # type: ignore[method-assign]  # as a tracer does
        outcome = await outcome_of(call(client))
    bodies = harness.bodies_sent()
    assert harness.realtime_calls == 0
    harness.emulator.close()
    return bodies, outcome


def changing(harness: Harness, change: Callable[[Any], Any]) -> Any:
    """An HTTP client that changes the body of each answer in a result file of one line."""

    async def answer(request: Any, send: Send) -> Any:
        response = await send(request)
        if request.url.path.endswith("/content"):
            await response.aread()
            line = json.loads(response.content)
            change(line["response"]["body"])
            return HTTP.Response(200, content=json.dumps(line).encode())
        return response

    return between(harness, answer)


def shape(value: Any) -> Any:
    """What a program can see of a model: types, fields and values, in depth, but not the second of its making."""
    if isinstance(value, BaseModel):
        fields = {name: shape(each) for name, each in value if name not in ("created", "created_at")}
        return type(value), fields, value.model_fields_set & type(value).model_fields.keys()
    if isinstance(value, list):
        return [shape(each) for each in value]
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    return type(value), value
