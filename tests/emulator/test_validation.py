"""What is said about a bad input file: by the batch (as OpenAI does), or at the upload (Doubleword)."""

from __future__ import annotations

import json
from typing import Any

import anyio
import httpx
import openai
import pytest

from autobatcher.emulator import Emulator

from .doors import as_file, chat_line, create_batch, line, open_http, open_sdk

GOOD = as_file([chat_line("good")])


def _bad(**change: Any) -> bytes:
    return as_file([{**chat_line("bad"), **change}])


@pytest.mark.parametrize(
    ("content", "code", "number"),
    [
        (b"", "empty_file", None),
        (GOOD + b"{broken\n", "invalid_json_line", 2),
        (b"\n" + GOOD, "invalid_json_line", 1),
        (GOOD + b"[1]\n", "invalid_json_line", 2),
        (GOOD + GOOD, "duplicate_custom_id", 2),
        (GOOD + _bad(custom_id=None), "missing_required_parameter", 2),
        (GOOD + _bad(method="GET"), "invalid_method", 2),
        (GOOD + _bad(url="/v1/embeddings"), "url_mismatch", 2),
        (GOOD + _bad(body="text"), "invalid_request", 2),
        (GOOD + _bad(body={"messages": []}), "missing_required_parameter", 2),
        (GOOD + as_file([chat_line("b", model="other")]), "model_mismatch", 2),
        (GOOD + as_file([chat_line("b", stream=True)]), "streaming_unsupported", 2),
        (as_file([chat_line(f"r{i}") for i in range(6)]), "too_many_tasks", None),
    ],
)
async def test_openai_fails_the_batch_and_names_the_line(content: bytes, code: str, number: int | None) -> None:
    with Emulator(max_requests=5) as emulator:
        async with open_sdk(emulator) as sdk:
            created = await create_batch(sdk, content)
            assert created.status == "validating"
            failed = await sdk.batches.retrieve(created.id)
            assert failed.status == "failed"
            assert failed.errors is not None
            assert failed.errors.data is not None
            assert [(error.code, error.line) for error in failed.errors.data] == [(code, number)]
            assert (failed.output_file_id, failed.error_file_id) == (None, None)
            assert emulator.statistics().billed == {}


async def test_openai_names_every_bad_line() -> None:
    with Emulator() as emulator:
        async with open_sdk(emulator) as sdk:
            created = await create_batch(sdk, b"x\n" + GOOD + b"y\n")
            failed = await sdk.batches.retrieve(created.id)
            assert failed.errors is not None
            assert [error.line for error in failed.errors.data or []] == [1, 3]


async def test_openai_counts_embedding_inputs_over_all_lines() -> None:
    def embed(custom_id: str, texts: Any) -> dict[str, Any]:
        return line(custom_id, "/v1/embeddings", {"model": "m", "input": texts})

    with Emulator(max_embedding_inputs=4) as emulator:
        async with open_sdk(emulator) as sdk:
            fits = [embed("a", ["x", "y"]), embed("b", [1, 2, 3]), embed("c", "z")]
            batch = await create_batch(sdk, fits, "/v1/embeddings")
            assert (await sdk.batches.retrieve(batch.id)).status == "completed"
            batch = await create_batch(sdk, [*fits, embed("d", [[1], [2]])], "/v1/embeddings")
            assert (await sdk.batches.retrieve(batch.id)).status == "failed"


async def test_line_separators_of_unicode_do_not_end_a_line() -> None:
    with Emulator() as emulator:
        async with open_sdk(emulator) as sdk:
            raw = json.dumps(chat_line("a", "one\u2028two\u0085three"), ensure_ascii=False).encode() + b"\n"
            batch = await create_batch(sdk, raw)
            done = await sdk.batches.retrieve(batch.id)
            assert done.status == "completed"
            content = (await sdk.files.content(done.output_file_id or "")).content
            (only,) = content.decode().removesuffix("\n").split("\n")
            body = json.loads(only)["response"]["body"]
            assert body["choices"][0]["message"]["content"] == "one\u2028two\u0085three"


