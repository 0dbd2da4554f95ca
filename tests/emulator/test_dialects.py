"""How the dialects word what OpenAI says, seen by plain HTTP."""

from __future__ import annotations

from typing import Any, get_args

import httpx
import pytest

from autobatcher.emulator import Emulator, FaultPlan, HttpFault, LineFault
from autobatcher.emulator.known_dialects import DIALECTS, Like
from tests.emulator.doors import CHAT, as_file, chat_line, line, open_http

EMBEDDINGS = "/v1/embeddings"


def test_the_names_of_the_dialects_are_those_that_like_takes() -> None:
    assert get_args(Like) == tuple(DIALECTS)


async def upload(http: httpx.AsyncClient, like: str, lines: list[dict[str, Any]]) -> httpx.Response:
    dialect = DIALECTS[like]
    fields = {"purpose": dialect.purpose, "file_name": "in.jsonl"}
    return await http.post(dialect.upload_path, data=fields, files={"file": ("in.jsonl", as_file(lines))})


async def create(http: httpx.AsyncClient, like: str, lines: list[dict[str, Any]], endpoint: str) -> httpx.Response:
    uploaded = (await upload(http, like, lines)).json()
    file_id = uploaded.get("data", uploaded)["id"]
    order = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": "24h"}
    return await http.post("/batches", json=order)


async def run(
    http: httpx.AsyncClient, like: str, lines: list[dict[str, Any]] | None = None, endpoint: str = CHAT
) -> dict[str, Any]:
    """The batch object of a batch of chat lines, once it has ended."""
    created = (await create(http, like, lines or [chat_line("a")], endpoint)).json()
    batch_id = created.get("job", created)["id"]
    ended: dict[str, Any] = (await http.get(f"/batches/{batch_id}")).json()
    return ended


def urls_of(like: str) -> tuple[str, str]:
    """A url that the dialect has batches for, and the same as somebody else spells it."""
    dialect = DIALECTS[like]
    endpoint = sorted(dialect.endpoints)[0]
    own = dialect.url_prefix + endpoint.removeprefix("/v1")
    return own, endpoint if dialect.url_prefix != "/v1" else "/v4" + endpoint.removeprefix("/v1")


@pytest.mark.parametrize("like", sorted(set(DIALECTS) - {"doubleword"}))
async def test_a_line_with_another_url_fails_its_batch(like: str) -> None:
    own, foreign = urls_of(like)
    with Emulator(like=like) as emulator:  # type: ignore[arg-type]
        async with open_http(emulator) as http:
            batch = await run(http, like, [line("a", own, {"model": "m", "input": "x"}), line("b", foreign, {})], own)
        (view,) = emulator.statistics().batches
        assert view.status == "failed"
        if "errors" not in DIALECTS[like].shapes.left_out:
            assert "is not the endpoint of the batch" in str(batch.get("errors") or batch["error"])
        assert emulator.statistics().billed == {}


@pytest.mark.parametrize("like", list(DIALECTS))
async def test_a_batch_for_another_spelling_is_refused(like: str) -> None:
    own, foreign = urls_of(like)
    with Emulator(like=like) as emulator:  # type: ignore[arg-type]
        async with open_http(emulator) as http:
            refused = await create(http, like, [line("a", own, {"model": "m", "input": "x"})], foreign)
        assert refused.status_code == 400
        assert "has no batches" in refused.text


async def test_siliconflow_wraps_uploads_and_lists_of_files_and_counts_late() -> None:
    with Emulator(like="siliconflow", validating_seconds=100.0) as emulator:
        async with open_http(emulator) as http:
            uploaded = (await upload(http, "siliconflow", [chat_line("a")])).json()
            assert (uploaded["code"], uploaded["status"], uploaded["data"]["object"]) == (20000, True, "file")
            assert "createdAt" in uploaded["data"]
            listed = (await http.get("/files")).json()
            assert [file["id"] for file in listed["data"]["data"]] == [uploaded["data"]["id"]]
            batch = (await create(http, "siliconflow", [chat_line("a")], CHAT)).json()
            assert (batch["status"], batch["request_counts"]) == ("in_queue", None)
            refused = await http.get("/batches/nobody")
            assert refused.json()["code"] == "404"
            assert "error" not in refused.json()
            assert (await http.delete(f"/files/{uploaded['data']['id']}")).status_code == 404


async def test_together_wraps_creations_and_has_neither_counts_nor_metadata() -> None:
    with Emulator(like="together") as emulator:
        async with open_http(emulator) as http:
            created = (await create(http, "together", [chat_line("a")], CHAT)).json()
            assert created["job"]["status"] == "VALIDATING"
            batch = (await http.get(f"/batches/{created['job']['id']}")).json()
            assert (batch["status"], batch["progress"]) == ("COMPLETED", 100)
            assert not {"request_counts", "metadata", "errors", "object"} & set(batch)
            assert batch["created_at"].endswith("Z")
            assert [each["id"] for each in (await http.get("/batches")).json()] == [batch["id"]]


