"""The life of a batch, driven with the real SDK on virtual time."""

from __future__ import annotations

import json
from typing import Any

import anyio
import openai
import pytest

from autobatcher.emulator import Emulator

from .doors import (
    CHAT,
    as_file,
    chat_line,
    create_batch,
    echo_of,
    line,
    open_http,
    open_sdk,
    read_lines,
    results,
)


async def test_a_batch_answers_every_line_with_its_own_echo() -> None:
    with Emulator() as emulator:
        async with open_sdk(emulator) as sdk:
            created = await create_batch(sdk, [chat_line(f"r{i}", f"text {i}") for i in range(50)])
            assert (created.status, created.output_file_id) == ("validating", None)
            assert created.request_counts is not None
            assert created.request_counts.total == 0
            done = await sdk.batches.retrieve(created.id)
            assert done.status == "completed"
            assert done.error_file_id is None
            lines = await read_lines(sdk, done.output_file_id)
            assert {line["custom_id"]: echo_of(line) for line in lines} == {f"r{i}": f"text {i}" for i in range(50)}
            assert emulator.statistics().billed == {f"r{i}": 1 for i in range(50)}


async def test_a_batch_walks_through_its_states_in_time() -> None:
    with Emulator(batch_seconds=10, validating_seconds=2, finalizing_seconds=3, wall_clock=lambda: 1000.0) as emulator:
        async with open_sdk(emulator) as sdk:
            created = await create_batch(sdk, [chat_line(f"r{i}") for i in range(10)])
            seen: list[tuple[str, int]] = []
            for _ in range(16):
                batch = await sdk.batches.retrieve(created.id)
                assert batch.request_counts is not None
                seen.append((batch.status, batch.request_counts.completed))
                assert (batch.output_file_id is not None) == (batch.status == "completed")
                await anyio.sleep(1)
            progress = [("in_progress", done) for done in range(10)]
            assert seen == [("validating", 0)] * 2 + progress + [("finalizing", 10)] * 3 + [("completed", 10)]
            start = batch.created_at
            times = (batch.in_progress_at, batch.finalizing_at, batch.completed_at, batch.expires_at)
            assert times == (start + 2, start + 12, start + 15, start + 86_400)


async def test_results_come_in_a_shuffled_order_unless_told_otherwise() -> None:
    ids = [f"r{i}" for i in range(30)]
    orders = []
    for shuffle in (True, True, False):
        with Emulator(shuffle=shuffle) as emulator:
            async with open_sdk(emulator) as sdk:
                batch = await create_batch(sdk, [chat_line(each) for each in ids])
                batch = await sdk.batches.retrieve(batch.id)
                orders.append([line["custom_id"] for line in await read_lines(sdk, batch.output_file_id)])
    assert orders[0] == orders[1] != ids
    assert sorted(orders[0]) == sorted(ids)
    assert orders[2] == ids


async def test_a_cancelled_batch_keeps_and_bills_what_was_done_before() -> None:
    with Emulator(batch_seconds=10, cancelling_seconds=2, shuffle=False) as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, [chat_line(f"r{i}") for i in range(10)])
            await anyio.sleep(4)
            assert (await sdk.batches.cancel(batch.id)).status == "cancelling"
            await anyio.sleep(1)
            assert (await sdk.batches.retrieve(batch.id)).status == "cancelling"
            await anyio.sleep(20)
            assert (await sdk.batches.retrieve(batch.id)).status == "cancelled"
            ended = await sdk.batches.retrieve(batch.id)
            assert [line["custom_id"] for line in await read_lines(sdk, ended.output_file_id)] == [
                "r0",
                "r1",
                "r2",
                "r3",
            ]
            assert emulator.statistics().billed == {f"r{i}": 1 for i in range(4)}


async def test_a_batch_that_has_ended_cannot_be_cancelled() -> None:
    with Emulator() as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, [chat_line("a")])
            with pytest.raises(openai.BadRequestError, match="Cannot cancel a batch with status 'completed'"):
                await sdk.batches.cancel(batch.id)


async def test_a_batch_cancelled_while_validating_runs_nothing() -> None:
    with Emulator(validating_seconds=5) as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, [chat_line("a")])
            await sdk.batches.cancel(batch.id)
            ended = await sdk.batches.retrieve(batch.id)
            assert (ended.status, ended.output_file_id, ended.error_file_id) == ("cancelled", None, None)
            assert emulator.statistics().billed == {}


async def test_a_batch_slower_than_its_window_expires_with_what_is_done() -> None:
    with Emulator(batch_seconds=2 * 86_400, shuffle=False) as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, [chat_line(f"r{i}") for i in range(4)])
            await anyio.sleep(3 * 86_400)
            ended = await sdk.batches.retrieve(batch.id)
            assert ended.status == "expired"
            assert ended.expired_at == ended.expires_at
            assert [line["custom_id"] for line in await read_lines(sdk, ended.output_file_id)] == ["r0", "r1"]
            errors = await read_lines(sdk, ended.error_file_id)
            assert [(line["custom_id"], line["error"]["code"]) for line in errors] == [
                ("r2", "batch_expired"),
                ("r3", "batch_expired"),
            ]
            assert emulator.statistics().billed == {"r0": 1, "r1": 1}


