"""How clients may write a route, and what they are told of the wrong method."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from autobatcher.upstream.providers import BATCHABLE_ENDPOINTS
from tests.server.apps import PAGE, open_app

pytestmark = pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)


BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hello"}]},
    "/v1/embeddings": {"input": "hello"},
    "/v1/completions": {"prompt": "hello"},
    "/v1/moderations": {"input": "hello"},
    "/v1/images/generations": {"prompt": "hello"},
    "/v1/images/edits": {"prompt": "hello"},
    "/v1/responses": {"input": "hello"},
}


async def test_each_endpoint_is_served_without_v1_and_with_slashes_at_its_end() -> None:
    assert BODIES.keys() == BATCHABLE_ENDPOINTS
    answers = []
    async with open_app() as (http, _):

        async def post(path: str, body: dict[str, Any]) -> None:
            answers.append(await http.post(path, json={"model": "m", **body}))

        async with anyio.create_task_group() as nursery:
            for endpoint, body in BODIES.items():
                for path in (endpoint.removeprefix("/v1"), f"{endpoint}/", f"{endpoint.removeprefix('/v1')}//"):
                    nursery.start_soon(post, path, body)
        pages = ("/models", "/models/", "/v1/models/", "/models/org/model", "/health/", "/status/")
        answers += [await http.get(path) for path in pages]
    assert {answer.status_code for answer in answers} == {200}
    assert len(answers) == 3 * len(BODIES) + len(pages)


async def test_however_a_route_is_written_it_needs_the_key() -> None:
    async with open_app(app={"proxy_key": "sesame"}) as (http, _):
        for path in ("/models", "/models/", "/v1/models/x", "//v1/models", "/responses/x", "/nowhere"):
            assert (await http.get(path)).status_code == 401, path
        assert (await http.post("/chat/completions/", json={})).status_code == 401
        assert (await http.get("/health/")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/embeddings/", "POST"),
        ("GET", "/v1/responses", "POST"),
        ("POST", "/v1/models", "GET, HEAD, OPTIONS"),
        ("PUT", "/status", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_wrong_method_is_a_405_that_says_which_is_right(method: str, path: str, allowed: str) -> None:
    async with open_app() as (http, harness):
        answer = await http.request(method, path, content=b"{}")
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        error = answer.json()["error"]
        assert error["code"] == "method_not_allowed"
        assert f"send {allowed.split(',')[0]}" in error["message"]
        assert answer.headers["x-should-retry"] == "false"
        assert not harness.emulator.statistics().http_calls


async def test_an_allowed_page_may_use_every_method_that_is_served() -> None:
    async with open_app(app={"proxy_key": "sesame"}) as (http, _):
        for path in ("/v1/responses", "/responses/", "/v1/responses/resp_x", "/v1/models"):
            for method in ("POST", "GET", "DELETE"):
                asks = {"access-control-request-method": method, "access-control-request-headers": "authorization"}
                preflight = await http.options(path, headers={**PAGE, **asks})
                assert preflight.status_code == 200
                assert method in preflight.headers["access-control-allow-methods"]
                assert preflight.headers["access-control-allow-headers"] == "authorization"
                assert preflight.headers["access-control-allow-origin"] == PAGE["origin"]
