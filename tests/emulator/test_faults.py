"""Misbehaviour on demand: it happens when the plan says so, and never otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import msgspec
import openai
import pytest

from autobatcher.emulator import BatchFault, Emulator, Fault, FaultPlan, HttpFault, LineFault

from .doors import as_file, chat_line, create_batch, echo_of, open_http, open_sdk, read_lines, read_until

LINES = [chat_line(f"r{i}") for i in range(4)]


def _emulator(*faults: Fault, seed: int = 0, **settings: Any) -> Emulator:
    return Emulator(faults=FaultPlan(faults, seed=seed), **{"shuffle": False, **settings})


# HTTP


async def test_a_status_takes_the_place_of_the_answer_before_anything_happens() -> None:
    fault = HttpFault(operation="batches.create", nth=(1,), status=429, headers={"Retry-After": "7"})
    with _emulator(fault) as emulator:
        async with open_sdk(emulator) as sdk:
            with pytest.raises(openai.RateLimitError) as caught:
                await create_batch(sdk, LINES)
            assert caught.value.response.headers["retry-after"] == "7"
            assert emulator.statistics().batches_created == 0
            await create_batch(sdk, LINES)
            assert emulator.statistics().http_statuses == {200: 3, 429: 1}


async def test_a_body_can_be_anything() -> None:
    fault = HttpFault(status=502, body="<html>bad gateway</html>", headers={"content-type": "text/html"})
    with _emulator(fault) as emulator:
        async with open_http(emulator) as http:
            page = await http.get("/models")
            assert (page.status_code, page.text, page.headers["content-type"]) == (
                502,
                "<html>bad gateway</html>",
                "text/html",
            )


async def test_doubleword_words_a_429_in_its_own_way() -> None:
    with _emulator(HttpFault(status=429), like="doubleword") as emulator:
        async with open_http(emulator) as http:
            busy = await http.get("/batches")
            assert (busy.headers["retry-after"], busy.json()["retry_after_seconds"]) == ("60", 30)


@pytest.mark.parametrize(
    ("fault", "error", "batches"),
    [
        (HttpFault(operation="batches.create", refuse=True), httpx.ConnectError, 0),
        (HttpFault(operation="batches.create", disconnect=True), httpx.ReadError, 0),
        (HttpFault(operation="batches.create", lose_answer=True), httpx.ReadError, 1),
    ],
)
async def test_a_lost_connection_is_an_error_of_the_http_library(
    fault: HttpFault, error: type[Exception], batches: int
) -> None:
    with _emulator(fault) as emulator:
        async with open_http(emulator) as http:
            upload = await http.post("/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", as_file(LINES))})
            order = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
            with pytest.raises(error):
                await http.post("/batches", json={"input_file_id": upload.json()["id"], **order})
            assert emulator.statistics().batches_created == batches
            assert emulator.statistics().lost_connections == 1


async def test_a_gateway_error_after_processing_leaves_the_batch_behind() -> None:
    with _emulator(HttpFault(operation="batches.create", status=504, after_processing=True)) as emulator:
        async with open_sdk(emulator) as sdk:
            with pytest.raises(openai.InternalServerError):
                await create_batch(sdk, LINES)
            assert emulator.statistics().batches_created == 1


async def test_a_download_can_be_cut_anywhere() -> None:
    with _emulator(HttpFault(operation="files.content", first=1, cut_after_bytes=100)) as emulator:
        async with open_sdk(emulator) as sdk, open_http(emulator) as http:
            batch = await sdk.batches.retrieve((await create_batch(sdk, LINES)).id)
            async with http.stream("GET", f"/files/{batch.output_file_id}/content") as response:
                received = await read_until(response, httpx.ReadError)
            assert len(received) == 100
            assert (await http.get(f"/files/{batch.output_file_id}/content")).content.startswith(received)


async def test_an_answer_can_be_long_compressed_and_slow() -> None:
    fault = HttpFault(operation="models", pad_bytes=1_000_000, gzip=True, drip_seconds=0.1)
    with _emulator(fault) as emulator:
        async with open_http(emulator) as http:
            began = anyio.current_time()
            async with http.stream("GET", "/models") as response:
                sent = len(b"".join([piece async for piece in response.aiter_raw()]))
            assert response.headers["content-encoding"] == "gzip"
            assert sent < 10_000
            assert anyio.current_time() - began == pytest.approx(0.1 * sent)
            assert len((await http.get("/models")).content) > 1_000_000


async def test_a_delay_takes_the_time_it_says() -> None:
    with _emulator(HttpFault(operation="models", delay_seconds=30)) as emulator:
        async with open_http(emulator) as http:
            start = anyio.current_time()
            await http.get("/models")
            assert anyio.current_time() - start == pytest.approx(30)


@pytest.mark.parametrize(
    ("fault", "hit"),
    [
        (HttpFault(status=500, nth=(2, 5)), [2, 5]),
        (HttpFault(status=500, every=3), [3, 6]),
        (HttpFault(status=500, first=2), [1, 2]),
        (HttpFault(status=500), [1, 2, 3, 4, 5, 6]),
        (HttpFault(status=500, operation="files.list"), []),
    ],
)
async def test_a_fault_strikes_when_it_should(fault: HttpFault, hit: list[int]) -> None:
    with _emulator(fault) as emulator:
        async with open_http(emulator) as http:
            statuses = [(await http.get("/models")).status_code for _ in range(6)]
            assert [number for number, status in enumerate(statuses, 1) if status == 500] == hit


async def test_chance_is_the_same_for_the_same_seed() -> None:
    async def statuses(seed: int) -> list[int]:
        with _emulator(HttpFault(status=500, probability=0.5), seed=seed) as emulator:
            async with open_http(emulator) as http:
                return [(await http.get("/models")).status_code for _ in range(40)]

    first = await statuses(1)
    assert first == await statuses(1)
    assert first != await statuses(2)
    assert 5 < first.count(500) < 35


# Batches


@pytest.mark.parametrize("ends", ["expired", "cancelled"])
@pytest.mark.parametrize("list_unfinished", [True, False])
async def test_a_batch_ends_early_with_half_of_its_lines(ends: Any, list_unfinished: bool) -> None:
    fault = BatchFault(ends=ends, after=0.5, list_unfinished=list_unfinished)
    with _emulator(fault, batch_seconds=10) as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, LINES)
            await anyio.sleep(4)
            assert (await sdk.batches.retrieve(batch.id)).status == "in_progress"
            await anyio.sleep(1)
            ended = await sdk.batches.retrieve(batch.id)
            assert ended.status == ends
            assert [line["custom_id"] for line in await read_lines(sdk, ended.output_file_id)] == ["r0", "r1"]
            errors = [(line["custom_id"], line["error"]["code"]) for line in await read_lines(sdk, ended.error_file_id)]
            code = f"batch_{ends}"
            assert errors == ([("r2", code), ("r3", code)] if list_unfinished else [])
            assert emulator.statistics().billed == {"r0": 1, "r1": 1}


async def test_a_batch_fails_before_it_starts_and_names_lines() -> None:
    fault = BatchFault(ends="failed", error_code="bad_line", error_lines=(1, 3))
    with _emulator(fault) as emulator:
        async with open_sdk(emulator) as sdk:
            ended = await sdk.batches.retrieve((await create_batch(sdk, LINES)).id)
            assert (ended.status, ended.output_file_id) == ("failed", None)
            assert ended.errors is not None
            assert [(error.code, error.line) for error in ended.errors.data or []] == [
                ("bad_line", 1),
                ("bad_line", 3),
            ]
            assert emulator.statistics().billed == {}


async def test_a_token_limit_fails_the_first_batch_only() -> None:
    with _emulator(BatchFault(first=1, ends="failed", error_code="token_limit_exceeded")) as emulator:
        async with open_sdk(emulator) as sdk:
            ended = [await sdk.batches.retrieve((await create_batch(sdk, LINES)).id) for _ in range(2)]
            assert [batch.status for batch in ended] == ["failed", "completed"]
            assert ended[0].errors is not None
            (error,) = ended[0].errors.data or []
            assert (error.code, error.line) == ("token_limit_exceeded", None)


async def test_a_stuck_batch_never_ends_but_can_be_cancelled() -> None:
    with _emulator(BatchFault(ends="stuck", after=0.5), batch_seconds=10) as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, LINES)
            await anyio.sleep(80_000)
            stuck = await sdk.batches.retrieve(batch.id)
            assert stuck.status == "in_progress"
            assert stuck.request_counts is not None
            assert stuck.request_counts.completed == 2
            await sdk.batches.cancel(batch.id)
            assert (await sdk.batches.retrieve(batch.id)).status == "cancelled"


async def test_a_batch_object_can_be_worded_oddly() -> None:
    fault = BatchFault(
        status_text={"completed": "COMPLETED"}, hide_counts=True, text_timestamps=True, empty_file_ids=True
    )
    with _emulator(fault, wall_clock=lambda: 1e9) as emulator:
        async with open_sdk(emulator) as sdk, open_http(emulator) as http:
            batch = await create_batch(sdk, LINES)
            odd = (await http.get(f"/batches/{batch.id}")).json()
            assert odd["status"] == "COMPLETED"
            assert "request_counts" not in odd
            assert odd["created_at"] == "2001-09-09 01:46:40"
            assert odd["error_file_id"] == ""


@pytest.mark.parametrize(
    ("fault", "distort"),
    [
        (BatchFault(crlf=True), lambda content: content.replace(b"\n", b"\r\n")),
        (BatchFault(blank_lines=True), lambda content: content.replace(b"\n", b"\n\n")),
    ],
)
async def test_line_ends_can_be_odd(fault: BatchFault, distort: Callable[[bytes], bytes]) -> None:
    async def output(*faults: Fault) -> bytes:
        with _emulator(*faults, wall_clock=lambda: 1e9) as emulator:
            async with open_sdk(emulator) as sdk:
                batch = await sdk.batches.retrieve((await create_batch(sdk, LINES)).id)
                return (await sdk.files.content(batch.output_file_id or "")).content

    assert await output(fault) == distort(await output())


async def test_the_last_line_can_be_cut() -> None:
    with _emulator(BatchFault(cut_last_line=True)) as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await sdk.batches.retrieve((await create_batch(sdk, LINES)).id)
            *whole, cut = (await sdk.files.content(batch.output_file_id or "")).text.split("\n")
            assert [json.loads(line)["custom_id"] for line in whole] == ["r0", "r1", "r2"]
            assert '"r3"' in cut
            with pytest.raises(json.JSONDecodeError):
                json.loads(cut)


# Lines


async def _files(*faults: Fault, **settings: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]], Any]:
    """The lines of the output and of the error file of a batch under a plan, and what was billed."""
    with _emulator(*faults, **settings) as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await sdk.batches.retrieve((await create_batch(sdk, LINES)).id)
            output = await read_lines(sdk, batch.output_file_id)
            errors = await read_lines(sdk, batch.error_file_id)
            return output, errors, emulator.statistics().billed


async def test_a_line_fails_in_the_error_file_and_is_not_billed() -> None:
    output, errors, billed = await _files(LineFault(kind="fail", lines=(2,), status=503))
    assert [line["custom_id"] for line in output] == ["r0", "r2", "r3"]
    assert [(line["custom_id"], line["response"]["status_code"]) for line in errors] == [("r1", 503)]
    assert "r1" not in billed


async def test_a_line_fails_in_the_output_file() -> None:
    output, errors, _ = await _files(LineFault(kind="fail", lines=(2,), body="oops", in_output_file=True))
    assert errors == []
    assert [line["response"]["status_code"] for line in output] == [200, 500, 200, 200]
    assert output[1]["response"]["body"] == "oops"


async def test_a_line_fails_without_a_response() -> None:
    _, (failed,), _ = await _files(LineFault(kind="fail", lines=(1,), code="lost", message="gone"))
    assert (failed["response"], failed["error"]) == (None, {"code": "lost", "message": "gone"})


async def test_a_doubleword_failure_is_json_within_the_message() -> None:
    _, (failed,), _ = await _files(LineFault(kind="fail", lines=(1,), status=500), like="doubleword")
    told = json.loads(failed["error"]["message"])
    assert (told["type"], told["details"]["status"]) == ("RetriableHttpStatus", 500)
    assert json.loads(told["details"]["body"])["error"]["type"] == "server_error"


async def test_a_dropped_line_is_nowhere_and_billed_only_if_the_plan_says_so() -> None:
    output, errors, billed = await _files(
        LineFault(kind="drop", lines=(1,)), LineFault(kind="drop", containing='"r1"', billed=True)
    )
    assert [line["custom_id"] for line in output + errors] == ["r2", "r3"]
    assert billed == {"r1": 1, "r2": 1, "r3": 1}


async def test_results_can_come_twice_or_for_nobody_or_without_an_id() -> None:
    output, _, billed = await _files(
        LineFault(kind="duplicate", lines=(1,)),
        LineFault(kind="unknown_custom_id", lines=(2,)),
        LineFault(kind="null_custom_id", lines=(3,)),
    )
    assert [line["custom_id"] for line in output] == ["r0", "r0", "r1", "unknown-2", None, "r3"]
    assert billed == {f"r{i}": 1 for i in range(4)}


async def test_a_body_can_be_json_text() -> None:
    output, _, _ = await _files(LineFault(kind="text_body", lines=(1,)))
    assert json.loads(output[0]["response"]["body"])["choices"][0]["message"]["content"] == "r0"
    assert echo_of(output[1]) == "r1"


async def test_a_line_fault_can_be_for_one_batch_only() -> None:
    with _emulator(LineFault(kind="fail", batches=(1,))) as emulator:
        async with open_sdk(emulator) as sdk:
            batches = [await sdk.batches.retrieve((await create_batch(sdk, LINES)).id) for _ in range(2)]
            assert [batch.output_file_id is None for batch in batches] == [True, False]


# Plans


def test_a_plan_survives_a_file(tmp_path: Path) -> None:
    plan = FaultPlan(
        (
            HttpFault(operation="files.content", nth=(1, 2), cut_after_bytes=5),
            BatchFault(ends="failed", error_lines=(3,), status_text={"failed": "FAILED"}),
            LineFault(kind="drop", probability=0.25),
        ),
        seed=9,
    )
    plan.save(tmp_path / "plan.json")
    assert FaultPlan.load(tmp_path / "plan.json") == plan
    assert FaultPlan.from_json('{"faults": [{"level": "http", "status": 500}]}').faults == (HttpFault(status=500),)


def test_a_plan_with_a_mistake_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="statsu"):
        FaultPlan.from_json('{"faults": [{"level": "http", "statsu": 500}]}')