async def test_failed_lines_are_in_the_error_file_with_their_status() -> None:
    with Emulator() as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, [chat_line("a", model="fail-429"), chat_line("b", model="fail-429")])
            ended = await sdk.batches.retrieve(batch.id)
            assert (ended.status, ended.output_file_id) == ("completed", None)
            assert ended.request_counts is not None
            assert ended.request_counts.failed == 2
            (first, _) = await read_lines(sdk, ended.error_file_id)
            assert first["response"]["status_code"] == 429
            assert first["response"]["body"]["error"]["code"] == "model_always_fails"
            assert first["error"] is None
            assert emulator.statistics().billed == {}


async def test_batches_are_listed_newest_first_in_pages() -> None:
    with Emulator() as emulator:
        async with open_sdk(emulator) as sdk:
            ids = [(await create_batch(sdk, [chat_line("a")])).id for _ in range(5)]
            page = await sdk.batches.list(limit=2)
            assert [batch.id for batch in page.data] == [ids[4], ids[3]]
            assert page.has_more
            assert [batch.id async for batch in sdk.batches.list(limit=2)] == ids[::-1]
            with pytest.raises(openai.BadRequestError, match="limit"):
                await sdk.batches.list(limit=101)


async def test_statistics_tell_what_was_asked() -> None:
    with Emulator(batch_seconds=10) as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, [chat_line("a", "find me"), chat_line("b")], metadata={"key": "value"})
            assert emulator.statistics().running_batch_ids == (batch.id,)
            await sdk.batches.retrieve(batch.id)
            await sdk.models.list()
            await sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "now"}])
            seen = emulator.statistics()
            (view,) = seen.batches
            assert (view.status, view.models, view.custom_ids) == ("in_progress", ("m",), ("a", "b"))
            assert (view.metadata, view.input_file_id) == ({"key": "value"}, batch.input_file_id)
            assert [line.custom_id for line in seen.lines if "find me" in str(line.body)] == ["a"]
            assert seen.realtime_calls == {CHAT: 1}
            assert seen.http_calls["batches.retrieve"] == 1
            assert seen.http_statuses == {200: 5}
            assert (seen.uploads, seen.batches_created, seen.file_ids) == (1, 1, (batch.input_file_id,))
    # Outside the event loop there is no clock to ask; the last moment seen counts.
    assert emulator.statistics().billed == {}


async def test_ten_thousand_lines_are_done_in_one_go() -> None:
    with Emulator() as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, [chat_line(f"r{i}") for i in range(10_000)])
            done = await sdk.batches.retrieve(batch.id)
            lines = await read_lines(sdk, done.output_file_id)
            assert all(echo_of(line) == line["custom_id"] for line in lines)
            assert len(emulator.statistics().billed) == len(lines) == 10_000


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"endpoint": "/v1/audio/speech"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window|Supported values"),
        ({"metadata": {str(i): "x" for i in range(17)}}, "metadata"),
        ({"metadata": {"k": "x" * 513}}, "metadata"),
        ({"input_file_id": "file-unknown"}, "No such File"),
    ],
)
async def test_a_bad_order_is_refused(change: dict[str, Any], said: str) -> None:
    with Emulator() as emulator:
        async with open_sdk(emulator) as sdk:
            with pytest.raises(openai.APIStatusError, match=said):
                await create_batch(sdk, [chat_line("a")], **change)
            assert emulator.statistics().batches_created == 0


async def test_a_wrong_key_is_refused() -> None:
    with Emulator(api_key="right") as emulator:
        async with open_sdk(emulator) as sdk:
            with pytest.raises(openai.AuthenticationError):
                await sdk.batches.list()
        async with open_sdk(emulator, api_key="right") as sdk:
            assert (await sdk.batches.list()).data == []


async def test_any_prefix_before_v1_will_do_and_other_paths_are_unknown() -> None:
    with Emulator() as emulator:
        async with open_http(emulator) as http:
            for url in ("http://x/v1/models", "http://x/ai/v1/models", "http://x/openai/v1/models/org/name"):
                assert (await http.get(url)).status_code == 200
            for url in ("http://x/models", "http://x/v1/nothing", "http://x/v1/batches/a/b/c"):
                unknown = await http.get(url)
                assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_url")


# Doubleword