async def test_a_file_that_is_too_large_is_refused_at_the_upload() -> None:
    for like, status in (("openai", 400), ("doubleword", 413)):
        with Emulator(like=like, max_file_bytes=100) as emulator:  # type: ignore[arg-type]
            async with open_sdk(emulator) as sdk:
                with pytest.raises(openai.APIStatusError) as caught:
                    await create_batch(sdk, GOOD)
                assert caught.value.status_code == status
                assert "File is too large" in caught.value.response.text
                assert emulator.statistics().uploads == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n \n", "no valid request"),
        (GOOD + b"{broken\n", "Line 2: Invalid JSON"),
        (b"\n" + GOOD + b"\n" + _bad(custom_id="x" * 65), "Line 2: custom_id exceeds"),
        (_bad(custom_id="caf\u00e9"), "Line 1: custom_id contains"),
        (_bad(method="GET"), "Line 1: Unsupported HTTP method 'GET'"),
        (_bad(url="/v1/moderations"), "Line 1: Unsupported URL path"),
        (_bad(body={}), "Line 1: Missing 'model'"),
    ],
)
async def test_doubleword_refuses_a_bad_file_at_the_upload_in_plain_text(content: bytes, said: str) -> None:
    with Emulator(like="doubleword") as emulator:
        async with open_http(emulator) as http:
            refused = await _upload(http, content)
            assert refused.status_code == 400
            assert refused.headers["content-type"].startswith("text/plain")
            assert said in refused.text


async def test_doubleword_allows_blank_lines_and_repeated_custom_ids() -> None:
    with Emulator(like="doubleword") as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, GOOD + b"\n\r\n" + GOOD)
            done = await sdk.batches.retrieve(batch.id)
            assert done.request_counts is not None
            assert done.request_counts.completed == 2


# Uploads as such


async def test_an_upload_keeps_every_byte() -> None:
    content = bytes(range(256)) * 300 + b"\r\n--boundary\r\n\r\n--"
    with Emulator() as emulator:
        async with open_sdk(emulator) as sdk:
            file = await sdk.files.create(file=("any.bin", content), purpose="user_data")
            assert (file.bytes, file.filename, file.purpose) == (len(content), "any.bin", "user_data")
            assert (await sdk.files.content(file.id)).content == content


async def test_a_file_name_may_have_any_letters() -> None:
    with Emulator() as emulator:
        async with open_sdk(emulator) as sdk:
            file = await sdk.files.create(file=("caf\u00e9 \u4e2d;.jsonl", GOOD), purpose="batch")
            assert file.filename == "caf\u00e9 \u4e2d;.jsonl"


async def test_a_form_without_its_parts_is_refused() -> None:
    with Emulator() as emulator:
        async with open_http(emulator) as http:
            assert (await http.post("/files", data={"purpose": "batch"})).status_code == 400
            assert (await http.post("/files", files={"file": b"x"})).status_code == 400
            assert (await _upload(http, b"x", purpose="nonsense")).status_code == 400
            cut = await http.post(
                "/files",
                content=b"--b\r\nContent-Dis",
                headers={"content-type": "multipart/form-data; boundary=b"},
            )
            assert cut.status_code == 400


async def test_files_are_listed_described_and_deleted() -> None:
    with Emulator() as emulator:
        async with open_sdk(emulator) as sdk:
            first = await sdk.files.create(file=("a.jsonl", GOOD), purpose="batch")
            second = await sdk.files.create(
                file=("b.jsonl", GOOD),
                purpose="batch",
                expires_after={"anchor": "created_at", "seconds": 3600},
            )
            assert second.expires_at == second.created_at + 3600
            assert [file.id async for file in sdk.files.list()] == [second.id, first.id]
            assert [file.id async for file in sdk.files.list(purpose="vision")] == []
            assert (await sdk.files.retrieve(first.id)).filename == "a.jsonl"
            assert (await sdk.files.delete(first.id)).deleted
            with pytest.raises(openai.NotFoundError, match=first.id):
                await sdk.files.content(first.id)
            assert emulator.statistics().file_ids == (second.id,)


async def test_a_batch_does_not_need_its_input_file_once_it_is_created() -> None:
    with Emulator(batch_seconds=10, validating_seconds=1) as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, GOOD)
            await sdk.files.delete(batch.input_file_id)
            await anyio.sleep(20)
            assert (await sdk.batches.retrieve(batch.id)).status == "completed"


async def _upload(http: httpx.AsyncClient, content: bytes, purpose: str = "batch") -> httpx.Response:
    return await http.post("/files", data={"purpose": purpose}, files={"file": ("in.jsonl", content)})
