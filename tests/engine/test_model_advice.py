"""A model that the upstream does not list: it is asked after a failure that speaks of models, and only then."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from autobatcher import BatchEndedError, BatchSubmissionError
from autobatcher.emulator import BatchFault, FaultPlan, HttpFault
from tests.harness import HTTP, ask, between, open_harness, outcome_of

NEAR = "gpt-emulater"
ADVICE = "The upstream does not list the model 'gpt-emulater'; did you mean 'gpt-emulator'?"


def body_that_says(reason: str) -> str:
    return f'{{"error": {{"message": "{reason}"}}}}'


@pytest.mark.parametrize("operation", ["files.create", "batches.create"])
@pytest.mark.proves("faults", "a model that the upstream does not list")
async def test_a_refused_batch_names_the_model_and_the_nearest_one(operation: Any) -> None:
    fault = HttpFault(operation=operation, status=404, body=body_that_says("no such model"))
    async with open_harness(faults=FaultPlan((fault,))) as harness, harness.client(max_retries=0) as client:
        error = await outcome_of(ask(client, "hello", NEAR))
        assert type(error) is openai.NotFoundError or isinstance(error, BatchSubmissionError)
        assert str(error).count(ADVICE) == 1


@pytest.mark.parametrize("lines", [(), (1,)])
async def test_a_batch_that_failed_for_its_model_names_it(lines: tuple[int, ...]) -> None:
    fault = BatchFault(ends="failed", error_code="model_not_found", error_message="Not here.", error_lines=lines)
    async with open_harness(faults=FaultPlan((fault,))) as harness, harness.client() as client:
        error = await outcome_of(ask(client, "hello", NEAR))
        assert isinstance(error, openai.BadRequestError if lines else BatchEndedError)
        assert f"Not here. {ADVICE}" in str(error)


async def test_a_line_that_an_upload_refuses_names_it() -> None:
    body = body_that_says("Line 1: unknown model")
    fault = HttpFault(operation="files.create", status=400, body=body)
    async with open_harness("doubleword", faults=FaultPlan((fault,))) as harness, harness.client() as client:
        error = await outcome_of(ask(client, "hello", NEAR))
        assert isinstance(error, openai.BadRequestError)
        assert f"unknown model {ADVICE}" in str(error)


async def test_a_model_like_no_other_is_told_what_there_is() -> None:
    fault = HttpFault(operation="files.create", status=400, body=body_that_says("bad model"))
    async with open_harness(faults=FaultPlan((fault,))) as harness, harness.client() as client:
        error = await outcome_of(ask(client, "hello", "claude"))
        assert "does not list the model 'claude', but gpt-emulator, text-embedding-emulator" in str(error)


@pytest.mark.parametrize(
    ("model", "reason", "asked"),
    [(NEAR, "no credit", 0), ("gpt-emulator", "model overloaded", 1), (NEAR * 50, "bad model", 1)],
    ids=["of money", "listed", "a long name"],
)
async def test_other_failures_are_told_as_they_are(model: str, reason: str, asked: int) -> None:
    fault = HttpFault(operation="files.create", status=400, body=body_that_says(reason))
    async with open_harness(faults=FaultPlan((fault,))) as harness:
        lists = 0

        async def count(request: Any, send: Any) -> Any:
            nonlocal lists
            lists += request.url.path.endswith("/models")
            return await send(request)

        async with harness.client(http_client=between(harness, count)) as client:
            for _ in range(3):
                error = await outcome_of(ask(client, "hello", model))
                assert reason in str(error)
                assert "does not list" not in str(error)
        assert lists == asked


@pytest.mark.parametrize(
    "answer",
    [{"status_code": 500}, {"status_code": 200, "content": b"<html>"}, {"status_code": 200, "json": {"data": [1, {}]}}],
)
async def test_an_upstream_without_a_list_changes_nothing(answer: dict[str, Any]) -> None:
    fault = HttpFault(operation="files.create", status=404, body=body_that_says("no such model"))
    async with open_harness(faults=FaultPlan((fault,))) as harness:

        async def no_list(request: Any, send: Any) -> Any:
            return HTTP.Response(**answer) if request.url.path.endswith("/models") else await send(request)

        async with harness.client(http_client=between(harness, no_list)) as client:
            error = await outcome_of(ask(client, "hello", NEAR))
            assert str(error).endswith("no such model")


async def test_nobody_asks_while_all_is_well() -> None:
    async with open_harness() as harness:

        async def refuse(request: Any, send: Any) -> Any:
            assert not request.url.path.endswith("/models")
            return await send(request)

        async with harness.client(http_client=between(harness, refuse)) as client:
            await ask(client, "hello", NEAR)