async def test_doubleword_gives_both_files_at_once_and_answers_201() -> None:
    with Emulator(like="doubleword") as emulator:
        async with open_http(emulator) as http:
            form = {"files": {"file": ("in.jsonl", as_file([chat_line("a")]))}, "data": {"purpose": "batch"}}
            upload = await http.post("/files", **form)  # type: ignore[arg-type]
            assert upload.status_code == 201
            order = {"input_file_id": upload.json()["id"], "endpoint": CHAT, "completion_window": "1h"}
            created = await http.post("/batches", json={**order, "metadata": {"a": "b", "created_by": "me"}})
            assert created.status_code == 201
            batch = created.json()
            assert batch["output_file_id"]
            assert batch["error_file_id"]
            assert len(batch["id"]) == 36
            assert batch["metadata"]["a"] == "b"
            assert "created_by" not in batch["metadata"]
            assert "request_source" in batch["metadata"]
            assert (await http.get("/batches/batch_123")).text == "Invalid batch ID format"


async def test_doubleword_mixes_endpoints_and_models_and_fails_only_when_all_lines_do() -> None:
    mixed = [
        chat_line("a", model="one"),
        line("b", "/v1/embeddings", {"model": "two", "input": "text"}),
        chat_line("c", model="fail-500"),
    ]
    with Emulator(like="doubleword") as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, mixed)
            assert (await sdk.batches.retrieve(batch.id)).status == "completed"
            assert set(await results(sdk, batch.id)) == {"a", "b", "c"}
            all_fail = await create_batch(sdk, [chat_line("a", model="fail-400")])
            ended = await sdk.batches.retrieve(all_fail.id)
            assert (ended.status, ended.errors) == ("failed", None)
            (failed,) = await read_lines(sdk, ended.error_file_id)
            assert failed["response"] is None
            assert '"NonRetriableHttpStatus"' in failed["error"]["message"]


async def test_doubleword_serves_partial_output_while_it_runs() -> None:
    with Emulator(like="doubleword", batch_seconds=10, shuffle=False) as emulator:
        async with open_sdk(emulator) as sdk, open_http(emulator) as http:
            batch = await create_batch(sdk, [chat_line(f"r{i}") for i in range(10)])
            url = f"/files/{batch.output_file_id}/content"
            empty = await http.get(url)
            assert (empty.content, empty.headers["x-incomplete"], empty.headers["x-last-line"]) == (
                b"",
                "true",
                "0",
            )
            await anyio.sleep(4)
            first = await http.get(url)
            assert _ids(first.text) == ["r0", "r1", "r2", "r3"]
            assert first.headers["x-last-line"] == "4"
            await anyio.sleep(2)
            # `offset` is not read, as on the real server.
            more = await http.get(url, params={"skip": 4, "offset": 0})
            assert (_ids(more.text), more.headers["x-last-line"]) == (["r4", "r5"], "6")
            caught_up = await http.get(url, params={"skip": 6})
            assert (caught_up.text, caught_up.headers["x-last-line"]) == ("", "6")
            limited = await http.get(url, params={"skip": 1, "limit": 2})
            assert (_ids(limited.text), limited.headers["x-last-line"]) == (["r1", "r2"], "3")
            found = await http.get(url, params={"search": "R5"})
            assert _ids(found.text) == ["r5"]
            assert "x-last-line" not in found.headers
            await anyio.sleep(10)
            whole = await http.get(url)
            assert (len(_ids(whole.text)), whole.headers["x-incomplete"]) == (10, "false")


async def test_doubleword_never_expires() -> None:
    with Emulator(like="doubleword", batch_seconds=3 * 3600) as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, [chat_line("a"), chat_line("b")], completion_window="1h")
            await anyio.sleep(2 * 3600)
            late = await sdk.batches.retrieve(batch.id)
            assert late.status == "in_progress"
            assert late.expired_at == late.expires_at


async def test_doubleword_deletes_batches_with_their_input_file() -> None:
    with Emulator(like="doubleword") as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, [chat_line("a")])
            await sdk.batches.retrieve(batch.id)
            await sdk.files.delete(batch.input_file_id)
            with pytest.raises(openai.NotFoundError):
                await sdk.batches.retrieve(batch.id)
            assert len(await read_lines(sdk, batch.output_file_id)) == 1


def _ids(text: str) -> list[str]:
    return [json.loads(line)["custom_id"] for line in text.splitlines()]


async def test_a_batch_that_the_emulator_cannot_carry_out_fails_alone_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(400):
        schema = {"type": "array", "items": schema, "minItems": 1}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    with Emulator() as emulator:
        async with open_sdk(emulator) as sdk:
            odd = await create_batch(sdk, [chat_line("r0", response_format=wanted)])
            other = await create_batch(sdk, [chat_line("r1")])
            assert [(each.id, each.status) async for each in sdk.batches.list()] == [
                (other.id, "completed"),
                (odd.id, "failed"),
            ]
            failed = await sdk.batches.retrieve(odd.id)
            assert failed.errors is not None
            assert failed.errors.data is not None
            assert failed.errors.data[0].code == "emulator_error"
            assert "RecursionError" in (failed.errors.data[0].message or "")
    assert [record.getMessage() for record in caplog.records if record.name == "autobatcher"] == [
        f"emulator: batch {odd.id} failed"
    ]