async def test_together_takes_uploads_in_its_own_place_with_its_own_fields_only() -> None:
    with Emulator(like="together") as emulator:
        async with open_http(emulator) as http:
            file = {"file": ("in.jsonl", as_file([chat_line("a")]))}
            elsewhere = await http.post("/files", data={"purpose": "batch-api", "file_name": "x"}, files=file)
            nameless = await http.post("/files/upload", data={"purpose": "batch-api"}, files=file)
            purposeless = await http.post("/files/upload", data={"purpose": "batch", "file_name": "x"}, files=file)
        assert (elsewhere.status_code, nameless.status_code, purposeless.status_code) == (404, 400, 400)


async def test_zhipu_counts_beside_the_status() -> None:
    with Emulator(like="zhipu") as emulator:
        async with open_http(emulator) as http:
            batch = await run(http, "zhipu", [line("a", "/v4/chat/completions", {"model": "m", "messages": []})],
                              "/v4/chat/completions")  # fmt: skip
        assert (batch["request_counts"], batch["total"]) == (1, 1)


async def test_any_version_of_the_api_is_found_below_any_prefix() -> None:
    with Emulator(like="zhipu") as emulator:
        async with httpx.AsyncClient(transport=emulator.transport(), base_url="http://x/api/paas/v4") as http:
            assert (await http.get("/batches")).json()["object"] == "list"


async def test_novita_says_in_one_text_why_a_batch_failed() -> None:
    with Emulator(like="novita") as emulator:
        async with open_http(emulator) as http:
            batch = await run(http, "novita", [chat_line("a"), chat_line("a")])
            assert batch["status"] == "FAILED"
            assert batch["errors"] == "The custom_id 'a' is used more than once."


async def test_voyage_spells_canceled_and_writes_times_as_text() -> None:
    with Emulator(like="voyage", batch_seconds=100.0, cancelling_seconds=5.0) as emulator:
        async with open_http(emulator) as http:
            lines = [line("a", EMBEDDINGS, {"model": "m", "input": "x"})]
            created = (await create(http, "voyage", lines, EMBEDDINGS)).json()
            cancelled = (await http.post(f"/batches/{created['id']}/cancel")).json()
        assert cancelled["status"] == "canceling"
        assert cancelled["created_at"][4] == "-"
        assert "canceled_at" in cancelled


async def test_voyage_says_why_a_line_failed_beside_its_status() -> None:
    faults = FaultPlan((LineFault(kind="fail", status=400, message="too long"),))
    with Emulator(like="voyage", faults=faults) as emulator:
        async with open_http(emulator) as http:
            batch = await run(http, "voyage", [line("a", EMBEDDINGS, {"model": "m", "input": "x"})], EMBEDDINGS)
            failed = (await http.get(f"/files/{batch['error_file_id']}/content")).json()
        assert (failed["response"]["status_code"], failed["response"]["message"]) == (400, "too long")
        assert "body" not in failed["response"]


async def test_azure_says_at_once_that_there_is_no_room() -> None:
    with Emulator(like="azure", max_enqueued_requests=0) as emulator:
        async with open_http(emulator) as http:
            refused = await create(http, "azure", [chat_line("a")], CHAT)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "token_limit_exceeded")
        assert emulator.statistics().batches_created == 0


@pytest.mark.parametrize(("like", "status"), [("openai", 400), ("litellm", 500)])
async def test_cancelling_what_has_ended_is_refused_in_the_servers_own_way(like: Any, status: int) -> None:
    with Emulator(like=like) as emulator:
        async with open_http(emulator) as http:
            batch = await run(http, like)
            assert (await http.post(f"/batches/{batch['id']}/cancel")).status_code == status


async def test_mistrals_gateway_neither_lists_nor_cancels() -> None:
    with Emulator(like="mistral") as emulator:
        async with open_http(emulator) as http:
            batch = await run(http, "mistral")
            assert (await http.get("/batches")).status_code == 404
            assert (await http.post(f"/batches/{batch['id']}/cancel")).status_code == 404


async def test_a_providers_own_limits_hold_unless_others_are_given() -> None:
    lines = [chat_line(str(number)) for number in range(5_001)]
    for given, status in (({}, "failed"), ({"max_requests": 6_000}, "completed")):
        with Emulator(like="siliconflow", **given) as emulator:  # type: ignore[arg-type]
            async with open_http(emulator) as http:
                assert (await run(http, "siliconflow", lines))["status"] == status


def test_a_flaky_plan_is_the_same_for_the_same_seed_and_goes_through_json() -> None:
    plan = FaultPlan.flaky(3, 0.1)
    assert plan == FaultPlan.flaky(3, 0.1) == FaultPlan.from_json(plan.to_json())
    assert sum(fault.probability for fault in plan.faults if isinstance(fault, HttpFault)) == pytest.approx(0.1)
    assert FaultPlan.flaky(3, 0.0).faults == ()


@pytest.mark.parametrize("rate", [-0.1, 1.0, 2.0])
def test_a_rate_at_which_nothing_would_ever_work_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate must be at least 0 and less than 1"):
        FaultPlan.flaky(1, rate)
